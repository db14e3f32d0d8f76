//! From what became of a message to what its caller hears: the contract's tables.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::{StatusCode, header};
use serde::Deserialize;

use super::error::{ApiError, Details};
use super::message::Service;
use super::{fcm_answer, timestamp};
use crate::metrics::Provider;
use crate::outcome::{Cause, Delivery, Failure, Fault, Outcome, Receipt, Rejection};
use crate::providers::apns::Mode;
use crate::providers::legacy::{self, Report, Row};

/// The documented answer to a message that Apple accepted.
const OK: &str = r#"{"response":"ok"}"#;
/// How long to wait when nobody says, in seconds.
const DEFAULT_RETRY_SECS: u64 = 1;
/// The same for one phone that gets too much: Apple's limit is not documented.
const THROTTLED_RETRY_SECS: u64 = 10;

/// The answer of `POST /send_notification`.
pub(super) fn respond(outcome: Outcome, service: Service) -> Result<HttpResponse, ApiError> {
    match outcome {
        Outcome::Accepted(receipt) => Ok(accepted(receipt)),
        Outcome::Failed(failure) => Err(match service {
            Service::Apns => apns_failure(failure),
            Service::Gcm => gcm_failure(failure, LEGACY),
        }),
        Outcome::Rejected(rejection) => Err(match service {
            Service::Apns => apns_rejection(rejection),
            Service::Gcm => gcm_rejection(rejection, StatusCode::FORBIDDEN),
        }),
    }
}

/// Says where Apple knows the token, of an application that finds out (`apns_mode=auto`).
pub(super) fn in_environment(
    environment: Option<Mode>,
    answer: Result<HttpResponse, ApiError>,
) -> Result<HttpResponse, ApiError> {
    let Some(word) = environment.map(Mode::apples_word) else { return answer };
    match answer {
        Ok(mut response) => {
            let name = header::HeaderName::from_static("apns-environment");
            response.headers_mut().insert(name, header::HeaderValue::from_static(word));
            Ok(response)
        }
        Err(error) if error.code() == "device_token_unregistered" => {
            Err(error.with_environment(word))
        }
        Err(error) => Err(error),
    }
}

fn accepted(receipt: Receipt) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response.content_type("application/json");
    match receipt {
        Receipt::Apns { apns_id } => {
            response.insert_header(("apns-id", apns_id));
            response.body(OK)
        }
        Receipt::Fcm { message_id } => {
            response.json(Report::new(vec![Row::Accepted { message_id }]))
        }
        Receipt::Gcm { answer, retry_after } => {
            if let Some(wait) = retry_after {
                response.insert_header((header::RETRY_AFTER, seconds(wait)));
            }
            response.body(answer)
        }
    }
}

/// What became of one message to one target, whichever service it is for.
///
/// # Errors
/// The error of a single message to Apple. For Google the same codes: its documented answer to a
/// single message has 200 for most of them, which would be no status of one message among many.
pub(super) fn tell(
    outcome: Outcome,
    provider: Provider,
    credentials_status: StatusCode,
) -> Result<Receipt, ApiError> {
    let endpoint = match provider {
        Provider::Apns => {
            return match outcome {
                Outcome::Accepted(receipt) => Ok(receipt),
                Outcome::Failed(failure) => Err(apns_failure(failure)),
                Outcome::Rejected(rejection) => Err(apns_rejection(rejection)),
            };
        }
        Provider::Fcm => FCM,
        Provider::Gcm => LEGACY,
    };
    if let Some(refused) = fcm_answer::credentials_refused(&outcome) {
        return Err(gcm_rejection(refused, credentials_status));
    }
    match outcome {
        Outcome::Accepted(Receipt::Gcm { answer, retry_after }) => {
            match LegacyAnswer::read(&answer, retry_after) {
                Some(Outcome::Failed(failure)) => Err(gcm_failure(failure, endpoint)),
                Some(Outcome::Rejected(rejection)) => Err(google_refusal(rejection)),
                Some(Outcome::Accepted(receipt)) => Ok(receipt),
                None => Ok(Receipt::Gcm { answer, retry_after }),
            }
        }
        Outcome::Accepted(receipt) => Ok(receipt),
        Outcome::Failed(failure) => Err(gcm_failure(failure, endpoint)),
        Outcome::Rejected(rejection) => Err(google_refusal(rejection)),
    }
}

