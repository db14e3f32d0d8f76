//! What a caller does next with a message: the one table, over every code of both services.

use serde::Serialize;

use super::error::ApiError;
use crate::providers::Message;

/// The word of a row that a program can follow without reading anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Forget the token: it is dead, or was never one.
    DeleteToken,
    /// Somebody who runs the relay or the push account has to act; then the message may go again.
    FixCredentials,
    /// Change the message, or send it through the application that its token belongs to.
    FixMessage,
    /// Nothing: it was accepted, or it may have arrived and a second one could be noticed.
    None,
    /// Send it again as it is, after `retry_after` where that is given.
    Retry,
}

/// Whether a message may be sent again although it may have arrived: a second one is hidden by its
/// collapse id, or its sender said that two are better than none.
#[must_use]
pub fn is_repeatable(message: &Message) -> bool {
    match message {
        Message::Apns(message) => message.at_least_once || message.collapse_id.is_some(),
        Message::Fcm(message) => message.at_least_once,
        Message::Gcm(message) => message.at_least_once,
    }
}

impl Action {
    /// What to do after an error. `is_repeatable` decides where it is not known whether the
    /// message arrived; see [`is_repeatable`].
    ///
    /// A token that the service does not know here is not to be deleted: the same is said of every
    /// sandbox token in production, and of every token of another application.
    #[must_use]
    pub fn after(error: &ApiError, is_repeatable: bool) -> Self {
        let details = error.details();
        let reason = details.and_then(|details| details.reason.as_deref());
        let delivery = details.and_then(|details| details.delivery);
        match (error.code(), reason) {
            ("device_token_unregistered", _)
            | ("invalid_device_token", Some("InvalidRegistration")) => Self::DeleteToken,
            // The project's own key for Apple, which Firebase keeps.
            ("gcm_rejected", Some("InvalidApnsCredential")) => Self::FixCredentials,
            (
                "apns_credentials_rejected"
                | "apns_protocol_error"
                | "application_not_found"
                | "forbidden"
                | "gcm_protocol_error"
                | "invalid_gcm_credentials"
                | "missing_credentials",
                _,
            ) => Self::FixCredentials,
            ("apns_timeout" | "apns_unavailable" | "gcm_timeout" | "gcm_unavailable", _) => {
                match delivery {
                    Some("unknown") if !is_repeatable => Self::None,
                    Some(_) | None => Self::Retry,
                }
            }
            ("apns_throttled" | "gcm_throttled" | "overloaded" | "rate_limited", _) => Self::Retry,
            ("internal_error", _) => Self::None,
            _ => Self::FixMessage,
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::StatusCode;

    use super::*;
    use crate::api::error::Details;

    fn after(code: &'static str, reason: &str, delivery: Option<&'static str>) -> [Action; 2] {
        let reason = (!reason.is_empty()).then(|| reason.to_owned());
        let details = Details { reason, delivery, ..Details::default() };
        let error = ApiError::new(StatusCode::BAD_REQUEST, code, "x").with_details(details);
        [false, true].map(|is_repeatable| Action::after(&error, is_repeatable))
    }

    #[test]
    fn every_code_of_a_message_has_its_action() {
        use Action::{DeleteToken, FixCredentials, FixMessage, None as Nothing, Retry};
        let (sent, unknown) = (Some("not_sent"), Some("unknown"));

        for (code, reason, delivery, action) in [
            ("apns_credentials_rejected", "BadCertificate", None, FixCredentials),
            ("apns_protocol_error", "", None, FixCredentials),
            ("apns_rejected", "BadPriority", None, FixMessage),
            ("apns_throttled", "TooManyRequests", None, Retry),
            ("apns_timeout", "", sent, Retry),
            ("apns_unavailable", "Shutdown", sent, Retry),
            ("application_not_found", "", None, FixCredentials),
            ("device_token_unregistered", "Unregistered", None, DeleteToken),
            ("device_token_unregistered", "NotRegistered", None, DeleteToken),
            ("empty_notification", "", None, FixMessage),
            ("forbidden", "", None, FixCredentials),
            ("gcm_protocol_error", "", unknown, FixCredentials),
            ("gcm_rejected", "InvalidApnsCredential", None, FixCredentials),
            ("gcm_rejected", "MessageTooBig", None, FixMessage),
            ("gcm_throttled", "QuotaExceeded", None, Retry),
            ("gcm_timeout", "", sent, Retry),
            ("gcm_unavailable", "Unavailable", sent, Retry),
            ("internal_error", "", None, Nothing),
            ("invalid_badge", "", None, FixMessage),
            ("invalid_device_token", "", None, FixMessage),
            ("invalid_device_token", "BadDeviceToken", None, FixMessage),
            ("invalid_device_token", "InvalidRegistration", None, DeleteToken),
            ("invalid_device_token", "MismatchSenderId", None, FixMessage),
            ("invalid_gcm_credentials", "", None, FixCredentials),
            ("missing_credentials", "", None, FixCredentials),
            ("overloaded", "", None, Retry),
            ("payload_too_large", "", None, FixMessage),
            ("rate_limited", "", None, Retry),
        ] {
            assert_eq!(after(code, reason, delivery), [action; 2], "{code} {reason}");
        }
        for code in ["apns_timeout", "apns_unavailable", "gcm_timeout", "gcm_unavailable"] {
            assert_eq!(after(code, "", unknown), [Nothing, Retry], "{code}");
        }
    }
}
