//! The HTTP surface.

mod applications;
mod auth;
mod body;
mod error;
mod params;
