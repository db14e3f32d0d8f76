//! The Apple Push Notification service.

mod credential;
