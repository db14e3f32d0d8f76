//! From "please send" to an end: admission, the deadline, the one retry loop, the record.

mod admission;
mod channels;
mod circuit;
pub mod idempotency;
mod record;
mod retry;
mod route;
pub mod webhook;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use self::admission::Admission;
pub use self::admission::Share;
pub use self::circuit::Circuit;
use self::circuit::Circuits;
use self::record::UnderWay;
use self::retry::Retries;
use self::route::{Route, Step};
use self::webhook::Webhooks;
use crate::apps::Application;
use crate::apps::feedback::DeadToken;
use crate::metrics::Metrics;
use crate::outcome::{Cause, Delivery, Failure, Outcome, Receipt, Rejection, Retry};
use crate::providers::Message;

/// How many messages of one call are in flight at the same time.
const FAN_OUT: usize = 100;

/// How long one of many messages waits before it asks again for room in the queue of its
/// connections, where those that were given up may still stand.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// How long a message that found no room waits for its answer. It says to come again in a second; who
/// comes again at once takes the time of those that were let in, ten times over where there are ten
/// such callers for each place.
const REFUSAL_PAUSE: Duration = Duration::from_millis(200);

/// How often a relay that stops looks whether all sends have ended.
const IDLE_LOOKS: Duration = Duration::from_millis(5);

/// How many sends are let in.
#[derive(Debug, Clone)]
pub struct Settings {
    /// In flight or waiting, of one application.
    pub max_in_flight_per_application: usize,
    /// In flight or waiting, of one caller.
    pub max_in_flight_per_caller: usize,
    /// In flight or waiting, in all.
    pub max_in_flight: usize,
}

/// What the messages of one call have in common.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// Whose they are.
    pub caller: &'a Share,
    /// What their time counts from.
    pub start: Instant,
    /// How long each may take in all; `None` leaves it to its service.
    pub timeout: Option<Duration>,
}

/// Sends messages to an end.
#[derive(Debug)]
pub struct Dispatcher {
    admission: Admission,
    circuits: Circuits,
    webhooks: Webhooks,
    metrics: Arc<Metrics>,
}

impl Dispatcher {
    /// A dispatcher with nothing under way.
    #[must_use]
    pub fn new(settings: &Settings, webhooks: Webhooks) -> Self {
        Self {
            admission: Admission::new(settings),
            circuits: Circuits::default(),
            webhooks,
            metrics: Arc::default(),
        }
    }

    /// The same, counted in these numbers.
    #[must_use]
    pub fn metered(self, metrics: &Arc<Metrics>) -> Self {
        Self { metrics: Arc::clone(metrics), ..self }
    }

    /// What reports dead tokens.
    #[must_use]
    pub fn webhooks(&self) -> &Webhooks {
        &self.webhooks
    }

    /// Lets other limits apply from now on.
    pub fn change_limits(&self, settings: &Settings) {
        self.admission.change(settings);
    }

    /// Sends a message of `app`, again where that is safe, until there is an answer or its time is
    /// over. Where the relay is full it is refused, a moment later.
    ///
    /// # Cancel safety
    /// Dropped, it sends nothing more. What was written stays written; whether its token is dead
    /// is noted even then.
    pub async fn deliver(
        &self,
        app: &Arc<Application>,
        message: Arc<Message>,
        terms: Terms<'_>,
    ) -> Outcome {
        if let Some(outcome) = self.by_circuit(app, &message) {
            return outcome;
        }
        let Terms { caller, start, timeout } = terms;
        let Some(_permit) = self.admission.admit(Some(caller), &app.in_flight) else {
            let outcome = busy();
            record::note(&app.record, message.provider(), &outcome);
            drop(message);
            sleep(REFUSAL_PAUSE.min(timeout.unwrap_or(REFUSAL_PAUSE))).await;
            return outcome;
        };
        let deadline = start + timeout.unwrap_or_else(|| app.providers.timeout(&message));
        self.conclude(app, message, Time { start, deadline, is_patient: false }).await
    }

    /// Sends one of many messages as [`Self::deliver`] does, but waits for its turn: callers and
    /// applications share the places of the relay, however many messages each of them has. Its
    /// time runs meanwhile.
    ///
    /// # Cancel safety
    /// As that of [`Self::deliver`].
    pub async fn deliver_in_turn(
        &self,
        app: &Arc<Application>,
        message: Arc<Message>,
        terms: Terms<'_>,
    ) -> Outcome {
        if let Some(outcome) = self.by_circuit(app, &message) {
            return outcome;
        }
        let timeout = terms.timeout.unwrap_or_else(|| app.providers.timeout(&message));
        let deadline = terms.start + timeout;
        let turn = self.admission.turn(terms.caller, app);
        let permit = timeout_at(deadline, turn).await.ok();
        // Many have the same deadline: those who get the places of others at that moment are late.
        let Some(_permit) = permit.filter(|_| Instant::now() < deadline) else {
            let outcome = never_sent();
            record::note(&app.record, message.provider(), &outcome);
            log(app, &message, &outcome, terms.start);
            return outcome;
        };
        // A circuit that opened meanwhile spares it the rest of its time.
        if let Some(outcome) = self.by_circuit(app, &message) {
            return outcome;
        }
        let time = Time { start: terms.start, deadline, is_patient: true };
        self.conclude(app, message, time).await
    }

