//! The push services.

mod apns;
mod fcm;
mod gcm;
