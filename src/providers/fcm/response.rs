//! What an answer of FCM v1 means. The reason of an outcome is the legacy protocol's word for it,
//! which is what callers hear; Google's own word stands in the detail.
//!
//! The order of truth is that of Google's own libraries: `errorCode` of the `FcmError`, then
//! `status` of the error, then the HTTP status.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::outcome::{Cause, Delivery, Failure, Fault, Outcome, Receipt, Rejection, Retry};

/// Reads an answer. `body` may be HTML, empty or cut off.
#[must_use]
pub fn read(status: u16, retry_after: Option<Duration>, body: &[u8], now: SystemTime) -> Outcome {
    if status == 200 {
        return accepted(body);
    }
    let error = Error::read(body);
    let reject = |fault, reason: &str| {
        Outcome::Rejected(Rejection {
            fault,
            status: Some(status),
            reason: reason.to_owned(),
            detail: Some(error.summary()),
            id: None,
            gone_since: (reason == "NotRegistered").then_some(now),
        })
    };
    let fail = |cause, retry| failed(cause, retry, retry_after);
    let provider = |reason: &str| Cause::Provider { status, reason: reason.to_owned() };
    match error.kind(status) {
        Kind::Dead => reject(Fault::Token, "NotRegistered"),
        Kind::Internal => fail(provider("InternalServerError"), Retry::Once),
        Kind::Invalid => match error.invalid() {
            reason @ "InvalidRegistration" => reject(Fault::Token, reason),
            reason => reject(Fault::Message, reason),
        },
        Kind::OtherSender => reject(Fault::Token, "MismatchSenderId"),
        Kind::Permission => reject(Fault::Credentials, ""),
        // The project's key for Apple or for browsers, not what we showed.
        Kind::ThirdParty => reject(Fault::Message, "InvalidApnsCredential"),
        Kind::Throttled => {
            fail(Cause::Throttled { status, reason: error.quota().to_owned() }, Retry::Never)
        }
        Kind::Token => fail(provider("Unavailable"), Retry::Renewed),
        Kind::Unavailable if status == 503 => fail(provider("Unavailable"), Retry::Once),
        Kind::Unavailable => fail(provider("Unavailable"), Retry::Never),
        Kind::Unknown => {
            let reason = "it is no answer of fcm; check fcm.url and the project".to_owned();
            fail(Cause::Nonsense { status, reason }, Retry::Never)
        }
    }
}

/// `projects/P/messages/ID`.
fn accepted(body: &[u8]) -> Outcome {
    // Read as a type of ours, a list would be an answer too.
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let id = body["name"].as_str().and_then(|name| name.rsplit('/').next()).unwrap_or_default();
    if id.is_empty() {
        let reason = "its answer names no message".to_owned();
        return Outcome::Failed(Failure {
            cause: Cause::Nonsense { status: 200, reason },
            delivery: Delivery::Unknown,
            retry: Retry::Never,
            retry_after: None,
            id: None,
        });
    }
    Outcome::Accepted(Receipt::Fcm { message_id: id.to_owned() })
}

fn failed(cause: Cause, retry: Retry, retry_after: Option<Duration>) -> Outcome {
    let delivery = Delivery::NotSent;
    Outcome::Failed(Failure { cause, delivery, retry, retry_after, id: None })
}

/// What an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Dead,
    Internal,
    Invalid,
    OtherSender,
    Permission,
    ThirdParty,
    Throttled,
    /// Our access token.
    Token,
    Unavailable,
    Unknown,
}

/// The parts of Google's error that count; empty where the answer was none of Google's.
#[derive(Debug, Default)]
struct Error {
    message: String,
    status: String,
    code: String,
    /// `ErrorInfo.reason`.
    reason: String,
    /// Field and description of each `BadRequest` violation.
    violations: Vec<(String, String)>,
    /// Subject and description of each `QuotaFailure` violation.
    quotas: Vec<(String, String)>,
}

impl Error {
    fn read(body: &[u8]) -> Self {
        let value: Value = serde_json::from_slice(body).unwrap_or_default();
        let error = &value["error"];
        let mut read = Self {
            message: text(&error["message"]),
            status: text(&error["status"]),
            ..Self::default()
        };
        for detail in error["details"].as_array().into_iter().flatten() {
            let kind = detail["@type"].as_str().unwrap_or_default();
            match kind.rsplit(['.', '/']).next().unwrap_or_default() {
                "BadRequest" => read.violations = pairs(&detail["fieldViolations"], "field"),
                "ErrorInfo" => read.reason = text(&detail["reason"]),
                "FcmError" => read.code = text(&detail["errorCode"]),
                "QuotaFailure" => read.quotas = pairs(&detail["violations"], "subject"),
                _ => {}
            }
        }
        read
    }

