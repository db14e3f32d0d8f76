//! From "please send" to an end, through a whole relay.

mod circuit;
mod load;
mod webhook;
