//! What the tests share.

pub mod chaos_proxy;
pub mod connect_proxy;
pub mod credentials;
pub mod der;
pub mod gate;
pub mod google;
pub mod handmade;
pub mod keys;
pub mod openapi;
pub mod process;
pub mod receiver;
pub mod relay;
pub mod scripted_peer;
pub mod tools;
pub mod wire;
