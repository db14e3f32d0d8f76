//! The HTTP surface.

mod auth;
mod body;
mod error;
mod params;
