//! Start, stop and log of `pushlet serve`, run as a process.

mod log;
mod start;
mod stop;
