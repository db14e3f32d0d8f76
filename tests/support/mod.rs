//! What the tests share.

pub mod credentials;
pub mod der;
pub mod handmade;
pub mod keys;
pub mod process;
pub mod relay;
pub mod tools;
pub mod wire;
