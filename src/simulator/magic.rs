//! Magic tokens: faults that a sender can ask for with nothing but the token.

use std::time::Duration;

use super::reasons::Refusal;
use super::script::{Answer, Rejection};

/// What a device token asks for: `5e75` and four more hex digits at its start.
///
/// | digits | answer |
/// |---|---|
/// | `0400` | 400 `BadDeviceToken` |
/// | `0403` | 403 `BadCertificate` to a certificate, `InvalidProviderToken` to a provider token |
/// | `0410` | 410 `Unregistered`, gone since now |
/// | `0413` | 413 `PayloadTooLarge` |
/// | `0429` | 429 `TooManyRequests` |
/// | `0500` | 500 `InternalServerError` |
/// | `0503` | 503 `ServiceUnavailable` |
/// | `0ff0` | none, ever |
/// | `5e70` | `RST_STREAM`, `REFUSED_STREAM` |
/// | `904a` | GOAWAY, graceful |
/// | `d20b` | none, the connection is cut |
/// | `de1a` | as usual, after a second |
pub(super) fn apns(device_token: &str, has_certificate: bool, now_ms: u64) -> Option<Answer> {
    let token = device_token.get(..8)?.to_ascii_lowercase();
    let reason = match token.strip_prefix("5e75")? {
        "0400" => "BadDeviceToken",
        "0403" if has_certificate => "BadCertificate",
        "0403" => "InvalidProviderToken",
        "0410" => "Unregistered",
        "0413" => "PayloadTooLarge",
        "0429" => "TooManyRequests",
        "0500" => "InternalServerError",
        "0503" => "ServiceUnavailable",
        "0ff0" => return Some(Answer::Never),
        "5e70" => return Some(Answer::Reset { code: 7 }),
        "904a" => return Some(Answer::GoAway { code: None }),
        "d20b" => return Some(Answer::Drop),
        "de1a" => {
            let then = Box::new(Answer::Accept);
            return Some(Answer::Delay { by: Duration::from_secs(1), then });
        }
        _ => return None,
    };
    let refusal = Refusal::new(reason);
    Some(Answer::Reject(Rejection {
        status: refusal.status,
        reason: reason.to_owned(),
        timestamp_ms: (reason == "Unregistered").then_some(now_ms),
        retry_after_secs: None,
    }))
}

/// Every `error` that a row of `results` can have (Google's reference of the legacy HTTP protocol,
/// *Downstream message error response codes*, and the constants of its Java client).
const GCM_ERRORS: &[&str] = &[
    "DeprecatedApi",
    "DeviceMessageRateExceeded",
    "DeviceQuotaExceeded",
    "InternalServerError",
    "InvalidApnsCredential",
    "InvalidDataKey",
    "InvalidPackageName",
    "InvalidParameters",
    "InvalidRegistration",
    "InvalidTtl",
    "MessageTooBig",
    "MismatchSenderId",
    "MissingCollapseKey",
    "MissingRegistration",
    "NotRegistered",
    "QuotaExceeded",
    "TopicsMessageRateExceeded",
    "Unavailable",
];

/// What a registration token asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Gcm {
    /// `canonical:NEW`: delivered, and the token has a successor.
    Canonical(String),
    /// The name of an error: that error.
    Error(&'static str),
}

/// What a registration token asks for, if it is a magic one.
pub(super) fn gcm(token: &str) -> Option<Gcm> {
    if let Some(canonical) = token.strip_prefix("canonical:") {
        return Some(Gcm::Canonical(canonical.to_owned()));
    }
    GCM_ERRORS.iter().find(|error| **error == token).map(|error| Gcm::Error(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_tokens_ask_for_nothing() {
        assert_eq!(apns("5e75", true, 0), None);
        assert_eq!(apns("5e750200", true, 0), None);
        assert_eq!(apns("ab5e750410", true, 0), None);
        assert_eq!(apns("ééééé", true, 0), None);
        assert_eq!(gcm("NotRegisteredAnyMore"), None);
    }

    #[test]
    fn gcm_tokens_name_what_they_ask_for() {
        assert_eq!(gcm("NotRegistered"), Some(Gcm::Error("NotRegistered")));
        assert_eq!(gcm("canonical:32"), Some(Gcm::Canonical("32".to_owned())));
    }
}
