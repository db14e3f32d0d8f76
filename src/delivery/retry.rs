//! Whether to try again, and when: the only place that decides it.

use std::time::Duration;

use crate::apps::Repeats;
use crate::outcome::{Failure, Retry};

/// Pauses before a message that was not processed goes out again; the last one repeats.
const NOT_PROCESSED: [u64; 6] = [0, 10, 50, 200, 500, 1_000];
/// Pauses before another connection is tried; the pool has a pause of its own beside.
const UNREACHABLE: [u64; 2] = [50, 200];
/// The pause before the one repeat of a message that was answered with 500 or 503: so much, and
/// up to so much more.
const ANSWERED: u64 = 100;
const ANSWERED_JITTER: u64 = 400;

/// The tries of one message.
#[derive(Debug)]
pub(super) struct Retries {
    at_least_once: bool,
    not_processed: usize,
    unreachable: usize,
    repeated: bool,
    renewed: bool,
}

impl Retries {
    pub(super) fn new(at_least_once: bool) -> Self {
        Self { at_least_once, not_processed: 0, unreachable: 0, repeated: false, renewed: false }
    }

    /// How long to wait before the next try; `None` when this failure is the end. The caller's
    /// deadline is not looked at here. A repeat of what the provider has seen already is paid from
    /// `repeats`, so that repeats never become a load of their own.
    pub(super) fn pause(&mut self, failure: &Failure, repeats: &Repeats) -> Option<Duration> {
        let pause = match failure.retry {
            Retry::Never => return None,
            Retry::Freely => {
                let place = self.not_processed.min(NOT_PROCESSED.len() - 1);
                self.not_processed += 1;
                Duration::from_millis(*NOT_PROCESSED.get(place)?)
            }
            Retry::Renewed => {
                if std::mem::replace(&mut self.renewed, true) {
                    return None;
                }
                Duration::ZERO
            }
            Retry::Seldom => {
                let millis = *UNREACHABLE.get(self.unreachable)?;
                self.unreachable += 1;
                Duration::from_millis(millis)
            }
            Retry::IfAtLeastOnce if !self.at_least_once => return None,
            Retry::IfAtLeastOnce | Retry::Once => {
                if std::mem::replace(&mut self.repeated, true) || !repeats.spend() {
                    return None;
                }
                Duration::from_millis(ANSWERED + jitter())
            }
        };
        Some(pause.max(failure.retry_after.unwrap_or_default()))
    }
}

/// Random, so that those who were refused together do not come back together.
fn jitter() -> u64 {
    let mut byte = [0];
    let _ = openssl::rand::rand_bytes(&mut byte);
    ANSWERED_JITTER * u64::from(byte[0]) / 256
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Cause, Delivery};

    fn failure(retry: Retry, retry_after: Option<u64>) -> Failure {
        Failure {
            cause: Cause::Deadline,
            delivery: Delivery::NotSent,
            retry,
            retry_after: retry_after.map(Duration::from_secs),
            id: None,
        }
    }

    #[test]
    fn what_was_not_processed_goes_out_at_once_and_then_ever_more_slowly() {
        let mut retries = Retries::new(false);

        let pauses: Vec<_> = (0..8)
            .filter_map(|_| retries.pause(&failure(Retry::Freely, None), &Repeats::default()))
            .collect();

        let expected = [0, 10, 50, 200, 500, 1_000, 1_000, 1_000].map(Duration::from_millis);
        assert_eq!(pauses, expected);
    }

    #[test]
    fn a_peer_that_is_not_there_is_tried_three_times_in_all() {
        let mut retries = Retries::new(true);

        let pauses =
            [(); 3].map(|()| retries.pause(&failure(Retry::Seldom, None), &Repeats::default()));

        let expected = [Some(50), Some(200), None].map(|m| m.map(Duration::from_millis));
        assert_eq!(pauses, expected);
    }

    #[test]
    fn an_unanswered_message_goes_out_again_once_and_only_if_the_caller_wants_it() {
        let unanswered = failure(Retry::IfAtLeastOnce, None);
        assert_eq!(Retries::new(false).pause(&unanswered, &Repeats::default()), None);

        let mut retries = Retries::new(true);
        assert!(retries.pause(&unanswered, &Repeats::default()).is_some());
        assert_eq!(retries.pause(&unanswered, &Repeats::default()), None);
    }

    #[test]
    fn a_fresh_token_is_tried_once_beside_the_other_tries() {
        let mut retries = Retries::new(false);
        let renewed = failure(Retry::Renewed, None);

        assert_eq!(retries.pause(&renewed, &Repeats::default()), Some(Duration::ZERO));
        assert!(retries.pause(&failure(Retry::Once, None), &Repeats::default()).is_some());
        assert_eq!(retries.pause(&renewed, &Repeats::default()), None);
    }

    #[test]
    fn no_try_comes_before_the_provider_wants_it() {
        let mut retries = Retries::new(false);

        let asked = failure(Retry::Once, Some(7));

        assert_eq!(retries.pause(&asked, &Repeats::default()), Some(Duration::from_secs(7)));
        assert_eq!(retries.pause(&asked, &Repeats::default()), None);
    }

    #[test]
    fn repeats_are_paid_from_what_was_accepted() {
        let repeats = Repeats::default();
        let refused = failure(Retry::Once, None);

        let granted = (0..100).filter(|_| Retries::new(false).pause(&refused, &repeats).is_some());
        assert_eq!(granted.count(), 10, "so many are free");
        for _ in 0..5 {
            repeats.earn();
        }

        assert!(Retries::new(false).pause(&refused, &repeats).is_some(), "five earn one");
        assert_eq!(Retries::new(false).pause(&refused, &repeats), None);
    }
}