/// Google would refuse the message with this word, so it is not sent.
pub(super) fn unsendable(word: &'static str) -> ApiError {
    google_refusal(Rejection {
        fault: Fault::Message,
        status: None,
        reason: word.to_owned(),
        detail: None,
        id: None,
        gone_since: None,
    })
}

/// Google refused a token or a message.
fn google_refusal(rejection: Rejection) -> ApiError {
    let reason = &rejection.reason;
    let (status, code, message) = match (rejection.fault, rejection.gone_since) {
        (Fault::Token, Some(since)) => {
            let message = format!(
                "google does not know the device token any more since {}: the app was removed or \
                 the token replaced; delete it",
                timestamp(since)
            );
            (StatusCode::GONE, "device_token_unregistered", message)
        }
        (Fault::Token, None) => {
            let message = format!(
                "google does not know this device token for this account: {reason}; send it what \
                 the app registered, through the account of its project"
            );
            (StatusCode::BAD_REQUEST, "invalid_device_token", message)
        }
        (Fault::Credentials | Fault::Message, _) => {
            return gcm_rejection(rejection, StatusCode::BAD_GATEWAY);
        }
    };
    ApiError::new(status, code, message).with_details(Details {
        status: rejection.status,
        reason: some(rejection.reason),
        timestamp: rejection.gone_since.map(timestamp),
        ..Details::default()
    })
}

/// The answer of a legacy endpoint to a message for one target.
#[derive(Deserialize)]
struct LegacyAnswer {
    #[serde(default)]
    results: Vec<LegacyRow>,
    #[serde(default)]
    success: u64,
}

#[derive(Deserialize)]
struct LegacyRow {
    message_id: Option<String>,
    error: Option<String>,
}

impl LegacyAnswer {
    /// What it says of that target; `None` where it was taken and has no name, as is the message
    /// to a device group.
    fn read(answer: &str, retry_after: Option<Duration>) -> Option<Outcome> {
        let answer: Self = serde_json::from_str(answer).ok()?;
        match answer.results.into_iter().next() {
            Some(LegacyRow { error: Some(word), .. }) => Some(legacy::outcome(word, retry_after)),
            Some(LegacyRow { message_id: Some(message_id), .. }) => {
                Some(Outcome::Accepted(Receipt::Fcm { message_id }))
            }
            None if answer.success == 0 => {
                Some(legacy::outcome("Unavailable".to_owned(), retry_after))
            }
            Some(_) | None => None,
        }
    }
}

