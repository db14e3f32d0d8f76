//! The closed set of reasons: what a provider invents tomorrow must not become a series each.

/// The word for a reason in labels: itself if it is known, `other` if not, and nothing for none.
#[must_use]
pub fn known_reason(reason: &str) -> &'static str {
    if reason.is_empty() {
        return "";
    }
    let found = REASONS.binary_search(&reason).ok().and_then(|place| REASONS.get(place));
    found.copied().unwrap_or("other")
}

/// In the order of their bytes. Apple's (*Handling notification responses from APNs*), those of the
/// legacy protocol (Google, *Downstream message error response codes*), TLS alerts on a client
/// certificate (RFC 8446 §6.2), and our own for what no provider said.
const REASONS: &[&str] = &[
    "BadCertificate",
    "BadCertificateEnvironment",
    "BadChannelId",
    "BadCollapseId",
    "BadDeviceToken",
    "BadEnvironmentKeyIdInToken",
    "BadEnvironmentKeyInToken",
    "BadExpirationDate",
    "BadMessageId",
    "BadPath",
    "BadPriority",
    "BadRequestParams",
    "BadRequestPayload",
    "BadTopic",
    "CannotCreateChannelConfig",
    "ChannelNotRegistered",
    "DeviceMessageRateExceeded",
    "DeviceQuotaExceeded",
    "DeviceTokenNotForTopic",
    "DuplicateHeaders",
    "ExpiredProviderToken",
    "ExpiredToken",
    "FeatureNotEnabled",
    "Forbidden",
    "IdleTimeout",
    "InternalServerError",
    "InvalidApnsCredential",
    "InvalidDataKey",
    "InvalidPackageName",
    "InvalidParameters",
    "InvalidProviderToken",
    "InvalidPushType",
    "InvalidRegistration",
    "InvalidTtl",
    "MessageTooBig",
    "MethodNotAllowed",
    "MismatchSenderId",
    "MissingChannelId",
    "MissingDeviceToken",
    "MissingProviderToken",
    "MissingPushType",
    "MissingRegistration",
    "MissingTopic",
    "NotRegistered",
    "PayloadEmpty",
    "PayloadTooLarge",
    "QuotaExceeded",
    "ServiceUnavailable",
    "Shutdown",
    "TooManyProviderTokenUpdates",
    "TooManyRequests",
    "TopicDisallowed",
    "TopicMismatch",
    "TopicsMessageRateExceeded",
    "Unavailable",
    "Unregistered",
    "UnrelatedKeyIdInToken",
    "access_denied",
    "bad_certificate",
    "certificate_expired",
    "certificate_required",
    "certificate_revoked",
    "certificate_unknown",
    "credentials",
    "decrypt_error",
    "overloaded",
    "protocol_error",
    "timeout",
    "unanswered",
    "unknown_ca",
    "unreachable",
    "unsupported_certificate",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_set_is_in_order_so_that_each_word_is_found() {
        assert!(REASONS.is_sorted());
        for reason in REASONS {
            assert_eq!(known_reason(reason), *reason);
        }
    }

    #[test]
    fn what_nobody_knows_is_one_word() {
        let words = ["SomethingNew", "unregistered", " ", "BadTopic\n"].map(known_reason);

        assert_eq!(words, ["other"; 4]);
        assert_eq!(known_reason(""), "");
    }
}
