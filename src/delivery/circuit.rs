//! Applications that cannot send at the moment: their calls are answered at once, from what is
//! known, instead of each finding it out anew.
//!
//! ```text
//! closed ──certificate or key refused──► open for 60 s ────────────┐
//!    │ ▲                                                           ▼
//!    │ └──────────────── an answer ◄──────────────────────── one call probes
//!    │                                                             ▲
//!    └──not reached in three tries──► open for 0.5, 1, 2, 2 … s ───┘
//! ```
//! A new registration closes it: the circuit belongs to the credential.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::apps::{Application, ApplicationId};
use crate::outcome::{Cause, Fault, Outcome, Rejection, Retry};
use crate::providers::Message;
use crate::providers::apns::{Apns, Mode};

/// How long a refused credential is believed to stay refused.
const REFUSED: Duration = Duration::from_secs(60);
/// How long a peer is left alone after the first call that did not reach it; doubled each time.
const UNREACHED: Duration = Duration::from_millis(500);
const LONGEST_UNREACHED: Duration = Duration::from_secs(2);

/// Whether calls of an application to Apple are let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Circuit {
    /// They are.
    Closed,
    /// They are answered at once: Apple refused the credential.
    Credentials,
    /// They are answered at once: Apple could not be reached.
    Unreachable,
}

impl Circuit {
    /// The word in answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Credentials => "credentials",
            Self::Unreachable => "unreachable",
        }
    }
}

/// The circuits that are open.
#[derive(Debug, Default)]
pub(super) struct Circuits {
    /// How many there are, so that in good times no call takes the lock.
    len: AtomicUsize,
    /// Guards the map.
    open: Mutex<HashMap<Key, Open>>,
}

/// Of which application, and for which of Apple's environments where it has two.
type Key = (ApplicationId, Option<Mode>);

#[derive(Debug)]
struct Open {
    /// Whose circuit it is: an application that was registered anew has another one.
    credential: Weak<Apns>,
    /// What every call is answered.
    outcome: Outcome,
    /// When the next call may find out.
    until: Instant,
    /// How long it was opened for.
    pause: Duration,
    /// Whether a call is finding out. Should it never end, `until` lets another one go.
    probing: bool,
}

impl Circuits {
    /// The answer to a call whose circuit is open; `None` lets it through.
    pub(super) fn answer(&self, app: &Application, message: &Message) -> Option<Outcome> {
        if self.len.load(Ordering::Acquire) == 0 {
            return None;
        }
        let apns = credential(app, message)?;
        let mut open = self.open();
        let key = (app.id.clone(), app.providers.environment(message));
        let circuit = open.get_mut(&key).filter(|circuit| circuit.is_of(apns))?;
        let now = Instant::now();
        if now >= circuit.until {
            circuit.probing = true;
            circuit.until = now + apns.timeout();
            return None;
        }
        let mut outcome = circuit.outcome.clone();
        if let Outcome::Failed(failure) = &mut outcome {
            failure.retry_after = Some(circuit.until - now);
        }
        Some(outcome)
    }

    /// Learns from what became of a message in this environment.
    pub(super) fn learn(
        &self,
        app: &Application,
        environment: Option<Mode>,
        message: &Message,
        outcome: &Outcome,
    ) {
        let Some(apns) = credential(app, message) else { return };
        match verdict(outcome) {
            Verdict::Close if self.len.load(Ordering::Acquire) == 0 => {}
            Verdict::Close => {
                let mut open = self.open();
                // Sealed registrations may share a name, and the circuit may be another one's.
                let key = (app.id.clone(), environment);
                if open.get(&key).is_some_and(|circuit| circuit.is_of(apns)) {
                    open.remove(&key);
                }
                self.len.store(open.len(), Ordering::Release);
            }
            Verdict::Nothing => {}
            Verdict::Open(pause) => {
                self.open_for(pause, (app.id.clone(), environment), apns, outcome);
            }
        }
    }

