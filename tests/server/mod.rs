//! Start, stop and log of `pushlet serve`, run as a process.

mod log;
mod patience;
mod reload;
mod start;
mod stop;
mod tls;
