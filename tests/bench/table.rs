//! The table: every row some rounds, in turn, so that a machine that changes its mood changes it
//! for all of them.

use std::fs;

use crate::measure::{Latency, Sample, median, share_of_slow_time, spread};
use crate::phase::Pace;
use crate::rows::{self, Calls};
use crate::stage::{Credential, Relay, Shape, Stage};

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    pub rounds: usize,
    pub secs: f64,
    /// Every row, instead of the main ones.
    pub full: bool,
}

/// What is run for a row.
enum Work {
    H2load { clients: usize, streams: usize },
    Relay { relay: usize, calls: Calls },
    Transport { streams: usize },
}

struct Row {
    name: String,
    work: Work,
    samples: Vec<Sample>,
}

/// Measures and prints.
pub fn run(stage: &Stage, extent: Extent) {
    let shapes = shapes(extent.full);
    let relays: Vec<Relay> = shapes
        .iter()
        .map(|(applications, credential)| {
            let shape = Shape { credential: *credential, ..Shape::plain(stage, *applications) };
            Relay::start(stage, &shape)
        })
        .collect();
    let mut rows = all_rows(&shapes, extent);
    for round in 0..extent.rounds {
        eprintln!("round {} of {}", round + 1, extent.rounds);
        for row in &mut rows {
            let sample = measure(stage, &relays, &row.work, extent.secs);
            row.samples.push(sample);
        }
    }
    print(stage, &rows, extent);
    ratios(&rows);
    memory(&shapes, &rows);
}

fn shapes(full: bool) -> Vec<(usize, Credential)> {
    let all = [
        (1, Credential::Certificate),
        (1_000, Credential::Certificate),
        (1, Credential::Token),
        (1, Credential::ServiceAccount),
        (100, Credential::Certificate),
        (100, Credential::Token),
        (1_000, Credential::Token),
    ];
    all[..if full { all.len() } else { 4 }].to_vec()
}

fn all_rows(shapes: &[(usize, Credential)], extent: Extent) -> Vec<Row> {
    let row = |name: String, work| Row { name, work, samples: Vec::new() };
    let mut rows = Vec::new();
    let callers: &[usize] = if extent.full { &[1, 64, 512] } else { &[64, 512] };
    for &callers in callers {
        let calls = Calls::closed(callers, 1, extent.secs).refused();
        rows.push(row(refused_name(callers), Work::Relay { relay: 0, calls }));
    }
    if rows::has_h2load() {
        for (clients, streams) in [(1, 64), (1, 200), (512, 1)] {
            rows.push(row(h2load_name(clients, streams), Work::H2load { clients, streams }));
        }
    }
    for streams in [64, 200] {
        rows.push(row(transport_name(streams), Work::Transport { streams }));
    }
    for (relay, &(applications, credential)) in shapes.iter().enumerate() {
        for callers in [1, 64, 512] {
            let main = match (applications, credential) {
                (1, Credential::Certificate) => true,
                (1, Credential::ServiceAccount | Credential::Token) => callers == 64,
                _ => callers == 512,
            };
            if main || extent.full {
                let calls = Calls::closed(callers, applications, extent.secs);
                let name = relay_name(callers, applications, credential);
                rows.push(row(name, Work::Relay { relay, calls }));
            }
        }
    }
    rows
}

fn refused_name(callers: usize) -> String {
    format!("(a) HTTP in alone, {callers} callers")
}

fn h2load_name(clients: usize, streams: usize) -> String {
    format!("(b) h2load -c{clients} -m{streams}")
}

fn transport_name(streams: usize) -> String {
    format!("(b) own transport, {streams} streams")
}

fn relay_name(callers: usize, applications: usize, credential: Credential) -> String {
    let credential = match credential {
        Credential::Certificate => "certificate",
        Credential::ServiceAccount => "FCM",
        Credential::Token => "token",
    };
    format!("(c) relay, {callers} callers, {applications} apps, {credential}")
}

fn measure(stage: &Stage, relays: &[Relay], work: &Work, secs: f64) -> Sample {
    match *work {
        Work::H2load { clients, streams } => rows::h2load(stage, clients, streams, secs),
        Work::Relay { relay, calls } => rows::relay(stage, &relays[relay], calls),
        Work::Transport { streams } => {
            let pace = Pace { warm_up_secs: 0.7, secs, per_sec: None };
            rows::transport(stage, streams, pace)
        }
    }
}