    fn kind(&self, status: u16) -> Kind {
        match self.code.as_str() {
            // A wrong address answers 404 as well, and must not cost anybody a token.
            "UNREGISTERED" if status == 404 => return Kind::Dead,
            "SENDER_ID_MISMATCH" => return Kind::OtherSender,
            "THIRD_PARTY_AUTH_ERROR" | "APNS_AUTH_ERROR" => return Kind::ThirdParty,
            "QUOTA_EXCEEDED" => return Kind::Throttled,
            "INVALID_ARGUMENT" => return Kind::Invalid,
            "INTERNAL" | "UNSPECIFIED_ERROR" => return Kind::Internal,
            "UNAVAILABLE" => return Kind::Unavailable,
            _ => {}
        }
        match self.status.as_str() {
            "INTERNAL" => return Kind::Internal,
            "INVALID_ARGUMENT" => return Kind::Invalid,
            "PERMISSION_DENIED" => return Kind::Permission,
            "RESOURCE_EXHAUSTED" => return Kind::Throttled,
            "UNAUTHENTICATED" => return Kind::Token,
            "UNAVAILABLE" | "DEADLINE_EXCEEDED" => return Kind::Unavailable,
            _ => {}
        }
        match status {
            400 => Kind::Invalid,
            401 => Kind::Token,
            403 => Kind::Permission,
            429 => Kind::Throttled,
            500 => Kind::Internal,
            408 | 502..=599 => Kind::Unavailable,
            _ => Kind::Unknown,
        }
    }

    /// The legacy word for an invalid argument; FCM's own code for all of them is the same.
    fn invalid(&self) -> &'static str {
        const NO_TOKEN: &str = "not a valid fcm registration token";
        let field = |wanted: &[&str]| {
            self.violations.iter().any(|(field, _)| {
                let field = field.strip_prefix("message.").unwrap_or(field);
                wanted.iter().any(|wanted| field.eq_ignore_ascii_case(wanted))
            })
        };
        let about_data = self.violations.iter().any(|(field, _)| {
            let rest = field.strip_prefix("message.data");
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        });
        let says = |words: &str| {
            let descriptions = self.violations.iter().map(|(_, description)| description);
            descriptions.chain([&self.message]).any(|t| t.to_ascii_lowercase().contains(words))
        };
        if field(&["token", "fid"]) || says(NO_TOKEN) {
            "InvalidRegistration"
        } else if says("too big") {
            "MessageTooBig"
        } else if about_data {
            "InvalidDataKey"
        } else if field(&["android.ttl"]) {
            "InvalidTtl"
        } else if field(&["android.restricted_package_name", "android.restrictedPackageName"]) {
            "InvalidPackageName"
        } else {
            "InvalidParameters"
        }
    }

    /// Whose quota it is.
    fn quota(&self) -> &'static str {
        let names = |word: &str| {
            let mut texts = self.quotas.iter().flat_map(|(subject, text)| [subject, text]);
            texts.any(|text| text.to_ascii_lowercase().contains(word))
        };
        if names("device") {
            "DeviceMessageRateExceeded"
        } else if names("topic") {
            "TopicsMessageRateExceeded"
        } else {
            "Unavailable"
        }
    }

    /// Google's words, for people and logs; of the texts only names of fields and codes, since
    /// the others may quote the message.
    fn summary(&self) -> String {
        let fields = self.violations.iter().map(|(field, _)| field);
        let words = [&self.status, &self.code, &self.reason].into_iter().chain(fields);
        let words: Vec<&str> = words.map(String::as_str).filter(|word| is_name(word)).collect();
        if words.is_empty() { "google gave no reason".to_owned() } else { words.join(" ") }
    }
}

