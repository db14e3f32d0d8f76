//! What one run came to, and how several runs are put together.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// How long a machine may be slow for before its latencies are told apart from the others'.
const WINDOW_MS: u64 = 100;

/// What a load client counted.
#[derive(Default)]
pub struct Tally {
    /// Each with the window in which the call started.
    latencies_us: Vec<(u32, u32)>,
    answered: BTreeMap<u16, u64>,
    broken: u64,
}

impl Tally {
    /// One answer; only those with the expected status count for the latency.
    pub fn answered(&mut self, status: u16, expected: u16, start: Instant) {
        static FIRST: LazyLock<Instant> = LazyLock::new(Instant::now);
        *self.answered.entry(status).or_default() += 1;
        if status == expected {
            let since_first = start.saturating_duration_since(*FIRST);
            let window = since_first.as_millis() as u64 / WINDOW_MS;
            let took_us = u32::try_from(start.elapsed().as_micros()).unwrap_or(u32::MAX);
            self.latencies_us.push((window as u32, took_us));
        }
    }

    /// A call without an answer.
    pub fn broke(&mut self) {
        self.broken += 1;
    }

    pub fn add(&mut self, other: Self) {
        self.latencies_us.extend(other.latencies_us);
        self.broken += other.broken;
        for (status, count) in other.answered {
            *self.answered.entry(status).or_default() += count;
        }
    }

    pub fn outcome(self, took: Duration, cpu: Duration) -> Outcome {
        let at = |sorted: &[u32], share: f64| {
            let last = sorted.len().saturating_sub(1);
            sorted.get((last as f64 * share) as usize).copied().unwrap_or_default()
        };
        let mut all: Vec<u32> =
            self.latencies_us.iter().map(|(_, latency_us)| *latency_us).collect();
        all.sort_unstable();
        let mut windows = BTreeMap::<u32, Vec<u32>>::new();
        for (window, latency_us) in self.latencies_us {
            windows.entry(window).or_default().push(latency_us);
        }
        let of_windows = windows.into_values().map(|mut window| {
            window.sort_unstable();
            f64::from(at(&window, 0.99))
        });
        let latency = Latency {
            p50_us: at(&all, 0.5),
            p99_us: at(&all, 0.99),
            p999_us: at(&all, 0.999),
            max_us: at(&all, 1.0),
            p99_of_windows_us: median(&of_windows.collect::<Vec<_>>()) as u32,
        };
        let (secs, cpu_secs) = (took.as_secs_f64(), cpu.as_secs_f64());
        Outcome { answered: self.answered, broken: self.broken, secs, cpu_secs, latency }
    }
}

/// What a load client reports.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Answers by status.
    pub answered: BTreeMap<u16, u64>,
    /// Calls without an answer.
    pub broken: u64,
    pub secs: f64,
    /// User and system time of the load client itself.
    pub cpu_secs: f64,
    /// Of the answers with the expected status.
    pub latency: Latency,
}

/// Percentiles, in microseconds.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Latency {
    pub p50_us: u32,
    pub p99_us: u32,
    pub p999_us: u32,
    pub max_us: u32,
    /// The median of the p99 of each tenth of a second: what it is while the machine runs at its
    /// speed, if that is so for more than half of the time.
    pub p99_of_windows_us: u32,
}

impl Outcome {
    pub fn total(&self) -> u64 {
        self.answered.values().sum()
    }

    pub fn count(&self, status: u16) -> u64 {
        self.answered.get(&status).copied().unwrap_or_default()
    }

    /// Fails the run unless every call was answered, with this status.
    pub fn must_all_be(&self, status: u16) {
        let clean = self.broken == 0 && self.answered.keys().all(|found| *found == status);
        assert!(
            clean && self.total() > 0,
            "not every call was answered {status}: {:?}, {} without an answer",
            self.answered,
            self.broken
        );
    }
}

/// One run of a row.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sample {
    pub cpu_us: f64,
    pub per_sec: f64,
    pub latency: Option<Latency>,
    /// Of the relay: now, and at its highest.
    pub rss_kib: Option<(u64, u64)>,
}

/// The share of 5 ms in which a loop of arithmetic, alone on the machine, does less than half of what it
/// usually does: how often the machine stands still or slows down, whatever runs on it.
pub fn share_of_slow_time() -> f64 {
    const WINDOWS: u32 = 400;
    let start = Instant::now();
    let done: Vec<f64> = (1..=WINDOWS)
        .map(|window| {
            let mut rounds = 0_u32;
            while start.elapsed() < Duration::from_millis(5) * window {
                std::hint::black_box(
                    (0..2_000_u64).fold(1_u64, |sum, number| sum.wrapping_mul(31) ^ number),
                );
                rounds += 1;
            }
            f64::from(rounds)
        })
        .collect();
    let half = median(&done) / 2.0;
    done.iter().filter(|rounds| **rounds < half).count() as f64 / f64::from(WINDOWS)
}

/// The middle one; the mean of the middle two of an even number.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        even if even % 2 == 0 => f64::midpoint(sorted[half - 1], sorted[half]),
        _ => sorted[half],
    }
}

/// `median (lowest–highest)`.
pub fn spread(values: &[f64], digits: usize) -> String {
    let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{:.digits$} ({lowest:.digits$}–{highest:.digits$})", median(values))
}
