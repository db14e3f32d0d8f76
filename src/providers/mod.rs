//! The push services.

pub mod apns;
pub mod gcm;
