//! The HTTP surface.

mod action;
mod apns_message;
mod applications;
mod auth;
mod batch;
mod body;
mod channels;
mod console;
mod drop_in;
mod error;
mod feedback;
mod idempotency;
mod live_activity;
mod message;
mod metrics;
mod ndjson;
mod openapi;
mod ops;
mod outcome;
mod params;
mod preview;
mod rate;
mod row;
mod status;
mod stream;
mod unanswered;