fn apns_rejection(rejection: Rejection) -> ApiError {
    let reason = &rejection.reason;
    let (status, code, message) = match (rejection.fault, rejection.gone_since) {
        (Fault::Token, Some(since)) => {
            let message = format!(
                "the device token is dead since {}: the app was removed or the token replaced; \
                 delete it",
                timestamp(since)
            );
            (StatusCode::GONE, "device_token_unregistered", message)
        }
        (Fault::Token, None) => {
            let message = match rejection.detail.as_deref() {
                Some(detail) => format!(
                    "apple does not know this device token: {detail}; usual cause: a token of an \
                     app with another topic"
                ),
                None => "apple does not know this device token here; usual causes: a token of \
                         the sandbox sent to production or the other way round (apns_mode), or \
                         a token of an app with another topic"
                    .to_owned(),
            };
            (StatusCode::BAD_REQUEST, "invalid_device_token", message)
        }
        (Fault::Credentials, _) => {
            let message = match rejection.detail.as_deref() {
                Some(detail) if reason.is_empty() => format!(
                    "the credential of this application cannot be used; register another \
                     one: {detail}"
                ),
                Some(detail) => format!(
                    "apple refused the credential of this application: {reason} ({detail}); \
                     register another one"
                ),
                None => format!(
                    "apple refused the credential of this application or its topic: {reason}; \
                     register another one, or check apns_topic and apns_mode"
                ),
            };
            (StatusCode::BAD_GATEWAY, "apns_credentials_rejected", message)
        }
        (Fault::Message, _) if reason == "ChannelNotRegistered" => {
            let message = "apple has no such channel of this app in this environment; make one";
            (StatusCode::NOT_FOUND, "channel_not_found", message.to_owned())
        }
        (Fault::Message, _) if reason == "BadChannelId" => {
            let message = "channel_id is none that apple can read; send it as apple gave it";
            (StatusCode::BAD_REQUEST, "invalid_channel_id", message.to_owned())
        }
        (Fault::Message, _) => {
            let message = format!("apple refused the message: {reason}; change it");
            (StatusCode::BAD_REQUEST, "apns_rejected", message)
        }
    };
    ApiError::new(status, code, message).with_details(Details {
        status: rejection.status,
        reason: some(rejection.reason),
        apns_id: rejection.id,
        timestamp: rejection.gone_since.map(timestamp),
        ..Details::default()
    })
}

fn apns_failure(failure: Failure) -> ApiError {
    let Failure { cause, delivery, retry_after, id, .. } = failure;
    let details = Details { apns_id: id, ..Details::default() };
    match cause {
        Cause::Busy => overloaded(),
        Cause::Deadline => {
            let message = unanswered("apple did not answer in time", delivery);
            unsettled(
                StatusCode::GATEWAY_TIMEOUT,
                "apns_timeout",
                message,
                delivery,
                retry_after,
                details,
            )
        }
        Cause::Nonsense { status, reason } => {
            let message = format!(
                "what answered is not apple: status {status} {reason}; check apns.production_url and apns.sandbox_url"
            );
            let details = Details { status: Some(status), reason: some(reason), ..details };
            ApiError::new(StatusCode::BAD_GATEWAY, "apns_protocol_error", message)
                .with_details(details)
        }
        Cause::Provider { status, reason } => {
            let message = format!(
                "apple cannot take the message now: status {status} {reason}; send it again later"
            );
            let details = Details { status: Some(status), reason: some(reason), ..details };
            unsettled(UNAVAILABLE, "apns_unavailable", message, delivery, retry_after, details)
        }
        Cause::Throttled { status, reason } => {
            let message = "apple gets too many messages for this device token; send fewer";
            let wait = retry_after.map_or(THROTTLED_RETRY_SECS, seconds);
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, "apns_throttled", message).with_details(
                Details {
                    status: Some(status),
                    reason: some(reason),
                    retry_after: Some(wait),
                    ..details
                },
            )
        }
        Cause::Unanswered { detail } => {
            let message = unanswered(&format!("apple did not answer: {detail}"), delivery);
            unsettled(UNAVAILABLE, "apns_unavailable", message, delivery, retry_after, details)
        }
        Cause::Unreachable { detail } => {
            let message = format!("apple could not be reached: {detail}; send it again later");
            unsettled(UNAVAILABLE, "apns_unavailable", message, delivery, retry_after, details)
        }
    }
}

const UNAVAILABLE: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

