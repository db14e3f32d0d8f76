//! The HTTP surface.

pub mod apns_message;
pub mod auth;
pub mod body;
pub mod error;
pub mod params;

/// The section `[compat]`: what the original Pushlet did and nobody should want today.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compat {
    /// Answer 200 for the errors of a send, a registration or a feedback call, as the original's
    /// framework did. The body still tells. Not for 401, 403 `forbidden`, unknown routes, 405, 413
    /// `request_too_large`, 415 and 500.
    pub always_200: bool,
    /// Ignore parameters that nobody knows, as the original did, instead of refusing the call.
    pub ignore_unknown: bool,
}
