//! Persistent HTTP/2 connections to one authority under one TLS identity.
//!
//! [`Pool`] is what a provider holds. One task of its own drives everything that belongs to it:
//! connections, requests under way, timers (`owner`). It knows requests and answers, not
//! attempts: it says what became of a request as an [`Error`], and who repeats is decided above.

mod connection;
mod dialing;
mod error;
mod homes;
mod nudge;
mod owner;
mod pool;
pub mod proxy;
mod stream;
mod tap;
mod tls;
mod upkeep;

use std::time::Duration;

pub use error::{Error, Refusal};
pub use homes::Homes;
pub use pool::{Answer, ConnectionFacts, ConnectionId, Flight, Pool, Request};
pub use tls::{Endpoint, Identity, Trust};

/// What a pool is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Most connections at a time.
    pub connections: usize,
    /// How long making one connection may take: name, TCP, TLS, the peer's first SETTINGS.
    pub connect_timeout: Duration,
    /// Nothing read for this long: the peer is asked for a sign of life (PING).
    pub keepalive_interval: Duration,
    /// How long the answer to a PING may take before the connection counts as dead.
    pub keepalive_timeout: Duration,
    /// A connection beside the last one is closed when it was idle for this long.
    pub idle_timeout: Duration,
    /// How many requests may wait for a connection.
    pub max_waiting: usize,
    /// Bytes of an answer's body that are kept; the rest is not read.
    pub max_answer_bytes: usize,
}
