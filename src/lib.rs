//! Pushlet, a stateless push relay.
//!
//! The map, in reading order. A module names only modules below it (`tests/architecture.rs` holds
//! the table):
//!
//! | module | what it is |
//! |---|---|
//! | `server` | the composition root: binds, builds the state, drains |
//! | `config` | every setting: defaults, file, environment; all mistakes at once |
//! | `api` | the HTTP surface: authentication, bodies, statuses |
//! | `delivery` | from "please send" to an end: admission, deadline, the one retry loop |
//! | `apps` | what callers have registered, and their dead tokens |
//! | `providers` | one folder per push service: credential, request, answer |
//! | `transport` | persistent HTTP/2 connections |
//! | `simulator` | a fake APNs, FCM and GCM that ships with the product |
//! | `metrics`, `outcome`, `secret`, `telemetry` | the ground; they import nothing of ours |

pub mod api;
pub mod apps;
pub mod config;
pub mod delivery;
pub mod metrics;
pub mod outcome;
pub mod providers;
pub mod secret;
pub mod server;
pub mod simulator;
pub mod telemetry;
pub mod transport;
