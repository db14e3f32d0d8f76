//! From "please send" to an end, through a whole relay.

mod circuit;
mod deadline;
mod hang_up;
mod load;
mod webhook;
