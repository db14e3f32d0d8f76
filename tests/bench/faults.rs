//! What is not a matter of CPU: a long way, a bad neighbour, too many callers, added latency.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::forward::{Fault, Forwarder, Way};
use crate::load;
use crate::measure::{Latency, Sample, median, spread};
use crate::phase::Pace;
use crate::process::Worker;
use crate::rows::{self, Calls};
use crate::stage::{self, PAYLOAD_BYTES, Relay, Shape, Stage};

/// A round trip of 50 ms and the peer's windows of 65,535 bytes: one connection against the pool.
pub fn rtt(stage: &Stage, pairs: usize) {
    let delay = Duration::from_millis(25);
    let way = Way { to: stage.peer.address(), delay, fault: Fault::None, after: Duration::ZERO };
    let forwarder = Forwarder::start(way, stage.cores.load);
    let shape = Shape { url: &forwarder.url, ..Shape::plain(stage, 1) };
    let one = Shape { apns: "connections_per_application = 1", ..shape.clone() };
    let (one, four) = (Relay::start(stage, &one), Relay::start(stage, &shape));
    println!(
        "| payload, bytes | callers | 1 connection, messages/s | p50 / p99, ms | default pool of 4, messages/s | p50 / p99, ms | pool / one | one / one |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for payload_bytes in [120, 500, 1_024, 4_096] {
        // Twice what the windows of four connections hold, and no more than 500 streams on each.
        let callers = 4 * (2 * 65_535 / payload_bytes).min(500);
        let pace = Pace { warm_up_secs: 3.0, secs: 3.0, per_sec: None };
        let calls = Calls { payload_bytes, pace, ..Calls::closed(callers, 1, 0.0) };
        let (mut alone, mut pooled) = (Vec::new(), Vec::new());
        let (mut ratios, mut same) = (Vec::new(), Vec::new());
        for _ in 0..pairs {
            let [a, b, c] = [&one, &four, &one].map(|relay| rows::relay(stage, relay, calls));
            ratios.push(b.per_sec / a.per_sec);
            same.push(c.per_sec / a.per_sec);
            alone.push(a);
            pooled.push(b);
        }
        let speed = |samples: &[Sample]| {
            median(&samples.iter().map(|sample| sample.per_sec).collect::<Vec<_>>())
        };
        let waits = |samples: &[Sample]| {
            let latency = samples.last().and_then(|sample| sample.latency).unwrap_or_default();
            format!("{} / {}", latency.p50_us / 1_000, latency.p99_us / 1_000)
        };
        println!(
            "| {payload_bytes} | {callers} | {:.0} | {} | {:.0} | {} | {} | {} |",
            speed(&alone),
            waits(&alone),
            speed(&pooled),
            waits(&pooled),
            spread(&ratios, 2),
            spread(&same, 2)
        );
    }
}

/// The latency of a healthy application while another one's way to its peer is bad, against that while
/// both are well, and against that of the healthy one alone.
pub fn isolation(stage: &Stage, pairs: usize) {
    isolated(stage, pairs, Trouble::Stalls, true);
    isolated(stage, pairs, Trouble::Stalls, false);
    isolated(stage, pairs, Trouble::IsCut, true);
    isolated(stage, pairs, Trouble::IsRefused, true);
}

/// What the neighbour of a healthy application has.
#[derive(Clone, Copy)]
enum Trouble {
    /// Its connections are cut, each soon after it was made.
    IsCut,
    /// Its certificate is dead: Apple takes its connections and refuses each message.
    IsRefused,
    None,
    /// Its connections carry nothing any more, and nobody says so.
    Stalls,
}

impl Trouble {
    fn told(self) -> &'static str {
        match self {
            Self::IsCut => "its connections are cut",
            Self::IsRefused => "its certificate is refused",
            Self::None => "it is well",
            Self::Stalls => "its connections stall",
        }
    }
}

/// The peer of the neighbour.
enum Peer {
    Forwarded(Forwarder),
    Refusing(stage::Peer),
}

impl Peer {
    fn start(stage: &Stage, trouble: Trouble) -> Self {
        let fault = match trouble {
            Trouble::IsCut => Fault::Cut,
            Trouble::IsRefused => return Self::refusing(stage),
            Trouble::None => Fault::None,
            Trouble::Stalls => Fault::Stall,
        };
        let (to, after) = (stage.peer.address(), Duration::from_millis(300));
        let way = Way { to, delay: Duration::ZERO, fault, after };
        Self::Forwarded(Forwarder::start(way, stage.cores.load))
    }