    /// An open circuit stays so until a call has found out that the trouble is over.
    pub(super) fn state(&self, app: &Application) -> Circuit {
        if self.len.load(Ordering::Acquire) == 0 {
            return Circuit::Closed;
        }
        let Some(apns) = app.providers.apns.as_ref() else { return Circuit::Closed };
        let open = self.open();
        // Of an application with two environments, the one that is open.
        let environments = [None, Some(Mode::Production), Some(Mode::Development)];
        let mut circuits = environments.map(|one| open.get(&(app.id.clone(), one))).into_iter();
        let circuit = circuits.find_map(|circuit| circuit.filter(|circuit| circuit.is_of(apns)));
        match circuit.map(|open| &open.outcome) {
            None => Circuit::Closed,
            Some(Outcome::Accepted(_) | Outcome::Failed(_)) => Circuit::Unreachable,
            Some(Outcome::Rejected(_)) => Circuit::Credentials,
        }
    }

    fn open_for(&self, pause: Duration, key: Key, apns: &Arc<Apns>, outcome: &Outcome) {
        let mut open = self.open();
        let known = open.get(&key).filter(|circuit| circuit.is_of(apns));
        let pause = match known {
            // Calls that were under way when it opened say nothing new.
            Some(known) if !known.probing => return,
            Some(known) if pause == UNREACHED => (known.pause * 2).min(LONGEST_UNREACHED),
            Some(_) | None => pause,
        };
        if known.is_none() {
            let app_id = key.0.as_str();
            tracing::warn!(app.id = app_id, ?pause, "calls of an application fail at once now");
        }
        let circuit = Open {
            credential: Arc::downgrade(apns),
            outcome: anonymous(outcome.clone()),
            until: Instant::now() + pause,
            pause,
            probing: false,
        };
        // Those of applications that are gone have nobody left to close them.
        open.retain(|_, circuit| circuit.credential.strong_count() > 0);
        open.insert(key, circuit);
        self.len.store(open.len(), Ordering::Release);
    }

    fn open(&self) -> MutexGuard<'_, HashMap<Key, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn is_of(&self, apns: &Arc<Apns>) -> bool {
        std::ptr::eq(self.credential.as_ptr(), Arc::as_ptr(apns))
    }
}

/// What an outcome means for the circuit.
enum Verdict {
    Close,
    Nothing,
    Open(Duration),
}

fn verdict(outcome: &Outcome) -> Verdict {
    match outcome {
        Outcome::Rejected(rejection) if is_refused(rejection) => Verdict::Open(REFUSED),
        Outcome::Accepted(_) | Outcome::Rejected(_) => Verdict::Close,
        Outcome::Failed(failure) => match &failure.cause {
            Cause::Unreachable { .. } if failure.retry == Retry::Seldom => Verdict::Open(UNREACHED),
            Cause::Busy
            | Cause::Deadline
            | Cause::Unanswered { .. }
            | Cause::Unreachable { .. } => Verdict::Nothing,
            Cause::Nonsense { .. } | Cause::Provider { .. } | Cause::Throttled { .. } => {
                Verdict::Close
            }
        },
    }
}

/// Whether Apple refused the credential as such: not a topic, which is a matter of one message,
/// and not a credential that was never shown to Apple.
fn is_refused(rejection: &Rejection) -> bool {
    rejection.fault == Fault::Credentials
        && rejection.id.is_some()
        && !matches!(
            rejection.reason.as_str(),
            "BadTopic" | "MissingTopic" | "TopicDisallowed" | "TopicMismatch"
        )
}

/// Only Apple's side has circuits: a key of Google's comes with its call, and is good or bad with
/// it; the access tokens of FCM remember a refused account themselves.
fn credential<'a>(app: &'a Application, message: &Message) -> Option<&'a Arc<Apns>> {
    match message {
        Message::Apns(_) => app.providers.apns.as_ref(),
        Message::Fcm(_) | Message::Gcm(_) => None,
    }
}

/// The same for another message.
fn anonymous(mut outcome: Outcome) -> Outcome {
    match &mut outcome {
        Outcome::Accepted(_) => {}
        Outcome::Failed(failure) => failure.id = None,
        Outcome::Rejected(rejection) => rejection.id = None,
    }
    outcome
}
