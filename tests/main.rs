//! All tests on the wire, in one binary; the modules mirror `src/`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    unreachable_pub,
    missing_docs,
    reason = "a test that cannot go on panics, and may block or spawn where it stands"
)]

mod api;
mod apps;
mod architecture;
mod cli;
mod config;
mod delivery;
mod docs;
mod providers;
mod server;
mod simulator;
mod support;
mod telemetry;
mod transport;
