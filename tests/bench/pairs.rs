//! A ratio on a noisy machine: interleaved pairs, the median of their ratios, and beside it what
//! the same thing measured twice gives.

use std::path::Path;

use crate::measure::{median, spread};
use crate::phase::Pace;
use crate::rows::{self, Calls};
use crate::stage::{Credential, Relay, Shape, Stage};

const SECS: f64 = 1.5;

/// The ratio of CPU per message in so many pairs. `ours` runs twice in each: the second by the
/// first is A/A.
fn ratio(name: &str, most: f64, pairs: usize, ours: impl Fn() -> f64, theirs: impl Fn() -> f64) {
    let (mut ratios, mut same) = (Vec::new(), Vec::new());
    let (mut all_ours, mut all_theirs) = (Vec::new(), Vec::new());
    for pair in 0..pairs {
        let (first, other, second) = (ours(), theirs(), ours());
        eprintln!("pair {}: {first:.1} {other:.1} {second:.1}", pair + 1);
        ratios.push(first / other);
        same.push(second / first);
        all_ours.push(first);
        all_theirs.push(other);
    }
    let found = median(&ratios);
    let verdict = if found <= most { "holds" } else { "does not hold" };
    println!(
        "{name}: {} of {pairs} pairs, at most {most}: {verdict}; A/A {}; µs {:.1} against {:.1}",
        spread(&ratios, 3),
        spread(&same, 3),
        median(&all_ours),
        median(&all_theirs)
    );
}

/// Every line of the table that is a ratio of CPU.
pub fn run(stage: &Stage, pairs: usize) {
    if !rows::has_h2load() {
        println!("h2load is not installed (Debian: nghttp2-client): there is nothing to pair with");
        return;
    }
    one_application(stage, pairs);
    let pace = Pace { warm_up_secs: 0.7, secs: SECS, per_sec: None };
    ratio(
        "200 streams: own transport / h2load",
        1.15,
        pairs,
        || rows::transport(stage, 200, pace).cpu_us,
        || rows::h2load(stage, 1, 200, SECS).cpu_us,
    );
    many_applications(stage, pairs);
}

/// This build against another one's `pushlet`: how a change of speed is shown.
pub fn against(stage: &Stage, other: &Path) {
    for (callers, applications) in [(64, 1), (512, 1_000)] {
        let shape = Shape::plain(stage, applications);
        let ours = Relay::start(stage, &shape);
        let theirs = Relay::start(stage, &Shape { program: other, ..shape });
        let calls = Calls::closed(callers, applications, SECS);
        ratio(
            &format!("{callers} callers, {applications} applications: this build / the other one"),
            1.0,
            10,
            || rows::relay(stage, &ours, calls).cpu_us,
            || rows::relay(stage, &theirs, calls).cpu_us,
        );
    }
}

fn one_application(stage: &Stage, pairs: usize) {
    let relay = Relay::start(stage, &Shape::plain(stage, 1));
    let calls = Calls::closed(64, 1, SECS);
    ratio(
        "64 callers, 1 application: (c) / ((a) + h2load -c1 -m64)",
        1.3,
        pairs,
        || rows::relay(stage, &relay, calls).cpu_us,
        || {
            let refused = rows::relay(stage, &relay, calls.refused()).cpu_us;
            refused + rows::h2load(stage, 1, 64, SECS).cpu_us
        },
    );
}

fn many_applications(stage: &Stage, pairs: usize) {
    let relay = Relay::start(stage, &Shape::plain(stage, 1_000));
    let calls = Calls::closed(512, 1_000, SECS);
    ratio(
        "512 callers, 1,000 applications: (c) / ((a) + h2load -c512 -m1)",
        1.3,
        pairs,
        || rows::relay(stage, &relay, calls).cpu_us,
        || {
            let refused = rows::relay(stage, &relay, calls.refused()).cpu_us;
            refused + rows::h2load(stage, 512, 1, SECS).cpu_us
        },
    );
}

/// What a send to Google costs, in sends to Apple.
pub fn google(stage: &Stage, pairs: usize) {
    let account = Shape { credential: Credential::ServiceAccount, ..Shape::plain(stage, 1) };
    let account = Relay::start(stage, &account);
    let certificate = Relay::start(stage, &Shape::plain(stage, 1));
    let calls = Calls::closed(64, 1, SECS);
    ratio(
        "64 callers, 1 application: a send to FCM / a send to APNs",
        1.5,
        pairs,
        || rows::relay(stage, &account, calls).cpu_us,
        || rows::relay(stage, &certificate, calls).cpu_us,
    );
}

/// What a message of a batch costs, in messages that come alone.
pub fn batch(stage: &Stage, pairs: usize) {
    let relay = Relay::start(stage, &Shape::plain(stage, 1));
    let single = Calls::closed(64, 1, SECS);
    let many = Calls::closed(4, 1, SECS).batch(100);
    ratio(
        "1 application: a message of a batch of 100 (4 callers) / a message alone (64 callers)",
        0.6,
        pairs,
        || rows::relay(stage, &relay, many).cpu_us,
        || rows::relay(stage, &relay, single).cpu_us,
    );
}
