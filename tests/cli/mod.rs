//! The subcommands, run as processes.

mod arguments;
mod demo;
mod simulate;