    /// Sends the messages of one call, a bounded number of them at a time: each as
    /// [`Self::deliver`] does, all since the same moment and for as long. The outcomes stand in the order of the
    /// messages, whatever the order of the answers. `None`: there is no room for the call, and
    /// nothing was sent.
    ///
    /// # Cancel safety
    /// As that of [`Self::deliver`]; messages whose turn had not come are not sent.
    pub async fn deliver_each(
        &self,
        app: &Arc<Application>,
        messages: Vec<Message>,
        caller: Option<&Share>,
        (start, timeout): (Instant, Option<Duration>),
    ) -> Option<Vec<Outcome>> {
        let Some(_permit) = self.admission.admit(caller, &app.in_flight) else {
            for message in &messages {
                record::note(&app.record, message.provider(), &busy());
            }
            return None;
        };
        let sends = messages.into_iter().map(|one| {
            let deadline = start + timeout.unwrap_or_else(|| app.providers.timeout(&one));
            self.conclude(app, Arc::new(one), Time { start, deadline, is_patient: true })
        });
        Some(stream::iter(sends).buffered(FAN_OUT).collect().await)
    }

    /// The answer to a message that is not to be sent at all now.
    fn by_circuit(&self, app: &Application, message: &Message) -> Option<Outcome> {
        let outcome = self.circuits.answer(app, message)?;
        app.record.tally.answer_by_circuit();
        record::note(&app.record, message.provider(), &outcome);
        Some(outcome)
    }

    async fn conclude(&self, app: &Arc<Application>, message: Arc<Message>, time: Time) -> Outcome {
        let start = time.start;
        let mut story = Story { app, message: &message, start, has_ended: false };
        let under_way = UnderWay::new(app, &message);
        let outcome = self.attempts(app, &message, time).await;
        story.has_ended = true;
        under_way.end(&outcome);
        self.metrics.peer(message.provider()).sends.observe(start.elapsed());
        if matches!(outcome, Outcome::Accepted(_)) {
            app.repeats.earn();
        }
        log(app, &message, &outcome, start);
        settle_token(&self.webhooks, app, &message, &outcome);
        outcome
    }

    /// How many sends are in flight or waiting, all applications together.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.admission.in_flight()
    }

    /// Waits until none is.
    pub async fn idle(&self) {
        while self.in_flight() > 0 {
            sleep(IDLE_LOOKS).await;
        }
    }

    /// Whether calls of an application to Apple are let through now.
    #[must_use]
    pub fn circuit(&self, app: &Application) -> Circuit {
        self.circuits.state(app)
    }

    async fn attempts(
        &self,
        app: &Arc<Application>,
        message: &Arc<Message>,
        time: Time,
    ) -> Outcome {
        let deadline = time.deadline;
        let mut retries = Retries::new(at_least_once(message));
        let mut route = Route::new(app, message);
        let mut avoid = None;
        loop {
            let late = (Arc::clone(app), Arc::clone(message));
            let (webhooks, metrics) = (self.webhooks.clone(), Arc::clone(&self.metrics));
            let on_late = move |outcome: Outcome| {
                let (app, message) = late;
                metrics.late(message.provider(), record::label(&outcome).0);
                log_late(&app, &message, &outcome);
                settle_token(&webhooks, &app, &message, &outcome);
            };
            let environment = route.environment();
            let sent = app.providers.send(message, environment, deadline, avoid, on_late).await;
            let Ok(attempt) = sent else { return busy() };
            let mut pause = |failure: &Failure| match failure.cause {
                Cause::Busy if time.is_patient => Some(BUSY_PAUSE),
                _ => retries.pause(failure, &app.repeats),
            };
            if let Outcome::Failed(failure) = &attempt.outcome
                && let Some(pause) = pause(failure)
            {
                let again = Instant::now() + pause;
                if again < deadline {
                    app.record.tally.repeat(message.provider(), record::cause(failure));
                    sleep_until(again).await;
                    avoid = attempt.avoid;
                    continue;
                }
            }
            self.circuits.learn(app, environment, message, &attempt.outcome);
            match route.next(app, message, attempt.outcome) {
                Step::Again => avoid = None,
                Step::End(outcome) => return outcome,
            }
        }
    }
}

/// The time of one message.
#[derive(Clone, Copy)]
struct Time {
    start: Instant,
    deadline: Instant,
    /// Whether it waits where its connections have no room, as one of many does.
    is_patient: bool,
}

