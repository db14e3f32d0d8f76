//! What callers have registered, through a whole relay.

mod registration;
