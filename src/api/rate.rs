//! How many messages a second a caller may send: the generic cell rate algorithm, which is a bucket
//! that fills by one at a time.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The rate of one credential.
#[derive(Debug)]
pub(super) struct Rate {
    /// Between two messages.
    interval: Duration,
    /// How far ahead of that messages may come.
    burst: Duration,
    /// Guards when the bucket is full again; held for one reservation.
    full_at: Mutex<Option<Instant>>,
}

impl Rate {
    /// So many messages a second, and at most `burst` of them at once.
    pub(super) fn new(per_sec: u32, burst: u32) -> Self {
        let interval = Duration::from_secs(1).checked_div(per_sec).unwrap_or_default();
        Self { interval, burst: interval.saturating_mul(burst.max(1)), full_at: Mutex::default() }
    }

    /// Takes places for `count` messages that go out together, more than a burst as one: when they
    /// may go.
    ///
    /// # Errors
    /// How long to wait, where that is after `latest`; nothing was taken.
    pub(super) fn reserve(
        &self,
        count: u32,
        now: Instant,
        latest: Instant,
    ) -> Result<Instant, Duration> {
        let cost = self.interval.saturating_mul(count);
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let start = full_at.unwrap_or(now).max(now);
        let wait = self.wait(start, cost, now);
        if now + wait > latest {
            return Err(wait);
        }
        *full_at = Some(start + cost);
        Ok(now + wait)
    }

    /// When one more message could go, if nobody takes its place until then.
    pub(super) fn opens_at(&self, now: Instant) -> Instant {
        let full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        now + self.wait(full_at.unwrap_or(now).max(now), self.interval, now)
    }

    fn wait(&self, start: Instant, cost: Duration, now: Instant) -> Duration {
        let ahead = start.saturating_duration_since(now).saturating_add(cost.min(self.burst));
        ahead.saturating_sub(self.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENTH: Duration = Duration::from_millis(100);

    #[test]
    fn a_burst_goes_at_once_and_the_rest_at_the_rate() {
        let rate = Rate::new(10, 3);
        let now = Instant::now();

        for _ in 0..3 {
            assert_eq!(rate.reserve(1, now, now), Ok(now));
        }
        assert_eq!(rate.reserve(1, now, now), Err(TENTH));
        assert_eq!(rate.opens_at(now), now + TENTH);
        assert_eq!(rate.reserve(1, now + TENTH, now + TENTH), Ok(now + TENTH));
        assert_eq!(rate.reserve(1, now + TENTH, now + TENTH * 5), Ok(now + TENTH * 2));
        let later = now + TENTH * 100;
        assert_eq!(rate.reserve(3, later, later), Ok(later), "it fills up, and no further");
        assert_eq!(rate.reserve(1, later, later), Err(TENTH));
    }

    #[test]
    fn more_than_a_burst_goes_when_the_bucket_is_full_and_is_paid_afterwards() {
        let rate = Rate::new(10, 3);
        let now = Instant::now();

        assert_eq!(rate.reserve(30, now, now), Ok(now));
        assert_eq!(rate.reserve(1, now, now), Err(TENTH * 28));
        assert_eq!(rate.reserve(30, now, now), Err(TENTH * 30));
    }
}
