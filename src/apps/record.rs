//! What became of the messages of an application. It outlives a new registration.

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use crate::metrics::{Fate, Provider, Tally};
use crate::outcome::Outcome;

/// The numbers of an application, and its last failure.
#[derive(Debug, Default)]
pub struct Record {
    /// The numbers.
    pub tally: Tally,
    /// Guards the last failure; held to put one in or to copy it.
    last_failure: Mutex<Option<LastFailure>>,
}

/// The last answer that was not an acceptance, dead tokens included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastFailure {
    /// When it came.
    pub at: SystemTime,
    /// Where the message went.
    pub provider: Provider,
    /// What became of it.
    pub fate: Fate,
    /// What its caller was answered.
    pub outcome: Outcome,
}

impl Record {
    /// Notes what was not an acceptance.
    pub fn fail(&self, provider: Provider, fate: Fate, outcome: Outcome) {
        let failure = LastFailure { at: SystemTime::now(), provider, fate, outcome };
        let mut last = self.last_failure.lock().unwrap_or_else(PoisonError::into_inner);
        let former = last.replace(failure);
        drop(last);
        drop(former);
    }

    /// The last failure, if there was one.
    #[must_use]
    pub fn last_failure(&self) -> Option<LastFailure> {
        self.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
