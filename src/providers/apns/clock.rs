//! How far this machine's clock is off, by Apple's.
//!
//! Apple documents no `Date` (RFC 9110 §6.6.1) in its answers, and none was seen in 2026. Should one
//! come, it is believed: provider tokens, `apns-expiration` and the life of a certificate all mean
//! Apple's time.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::SystemTime;

use http::HeaderMap;

use crate::providers::date;

/// A clock that is off by more than this is worth a warning. Provider tokens bear ten minutes.
const BOUND_SECS: i64 = 60;
/// Apple has not said yet what time it is.
const UNKNOWN: i64 = i64::MIN;

/// What is known of the two clocks.
#[derive(Debug)]
pub(super) struct Clock {
    /// Ours minus Apple's, in seconds.
    skew_secs: AtomicI64,
    /// What was logged last: -1 for slow, 1 for fast, 0 for good.
    told: AtomicI64,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { skew_secs: AtomicI64::new(UNKNOWN), told: AtomicI64::new(0) }
    }

    /// Ours minus Apple's, in seconds; `None` until Apple said what time it is.
    pub(super) fn skew_secs(&self) -> Option<i64> {
        Some(self.skew_secs.load(Ordering::Relaxed)).filter(|skew| *skew != UNKNOWN)
    }

    /// Compares the clocks, and says so in the log when ours goes wrong or right.
    pub(super) fn hear(&self, headers: &HeaderMap, now: SystemTime) {
        let Some(apples) = date(headers) else { return };
        let skew_secs = difference_secs(now, apples);
        self.skew_secs.store(skew_secs, Ordering::Relaxed);
        let standing = if skew_secs.saturating_abs() > BOUND_SECS { skew_secs.signum() } else { 0 };
        if self.told.swap(standing, Ordering::Relaxed) == standing {
            return;
        }
        if standing == 0 {
            tracing::info!(skew_secs, "this machine's clock agrees with apple's again");
        } else {
            tracing::warn!(skew_secs, "this machine's clock is not apple's; set the clock");
        }
    }
}

fn difference_secs(ours: SystemTime, apples: SystemTime) -> i64 {
    match ours.duration_since(apples) {
        Ok(ahead) => i64::try_from(ahead.as_secs()).unwrap_or(i64::MAX),
        Err(behind) => i64::try_from(behind.duration().as_secs()).map_or(-i64::MAX, |secs| -secs),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use http::HeaderValue;
    use http::header::DATE;

    use super::*;

    #[test]
    fn skew_is_ours_minus_apples_and_nothing_without_a_date() {
        let clock = Clock::new();
        let apples = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let mut headers = HeaderMap::new();

        clock.hear(&headers, apples);
        assert_eq!(clock.skew_secs(), None);
        headers.insert(DATE, HeaderValue::from_static("yesterday"));
        clock.hear(&headers, apples);
        assert_eq!(clock.skew_secs(), None);

        let date = httpdate::fmt_http_date(apples);
        headers.insert(DATE, HeaderValue::try_from(date).unwrap_or_else(|error| panic!("{error}")));
        clock.hear(&headers, apples + Duration::from_millis(90_900));
        assert_eq!(clock.skew_secs(), Some(90));
        clock.hear(&headers, apples - Duration::from_millis(90_900));
        assert_eq!(clock.skew_secs(), Some(-90));
    }
}
