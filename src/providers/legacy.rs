//! A message and its answer in the words of Google's legacy protocol: what callers say and hear,
//! whichever of Google's APIs carries it.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::json::Object;
use crate::outcome::{Cause, Delivery, Failure, Fault, Outcome, Rejection, Retry};

/// The longest time to live: four weeks, in seconds (Google, "Legacy HTTP server protocol").
pub const MAX_TIME_TO_LIVE_SECS: u32 = 2_419_200;
/// Most tokens of one call (Google, "Legacy HTTP server protocol": `registration_ids`).
pub const MAX_REGISTRATION_IDS: usize = 1_000;

/// A message for one target, or the same one for many.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// To whom.
    pub target: Target,
    /// Of messages with the same key the phone is shown the last.
    pub collapse_key: Option<String>,
    /// How urgent it is.
    pub priority: Option<Priority>,
    /// iOS: wake the app.
    pub content_available: bool,
    /// iOS: let the app change the notification before it is shown.
    pub mutable_content: bool,
    /// How long the message is kept for a phone that is off; at most [`MAX_TIME_TO_LIVE_SECS`].
    pub time_to_live_secs: Option<u32>,
    /// Only for the app of this name.
    pub restricted_package_name: Option<String>,
    /// Check everything, deliver nothing.
    pub dry_run: bool,
    /// The payload, as it was given.
    pub data: Option<Object>,
    /// What the phone shows by itself, as it was given.
    pub notification: Option<Object>,
    /// Send it again when its answer was lost, though the person may be notified twice.
    pub at_least_once: bool,
}

/// To whom a message goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// An expression over topics.
    Condition(String),
    /// Tokens, in the caller's order.
    RegistrationIds(Vec<String>),
    /// A token, the key of a device group, or `/topics/NAME`.
    To(String),
}

/// How urgent a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// At once, waking the phone.
    High,
    /// When it suits the phone.
    Normal,
}

impl Priority {
    /// Reads the protocol's word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "high" => Some(Self::High),
            "normal" => Some(Self::Normal),
            _ => None,
        }
    }
}

/// The answer to a call, its members in Google's order.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    multicast_id: u64,
    success: usize,
    failure: usize,
    canonical_ids: usize,
    results: Vec<Row>,
}

/// What became of one token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Row {
    /// Google took it.
    Accepted {
        /// Google's name for the message.
        message_id: String,
    },
    /// It was refused, or not answered.
    Failed {
        /// One of the protocol's words.
        error: Cow<'static, str>,
        /// `unknown` if it may have been delivered all the same.
        #[serde(skip_serializing_if = "Option::is_none")]
        delivery: Option<&'static str>,
    },
}

impl Row {
    /// A plain refusal.
    #[must_use]
    pub fn failed(error: &'static str) -> Self {
        Self::Failed { error: error.into(), delivery: None }
    }
}

impl Report {
    /// The answer with these rows. Google has no canonical ids any more.
    #[must_use]
    pub fn new(results: Vec<Row>) -> Self {
        let failure = results.iter().filter(|row| matches!(row, Row::Failed { .. })).count();
        let success = results.len().saturating_sub(failure);
        Self { multicast_id: random_id(), success, failure, canonical_ids: 0, results }
    }
}

/// What an answer in the legacy protocol says of its messages.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// How many were accepted.
    pub accepted: u64,
    /// What became of the others, in their order.
    pub others: Vec<Outcome>,
}

#[derive(Deserialize)]
struct Told {
    #[serde(default)]
    success: u64,
    #[serde(default)]
    failure: u64,
    results: Option<Vec<ToldRow>>,
}

#[derive(Deserialize)]
struct ToldRow {
    error: Option<String>,
}

/// Reads the rows of an answer. That to a device group has none, and says only how many.
#[must_use]
pub fn rows(answer: &str) -> Rows {
    let Ok(told) = serde_json::from_str::<Told>(answer) else { return Rows::default() };
    let Some(results) = told.results else {
        let lost = 0..told.failure.min(MAX_REGISTRATION_IDS as u64);
        let lost = lost.map(|_| outcome(String::new(), None));
        return Rows { accepted: told.success, others: lost.collect() };
    };
    let all = results.len();
    let others = results.into_iter().filter_map(|row| row.error);
    let others: Vec<_> = others.map(|error| outcome(error, None)).collect();
    Rows { accepted: all.saturating_sub(others.len()) as u64, others }
}

/// What a word of a row means (Google, "Downstream message error response codes"). `retry_after` is
/// what the answer as a whole asks for.
#[must_use]
pub fn outcome(reason: String, retry_after: Option<Duration>) -> Outcome {
    const STATUS: u16 = 200;
    let failed = |cause| {
        let (delivery, retry) = (Delivery::NotSent, Retry::Never);
        Outcome::Failed(Failure { cause, delivery, retry, retry_after, id: None })
    };
    let fault = match reason.as_str() {
        "DeviceMessageRateExceeded"
        | "DeviceQuotaExceeded"
        | "QuotaExceeded"
        | "TopicsMessageRateExceeded" => {
            return failed(Cause::Throttled { status: STATUS, reason });
        }
        "InternalServerError" | "Unavailable" => {
            return failed(Cause::Provider { status: STATUS, reason });
        }
        "InvalidRegistration" | "MismatchSenderId" | "NotRegistered" => Fault::Token,
        _ => Fault::Message,
    };
    let gone_since = (reason == "NotRegistered").then(SystemTime::now);
    let (status, detail, id) = (Some(STATUS), None, None);
    Outcome::Rejected(Rejection { fault, status, reason, detail, id, gone_since })
}

/// A random id, positive and small enough for programs that keep numbers as 64-bit floats.
#[must_use]
pub fn random_id() -> u64 {
    const BELOW: u64 = 1 << 53;
    let mut bytes = [0; 8];
    let _ = openssl::rand::rand_bytes(&mut bytes);
    (u64::from_be_bytes(bytes) % BELOW).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_its_rows() {
        let accepted = Row::Accepted { message_id: "0:1".to_owned() };
        let lost = Row::Failed { error: "Unavailable".into(), delivery: Some("unknown") };

        let report = Report { multicast_id: 7, ..Report::new(vec![accepted, lost]) };

        let text = serde_json::to_string(&report).unwrap_or_default();
        assert_eq!(
            text,
            concat!(
                r#"{"multicast_id":7,"success":1,"failure":1,"canonical_ids":0,"results":["#,
                r#"{"message_id":"0:1"},{"error":"Unavailable","delivery":"unknown"}]}"#
            )
        );
    }

    #[test]
    fn rows_are_counted_whatever_the_shape() {
        let two = r#"{"success":1,"failure":1,"results":[{"message_id":"1"},{"error":"X"}]}"#;
        let group = r#"{"success":3,"failure":1,"failed_registration_ids":["a"]}"#;

        let all = [two, group, "[]"].map(rows);

        assert_eq!(
            all,
            [
                Rows { accepted: 1, others: vec![outcome("X".to_owned(), None)] },
                Rows { accepted: 3, others: vec![outcome(String::new(), None)] },
                Rows::default(),
            ]
        );
    }

    #[test]
    fn ids_survive_a_float() {
        for _ in 0..100 {
            let id = random_id();
            assert!((1..1 << 53).contains(&id), "{id}");
        }
    }
}
