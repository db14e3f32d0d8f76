//! What became of the messages of one application, in numbers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Cause, Fate, Provider, known_reason};

/// Counts the messages of one application. A message that is accepted costs two atomic writes.
#[derive(Debug, Default)]
pub struct Tally {
    accepted: [AtomicU64; Provider::ALL.len()],
    /// Unix seconds of the last acceptance; 0 before the first.
    last_success: AtomicU64,
    /// Guards the counts of everything else, by provider, fate and reason: a closed set.
    others: Mutex<BTreeMap<(Provider, Fate, &'static str), u64>>,
    /// Guards the counts of repeats.
    repeats: Mutex<BTreeMap<(Provider, Cause), u64>>,
    by_circuit: AtomicU64,
}

/// How many messages went out once more for one cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repeats {
    /// Where they went.
    pub provider: Provider,
    /// Why.
    pub cause: Cause,
    /// How many.
    pub count: u64,
}

/// How many messages came to one end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sends {
    /// Where they went.
    pub provider: Provider,
    /// What became of them.
    pub outcome: Fate,
    /// Why, in a word of the closed set; empty for acceptances.
    pub reason: &'static str,
    /// How many.
    pub count: u64,
}

impl Tally {
    /// So many messages were accepted now.
    pub fn accept(&self, provider: Provider, count: u64) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if let Some(counter) = self.accepted.get(provider as usize) {
            counter.fetch_add(count, Ordering::Relaxed);
        }
        self.last_success.store(now, Ordering::Relaxed);
    }

    /// A message came to another end; a reason outside of the closed set counts as `other`.
    pub fn miss(&self, provider: Provider, outcome: Fate, reason: &str) {
        let mut others = self.others();
        let count = others.entry((provider, outcome, known_reason(reason))).or_default();
        *count = count.saturating_add(1);
    }

    /// A message goes out once more.
    pub fn repeat(&self, provider: Provider, cause: Cause) {
        let mut repeats = self.repeats.lock().unwrap_or_else(PoisonError::into_inner);
        let count = repeats.entry((provider, cause)).or_default();
        *count = count.saturating_add(1);
    }

    /// A call was answered by an open circuit, without asking the provider.
    pub fn answer_by_circuit(&self) {
        self.by_circuit.fetch_add(1, Ordering::Relaxed);
    }

    /// How many calls were answered so.
    #[must_use]
    pub fn by_circuit(&self) -> u64 {
        self.by_circuit.load(Ordering::Relaxed)
    }

    /// The repeats so far.
    #[must_use]
    pub fn repeats(&self) -> Vec<Repeats> {
        let repeats = self.repeats.lock().unwrap_or_else(PoisonError::into_inner);
        let row = |((provider, cause), count): (&(Provider, Cause), &u64)| Repeats {
            provider: *provider,
            cause: *cause,
            count: *count,
        };
        repeats.iter().map(row).collect()
    }

    /// Every count so far; acceptances of a provider that had none are left out.
    #[must_use]
    pub fn sends(&self) -> Vec<Sends> {
        let accepted = Provider::ALL.into_iter().map(|provider| Sends {
            provider,
            outcome: Fate::Accepted,
            reason: "",
            count: self.accepted(provider),
        });
        let others = self.others();
        let others = others.iter().map(|((provider, outcome, reason), count)| Sends {
            provider: *provider,
            outcome: *outcome,
            reason,
            count: *count,
        });
        accepted.filter(|sends| sends.count > 0).chain(others).collect()
    }

    /// When a message was last accepted, to the second.
    #[must_use]
    pub fn last_success(&self) -> Option<SystemTime> {
        match self.last_success.load(Ordering::Relaxed) {
            0 => None,
            secs => Some(UNIX_EPOCH + Duration::from_secs(secs)),
        }
    }

    fn accepted(&self, provider: Provider) -> u64 {
        self.accepted.get(provider as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    fn others(&self) -> MutexGuard<'_, BTreeMap<(Provider, Fate, &'static str), u64>> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_has_its_count() {
        let tally = Tally::default();
        assert_eq!((tally.sends(), tally.last_success()), (vec![], None));

        tally.accept(Provider::Fcm, 2);
        tally.accept(Provider::Fcm, 1);
        tally.miss(Provider::Apns, Fate::Rejected, "Unregistered");
        tally.miss(Provider::Apns, Fate::Rejected, "NewReason");
        tally.miss(Provider::Apns, Fate::Rejected, "NewerReason");

        let sends = |provider, outcome, reason, count| Sends { provider, outcome, reason, count };
        assert_eq!(
            tally.sends(),
            [
                sends(Provider::Fcm, Fate::Accepted, "", 3),
                sends(Provider::Apns, Fate::Rejected, "Unregistered", 1),
                sends(Provider::Apns, Fate::Rejected, "other", 2),
            ]
        );
        assert!(tally.last_success().is_some());
    }
}
