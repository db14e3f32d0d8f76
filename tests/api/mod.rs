//! The HTTP surface.

mod body;
