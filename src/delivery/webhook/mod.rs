//! Reports dead tokens to whoever asked for it, never on the way of a send: in batches, signed,
//! tried again for a bounded time.
//!
//! An application with something to report has a queue and a task:
//!
//! ```text
//!           a token died                  1 s, or 500 tokens, or the end of the relay
//! (nothing) ───────────► gathering ──────────────────────────────────────► sending ──┐
//!     ▲                      ▲  nothing more: the task ends    more came meanwhile   │
//!     └──────────────────────┴──────────────────────────────────────────────────────┘
//! ```
//!
//! A slow receiver holds up the reports of its own applications; those that have no webhook of
//! their own share that of the configuration, and a few turns at it.

mod queue;
mod report;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};

use self::queue::{Book, Entry};
use self::report::{Heard, Report};
use crate::apps::feedback::{DeadToken, Feedback, Settings};
use crate::apps::webhook::Webhook;
use crate::apps::{Application, ApplicationId};
use crate::metrics::{Provider, Reports};
use crate::providers::web::LazyClient;

/// How long the tokens of one report are gathered.
const GATHERING: Duration = Duration::from_secs(1);
/// How many reports are on their way to the webhook of the configuration at the same time.
const TURNS: usize = 8;
/// How long one try may take.
const TRY: Duration = Duration::from_secs(10);
/// The pause before the second try; each later one is twice as long, up to the longest. Up to as
/// much again is added by chance.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Takes dead tokens, and reports them.
#[derive(Clone)]
pub struct Webhooks(Arc<Shared>);

struct Shared {
    runtime: Handle,
    counts: Arc<Reports>,
    client: LazyClient,
    /// Guards what the configuration says.
    settings: RwLock<Current>,
    /// Guards the queues.
    book: Mutex<Book>,
    turns: Semaphore,
    is_ending: watch::Sender<bool>,
    /// Told when the last queue is gone.
    is_idle: Notify,
}

#[derive(Clone)]
struct Current {
    webhook: Option<Arc<Webhook>>,
    timeout: Duration,
}

impl Current {
    fn of(settings: &Settings) -> Self {
        let webhook = settings.webhook().map(Arc::new);
        Self { webhook, timeout: settings.webhook_timeout }
    }
}

impl Webhooks {
    /// Makes no connection. Reports are sent on `runtime`.
    #[must_use]
    pub fn new(settings: &Settings, runtime: Handle, counts: Arc<Reports>) -> Self {
        Self(Arc::new(Shared {
            runtime,
            counts,
            client: LazyClient::new(Vec::new(), Some(TRY), Some(TRY)),
            settings: RwLock::new(Current::of(settings)),
            book: Mutex::default(),
            turns: Semaphore::new(TURNS),
            is_ending: watch::Sender::new(false),
            is_idle: Notify::new(),
        }))
    }

    /// Lets other settings apply, to the next report of each application.
    pub fn change(&self, settings: &Settings) {
        *self.0.settings.write().unwrap_or_else(PoisonError::into_inner) = Current::of(settings);
    }

    /// Notes that a token died; it is reported soon, if anybody asked for it.
    pub(super) fn note(&self, app: &Application, provider: Provider, dead: &DeadToken) {
        if app.id.is_bare_keys() || self.receiver(&app.feedback).is_none() {
            return;
        }
        let entry = Entry { device_token: dead.given.clone(), since: dead.since, provider };
        let is_first = self.book().push(&app.id, entry);
        if is_first {
            let (own, id, feedback) = (self.clone(), app.id.clone(), Arc::clone(&app.feedback));
            self.0.runtime.spawn(async move { own.work(&id, &feedback).await });
        }
    }

    /// Sends what is waiting without gathering more, for at most this long. What is left then is
    /// lost, and its number logged.
    pub async fn finish(&self, time: Duration) {
        self.0.is_ending.send_replace(true);
        let idle = async {
            loop {
                let told = self.0.is_idle.notified();
                if self.book().is_empty() {
                    return;
                }
                told.await;
            }
        };
        if timeout(time, idle).await.is_err() {
            let tokens = self.book().tokens();
            tracing::warn!(tokens, "dead tokens were not reported before the end of the relay");
        }
    }

    /// Reports what is in the queue of an application until there is nothing left.
    async fn work(&self, id: &ApplicationId, feedback: &Feedback) {
        let mut is_ending = self.0.is_ending.subscribe();
        loop {
            self.gather(id, &mut is_ending).await;
            let Some((entries, dropped)) = self.book().take(id) else { break };
            let count = entries.len();
            self.0.counts.overflowed.add(dropped);
            if dropped > 0 {
                tracing::warn!(
                    app.id = id.as_str(),
                    tokens = dropped,
                    "more dead tokens than wait for a webhook; the oldest were not reported"
                );
            }
            // The webhook may have been taken back meanwhile.
            if let Some((webhook, is_shared)) = self.receiver(feedback)
                && let Some(report) = Report::new(id, &entries)
            {
                match self.send(&report, &webhook, is_shared, &mut is_ending).await {
                    true => self.0.counts.reported.add(count),
                    false => self.0.counts.given_up.add(count),
                }
            }
            self.book().settle(count);
        }
        if self.book().is_empty() {
            self.0.is_idle.notify_waiters();
        }
    }

    /// Waits until a report is worth while.
    async fn gather(&self, id: &ApplicationId, is_ending: &mut watch::Receiver<bool>) {
        let Some(is_full) = self.book().gathering(id) else { return };
        if *is_ending.borrow_and_update() {
            return;
        }
        tokio::select! {
            () = sleep(GATHERING) => {}
            () = is_full.notified() => {}
            _ = is_ending.changed() => {}
        }
    }

    /// Posts a report until it is taken, refused, or too old. True if it was taken.
    async fn send(
        &self,
        report: &Report,
        webhook: &Webhook,
        is_shared: bool,
        is_ending: &mut watch::Receiver<bool>,
    ) -> bool {
        let start = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let heard = {
                let turn =
                    async { if is_shared { self.0.turns.acquire().await.ok() } else { None } };
                let _turn = turn.await;
                report.post(&self.0.client, webhook).await
            };
            let (why, wait) = match heard {
                Heard::Taken => {
                    report.log_taken(webhook);
                    return true;
                }
                Heard::Refused { why } => {
                    report.log_lost(webhook, &why);
                    return false;
                }
                Heard::Later { why, wait } => (why, wait),
            };
            let wait = wait.unwrap_or_else(|| pause + pause.mul_f32(chance()));
            pause = (pause * 2).min(LONGEST_PAUSE);
            if start.elapsed() + wait > self.settings().timeout {
                report.log_lost(webhook, &why);
                return false;
            }
            report.log_again(webhook, &why, wait);
            tokio::select! {
                () = sleep(wait) => {}
                // One try at once, while there is time.
                _ = is_ending.changed() => {}
            }
        }
    }

    /// Who is told of the dead tokens of an application, and whether others share the receiver.
    fn receiver(&self, feedback: &Feedback) -> Option<(Arc<Webhook>, bool)> {
        match feedback.webhook() {
            Some(own) => Some((own, false)),
            None => self.settings().webhook.map(|shared| (shared, true)),
        }
    }

    fn settings(&self) -> Current {
        self.0.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Webhooks")
    }
}

/// From 0 to 1, so that those who were refused together do not come back together.
fn chance() -> f32 {
    let mut byte = [0];
    let _ = openssl::rand::rand_bytes(&mut byte);
    f32::from(byte[0]) / 255.0
}
