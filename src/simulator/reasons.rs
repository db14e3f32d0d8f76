//! Apple's reasons and the status that comes with each.

use http::StatusCode;

/// A message that APNs would not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) reason: &'static str,
}

impl Refusal {
    /// The refusal with Apple's status for this reason.
    pub(super) fn new(reason: &'static str) -> Self {
        Self { status: status_of(reason).unwrap_or(StatusCode::BAD_REQUEST), reason }
    }
}

/// The status that Apple sends with a reason; `None`: not one of Apple's.
pub(super) fn status_of(reason: &str) -> Option<StatusCode> {
    let row = REASONS.iter().find(|(_, reasons)| reasons.contains(&reason))?;
    Some(row.0)
}

/// Apple, *Handling notification responses from APNs* and *Handling error responses from Apple Push
/// Notification service*, the tables of reasons.
const REASONS: &[(StatusCode, &[&str])] = &[
    (
        StatusCode::BAD_REQUEST,
        &[
            "BadChannelId",
            "BadCollapseId",
            "BadDeviceToken",
            "BadExpirationDate",
            "BadMessageId",
            "BadPriority",
            "BadRequestParams",
            "BadRequestPayload",
            "BadTopic",
            "CannotCreateChannelConfig",
            "ChannelNotRegistered",
            "DeviceTokenNotForTopic",
            "DuplicateHeaders",
            "FeatureNotEnabled",
            "IdleTimeout",
            "InvalidPushType",
            "MissingChannelId",
            "MissingDeviceToken",
            "MissingPushType",
            "MissingTopic",
            "PayloadEmpty",
            "TopicDisallowed",
        ],
    ),
    (
        StatusCode::FORBIDDEN,
        &[
            "BadCertificate",
            "BadCertificateEnvironment",
            "BadEnvironmentKeyIdInToken",
            "ExpiredProviderToken",
            "Forbidden",
            "InvalidProviderToken",
            "MissingProviderToken",
            "TopicMismatch",
            "UnrelatedKeyIdInToken",
        ],
    ),
    (StatusCode::NOT_FOUND, &["BadPath"]),
    (StatusCode::METHOD_NOT_ALLOWED, &["MethodNotAllowed"]),
    (StatusCode::GONE, &["ExpiredToken", "Unregistered"]),
    (StatusCode::PAYLOAD_TOO_LARGE, &["PayloadTooLarge"]),
    (StatusCode::TOO_MANY_REQUESTS, &["TooManyProviderTokenUpdates", "TooManyRequests"]),
    (StatusCode::INTERNAL_SERVER_ERROR, &["InternalServerError"]),
    (StatusCode::SERVICE_UNAVAILABLE, &["ServiceUnavailable", "Shutdown"]),
];
