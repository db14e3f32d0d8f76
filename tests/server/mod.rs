//! Start, stop and log of `pushlet serve`, run as a process.

mod log;
mod reload;
mod start;
mod stop;
