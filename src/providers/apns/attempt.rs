//! What the answer to one try, or the lack of one, means.

use std::sync::Arc;
use std::time::SystemTime;

use http::HeaderValue;

use super::response::{self, Sent};
use super::token::Signer;
use crate::outcome::{Cause, Delivery, Failure, Fault, Outcome, Rejection, Retry};
use crate::providers::attempt::{Attempt, without_answer};
use crate::transport::{Answer, Error, Pool, Refusal};

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
            Some(Refusal::GoAway(_)) | None => without_answer(error, Some(id)),
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
