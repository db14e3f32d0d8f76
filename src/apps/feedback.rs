//! The dead tokens of an application.
//!
//! Apple closed the service that the list once came from (2021); it is made of what the providers
//! answer to sends. It lives in this process and is lost with it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use url::Url;

use super::webhook::Webhook;
use crate::secret::Secret;

/// The section `[feedback]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How many dead tokens are kept for each application; past it the oldest are dropped and
    /// counted. At most 10000000.
    pub max_tokens: usize,
    /// Where dead tokens are reported as they come, beside the list: a POST with JSON, signed with
    /// `webhook_secret`. `https`, or `http` on loopback.
    pub webhook_url: Option<Url>,
    /// The secret that reports to `webhook_url` are signed with.
    pub webhook_secret: Option<Secret<String>>,
    /// The hosts, with a port where it is not 443, that callers may name as the `webhook_url` of a
    /// registration; `*` and `?` stand for any characters and for one. With none they may not name
    /// any: the relay would post for them into the network that it stands in.
    pub webhook_hosts: Vec<String>,
    /// How long one report is tried again while its receiver cannot be reached or answers 429 or
    /// 5xx. From 1 s to 24 h.
    pub webhook_timeout: Duration,
}

impl Settings {
    /// The receiver of reports of every application that has none of its own.
    #[must_use]
    pub fn webhook(&self) -> Option<Webhook> {
        let (url, secret) = (self.webhook_url.clone()?, self.webhook_secret.clone()?);
        Some(Webhook { url, secret })
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_tokens: 100_000,
            webhook_url: None,
            webhook_secret: None,
            webhook_hosts: Vec::new(),
            webhook_timeout: Duration::from_secs(10 * 60),
        }
    }
}

/// What a token may take on average, in bytes of its two spellings: a caller may put any number of
/// spaces into one, and the list is bounded all the same.
const BYTES_PER_TOKEN: usize = 512;

/// A list of dead tokens, the oldest first.
#[derive(Debug)]
pub struct Feedback {
    max_tokens: AtomicUsize,
    /// How many tokens are listed or on their way to a caller, so that an accepted message need not
    /// take the lock when there are none.
    len: AtomicUsize,
    /// Guards the list and its index.
    list: Mutex<List>,
    /// Guards where dead tokens of this application are reported; `None` is where those of all are.
    webhook: RwLock<Option<Arc<Webhook>>>,
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

impl DeadToken {
    fn size_bytes(&self) -> usize {
        self.token.len() + self.given.len()
    }
}

/// Where an entry stands: by time, then in the order in which it came.
type Place = (SystemTime, u64);

#[derive(Debug, Default)]
struct List {
    entries: BTreeMap<Place, DeadToken>,
    places: HashMap<String, Place>,
    size_bytes: usize,
    next: u64,
    dropped: u64,
    /// Tokens on their way to a caller, and those among them that were accepted meanwhile.
    on_the_way: usize,
    revived: HashSet<String>,
}

impl Feedback {
    /// An empty list.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self::with_room_for(settings.max_tokens)
    }

    /// An empty list for so many tokens.
    #[must_use]
    pub fn with_room_for(max_tokens: usize) -> Self {
        Self {
            max_tokens: max_tokens.into(),
            len: AtomicUsize::new(0),
            list: Mutex::default(),
            webhook: RwLock::default(),
        }
    }

    /// Bounds the list by other settings from now on; what is too much is dropped and counted.
    pub fn change_limits(&self, settings: &Settings) {
        self.max_tokens.store(settings.max_tokens, Ordering::Relaxed);
        self.settle(&mut self.list());
    }

    /// Notes that a token is dead. A token has one entry, with the newest time and the last
    /// spelling.
    pub fn add(&self, dead: DeadToken) {
        let mut list = self.list();
        list.revived.remove(&dead.token);
        list.add(dead);
        self.settle(&mut list);
    }

    /// Notes that a message for this token was accepted: it lives.
    pub fn remove(&self, token: &str) {
        if self.len.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut list = self.list();
        list.remove(token);
        if list.on_the_way > 0 {
            list.revived.insert(token.to_owned());
        }
        self.settle(&mut list);
    }

    /// The list, the oldest first; it stays as it is.
    #[must_use]
    pub fn read(&self) -> Vec<DeadToken> {
        self.list().entries.values().cloned().collect()
    }

    /// The list, the oldest first; it is empty afterwards. What is not [`Taken::delivered`] goes
    /// back.
    #[must_use]
    pub fn take(self: &Arc<Self>) -> Taken {
        let mut list = self.list();
        list.places.clear();
        list.size_bytes = 0;
        let entries: Vec<_> = std::mem::take(&mut list.entries).into_values().collect();
        list.on_the_way += entries.len();
        self.settle(&mut list);
        drop(list);
        Taken { feedback: Arc::clone(self), entries }
    }

