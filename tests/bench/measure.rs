//! What one run came to, and how several runs are put together.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a load client counted.
#[derive(Default)]
pub struct Tally {
    latencies_us: Vec<u32>,
    answered: BTreeMap<u16, u64>,
    broken: u64,
}

impl Tally {
    /// One answer; only those with the expected status count for the latency.
    pub fn answered(&mut self, status: u16, expected: u16, took: Duration) {
        *self.answered.entry(status).or_default() += 1;
        if status == expected {
            self.latencies_us.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
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

    pub fn outcome(mut self, took: Duration, cpu: Duration) -> Outcome {
        self.latencies_us.sort_unstable();
        let at = |share: f64| {
            let last = self.latencies_us.len().saturating_sub(1);
            self.latencies_us.get((last as f64 * share) as usize).copied().unwrap_or_default()
        };
        let latency =
            Latency { p50_us: at(0.5), p99_us: at(0.99), p999_us: at(0.999), max_us: at(1.0) };
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