/// A message under way. Dropped before its end it says so: its caller has left, and no other line
/// would tell of it.
struct Story<'a> {
    app: &'a Application,
    message: &'a Message,
    start: Instant,
    has_ended: bool,
}

impl Drop for Story<'_> {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        let duration_ms = self.start.elapsed().as_millis();
        let (app_id, token) = (self.app.id.as_str(), short_token(self.message));
        tracing::info!(
            app.id = app_id,
            token,
            duration_ms,
            "a message was given up, since its caller has left"
        );
    }
}

/// Its turn did not come in time.
fn never_sent() -> Outcome {
    Outcome::Failed(Failure {
        cause: Cause::Deadline,
        delivery: Delivery::NotSent,
        retry: Retry::Never,
        retry_after: None,
        id: None,
    })
}

fn busy() -> Outcome {
    Outcome::Failed(Failure {
        cause: Cause::Busy,
        delivery: Delivery::NotSent,
        retry: Retry::Never,
        retry_after: Some(Duration::from_secs(1)),
        id: None,
    })
}

fn at_least_once(message: &Message) -> bool {
    match message {
        Message::Apns(message) => message.at_least_once,
        Message::Fcm(message) => message.at_least_once,
        Message::Gcm(message) => message.at_least_once,
    }
}

/// Keeps the list of dead tokens true, and tells who asked to be told.
fn settle_token(webhooks: &Webhooks, app: &Application, message: &Message, outcome: &Outcome) {
    let provider = message.provider();
    let (token, given) = match message {
        Message::Apns(message) => match message.device_token() {
            Some(token) => (token.as_hex(), token.as_given()),
            None => return,
        },
        Message::Fcm(message) => match message.token() {
            Some(token) => (token, token),
            None => return,
        },
        Message::Gcm(_) => return,
    };
    match outcome {
        Outcome::Accepted(_) => app.feedback.remove(token),
        Outcome::Rejected(Rejection { gone_since: Some(since), .. }) => {
            let (token, given) = (token.to_owned(), given.to_owned());
            let dead = DeadToken { token, given, since: *since };
            webhooks.note(app, provider, &dead);
            app.feedback.add(dead);
        }
        Outcome::Failed(_) | Outcome::Rejected(_) => {}
    }
}

/// One line for each message at the end of its story.
fn log(app: &Application, message: &Message, outcome: &Outcome, start: Instant) {
    let duration_ms = start.elapsed().as_millis();
    let (app_id, token) = (app.id.as_str(), short_token(message));
    match outcome {
        Outcome::Accepted(Receipt::Apns { apns_id }) => {
            tracing::debug!(app.id = app_id, token, apns.id = apns_id, duration_ms, "accepted");
        }
        Outcome::Accepted(Receipt::Fcm { message_id }) => {
            tracing::debug!(app.id = app_id, token, fcm.id = message_id, duration_ms, "accepted");
        }
        Outcome::Accepted(Receipt::Gcm { .. }) => {
            tracing::debug!(app.id = app_id, duration_ms, "answered by the gcm endpoint");
        }
        Outcome::Failed(Failure { cause: Cause::Nonsense { status, reason }, .. }) => {
            tracing::error!(
                app.id = app_id,
                token,
                status,
                reason,
                duration_ms,
                "what answered speaks another protocol; check the addresses in the configuration"
            );
        }
        Outcome::Failed(failure) => {
            let (cause, delivery) = (&failure.cause, &failure.delivery);
            tracing::warn!(
                app.id = app_id,
                token,
                ?cause,
                ?delivery,
                duration_ms,
                "a message got no final answer"
            );
        }
        Outcome::Rejected(rejection) if rejection.fault == crate::outcome::Fault::Credentials => {
            let (reason, detail) = (rejection.reason.as_str(), rejection.detail.as_deref());
            tracing::error!(
                app.id = app_id,
                reason,
                detail,
                duration_ms,
                "the credential of an application is refused; register a new one"
            );
        }
        Outcome::Rejected(rejection) => {
            let (reason, detail) = (rejection.reason.as_str(), rejection.detail.as_deref());
            tracing::debug!(app.id = app_id, token, reason, detail, duration_ms, "rejected");
        }
    }
}

fn log_late(app: &Application, message: &Message, outcome: &Outcome) {
    let token = short_token(message);
    tracing::info!(
        app.id = app.id.as_str(),
        token,
        ?outcome,
        "an answer came after its caller had stopped waiting"
    );
}

/// The first eight characters.
fn short_token(message: &Message) -> Option<&str> {
    let token = match message {
        Message::Apns(message) => message.device_token()?.as_hex(),
        Message::Fcm(message) => message.token()?,
        Message::Gcm(_) => return None,
    };
    let end = token.char_indices().nth(8).map_or(token.len(), |(end, _)| end);
    token.get(..end)
}
