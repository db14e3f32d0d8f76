//! How long calls may take: a limit that a reload may change under them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A duration in whole milliseconds, which is how the configuration spells them.
#[derive(Debug)]
pub(super) struct Timeout(AtomicU64);

impl Timeout {
    pub(super) fn new(timeout: Duration) -> Self {
        Self(AtomicU64::new(millis(timeout)))
    }

    pub(super) fn get(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }

    pub(super) fn set(&self, timeout: Duration) {
        self.0.store(millis(timeout), Ordering::Relaxed);
    }
}

fn millis(timeout: Duration) -> u64 {
    u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)
}
