//! The dead tokens that wait to be reported, of each application and in all: bounded, the oldest
//! give way.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::Notify;

use crate::apps::ApplicationId;
use crate::metrics::Provider;

/// How many tokens one report may hold.
pub(super) const MAX_BATCH: usize = 500;
/// How many may wait, of one application and in all; those on their way count in all.
const MAX_OF_ONE: usize = 10_000;
const MAX_IN_ALL: usize = 100_000;
/// What a token may take on average, in bytes: a caller may put any number of spaces into one.
const BYTES_PER_TOKEN: usize = 512;

/// A dead token, to be reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// As the caller last spelt it.
    pub(super) device_token: String,
    pub(super) since: SystemTime,
    pub(super) provider: Provider,
}

/// The queues; one for each application whose task is at work.
#[derive(Debug, Default)]
pub(super) struct Book {
    queues: HashMap<ApplicationId, Queue>,
    /// How many tokens wait or are on their way.
    tokens: usize,
}

#[derive(Debug, Default)]
struct Queue {
    entries: VecDeque<Entry>,
    size_bytes: usize,
    /// How many gave way since the last report.
    dropped: usize,
    /// Told when there is enough for a report.
    is_full: Arc<Notify>,
}

impl Book {
    /// Adds a token. True for the first one of an application: it needs a task then.
    pub(super) fn push(&mut self, id: &ApplicationId, entry: Entry) -> bool {
        let is_first = !self.queues.contains_key(id);
        if self.tokens >= MAX_IN_ALL && self.queues.get(id).is_none_or(Queue::is_empty) {
            self.relieve_longest();
        }
        let queue = self.queues.entry(id.clone()).or_default();
        queue.size_bytes += entry.device_token.len();
        queue.entries.push_back(entry);
        self.tokens += 1;
        while queue.entries.len() > MAX_OF_ONE
            || queue.size_bytes > MAX_OF_ONE * BYTES_PER_TOKEN
            || self.tokens > MAX_IN_ALL
        {
            if !queue.drop_oldest() {
                break;
            }
            self.tokens -= 1;
        }
        if queue.entries.len() >= MAX_BATCH {
            queue.is_full.notify_one();
        }
        is_first
    }

    /// What to wait for before the next report; `None` when it has enough, or there is no queue.
    pub(super) fn gathering(&self, id: &ApplicationId) -> Option<Arc<Notify>> {
        let queue = self.queues.get(id)?;
        let waits = (1..MAX_BATCH).contains(&queue.entries.len());
        waits.then(|| Arc::clone(&queue.is_full))
    }

    /// The next report, and how many tokens gave way before it. `None` when nothing waits: the
    /// queue is gone then, and so should be its task.
    pub(super) fn take(&mut self, id: &ApplicationId) -> Option<(Vec<Entry>, usize)> {
        let queue = self.queues.get_mut(id)?;
        if queue.is_empty() {
            self.queues.remove(id);
            return None;
        }
        let count = queue.entries.len().min(MAX_BATCH);
        let entries: Vec<_> = queue.entries.drain(..count).collect();
        queue.size_bytes -= entries.iter().map(|entry| entry.device_token.len()).sum::<usize>();
        Some((entries, std::mem::take(&mut queue.dropped)))
    }

    /// What was taken is reported or lost.
    pub(super) fn settle(&mut self, count: usize) {
        self.tokens = self.tokens.saturating_sub(count);
    }

    /// Whether no application has anything to report, or on its way.
    pub(super) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// How many tokens wait or are on their way.
    pub(super) fn tokens(&self) -> usize {
        self.tokens
    }

    /// Makes room for an application that has nothing waiting, so that one with much to report
    /// cannot silence the others.
    fn relieve_longest(&mut self) {
        let longest = self.queues.values_mut().max_by_key(|queue| queue.entries.len());
        if longest.is_some_and(Queue::drop_oldest) {
            self.tokens -= 1;
        }
    }
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn drop_oldest(&mut self) -> bool {
        let Some(oldest) = self.entries.pop_front() else { return false };
        self.size_bytes -= oldest.device_token.len();
        self.dropped += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> ApplicationId {
        ApplicationId::parse(name).unwrap_or_else(|| panic!("{name}"))
    }

    fn entry(device_token: impl Into<String>) -> Entry {
        let since = SystemTime::UNIX_EPOCH;
        Entry { device_token: device_token.into(), since, provider: Provider::Apns }
    }

    fn fill(book: &mut Book, name: &str, count: usize) {
        for number in 0..count {
            book.push(&id(name), entry(number.to_string()));
        }
    }

    fn taken(book: &mut Book, name: &str) -> Option<(usize, String, usize)> {
        let (entries, dropped) = book.take(&id(name))?;
        Some((entries.len(), entries[0].device_token.clone(), dropped))
    }

    #[test]
    fn a_task_is_needed_from_the_first_token_to_the_last() {
        let mut book = Book::default();

        assert!(book.push(&id("a"), entry("1")));
        assert!(!book.push(&id("a"), entry("2")));
        assert!(book.push(&id("b"), entry("3")));
        assert_eq!(taken(&mut book, "a"), Some((2, "1".to_owned(), 0)));
        assert!(!book.push(&id("a"), entry("4")), "its task is at work");
        assert_eq!(taken(&mut book, "a"), Some((1, "4".to_owned(), 0)));
        assert_eq!(taken(&mut book, "a"), None);
        assert!(book.push(&id("a"), entry("5")));
    }

    #[test]
    fn reports_are_bounded_and_in_order() {
        let mut book = Book::default();
        fill(&mut book, "a", 501);

        assert!(book.gathering(&id("a")).is_none(), "it has enough");
        assert_eq!(taken(&mut book, "a"), Some((500, "0".to_owned(), 0)));
        assert!(book.gathering(&id("a")).is_some());
        assert_eq!(taken(&mut book, "a"), Some((1, "500".to_owned(), 0)));
        book.settle(501);
        assert_eq!(book.tokens(), 0);
    }

    #[test]
    fn the_oldest_give_way_and_are_counted() {
        let mut book = Book::default();
        fill(&mut book, "a", MAX_OF_ONE + 3);

        assert_eq!(book.tokens(), MAX_OF_ONE);
        assert_eq!(taken(&mut book, "a"), Some((500, "3".to_owned(), 3)));
    }

    #[test]
    fn spellings_without_measure_are_bounded() {
        let mut book = Book::default();
        book.push(&id("a"), entry("1"));

        book.push(&id("a"), entry(" ".repeat(MAX_OF_ONE * BYTES_PER_TOKEN)));

        assert_eq!(taken(&mut book, "a").map(|(count, _, dropped)| (count, dropped)), Some((1, 1)));
    }

    #[test]
    fn one_with_much_to_report_does_not_silence_the_others() {
        let mut book = Book::default();
        for name in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"] {
            fill(&mut book, name, MAX_OF_ONE);
        }
        assert_eq!(book.tokens(), MAX_IN_ALL);

        assert!(book.push(&id("late"), entry("x")));
        assert!(!book.push(&id("late"), entry("y")));

        assert_eq!(book.tokens(), MAX_IN_ALL);
        assert_eq!(taken(&mut book, "late"), Some((1, "y".to_owned(), 1)), "its own gives way now");
    }
}
