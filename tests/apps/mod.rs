//! What callers have registered, through a whole relay.

mod expiry;
mod preload;
mod registration;
mod sealed;
