//! Start, stop and log of `pushlet serve`, run as a process.

mod log;
mod ops;
mod patience;
mod reload;
mod start;
mod stop;
mod tls;
