//! From Apple's answer to an outcome (Apple, "Handling notification responses from APNs").

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, StatusCode};
use serde_json::Value;

use crate::outcome::{Cause, Delivery, Failure, Fault, Outcome, Receipt, Rejection, Retry};
use crate::providers::retry_after;

/// What is known of the message that the answer is for.
#[derive(Debug, Clone, Copy)]
pub struct Sent<'a> {
    /// The `apns-id` that we gave it.
    pub apns_id: &'a str,
    /// Whether the caller named the topic.
    pub topic_given: bool,
}

/// Reads an answer. The reason decides and the status is what is left where there is none; an
/// answer without a reason is Apple's only if its status needs none.
pub fn read(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    sent: Sent<'_>,
    now: SystemTime,
) -> Outcome {
    let id = headers.get("apns-id").and_then(|id| id.to_str().ok()).unwrap_or(sent.apns_id);
    if status == StatusCode::OK {
        return Outcome::Accepted(Receipt::Apns { apns_id: id.to_owned() });
    }
    // Members that Apple may add are of no interest, and one that is not as documented takes
    // nothing from the others.
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let answer = Answer {
        status: status.as_u16(),
        reason: body["reason"].as_str().unwrap_or_default().to_owned(),
        id: id.to_owned(),
        retry_after: retry_after(headers, now),
    };
    match answer.reason.as_str() {
        "Unregistered" | "ExpiredToken" => {
            // Milliseconds since 1970.
            let millis = body["timestamp"].as_u64();
            let since = millis.map(|millis| UNIX_EPOCH + Duration::from_millis(millis));
            answer.rejected(Fault::Token, Some(since.unwrap_or(now)))
        }
        "BadDeviceToken" | "DeviceTokenNotForTopic" => answer.rejected(Fault::Token, None),
        "BadTopic" | "TopicDisallowed" | "MissingTopic" | "TopicMismatch" if !sent.topic_given => {
            answer.rejected(Fault::Credentials, None)
        }
        // 403, of a channel's bundle id that the caller named.
        "TopicMismatch" => answer.rejected(Fault::Message, None),
        reason if concerns_credentials(reason) => answer.rejected(Fault::Credentials, None),
        // Apple closes a connection that was idle; the message was not looked at.
        "IdleTimeout" => answer.unavailable(Retry::Freely),
        // Another token for the same key came too soon. Ours is kept; waiting is all that helps.
        "TooManyProviderTokenUpdates" => answer.unavailable(Retry::Never),
        _ => by_status(answer),
    }
}

fn by_status(answer: Answer) -> Outcome {
    match answer.status {
        400 | 413 if !answer.reason.is_empty() => answer.rejected(Fault::Message, None),
        403 if !answer.reason.is_empty() => answer.rejected(Fault::Credentials, None),
        429 => answer.throttled(),
        500 | 503 => answer.unavailable(Retry::Once),
        _ => answer.nonsense(),
    }
}

/// Reasons that say that certificate, key or token is not accepted, in answers and in GOAWAYs.
pub(super) fn concerns_credentials(reason: &str) -> bool {
    matches!(
        reason,
        "BadCertificate"
            | "BadCertificateEnvironment"
            | "BadEnvironmentKeyIdInToken"
            | "BadEnvironmentKeyInToken"
            | "ExpiredProviderToken"
            | "Forbidden"
            | "InvalidProviderToken"
            | "MissingProviderToken"
            | "UnrelatedKeyIdInToken"
    )
}

struct Answer {
    status: u16,
    reason: String,
    id: String,
    retry_after: Option<Duration>,
}

impl Answer {
    fn rejected(self, fault: Fault, gone_since: Option<SystemTime>) -> Outcome {
        Outcome::Rejected(Rejection {
            fault,
            status: Some(self.status),
            reason: self.reason,
            detail: None,
            id: Some(self.id),
            gone_since,
        })
    }

    fn unavailable(self, retry: Retry) -> Outcome {
        let cause = Cause::Provider { status: self.status, reason: self.reason };
        failed(cause, retry, self.retry_after, self.id)
    }

    fn throttled(self) -> Outcome {
        let cause = Cause::Throttled { status: self.status, reason: self.reason };
        failed(cause, Retry::Never, self.retry_after, self.id)
    }

    fn nonsense(self) -> Outcome {
        let cause = Cause::Nonsense { status: self.status, reason: self.reason };
        failed(cause, Retry::Never, self.retry_after, self.id)
    }
}

