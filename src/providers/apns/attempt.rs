//! One try to send a message: what its answer, or the lack of one, means.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderValue;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tracing::Instrument;

use super::response::{self, Sent};
use super::token::Signer;
use crate::outcome::{Cause, Delivery, Failure, Fault, Outcome, Rejection, Retry};
use crate::transport::{Answer, ConnectionId, Error, Flight, Pool, Refusal};

/// How long after a caller gave up an answer is still awaited, for the dead tokens among them.
const LATE_LIMIT: Duration = Duration::from_secs(60);

/// What one try came to, and what the next one should know.
#[derive(Debug)]
pub struct Attempt {
    /// What became of it.
    pub outcome: Outcome,
    /// The connection that failed it: take another one if there is one.
    pub avoid: Option<ConnectionId>,
}

impl Attempt {
    /// A credential of ours that cannot be used: Apple was never asked.
    pub(super) fn unusable(detail: String) -> Self {
        Self { outcome: refused(String::new(), Some(detail), None), avoid: None }
    }

    /// The message got no answer.
    pub(super) fn failed(error: Error, id: String) -> Self {
        let (refusal, avoid) = match &error {
            Error::Connect { refusal, .. } => (refusal.clone(), None),
            Error::NotProcessed { refusal, connection, .. }
            | Error::Unanswered { refusal, connection, .. } => (refusal.clone(), Some(*connection)),
            Error::Busy | Error::Deadline { .. } => (None, None),
        };
        let outcome = match refusal {
            Some(Refusal::Alert(alert)) => {
                let detail = format!("{error}; TLS alert {alert}");
                refused(alert.to_owned(), Some(detail), Some(id))
            }
            Some(Refusal::GoAway(reason)) if response::concerns_credentials(&reason) => {
                refused(reason, None, Some(id))
            }
            Some(Refusal::GoAway(_)) | None => without_answer(error, id),
        };
        Self { outcome, avoid }
    }

    /// The message was answered. An answer that says that the connection is of no more use takes
    /// it out of service.
    pub(super) fn answered(
        answer: &Answer,
        sent: Sent<'_>,
        pool: &Pool,
        token: Option<(&Arc<Signer>, &HeaderValue)>,
    ) -> Self {
        let now = SystemTime::now();
        let outcome = response::read(answer.status, &answer.headers, &answer.body, sent, now);
        if is_cut_off(answer, &outcome) {
            let status = answer.status.as_u16();
            let detail =
                format!("it answered with status {status} and broke off before it said why");
            let outcome = Outcome::Failed(Failure {
                cause: Cause::Unreachable { detail },
                delivery: Delivery::NotSent,
                retry: Retry::Freely,
                retry_after: None,
                id: Some(sent.apns_id.to_owned()),
            });
            return Self { outcome, avoid: Some(answer.connection) };
        }
        let reason = match &outcome {
            Outcome::Accepted(_) => return Self { outcome, avoid: None },
            Outcome::Failed(Failure { cause: Cause::Provider { reason, .. }, .. }) => reason,
            Outcome::Rejected(Rejection { fault: Fault::Credentials, reason, .. }) => reason,
            Outcome::Failed(_) | Outcome::Rejected(_) => return Self { outcome, avoid: None },
        };
        let avoid = Some(answer.connection);
        // After ExpiredProviderToken a connection answers nothing else any more ("wedged"; known
        // from pushy, undocumented). A new key, topic or environment needs a new one as well.
        if matches!(reason.as_str(), "Shutdown" | "IdleTimeout")
            || response::concerns_credentials(reason)
        {
            pool.retire(answer.connection);
        }
        if reason == "ExpiredProviderToken"
            && let Some((signer, used)) = token
            && signer.replace(used)
        {
            let status = answer.status.as_u16();
            let outcome = Outcome::Failed(Failure {
                cause: Cause::Provider { status, reason: reason.clone() },
                delivery: Delivery::NotSent,
                retry: Retry::Renewed,
                retry_after: None,
                id: Some(sent.apns_id.to_owned()),
            });
            return Self { outcome, avoid };
        }
        Self { outcome, avoid }
    }
}