fn print(stage: &Stage, rows: &[Row], extent: Extent) {
    println!("{}\n", machine(stage));
    println!(
        "{} rounds of {} s; median (lowest–highest); latencies are medians, in ms\n",
        extent.rounds, extent.secs
    );
    println!("| | CPU per message, µs | messages/s | p50 | p99 | p99.9 | RSS / peak, MiB |");
    println!("|---|---|---|---|---|---|---|");
    for row in rows {
        let column = |value: fn(&Sample) -> f64| row.samples.iter().map(value).collect::<Vec<_>>();
        println!(
            "| {} | {} | {} | {} | {} |",
            row.name,
            spread(&column(|sample| sample.cpu_us), 1),
            spread(&column(|sample| sample.per_sec), 0),
            latencies(&row.samples),
            rss(&row.samples)
        );
    }
    if !rows::has_h2load() {
        println!("| (b) h2load | not installed (Debian: nghttp2-client) | | | | | |");
    }
    println!("| gorush | {} | | | | | |", gorush());
    println!(
        "\n(a) is the call of (c) with a `collapse_id` of 65 bytes: refused after the payload was \
         assembled, when only its size is still to be looked at.\n"
    );
}

fn latencies(samples: &[Sample]) -> String {
    let column = |value: fn(&Latency) -> u32| {
        let values: Vec<f64> = samples
            .iter()
            .filter_map(|sample| sample.latency.as_ref())
            .map(|latency| f64::from(value(latency)) / 1e3)
            .collect();
        if values.is_empty() { "–".to_owned() } else { format!("{:.2}", median(&values)) }
    };
    let [p50, p99, p999] = [
        column(|latency| latency.p50_us),
        column(|latency| latency.p99_us),
        column(|latency| latency.p999_us),
    ];
    format!("{p50} | {p99} | {p999}")
}

fn rss(samples: &[Sample]) -> String {
    let last = samples.last().and_then(|sample| sample.rss_kib);
    last.map_or("–".to_owned(), |(now, most)| format!("{} / {}", now / 1_024, most / 1_024))
}

/// It could only be run on other work: the address of APNs is compiled into it.
fn gorush() -> &'static str {
    if crate::process::is_on_path("gorush") {
        "installed, and has no option for the address of APNs: it cannot be given this work"
    } else {
        "not installed"
    }
}

/// The middle value of a row.
fn cpu(rows: &[Row], name: &str) -> Option<f64> {
    let row = rows.iter().find(|row| row.name == name)?;
    Some(median(&row.samples.iter().map(|sample| sample.cpu_us).collect::<Vec<_>>()))
}

fn ratios(rows: &[Row]) {
    let certificate = Credential::Certificate;
    let sum = |callers, clients, streams| {
        Some(cpu(rows, &refused_name(callers))? + cpu(rows, &h2load_name(clients, streams))?)
    };
    let lines = [
        (
            "64 callers, 1 application: (c) / ((a) + h2load -c1 -m64), at most 1.3",
            cpu(rows, &relay_name(64, 1, certificate)),
            sum(64, 1, 64),
        ),
        (
            "200 streams: own transport / h2load, at most 1.15",
            cpu(rows, &transport_name(200)),
            cpu(rows, &h2load_name(1, 200)),
        ),
        (
            "512 callers, 1,000 applications: (c) / ((a) + h2load -c512 -m1), at most 1.3",
            cpu(rows, &relay_name(512, 1_000, certificate)),
            sum(512, 512, 1),
        ),
    ];
    for (name, ours, theirs) in lines {
        match ours.zip(theirs) {
            Some((ours, theirs)) => println!("{name}: {:.2}", ours / theirs),
            None => println!("{name}: not measured"),
        }
    }
}

/// What a connected application takes: the difference to one application with the same callers.
fn memory(shapes: &[(usize, Credential)], rows: &[Row]) {
    let rss = |applications, credential| {
        let name = relay_name(512, applications, credential);
        let row = rows.iter().find(|row| row.name == name)?;
        row.samples.last()?.rss_kib.map(|(now, _)| now)
    };
    let Some(one) = rss(1, Credential::Certificate) else { return };
    for &(applications, credential) in shapes.iter().filter(|(count, _)| *count >= 1_000) {
        let Some(all) = rss(applications, credential) else { continue };
        let each = all.saturating_sub(one) as f64 / (applications - 1) as f64;
        println!(
            "{} against 1 app: {each:.0} KiB for each connected application, at most 100",
            relay_name(512, applications, credential)
        );
    }
}

/// What it was measured on.
pub fn machine(stage: &Stage) -> String {
    let field = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let places = match (stage.cores.measured, stage.cores.peer, stage.cores.load) {
        (Some(measured), Some(peer), Some(load)) => format!(
            "what is measured alone on core {measured}, peer on {peer}, load client on {load}"
        ),
        _ => "nothing is pinned".to_owned(),
    };
    format!(
        "{cores} × {}, memory {}, Linux {}; {places}; load before the end {}; alone, a loop of \
         arithmetic does less than half of what it can in {:.1} % of all 5 ms",
        field("/proc/cpuinfo", "model name"),
        field("/proc/meminfo", "MemTotal"),
        kernel.trim(),
        load.split_whitespace().next().unwrap_or_default(),
        share_of_slow_time() * 100.0
    )
}
