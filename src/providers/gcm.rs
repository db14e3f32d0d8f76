//! Google Cloud Messaging as it was: the legacy HTTP call, forwarded.

use std::time::Duration;

use url::Url;

/// The section `[gcm]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where the documented GCM call is forwarded to: an endpoint that speaks Google's legacy
    /// protocol. `https`, or `http` on loopback. Left out, such a call is refused: Google switched
    /// its own off in 2024.
    pub legacy_url: Option<Url>,
    /// How long a call waits for that endpoint; at most 25 s.
    pub timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { legacy_url: None, timeout: Duration::from_secs(10) }
    }
}
