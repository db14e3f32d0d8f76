//! The Apple Push Notification service.

mod auto;
mod certificate;
mod credential;
mod kdf_cost;
mod p12;
mod pem;
mod token;
