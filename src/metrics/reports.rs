//! Dead tokens on their way to a webhook.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Family, Page};

/// How many dead tokens ended how.
#[derive(Debug, Default)]
pub struct Reports {
    /// The receiver took them.
    pub reported: Count,
    /// The receiver refused them, or could not be reached for too long.
    pub given_up: Count,
    /// Too many waited, and these were the oldest.
    pub overflowed: Count,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// So many more.
    pub fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }
}

impl Reports {
    pub(super) fn write(&self, page: &mut Page) {
        let mut tokens = Family::counter(
            "pushlet_webhook_tokens_total",
            "Dead tokens that a webhook was to be told of.",
        );
        for (outcome, count) in [
            ("given_up", &self.given_up),
            ("overflowed", &self.overflowed),
            ("reported", &self.reported),
        ] {
            tokens.count(&[("outcome", outcome)], count.0.load(Ordering::Relaxed));
        }
        page.push(tokens);
    }
}
