//! The push services.

mod apns;
mod gcm;
