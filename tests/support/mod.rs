//! What the tests share.

pub mod der;
pub mod keys;
pub mod tools;
