//! The Apple Push Notification service.

mod ber;
mod certificate;
pub mod credential;
pub mod kdf_cost;
mod p12;
mod pbe;
mod pem;
mod problem;
pub mod device_token;
pub mod message;
pub mod payload;
pub mod push_type;

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

/// The section `[apns]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Apple's endpoint for applications in production. `https` only; a port may follow.
    pub production_url: Url,
    /// Apple's endpoint for applications in development. `https` only; a port may follow.
    pub sandbox_url: Url,
    /// A file with further certificate authorities in PEM, trusted for APNs beside the system's.
    /// A relative path starts at the folder of this file.
    pub ca_file: Option<PathBuf>,
    /// How long a call may take in all: waiting, connecting, the answer, retries. At most 25 s.
    pub timeout: Duration,
    /// How long making one connection may take. At most 25 s.
    pub connect_timeout: Duration,
    /// Most connections of one application; more are opened only when those are used up.
    /// From 1 to 64.
    pub connections_per_application: usize,
    /// How many sends of one application may be in flight or waiting; past it a send is answered
    /// 503 before anything was sent. From 1 to 1000000.
    pub max_in_flight_per_application: usize,
    /// A connection on which nothing was read for this long is asked for a sign of life (PING).
    /// From 100 ms to 1 h.
    pub keepalive_interval: Duration,
    /// How long the answer to that may take; then the connection counts as dead.
    /// At most 25 s.
    pub keepalive_timeout: Duration,
    /// A connection beside the last one is closed when it was idle for this long.
    /// From 100 ms to 24 h.
    pub idle_timeout: Duration,
}

impl Default for Settings {
    #[expect(clippy::expect_used, reason = "the two addresses are constants and parse")]
    fn default() -> Self {
        Self {
            production_url: Url::parse("https://api.push.apple.com").expect("a constant URL"),
            sandbox_url: Url::parse("https://api.sandbox.push.apple.com").expect("a constant URL"),
            ca_file: None,
            timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(10),
            connections_per_application: 4,
            max_in_flight_per_application: 4_000,
            keepalive_interval: Duration::from_secs(60),
            keepalive_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(300),
        }
    }
}

/// Which of Apple's two environments an application talks to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// Apple's sandbox, for builds signed for development.
    Development,
    /// The App Store, `TestFlight` and ad hoc builds.
    #[default]
    Production,
}