/// `credentials_status` depends on whose the credential is: the caller's, or a registered one.
pub(super) fn gcm_rejection(rejection: Rejection, credentials_status: StatusCode) -> ApiError {
    let details = Details {
        status: rejection.status,
        reason: some(rejection.reason.clone()),
        ..Details::default()
    };
    match rejection.fault {
        Fault::Credentials => {
            let mut message = "the provided credentials were rejected by google servers".to_owned();
            if let Some(detail) = rejection.detail {
                message.push_str(": ");
                message.push_str(&detail);
            }
            ApiError::new(credentials_status, "invalid_gcm_credentials", message)
        }
        Fault::Message | Fault::Token => {
            let message = format!("google refused the message: {}; change it", rejection.reason);
            ApiError::new(StatusCode::BAD_REQUEST, "gcm_rejected", message)
        }
    }
    .with_details(details)
}

/// Who did not answer, and the setting that says where it is.
type Endpoint = (&'static str, &'static str);
const FCM: Endpoint = ("google", "fcm.url");
const LEGACY: Endpoint = ("the gcm endpoint", "gcm.legacy_url");

fn gcm_failure(failure: Failure, (who, setting): Endpoint) -> ApiError {
    let Failure { cause, delivery, retry_after, .. } = failure;
    let details = Details::default();
    match cause {
        Cause::Busy => overloaded(),
        Cause::Deadline => {
            let message = unanswered(&format!("{who} did not answer in time"), delivery);
            unsettled(
                StatusCode::GATEWAY_TIMEOUT,
                "gcm_timeout",
                message,
                delivery,
                retry_after,
                details,
            )
        }
        Cause::Nonsense { status, reason } => {
            let message =
                format!("{who} spoke nonsense: status {status}, {reason}; check {setting}");
            let details = Details { status: Some(status), ..details };
            ApiError::new(StatusCode::BAD_GATEWAY, "gcm_protocol_error", message)
                .with_details(details)
        }
        Cause::Provider { status, reason } => {
            let message =
                format!("{who} cannot take the message now: status {status}; send it again later");
            let details = Details { status: Some(status), reason: some(reason), ..details };
            unsettled(UNAVAILABLE, "gcm_unavailable", message, delivery, retry_after, details)
        }
        Cause::Throttled { status, reason } => {
            let message = format!("{who} gets too many messages; send fewer");
            let wait = retry_after.map_or(THROTTLED_RETRY_SECS, seconds);
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, "gcm_throttled", message).with_details(
                Details {
                    status: Some(status),
                    reason: some(reason),
                    retry_after: Some(wait),
                    ..details
                },
            )
        }
        Cause::Unanswered { detail } => {
            let message = unanswered(&format!("{who} did not answer: {detail}"), delivery);
            unsettled(UNAVAILABLE, "gcm_unavailable", message, delivery, retry_after, details)
        }
        Cause::Unreachable { detail } => {
            let message = format!("{who} could not be reached: {detail}; send it again later");
            unsettled(UNAVAILABLE, "gcm_unavailable", message, delivery, retry_after, details)
        }
    }
}

pub(super) fn overloaded() -> ApiError {
    ApiError::overloaded("the relay holds as many messages as it may; send it again later")
}

/// An error of a message without a final answer: it says what is known of the message, and when to
/// come back if that is safe.
fn unsettled(
    status: StatusCode,
    code: &'static str,
    message: String,
    delivery: Delivery,
    retry_after: Option<Duration>,
    details: Details,
) -> ApiError {
    let (word, wait) = match delivery {
        Delivery::NotSent => ("not_sent", Some(retry_after.map_or(DEFAULT_RETRY_SECS, seconds))),
        Delivery::Unknown => ("unknown", None),
    };
    let details = Details { delivery: Some(word), retry_after: wait, ..details };
    ApiError::new(status, code, message).with_details(details)
}

fn unanswered(what: &str, delivery: Delivery) -> String {
    match delivery {
        Delivery::NotSent => format!("{what}; the message was not sent, send it again later"),
        Delivery::Unknown => format!(
            "{what}; the message was written and may have reached the phone, sending it again may \
             notify twice"
        ),
    }
}

/// Whole seconds, never fewer than asked for.
pub(super) fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

fn some(reason: String) -> Option<String> {
    (!reason.is_empty()).then_some(reason)
}
