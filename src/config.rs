//! Every setting of the process.

use std::net::SocketAddr;
use std::time::Duration;

/// The section `[server]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Address and port to listen on. `PUSHLET_SERVER__BIND` comes before `PORT` (which means
    /// `0.0.0.0:PORT`), that before this file. Port 0 takes a free one.
    pub bind: SocketAddr,
    /// Largest body of a call, in bytes; a larger one is answered 413.
    pub max_body_bytes: usize,
    /// How many applications may be registered; past it a registration is answered 503.
    pub max_applications: usize,
    /// How many sends may be in flight or waiting, all applications together; past it a send is
    /// answered 503 before anything was sent.
    pub max_in_flight: usize,
    /// Threads that serve calls; 0 means one for each core.
    pub workers: usize,
    /// How long SIGTERM waits for what is in flight.
    pub shutdown_timeout: Duration,
}
