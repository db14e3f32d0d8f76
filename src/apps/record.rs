//! What became of the messages of an application. It outlives a new registration.

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::expiry::{Nearness, Said};
use crate::metrics::{Fate, Provider, Tally};
use crate::outcome::Outcome;

/// The numbers of an application, and its last failure.
#[derive(Debug, Default)]
pub struct Record {
    /// The numbers.
    pub tally: Tally,
    /// Guards the last failure; held to put one in or to copy it.
    last_failure: Mutex<Option<LastFailure>>,
    /// Guards what the log has last said of its certificate.
    said: Mutex<Option<Said>>,
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

    /// Whether this is news: another certificate, or nearer to its end than was said. It is said
    /// from now on.
    pub(super) fn say(&self, now: Said) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news =
            said.is_none_or(|(not_after, nearness)| not_after != now.0 || nearness < now.1);
        if is_news {
            *said = Some(now);
        }
        is_news
    }

    /// How near the end of its certificate was when the log last spoke of it.
    #[must_use]
    pub fn said(&self) -> Option<Nearness> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.map(|(_, nearness)| nearness)
    }

    /// The last failure, if there was one.
    #[must_use]
    pub fn last_failure(&self) -> Option<LastFailure> {
        self.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use time::{Duration, OffsetDateTime};

    use super::*;

    #[test]
    fn the_end_of_a_certificate_is_news_once_for_each_threshold() {
        let record = Record::default();
        let first = OffsetDateTime::UNIX_EPOCH;
        let renewed = first + Duration::days(365);
        use Nearness::{Day, Month, Past};

        let news = [
            (first, Month),
            (first, Month),
            (first, Day),
            (first, Month),
            (first, Past),
            (first, Past),
            (renewed, Month),
            (renewed, Month),
        ]
        .map(|said| record.say(said));

        assert_eq!(news, [true, false, true, false, true, false, true, false]);
        assert_eq!(record.said(), Some(Month));
    }
}
