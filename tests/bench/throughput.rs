//! What a message costs: `cargo bench --bench throughput`, with options after `--`.
//!
//! | option | what it measures |
//! |---|---|
//! | none | the main rows, in less than three minutes |
//! | `--full` | every row, and all that follows |
//! | `--pairs` | the ratios of CPU by ten interleaved pairs |
//! | `--batch` | what a message of a batch of 100 costs, in messages that come alone |
//! | `--google` | what a send to FCM costs, in sends to APNs |
//! | `--rtt` | a round trip of 50 ms: one connection against the pool |
//! | `--isolation` | a healthy application beside one whose peer is not |
//! | `--overload` | ten times more callers than are let in, for a minute |
//! | `--latency` | what the relay adds at half load |
//! | `--against=PATH` | this build against another one's `pushlet`, by ten interleaved pairs |
//!
//! `--pairs=N`, `--rtt=N`, `--isolation=N` and `--latency=N` take another number of pairs.
//!
//! Relay, peer and load clients are processes of their own; where there are two cores or more,
//! what is measured has one to itself. Linux only: costs are read in `/proc`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    unreachable_pub,
    missing_docs,
    reason = "a benchmark that cannot go on panics, may block, and prints its table"
)]

mod direct;
mod faults;
mod forward;
mod load;
mod measure;
mod pairs;
mod phase;
mod process;
mod rows;
mod stage;
mod table;

use std::path::Path;

use stage::Stage;
use table::Extent;

/// As in the program, whose transport is measured here on its own as well.
#[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some(direct::KIND) => child(direct::child()),
        Some(forward::KIND) => child(forward::child()),
        Some(load::KIND) => child(load::child()),
        _ => bench(&arguments),
    }
}

fn child(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
}

fn bench(arguments: &[String]) {
    if let Some(other) = arguments.iter().find_map(|given| given.strip_prefix("--against=")) {
        pairs::against(&Stage::set(), Path::new(other));
        return;
    }
    let known = [
        "--full",
        "--pairs",
        "--batch",
        "--google",
        "--rtt",
        "--isolation",
        "--overload",
        "--latency",
    ];
    // Cargo itself passes `--bench`.
    let mut asked: Vec<(&str, Option<usize>)> = Vec::new();
    for argument in arguments.iter().filter(|argument| *argument != "--bench") {
        let (name, number) = match argument.split_once('=') {
            Some((name, number)) => (name, number.parse().ok()),
            None => (argument.as_str(), None),
        };
        assert!(known.contains(&name), "{argument} is none of {}", known.join(", "));
        asked.push((name, number));
    }
    let full = asked.iter().any(|(name, _)| *name == "--full");
    let stage = Stage::set();
    if asked.is_empty() || full {
        let short = Extent { rounds: 3, secs: 2.0, full: false };
        let long = Extent { rounds: 5, secs: 3.0, full: true };
        table::run(&stage, if full { long } else { short });
    } else {
        println!("{}\n", table::machine(&stage));
    }
    let wanted = |name: &str, usual: usize| {
        let found = asked.iter().find(|(asked, _)| *asked == name);
        found.map(|(_, number)| number.unwrap_or(usual)).or(full.then_some(usual))
    };
    wanted("--pairs", 10).into_iter().for_each(|pairs| pairs::run(&stage, pairs));
    wanted("--batch", 10).into_iter().for_each(|pairs| pairs::batch(&stage, pairs));
    wanted("--google", 10).into_iter().for_each(|pairs| pairs::google(&stage, pairs));
    wanted("--latency", 10).into_iter().for_each(|pairs| faults::latency(&stage, pairs));
    wanted("--rtt", 3).into_iter().for_each(|pairs| faults::rtt(&stage, pairs));
    wanted("--isolation", 5).into_iter().for_each(|pairs| faults::isolation(&stage, pairs));
    wanted("--overload", 1).into_iter().for_each(|_| faults::overload(&stage));
}
