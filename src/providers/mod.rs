//! The push services.

pub mod apns;
pub mod gcm;
pub mod json;
