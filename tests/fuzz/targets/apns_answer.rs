//! An answer of Apple: it always means something, and that is what its status and reason say.
//!
//! The input is the status in two bytes, a byte of flags, a line for `retry-after`, a line for
//! `apns-id`, and the body.
#![no_main]

use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue, StatusCode};
use libfuzzer_sys::fuzz_target;
use pushlet::outcome::{Delivery, Outcome, Receipt, Retry};
use pushlet::providers::apns::response::{self, Sent};
use pushlet_fuzz::seeds;

const OURS: &str = "123e4567-e89b-42d3-a456-426614174000";
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

fuzz_target!(init: seeds::write("apns_answer", seeds), |data: &[u8]| {
    let [high, low, flags, rest @ ..] = data else { return };
    let Ok(status) = StatusCode::from_u16(u16::from_be_bytes([*high, *low])) else { return };
    let mut parts = rest.splitn(3, |byte| *byte == b'\n');
    let mut headers = HeaderMap::new();
    for name in ["retry-after", "apns-id"] {
        match HeaderValue::from_bytes(parts.next().unwrap_or_default()) {
            Ok(value) if !value.is_empty() => headers.insert(name, value),
            Ok(_) | Err(_) => None,
        };
    }
    let body = parts.next().unwrap_or_default();
    let sent = Sent { apns_id: OURS, topic_given: flags & 1 == 1 };

    let outcome = response::read(status, &headers, body, sent, UNIX_EPOCH);

    let theirs = headers.get("apns-id").and_then(|id| id.to_str().ok());
    let id = theirs.unwrap_or(OURS);
    match outcome {
        Outcome::Accepted(Receipt::Apns { apns_id }) => {
            assert_eq!((status, apns_id.as_str()), (StatusCode::OK, id));
        }
        Outcome::Accepted(Receipt::Fcm { .. } | Receipt::Gcm { .. }) => {
            panic!("an answer of Google's")
        }
        Outcome::Failed(failure) => {
            assert_ne!(status, StatusCode::OK);
            assert_eq!(failure.id.as_deref(), Some(id));
            // It was answered: nothing of it reached a phone.
            assert_eq!(failure.delivery, Delivery::NotSent);
            assert!(!matches!(failure.retry, Retry::IfAtLeastOnce | Retry::Seldom));
            assert!(failure.retry_after.is_none_or(|wait| wait <= A_DAY));
        }
        Outcome::Rejected(rejection) => {
            assert_ne!(status, StatusCode::OK);
            assert_eq!(rejection.id.as_deref(), Some(id));
            assert_eq!(rejection.status, Some(status.as_u16()));
            // The relay passes over members that it does not know, whatever is in them.
            let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
            assert_eq!(rejection.reason, body["reason"].as_str().unwrap_or_default());
            let is_dead = matches!(rejection.reason.as_str(), "ExpiredToken" | "Unregistered");
            assert_eq!(rejection.gone_since.is_some(), is_dead);
        }
    }
});

fn seeds() -> Vec<Vec<u8>> {
    let answer = |status: u16, head: &str, body: &str| {
        [&status.to_be_bytes(), &[0][..], head.as_bytes(), body.as_bytes()].concat()
    };
    vec![
        answer(200, "\n123E4567-E89B-42D3-A456-426614174000\n", ""),
        answer(400, "\n\n", r#"{"reason":"BadDeviceToken"}"#),
        answer(400, "\n\n", r#"{"reason":"TopicDisallowed"}"#),
        answer(403, "\n\n", r#"{"reason":"ExpiredProviderToken"}"#),
        answer(410, "\n\n", r#"{"reason":"Unregistered","timestamp":1454948015990}"#),
        answer(410, "\n\n", r#"{"reason":"ExpiredToken","timestamp":18446744073709551615}"#),
        answer(429, "7\n\n", r#"{"reason":"TooManyProviderTokenUpdates"}"#),
        answer(503, "Thu, 01 Jan 1970 00:01:00 GMT\n\n", r#"{"reason":"Shutdown"}"#),
        answer(500, "18446744073709551615\n\n", "<html>"),
    ]
}