    /// One that relays to come trust as they do the other one.
    fn refusing(stage: &Stage) -> Self {
        let peer = stage::Peer::start(stage.file("refusing.pem"), stage.cores.load);
        peer.script(r#"{"answer":"reject","reason":"BadCertificate","times":0}"#);
        let mut trusted = std::fs::File::options();
        let mut trusted = trusted.append(true).open(&stage.peer.ca_file).unwrap();
        trusted.write_all(&std::fs::read(&peer.ca_file).unwrap()).unwrap();
        Self::Refusing(peer)
    }

    fn url(&self) -> String {
        match self {
            Self::Forwarded(forwarder) => forwarder.url.clone(),
            Self::Refusing(peer) => peer.url.clone(),
        }
    }
}

fn isolated(stage: &Stage, pairs: usize, trouble: Trouble, has_neighbour: bool) {
    let [bad, good] = [trouble, Trouble::None].map(|trouble| {
        let peer = Peer::start(stage, trouble);
        let shape = Shape {
            sandboxed: 1,
            sandbox_url: &peer.url(),
            apns: "timeout = \"2s\"",
            ..Shape::plain(stage, 1)
        };
        (Relay::start(stage, &shape), peer)
    });
    let good = || healthy_latency(stage, &good.0, has_neighbour);
    let beside_bad = || healthy_latency(stage, &bad.0, true);
    let pairs: Vec<[Latency; 3]> = (0..pairs).map(|_| [good(), beside_bad(), good()]).collect();
    let than = if has_neighbour { "when both are well" } else { "alone" };
    println!("A healthy application beside another, {}, against {than}:", trouble.told());
    show(&pairs, "ratio, at most 1.2", |other, first| other / first);
}

fn healthy_latency(stage: &Stage, relay: &Relay, has_neighbour: bool) -> Latency {
    let plan = |first, callers, per_sec| load::Plan {
        address: relay.address,
        callers,
        first,
        applications: 1,
        batch: 1,
        refused: false,
        payload_bytes: PAYLOAD_BYTES,
        pace: Pace { warm_up_secs: 0.5, secs: 4.0, per_sec: Some(per_sec) },
    };
    let warm = |plan| Worker::warm(load::KIND, &plan, stage.cores.load);
    let mut neighbour = has_neighbour.then(|| warm(plan(1, 256, 300.0)));
    let mut healthy = warm(plan(0, 64, 2_000.0));
    neighbour.iter_mut().for_each(Worker::go);
    healthy.go();
    let outcome = healthy.outcome();
    outcome.must_all_be(200);
    if let Some(other) = neighbour.map(Worker::outcome) {
        assert_eq!(other.broken, 0, "calls of the neighbour stayed without an answer: {other:?}");
    }
    outcome.latency
}

/// Many more callers than can be served, for a minute.
pub fn overload(stage: &Stage) {
    const IN_FLIGHT: usize = 512;
    let shape = Shape { apns: "max_in_flight_per_application = 512", ..Shape::plain(stage, 1) };
    let relay = Relay::start(stage, &shape);
    let pace = Pace { warm_up_secs: 0.0, secs: 60.0, per_sec: None };
    let calls = Calls { pace, ..Calls::closed(10 * IN_FLIGHT, 1, 0.0) };
    let mut worker = Worker::warm(load::KIND, &calls.plan(&relay), stage.cores.load);
    let start = Instant::now();
    worker.go();
    let mut memory = Vec::new();
    for second in 1..60 {
        let next = start + Duration::from_secs(second);
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        memory.push(relay.process.rss_kib().0);
    }
    let outcome = worker.outcome();
    println!(
        "{} callers for 60 s, {IN_FLIGHT} let in: {} accepted, {} answered 503, {} others, {} \
         without an answer; the slowest accepted one took {} ms of its 10 s; memory {} MiB after \
         10 s, {} MiB at the end, {} MiB at its highest",
        10 * IN_FLIGHT,
        outcome.count(200),
        outcome.count(503),
        outcome.total() - outcome.count(200) - outcome.count(503),
        outcome.broken,
        outcome.latency.max_us / 1_000,
        memory.get(9).copied().unwrap_or_default() / 1_024,
        memory.last().copied().unwrap_or_default() / 1_024,
        relay.process.rss_kib().1 / 1_024
    );
}

/// What the relay adds to the latency of a direct client, at half of what it can do.
pub fn latency(stage: &Stage, pairs: usize) {
    const CALLERS: usize = 64;
    let relay = Relay::start(stage, &Shape::plain(stage, 1));
    let closed = Calls::closed(CALLERS, 1, 1.0);
    let latency = |sample: Sample| sample.latency.expect("calls were answered");
    let mut halves = Vec::new();
    let pairs: Vec<[Latency; 3]> = (0..pairs)
        .map(|_| {
            // Asked for each pair: what a machine can do changes from one to the next.
            let half = rows::relay(stage, &relay, closed).per_sec / 2.0;
            halves.push(half);
            let pace = Pace { warm_up_secs: 0.7, secs: 3.0, per_sec: Some(half) };
            let direct = || latency(rows::transport(stage, CALLERS, pace));
            [direct(), latency(rows::relay(stage, &relay, Calls { pace, ..closed })), direct()]
        })
        .collect();
    println!("At {} messages/s (half load), through the relay against direct:", spread(&halves, 0));
    show(&pairs, "added ms, at most 1", |other, first| other - first);
}

/// What the second of each three is to the first, by the p99 in milliseconds; the third is as the first.
fn show(pairs: &[[Latency; 3]], told: &str, compare: fn(f64, f64) -> f64) {
    type Figure = fn(&Latency) -> u32;
    let figures: [(&str, Figure); 2] = [
        ("p99", |latency| latency.p99_us),
        ("p99 of a tenth of a second, median", |latency| latency.p99_of_windows_us),
    ];
    for (name, of) in figures {
        let ms = |latency: &Latency| f64::from(of(latency)) / 1e3;
        let all =
            |value: &dyn Fn(&[Latency; 3]) -> f64| pairs.iter().map(value).collect::<Vec<_>>();
        println!(
            "{name}: {:.2} ms against {:.2} ms; {told}: {} of {} pairs; A/A {}",
            median(&all(&|[_, other, _]| ms(other))),
            median(&all(&|[first, ..]| ms(first))),
            spread(&all(&|[first, other, _]| compare(ms(other), ms(first))), 2),
            pairs.len(),
            spread(&all(&|[first, _, again]| compare(ms(again), ms(first))), 2),
        );
    }
}
