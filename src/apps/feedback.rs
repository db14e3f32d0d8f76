//! The dead tokens of an application.
//!
//! Apple closed the service that the list once came from (2021); it is made of what the providers
//! answer to sends. It lives in this process and is lost with it.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// The section `[feedback]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How many dead tokens are kept for each application; past it the oldest are dropped and
    /// counted. At most 10000000.
    pub max_tokens: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_tokens: 100_000 }
    }
}

/// A list of dead tokens, the oldest first.
#[derive(Debug)]
pub struct Feedback {
    max_tokens: usize,
    /// How many there are, so that an accepted message need not take the lock of an empty list.
    len: AtomicUsize,
    /// Guards the list and its index.
    list: Mutex<List>,
}

/// One dead token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadToken {
    /// The token as it is sent to the provider: what makes two of them the same.
    pub token: String,
    /// The token as the caller last spelt it.
    pub given: String,
    /// Since when it is dead, by the provider.
    pub since: SystemTime,
}

/// Where an entry stands: by time, then in the order in which it came.
type Place = (SystemTime, u64);

#[derive(Debug, Default)]
struct List {
    entries: BTreeMap<Place, DeadToken>,
    places: HashMap<String, Place>,
    next: u64,
    dropped: u64,
}

impl Feedback {
    /// An empty list.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let max_tokens = settings.max_tokens;
        Self { max_tokens, len: AtomicUsize::new(0), list: Mutex::default() }
    }

    /// Notes that a token is dead. A token has one entry, with the newest time and the last
    /// spelling.
    pub fn add(&self, dead: DeadToken) {
        let mut list = self.list();
        list.add(dead);
        self.trim(&mut list);
    }

    /// Notes that a message for this token was accepted: it lives.
    pub fn remove(&self, token: &str) {
        if self.len.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut list = self.list();
        if let Some(place) = list.places.remove(token) {
            list.entries.remove(&place);
        }
        self.len.store(list.entries.len(), Ordering::Release);
    }

    /// The list, the oldest first; it stays as it is.
    #[must_use]
    pub fn read(&self) -> Vec<DeadToken> {
        self.list().entries.values().cloned().collect()
    }

    /// The list, the oldest first; it is empty afterwards.
    #[must_use]
    pub fn take(&self) -> Vec<DeadToken> {
        let mut list = self.list();
        list.places.clear();
        self.len.store(0, Ordering::Release);
        std::mem::take(&mut list.entries).into_values().collect()
    }

    /// Puts back what was taken and could not be delivered. What came meanwhile is newer and wins.
    pub fn put_back(&self, entries: Vec<DeadToken>) {
        let mut list = self.list();
        for entry in entries {
            if !list.places.contains_key(&entry.token) {
                list.add(entry);
            }
        }
        self.trim(&mut list);
    }

    /// How many entries were dropped because the list was full.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.list().dropped
    }

    fn trim(&self, list: &mut List) {
        while list.entries.len() > self.max_tokens
            && let Some((_, oldest)) = list.entries.pop_first()
        {
            list.places.remove(&oldest.token);
            list.dropped += 1;
        }
        self.len.store(list.entries.len(), Ordering::Release);
    }

    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl List {
    fn add(&mut self, mut dead: DeadToken) {
        if let Some(place) = self.places.get(&dead.token)
            && let Some(known) = self.entries.remove(place)
        {
            dead.since = dead.since.max(known.since);
        }
        let place = (dead.since, self.next);
        self.next += 1;
        self.places.insert(dead.token.clone(), place);
        self.entries.insert(place, dead);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn dead(token: &str, secs: u64) -> DeadToken {
        DeadToken {
            token: token.to_lowercase(),
            given: token.to_owned(),
            since: UNIX_EPOCH + Duration::from_secs(secs),
        }
    }

    fn feedback(max_tokens: usize) -> Feedback {
        Feedback::new(&Settings { max_tokens })
    }

    #[test]
    fn a_token_has_one_entry_with_the_newest_time_and_the_last_spelling() {
        let list = feedback(10);

        list.add(dead("ab", 5));
        list.add(dead("cd", 1));
        list.add(dead("AB", 3));

        let mut expected = dead("AB", 5);
        expected.token = "ab".to_owned();
        assert_eq!(list.read(), vec![dead("cd", 1), expected]);
    }

    #[test]
    fn an_accepted_token_leaves_the_list() {
        let list = feedback(10);
        list.add(dead("ab", 5));

        list.remove("ab");

        assert_eq!(list.read(), vec![]);
    }

    #[test]
    fn the_oldest_are_dropped_and_counted() {
        let list = feedback(2);

        for (token, secs) in [("aa", 3), ("bb", 1), ("cc", 2)] {
            list.add(dead(token, secs));
        }

        assert_eq!(list.read(), vec![dead("cc", 2), dead("aa", 3)]);
        assert_eq!(list.dropped(), 1);
    }

    #[test]
    fn a_list_of_no_size_keeps_nothing() {
        let list = feedback(0);

        list.add(dead("aa", 3));

        assert_eq!(list.take(), vec![]);
        assert_eq!(list.dropped(), 1);
    }

    #[test]
    fn what_is_put_back_does_not_hide_what_came_meanwhile() {
        let list = feedback(10);
        list.add(dead("aa", 1));
        let taken = list.take();
        list.add(dead("AA", 9));

        list.put_back(taken);

        assert_eq!(list.take(), vec![dead("AA", 9)]);
        assert_eq!(list.take(), vec![]);
    }
}
