//! What callers have registered.

pub mod feedback;
pub mod preload;
