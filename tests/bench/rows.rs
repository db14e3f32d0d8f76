//! The rows that are measured: one run of each.

use std::process::Stdio;
use std::time::Duration;

use crate::measure::Sample;
use crate::phase::Pace;
use crate::process::{Worker, children_cpu, command, is_on_path};
use crate::stage::{APNS_ID, PAYLOAD_BYTES, Relay, Stage, TOPIC};
use crate::{direct, load};

/// What a run of a relay asks for.
#[derive(Debug, Clone, Copy)]
pub struct Calls {
    pub callers: usize,
    pub applications: usize,
    /// Messages of each call.
    pub batch: usize,
    pub refused: bool,
    pub payload_bytes: usize,
    pub pace: Pace,
}

impl Calls {
    /// A closed loop with usual payloads.
    pub fn closed(callers: usize, applications: usize, secs: f64) -> Self {
        let pace = Pace { warm_up_secs: 0.7, secs, per_sec: None };
        Self { callers, applications, batch: 1, refused: false, payload_bytes: PAYLOAD_BYTES, pace }
    }

    /// The same calls with so many messages each.
    pub fn batch(self, batch: usize) -> Self {
        Self { batch, ..self }
    }

    /// The same calls, refused by the last check but one.
    pub fn refused(self) -> Self {
        Self { refused: true, ..self }
    }

    /// The load client's plan.
    pub fn plan(self, relay: &Relay) -> load::Plan {
        load::Plan {
            address: relay.address,
            callers: self.callers,
            first: 0,
            applications: self.applications,
            batch: self.batch,
            refused: self.refused,
            payload_bytes: self.payload_bytes,
            pace: self.pace,
        }
    }
}

/// The relay, whole or refusing: what a message costs it while the load client runs.
pub fn relay(stage: &Stage, relay: &Relay, calls: Calls) -> Sample {
    let mut worker = Worker::warm(load::KIND, &calls.plan(relay), stage.cores.load);
    let before = relay.process.cpu();
    worker.go();
    let outcome = worker.outcome();
    let cpu = relay.process.cpu() - before;
    outcome.must_all_be(if calls.refused { 400 } else { 200 });
    let count = (outcome.total() * calls.batch as u64) as f64;
    Sample {
        cpu_us: cpu.as_secs_f64() * 1e6 / count,
        per_sec: count / outcome.secs,
        latency: Some(outcome.latency),
        rss_kib: Some(relay.process.rss_kib()),
    }
}

/// Our own transport, straight to the peer.
pub fn transport(stage: &Stage, streams: usize, pace: Pace) -> Sample {
    let plan = direct::Plan {
        url: stage.peer.url.clone(),
        ca_file: stage.peer.ca_file.clone(),
        pem_file: stage.file("app.pem"),
        streams,
        payload_bytes: PAYLOAD_BYTES,
        pace,
    };
    let mut worker = Worker::warm(direct::KIND, &plan, stage.cores.measured);
    worker.go();
    let outcome = worker.outcome();
    outcome.must_all_be(200);
    let count = outcome.total() as f64;
    Sample {
        cpu_us: outcome.cpu_secs * 1e6 / count,
        per_sec: count / outcome.secs,
        latency: Some(outcome.latency),
        rss_kib: None,
    }
}

/// Whether `h2load` is there.
pub fn has_h2load() -> bool {
    is_on_path("h2load")
}

/// `h2load`, straight to the peer, with as many device tokens as the load client has; the other
/// headers it cannot vary. What starting and connecting cost is taken off by a run with few
/// requests.
pub fn h2load(stage: &Stage, clients: usize, streams: usize, secs: f64) -> Sample {
    let few = clients * 2;
    let many = few + (secs * 40_000.0) as usize;
    let (fixed, _) = h2load_run(stage, clients, streams, few);
    let (whole, per_sec) = h2load_run(stage, clients, streams, many);
    let cpu = whole.saturating_sub(fixed);
    let cpu_us = cpu.as_secs_f64() * 1e6 / (many - few) as f64;
    Sample { cpu_us, per_sec, latency: None, rss_kib: None }
}

fn h2load_run(stage: &Stage, clients: usize, streams: usize, requests: usize) -> (Duration, f64) {
    let mut h2load = command("h2load", stage.cores.measured);
    h2load
        .args([format!("-n{requests}"), format!("-c{clients}"), format!("-m{streams}")])
        .args(["-t1", "-d"])
        .arg(stage.file("payload.json"))
        .args(["-H", &format!("apns-id: {APNS_ID}")])
        .args(["-H", &format!("apns-topic: {TOPIC}"), "-H", "apns-push-type: alert"])
        .args(["-H", "content-type: application/json"])
        .arg("-i")
        .arg(stage.file("uris.txt"))
        .stderr(Stdio::inherit());
    let before = children_cpu();
    let output = h2load.output().unwrap();
    let cpu = children_cpu() - before;
    let text = String::from_utf8_lossy(&output.stdout);
    let all = format!("{requests} succeeded");
    assert!(text.contains(&all), "h2load did not get an answer to each request:\n{text}");
    // `finished in 1.23s, 81234.56 req/s, 9.88MB/s`
    let per_sec = text.lines().find_map(|line| {
        let (_, rest) = line.strip_prefix("finished in ")?.split_once(", ")?;
        rest.split_once(" req/s")?.0.parse().ok()
    });
    (cpu, per_sec.expect("h2load says how fast it was"))
}
