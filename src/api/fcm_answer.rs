//! From what became of the messages of a call to Google's legacy answer: one row for each.

use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::{StatusCode, header};
use tokio::time::Instant;

use super::Api;
use super::error::ApiError;
use super::outcome::{gcm_rejection, overloaded, seconds};
use crate::apps::Application;
use crate::delivery::Share;
use crate::outcome::{Cause, Delivery, Failure, Fault, Outcome, Receipt, Rejection, Retry};
use crate::providers::Message;
use crate::providers::fcm::bridge::Plan;
use crate::providers::legacy::{Report, Row};

/// What became of a call.
pub(super) struct Answer {
    /// One for each target, in the caller's order.
    pub(super) rows: Vec<Row>,
    /// How long Google asks to wait before failed rows are sent again.
    pub(super) retry_after: Option<Duration>,
    /// Why every message failed, if each did for our credentials.
    pub(super) refused: Option<Rejection>,
}

/// Sends what the plan says, each message within its time: since when, and how long, or that of the
/// service.
///
/// # Errors
/// `overloaded`; nothing was sent.
pub(super) async fn carry_out(
    api: &Api,
    application: &Arc<Application>,
    plan: Plan,
    caller: Option<&Share>,
    time: (Instant, Option<Duration>),
) -> Result<Answer, ApiError> {
    match plan {
        Plan::Refuse { rows, error } => {
            let rows = vec![Row::failed(error); rows];
            Ok(Answer { rows, retry_after: None, refused: None })
        }
        Plan::Send(messages) => {
            let messages = messages.into_iter().map(Message::Fcm).collect();
            let sends = api.dispatcher.deliver_each(application, messages, caller, time);
            Ok(Answer::of(sends.await.ok_or_else(overloaded)?))
        }
    }
}

impl Answer {
    fn of(outcomes: Vec<Outcome>) -> Self {
        let refusals = outcomes.iter().filter_map(credentials_refused);
        let refused = refusals.min_by_key(|refusal| refusal.detail.is_none());
        let all_refused = outcomes.iter().all(|outcome| credentials_refused(outcome).is_some());
        let retry_after = outcomes.iter().filter_map(asked_to_wait).max();
        Self {
            rows: outcomes.into_iter().map(row).collect(),
            retry_after,
            refused: refused.filter(|_| all_refused),
        }
    }

    /// The answer of `POST /send_notification`.
    ///
    /// # Errors
    /// `invalid_gcm_credentials`, with the status that belongs to whose credentials they are.
    pub(super) fn respond(self, credentials_status: StatusCode) -> Result<HttpResponse, ApiError> {
        if let Some(refused) = self.refused {
            return Err(gcm_rejection(refused, credentials_status));
        }
        let mut response = HttpResponse::Ok();
        if let Some(wait) = self.retry_after {
            response.insert_header((header::RETRY_AFTER, seconds(wait)));
        }
        Ok(response.json(Report::new(self.rows)))
    }
}

/// Our credentials were refused; a second access token that is refused counts as well.
pub(super) fn credentials_refused(outcome: &Outcome) -> Option<Rejection> {
    match outcome {
        Outcome::Rejected(rejection) if rejection.fault == Fault::Credentials => {
            Some(rejection.clone())
        }
        Outcome::Failed(Failure {
            retry: Retry::Renewed,
            cause: Cause::Provider { status, .. },
            ..
        }) => Some(Rejection {
            fault: Fault::Credentials,
            status: Some(*status),
            reason: String::new(),
            detail: None,
            id: None,
            gone_since: None,
        }),
        Outcome::Accepted(_) | Outcome::Failed(_) | Outcome::Rejected(_) => None,
    }
}

fn asked_to_wait(outcome: &Outcome) -> Option<Duration> {
    match outcome {
        Outcome::Failed(failure) => failure.retry_after,
        Outcome::Accepted(_) | Outcome::Rejected(_) => None,
    }
}

fn row(outcome: Outcome) -> Row {
    const UNAVAILABLE: &str = "Unavailable";
    match outcome {
        Outcome::Accepted(Receipt::Fcm { message_id }) => Row::Accepted { message_id },
        Outcome::Accepted(Receipt::Apns { .. } | Receipt::Gcm { .. }) => Row::failed(UNAVAILABLE),
        // Others fared better with the same credentials: it may be so the next time.
        Outcome::Rejected(Rejection { fault: Fault::Credentials, .. }) => Row::failed(UNAVAILABLE),
        Outcome::Rejected(rejection) => {
            Row::Failed { error: rejection.reason.into(), delivery: None }
        }
        Outcome::Failed(failure) => {
            let error = match failure.cause {
                Cause::Provider { reason, .. } | Cause::Throttled { reason, .. } => reason.into(),
                Cause::Busy
                | Cause::Deadline
                | Cause::Nonsense { .. }
                | Cause::Unanswered { .. }
                | Cause::Unreachable { .. } => UNAVAILABLE.into(),
            };
            let delivery = match failure.delivery {
                Delivery::NotSent => None,
                Delivery::Unknown => Some("unknown"),
            };
            Row::Failed { error, delivery }
        }
    }
}