    /// How many dead tokens are listed, or on their way to a caller.
    #[must_use]
    pub fn count(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// Where dead tokens of this application are reported, if not where those of all are.
    #[must_use]
    pub fn webhook(&self) -> Option<Arc<Webhook>> {
        self.webhook.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reports dead tokens elsewhere from now on.
    pub fn report_to(&self, webhook: Option<Arc<Webhook>>) {
        *self.webhook.write().unwrap_or_else(PoisonError::into_inner) = webhook;
    }

    /// How many entries were dropped because the list was full.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.list().dropped
    }

    /// What was taken has arrived, or not: then it goes back, but for what was accepted meanwhile.
    fn end(&self, entries: Vec<DeadToken>, arrived: bool) {
        let mut list = self.list();
        list.on_the_way = list.on_the_way.saturating_sub(entries.len());
        for entry in entries {
            if arrived || list.revived.contains(&entry.token) {
                continue;
            }
            // The newer spelling is the one that came meanwhile.
            let newer = list.places.get(&entry.token).and_then(|place| list.entries.get(place));
            let given = newer.map_or(entry.given, |newer| newer.given.clone());
            list.add(DeadToken { given, ..entry });
        }
        if list.on_the_way == 0 {
            list.revived.clear();
        }
        self.settle(&mut list);
    }

    /// Keeps the bounds, and the count that is read without the lock.
    fn settle(&self, list: &mut List) {
        let max_tokens = self.max_tokens.load(Ordering::Relaxed);
        let max_bytes = max_tokens.saturating_mul(BYTES_PER_TOKEN);
        while (list.entries.len() > max_tokens || list.size_bytes > max_bytes)
            && let Some((_, oldest)) = list.entries.pop_first()
        {
            list.places.remove(&oldest.token);
            list.size_bytes -= oldest.size_bytes();
            list.dropped += 1;
        }
        self.len.store(list.entries.len() + list.on_the_way, Ordering::Release);
    }

    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl List {
    fn add(&mut self, mut dead: DeadToken) {
        if let Some(known) = self.remove(&dead.token) {
            dead.since = dead.since.max(known.since);
        }
        let place = (dead.since, self.next);
        self.next += 1;
        self.size_bytes += dead.size_bytes();
        self.places.insert(dead.token.clone(), place);
        self.entries.insert(place, dead);
    }

    fn remove(&mut self, token: &str) -> Option<DeadToken> {
        let entry = self.entries.remove(&self.places.remove(token)?)?;
        self.size_bytes -= entry.size_bytes();
        Some(entry)
    }
}

/// A list on its way to a caller.
#[derive(Debug)]
pub struct Taken {
    feedback: Arc<Feedback>,
    entries: Vec<DeadToken>,
}

impl Taken {
    /// What was taken, the oldest first.
    #[must_use]
    pub fn entries(&self) -> &[DeadToken] {
        &self.entries
    }

    /// The caller has it.
    pub fn delivered(mut self) {
        self.feedback.end(std::mem::take(&mut self.entries), true);
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if !self.entries.is_empty() {
            self.feedback.end(std::mem::take(&mut self.entries), false);
        }
    }
}

/// UTC in whole seconds, as the documentation shows it: `2012-11-27T22:24:07Z`. A time that the
/// format cannot say is written as its first or last.
#[must_use]
pub fn timestamp(time: SystemTime) -> String {
    const LAST: u64 = 253_402_300_799;
    let secs = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs().min(LAST);
    i64::try_from(secs)
        .ok()
        .and_then(|secs| OffsetDateTime::from_unix_timestamp(secs).ok())
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_default()
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

    fn feedback(max_tokens: usize) -> Arc<Feedback> {
        Arc::new(Feedback::new(&Settings { max_tokens, ..Settings::default() }))
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
    fn a_bound_that_sinks_drops_the_oldest_and_counts_them() {
        let list = feedback(3);
        for (token, secs) in [("aa", 3), ("bb", 1), ("cc", 2)] {
            list.add(dead(token, secs));
        }

        list.change_limits(&Settings { max_tokens: 1, ..Settings::default() });

        assert_eq!(list.read(), vec![dead("aa", 3)]);
        assert_eq!(list.dropped(), 2);
        list.change_limits(&Settings { max_tokens: 2, ..Settings::default() });
        list.add(dead("dd", 4));
        assert_eq!(list.read(), vec![dead("aa", 3), dead("dd", 4)]);
    }

    #[test]
    fn a_list_of_no_size_keeps_nothing() {
        let list = feedback(0);

        list.add(dead("aa", 3));

        assert_eq!(list.read(), vec![]);
        assert_eq!(list.dropped(), 1);
    }

    #[test]
    fn spellings_without_measure_are_bounded() {
        let list = feedback(2);

        list.add(dead("aa", 1));
        list.add(DeadToken { given: format!("b{}b", " ".repeat(1_100)), ..dead("bb", 2) });
        list.add(dead("cc", 3));

        assert_eq!(list.read(), vec![dead("cc", 3)]);
        assert_eq!(list.dropped(), 2);
    }

    #[test]
    fn what_did_not_arrive_goes_back_beside_what_came_meanwhile() {
        let list = feedback(10);
        for (token, secs) in [("aa", 5), ("bb", 2), ("cc", 3)] {
            list.add(dead(token, secs));
        }

        let taken = list.take();
        list.add(dead("AA", 1));
        list.remove("cc");
        drop(taken);

        let expected = DeadToken { given: "AA".to_owned(), ..dead("aa", 5) };
        assert_eq!(list.read(), vec![dead("bb", 2), expected], "cc was accepted meanwhile");
    }

    #[test]
    fn what_arrived_is_gone() {
        let list = feedback(10);
        list.add(dead("aa", 1));

        let taken = list.take();
        assert_eq!(taken.entries(), [dead("aa", 1)]);
        taken.delivered();

        assert_eq!(list.read(), vec![]);
        assert_eq!(list.len.load(Ordering::Relaxed), 0);
    }
}
