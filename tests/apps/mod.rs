//! What callers have registered, through a whole relay.

mod preload;
mod registration;
mod sealed;
