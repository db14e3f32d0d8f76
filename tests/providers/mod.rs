//! The push services.

mod apns;