/// An answered message was refused, so it was not delivered.
fn failed(cause: Cause, retry: Retry, retry_after: Option<Duration>, id: String) -> Outcome {
    let delivery = Delivery::NotSent;
    Outcome::Failed(Failure { cause, delivery, retry, retry_after, id: Some(id) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: Sent<'static> = Sent { apns_id: "ours", topic_given: false };

    fn answer(status: u16, body: &str) -> Outcome {
        let status = StatusCode::from_u16(status).unwrap_or_default();
        read(status, &HeaderMap::new(), body.as_bytes(), SENT, UNIX_EPOCH)
    }

    fn rejected(fault: Fault, status: u16, reason: &str, gone: Option<u64>) -> Outcome {
        Outcome::Rejected(Rejection {
            fault,
            status: Some(status),
            reason: reason.to_owned(),
            detail: None,
            id: Some("ours".to_owned()),
            gone_since: gone.map(|millis| UNIX_EPOCH + Duration::from_millis(millis)),
        })
    }

    #[test]
    fn every_reason_of_apple_has_its_class() {
        use Fault::{Credentials, Message, Token};
        let table = [
            (400, "BadCollapseId", Message),
            (400, "BadDeviceToken", Token),
            (400, "BadExpirationDate", Message),
            (400, "BadMessageId", Message),
            (400, "BadPriority", Message),
            (400, "BadTopic", Credentials),
            (400, "DeviceTokenNotForTopic", Token),
            (400, "DuplicateHeaders", Message),
            (400, "InvalidPushType", Message),
            (400, "MissingDeviceToken", Message),
            (400, "MissingTopic", Credentials),
            (400, "PayloadEmpty", Message),
            (400, "TopicDisallowed", Credentials),
            (403, "TopicMismatch", Credentials),
            (400, "ChannelNotRegistered", Message),
            (400, "FeatureNotEnabled", Message),
            (403, "BadCertificate", Credentials),
            (403, "BadCertificateEnvironment", Credentials),
            (403, "ExpiredProviderToken", Credentials),
            (403, "Forbidden", Credentials),
            (403, "InvalidProviderToken", Credentials),
            (403, "MissingProviderToken", Credentials),
            (403, "UnrelatedKeyIdInToken", Credentials),
            (403, "BadEnvironmentKeyIdInToken", Credentials),
            (403, "SomethingNew", Credentials),
            (400, "SomethingNew", Message),
            (413, "PayloadTooLarge", Message),
        ];

        for (status, reason, fault) in table {
            let body = format!(r#"{{"reason":"{reason}"}}"#);
            assert_eq!(answer(status, &body), rejected(fault, status, reason, None), "{reason}");
        }
    }

    #[test]
    fn a_dead_token_has_apples_time_or_that_of_the_answer() {
        let dated = r#"{"reason":"Unregistered","timestamp":1454948015990}"#;
        let expected = rejected(Fault::Token, 410, "Unregistered", Some(1_454_948_015_990));
        assert_eq!(answer(410, dated), expected);

        let undated = rejected(Fault::Token, 410, "ExpiredToken", Some(0));
        assert_eq!(answer(410, r#"{"reason":"ExpiredToken"}"#), undated);
        let odd = r#"{"reason":"ExpiredToken","timestamp":"yesterday"}"#;
        assert_eq!(answer(410, odd), undated);
    }

    #[test]
    fn a_topic_that_the_caller_gave_is_the_callers_fault() {
        let sent = Sent { topic_given: true, ..SENT };
        let body = br#"{"reason":"TopicDisallowed"}"#;
        let outcome = read(StatusCode::BAD_REQUEST, &HeaderMap::new(), body, sent, UNIX_EPOCH);
        assert_eq!(outcome, rejected(Fault::Message, 400, "TopicDisallowed", None));
    }

    #[test]
    fn what_is_no_answer_of_apple_says_so() {
        for (status, body) in [
            (404, r#"{"reason":"BadPath"}"#),
            (405, r#"{"reason":"MethodNotAllowed"}"#),
            (301, ""),
            (400, "<html>"),
            (400, r#"["BadDeviceToken",1]"#),
            (400, r#"{"reason":["BadDeviceToken"]}"#),
            (410, ""),
            (502, "bad gateway"),
        ] {
            let Outcome::Failed(failure) = answer(status, body) else {
                panic!("{status} is no final answer");
            };
            assert!(matches!(failure.cause, Cause::Nonsense { .. }), "{status}");
            assert_eq!(failure.retry, Retry::Never);
        }
    }
}