/// Whether the reason of a refusal was lost with its connection. The message was not accepted, so
/// asking again is safe, and the only way to learn whether its token is dead.
fn is_cut_off(answer: &Answer, outcome: &Outcome) -> bool {
    let is_unread =
        matches!(outcome, Outcome::Failed(Failure { cause: Cause::Nonsense { .. }, .. }));
    !answer.is_whole && answer.status.is_client_error() && is_unread
}

fn refused(reason: String, detail: Option<String>, id: Option<String>) -> Outcome {
    let fault = Fault::Credentials;
    Outcome::Rejected(Rejection { fault, status: None, reason, detail, id, gone_since: None })
}

fn without_answer(error: Error, id: String) -> Outcome {
    let (cause, delivery, retry) = match error {
        Error::Busy => (Cause::Busy, Delivery::NotSent, Retry::Never),
        Error::Connect { detail, .. } => {
            (Cause::Unreachable { detail }, Delivery::NotSent, Retry::Seldom)
        }
        Error::Deadline { written: false } => (Cause::Deadline, Delivery::NotSent, Retry::Never),
        Error::Deadline { written: true } => (Cause::Deadline, Delivery::Unknown, Retry::Never),
        Error::NotProcessed { detail, .. } => {
            (Cause::Unreachable { detail }, Delivery::NotSent, Retry::Freely)
        }
        Error::Unanswered { detail, .. } => {
            (Cause::Unanswered { detail }, Delivery::Unknown, Retry::IfAtLeastOnce)
        }
    };
    Outcome::Failed(Failure { cause, delivery, retry, retry_after: None, id: Some(id) })
}

/// A request under way whose late answer is not lost: when the caller's deadline passes, or the
/// caller hangs up, the answer is awaited in the background and handed to `on_late`.
pub(super) struct Watch<'a, F: FnOnce(Outcome) + Send + 'static> {
    flight: Option<Flight>,
    on_late: Option<F>,
    apns_id: String,
    topic_given: bool,
    runtime: &'a Handle,
}

impl<'a, F: FnOnce(Outcome) + Send + 'static> Watch<'a, F> {
    pub(super) fn new(
        flight: Flight,
        apns_id: String,
        topic_given: bool,
        runtime: &'a Handle,
        on_late: F,
    ) -> Self {
        Self { flight: Some(flight), on_late: Some(on_late), apns_id, topic_given, runtime }
    }

    pub(super) async fn answer(&mut self) -> Result<Answer, Error> {
        let Some(flight) = &mut self.flight else { return Err(Error::Deadline { written: true }) };
        let result = flight.answer().await;
        if !matches!(result, Err(Error::Deadline { written: true })) {
            self.flight = None;
        }
        result
    }

    pub(super) fn sent(&self) -> Sent<'_> {
        Sent { apns_id: &self.apns_id, topic_given: self.topic_given }
    }
}

impl<F: FnOnce(Outcome) + Send + 'static> Drop for Watch<'_, F> {
    fn drop(&mut self) {
        let (Some(flight), Some(on_late)) = (self.flight.take(), self.on_late.take()) else {
            return;
        };
        if !flight.is_written() {
            return;
        }
        let apns_id = std::mem::take(&mut self.apns_id);
        let topic_given = self.topic_given;
        let late = async move {
            let Ok(Some(answer)) = timeout(LATE_LIMIT, flight.late_answer()).await else { return };
            let sent = Sent { apns_id: &apns_id, topic_given };
            let now = SystemTime::now();
            on_late(response::read(answer.status, &answer.headers, &answer.body, sent, now));
        };
        // Its log lines still belong to the call.
        self.runtime.spawn(late.in_current_span());
    }
}