fn is_name(word: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"_.[]".contains(&byte);
    (1..=80).contains(&word.len()) && word.bytes().all(known)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn pairs(list: &Value, name: &str) -> Vec<(String, String)> {
    let pair = |entry: &Value| (text(&entry[name]), text(&entry["description"]));
    list.as_array().into_iter().flatten().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use serde_json::json;

    use super::*;

    /// The legacy word of an answer, and whose turn it is.
    fn word(status: u16, body: &str) -> (String, Option<Fault>) {
        match read(status, None, body.as_bytes(), UNIX_EPOCH) {
            Outcome::Accepted(Receipt::Fcm { message_id }) => (message_id, None),
            Outcome::Rejected(rejection) => {
                assert_eq!(rejection.gone_since.is_some(), rejection.reason == "NotRegistered");
                (rejection.reason, Some(rejection.fault))
            }
            Outcome::Failed(Failure { cause, .. }) => match cause {
                Cause::Provider { reason, .. } | Cause::Throttled { reason, .. } => (reason, None),
                Cause::Nonsense { .. } => ("nonsense".to_owned(), None),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    fn error(status: &str, message: &str, details: &Value) -> String {
        json!({"error": {"code": 0, "message": message, "status": status, "details": details}})
            .to_string()
    }

    fn fcm(code: &str) -> Value {
        json!({"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code})
    }

    fn bad_field(field: &str) -> Value {
        json!({
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [{"field": field, "description": "Invalid value"}],
        })
    }

    fn quota(subject: &str) -> Value {
        json!({
            "@type": "type.googleapis.com/google.rpc.QuotaFailure",
            "violations": [{"subject": subject, "description": "exceeded"}],
        })
    }

    #[test]
    fn every_code_has_its_word() {
        let of = |status, code: &str| word(status, &error("", "", &json!([fcm(code)])));
        let (token, message) = (Some(Fault::Token), Some(Fault::Message));

        assert_eq!(of(404, "UNREGISTERED"), ("NotRegistered".to_owned(), token));
        assert_eq!(of(403, "SENDER_ID_MISMATCH"), ("MismatchSenderId".to_owned(), token));
        for code in ["THIRD_PARTY_AUTH_ERROR", "APNS_AUTH_ERROR"] {
            assert_eq!(of(401, code), ("InvalidApnsCredential".to_owned(), message));
        }
        assert_eq!(of(400, "INVALID_ARGUMENT"), ("InvalidParameters".to_owned(), message));
        assert_eq!(of(429, "QUOTA_EXCEEDED"), ("Unavailable".to_owned(), None));
        assert_eq!(of(500, "INTERNAL"), ("InternalServerError".to_owned(), None));
        assert_eq!(of(500, "UNSPECIFIED_ERROR"), ("InternalServerError".to_owned(), None));
        assert_eq!(of(503, "UNAVAILABLE"), ("Unavailable".to_owned(), None));
    }

    #[test]
    fn invalid_arguments_are_told_apart() {
        let of = |message: &str, details: Value| {
            word(400, &error("INVALID_ARGUMENT", message, &details)).0
        };
        let plain = "Request contains an invalid argument.";

        for (field, expected) in [
            ("message.token", "InvalidRegistration"),
            ("message.fid", "InvalidRegistration"),
            ("message.data[0].key", "InvalidDataKey"),
            ("message.data", "InvalidDataKey"),
            ("message.database", "InvalidParameters"),
            ("message.android.ttl", "InvalidTtl"),
            ("message.android.restricted_package_name", "InvalidPackageName"),
            ("message.android.priority", "InvalidParameters"),
        ] {
            let details = json!([bad_field(field), fcm("INVALID_ARGUMENT")]);
            assert_eq!(of(plain, details), expected, "{field}");
        }
        let wording = "The registration token is not a valid FCM registration token";
        assert_eq!(of(wording, json!([fcm("INVALID_ARGUMENT")])), "InvalidRegistration");
        assert_eq!(of("Android message is too big", json!([])), "MessageTooBig");
        assert_eq!(of(plain, json!([])), "InvalidParameters");
        assert_eq!(word(400, "").0, "InvalidParameters");
    }

    #[test]
    fn quotas_name_whose_they_are() {
        for (subject, expected) in [
            ("device:abc", "DeviceMessageRateExceeded"),
            ("topic:news", "TopicsMessageRateExceeded"),
            ("project:p", "Unavailable"),
        ] {
            let details = json!([quota(subject), fcm("QUOTA_EXCEEDED")]);
            assert_eq!(word(429, &error("RESOURCE_EXHAUSTED", "", &details)).0, expected);
        }
    }

    #[test]
    fn only_googles_own_word_kills_a_token() {
        let not_found = error("NOT_FOUND", "Requested entity was not found.", &json!([]));
        for (status, body) in [
            (404, "<html>Not Found</html>"),
            (404, ""),
            (404, not_found.as_str()),
            (410, "gone"),
            (301, ""),
        ] {
            assert_eq!(word(status, body), ("nonsense".to_owned(), None), "{status} {body}");
        }
        let elsewhere = error("", "", &json!([fcm("UNREGISTERED")]));
        assert_eq!(word(400, &elsewhere).0, "InvalidParameters");
    }

    #[test]
    fn what_was_seen_in_the_wild_is_survived() {
        assert_eq!(word(502, "<html>try again in 30 seconds</html>").0, "Unavailable");
        assert_eq!(word(504, "").0, "Unavailable");
        assert_eq!(word(401, "<html>PROJECT_NOT_PERMITTED</html>").0, "Unavailable");
        let iam = error("PERMISSION_DENIED", "cloudmessaging.messages.create", &json!([]));
        assert_eq!(word(403, &iam), (String::new(), Some(Fault::Credentials)));
        for body in ["[1]", "\"x\"", "{\"error\":7}", "{\"error\":{\"details\":{\"a\":1}}}"] {
            assert_eq!(word(500, body).0, "InternalServerError", "{body}");
        }
        for body in ["{}", "[]", r#"["projects/p/messages/1"]"#, r#"{"name":7}"#] {
            assert_eq!(word(200, body).0, "nonsense", "{body}");
        }
        assert_eq!(word(200, r#"{"name":"projects/p/messages/0:1%2"}"#).0, "0:1%2");
    }

    #[test]
    fn a_fresh_token_is_worth_a_try_and_a_500_another() {
        let retry = |status| match read(status, None, b"", UNIX_EPOCH) {
            Outcome::Failed(failure) => failure.retry,
            other => panic!("{other:?}"),
        };

        assert_eq!(
            [401, 500, 503, 502, 504, 429, 404].map(retry),
            [
                Retry::Renewed,
                Retry::Once,
                Retry::Once,
                Retry::Never,
                Retry::Never,
                Retry::Never,
                Retry::Never
            ]
        );
    }
}
