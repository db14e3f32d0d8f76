//! What the fuzz targets share.
//!
//! `cargo fuzz run TARGET --fuzz-dir tests/fuzz -s none` runs one of them; a stable compiler will
//! do. Each begins by writing its seeds into `corpus/`: keys and certificates are made on the
//! spot, so that no secret is in the tree.

pub mod certificate;
pub mod cost;
#[path = "../../support/der.rs"]
pub mod der;
#[path = "../../support/handmade.rs"]
pub mod handmade;
#[path = "../../support/keys.rs"]
pub mod keys;
pub mod parameters;
pub mod seeds;
