//! Calls that are carried out once, however often they come: their answers, under keys that
//! callers choose. In this process alone, and in memory.
//!
//! ```text
//!    ┌──── freed: nothing was sent ─────┐
//!    ▼                                  │
//! unknown ──the first call──► under way ┴─an end─► kept ──its window is over, or room is needed──┐
//!    ▲                                                                                           │
//!    └───────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::Instrument;

/// The section `[idempotency]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// For how long the answer to a call with an `Idempotency-Key` is kept for those who repeat
    /// it. From 1 s to 168 h.
    pub window: Duration,
    /// How many such answers are kept, and how many such calls may be under way; past it the
    /// oldest answers go. From 1 to 10000000.
    pub max_entries: usize,
    /// How much memory the kept answers take, in bytes; past it the oldest go. From 65536
    /// (64 KiB).
    pub max_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(24 * 60 * 60),
            max_entries: 100_000,
            max_bytes: 64 * 1024 * 1024,
        }
    }
}

/// What an entry takes beside the bytes of its answer, roughly.
const ENTRY_BYTES: usize = 256;

/// Who calls, for which application, and under which key: a hash of all three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(pub [u8; 32]);

/// A hash of what is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters(pub [u8; 32]);

/// An answer of the relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The headers that belong to it, and not to one connection or call.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    fn size_bytes(&self) -> usize {
        let headers: usize =
            self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        ENTRY_BYTES.saturating_add(self.body.len()).saturating_add(headers)
    }
}

/// The keys that are known.
#[derive(Debug)]
pub struct Idempotency {
    window: Duration,
    runtime: Handle,
    /// Guards the keys; held for a look-up or a change.
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    max_entries: usize,
    max_bytes: usize,
    entries: HashMap<Key, Entry>,
    /// The keys of the kept answers, oldest first.
    kept: VecDeque<Key>,
    kept_bytes: usize,
    /// Whether somebody was told that keys are forgotten early.
    is_told: bool,
}

#[derive(Debug)]
struct Entry {
    parameters: Parameters,
    state: State,
}

#[derive(Debug)]
enum State {
    Kept { answer: Arc<Answer>, until: Instant },
    UnderWay(watch::Receiver<Option<Arc<Answer>>>),
}

/// What becomes of a call with a key.
#[derive(Debug)]
pub enum Claim {
    /// It is the first: it is to be carried out.
    First(Turn),
    /// As many calls with keys are under way as may be.
    Full,
    /// It was answered before.
    Kept(Arc<Answer>),
    /// The key belongs to a call with other parameters.
    Reused,
    /// The first is under way.
    UnderWay(Waiting),
}

impl Idempotency {
    /// No keys yet. Calls are carried out on `runtime`.
    #[must_use]
    pub fn new(settings: &Settings, runtime: Handle) -> Self {
        let known = Known {
            max_entries: settings.max_entries,
            max_bytes: settings.max_bytes,
            entries: HashMap::new(),
            kept: VecDeque::new(),
            kept_bytes: 0,
            is_told: false,
        };
        Self { window: settings.window, runtime, known: Mutex::new(known) }
    }

    /// Takes over other limits, all but the window: answers go in the order in which they came.
    pub fn change_limits(&self, settings: &Settings) {
        let mut known = self.known();
        known.max_entries = settings.max_entries;
        known.max_bytes = settings.max_bytes;
        known.make_room();
    }

    /// Whether a call is the first with its key, and if not, what is known of the first.
    pub fn claim(self: &Arc<Self>, key: Key, parameters: Parameters) -> Claim {
        let mut known = self.known();
        known.forget_expired(Instant::now());
        if let Some(entry) = known.entries.get(&key) {
            return match &entry.state {
                _ if entry.parameters != parameters => Claim::Reused,
                State::Kept { answer, .. } => Claim::Kept(Arc::clone(answer)),
                State::UnderWay(answer) => Claim::UnderWay(Waiting(answer.clone())),
            };
        }
        let under_way = known.entries.len().saturating_sub(known.kept.len());
        if under_way >= known.max_entries {
            return Claim::Full;
        }
        let (answer, waiting) = watch::channel(None);
        known.entries.insert(key, Entry { parameters, state: State::UnderWay(waiting) });
        Claim::First(Turn { idempotency: Arc::clone(self), key, answer, has_ended: false })
    }

    fn keep(&self, key: Key, answer: Arc<Answer>) {
        let now = Instant::now();
        let size_bytes = answer.size_bytes();
        let mut known = self.known();
        let Some(entry) = known.entries.get_mut(&key) else { return };
        entry.state = State::Kept { answer, until: now + self.window };
        known.kept.push_back(key);
        known.kept_bytes = known.kept_bytes.saturating_add(size_bytes);
        known.forget_expired(now);
        known.make_room();
    }

    fn free(&self, key: Key) {
        self.known().entries.remove(&key);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// All windows are equally long, so the oldest ends first.
    fn forget_expired(&mut self, now: Instant) {
        while let Some(oldest) = self.kept.front() {
            match self.entries.get(oldest).map(|entry| &entry.state) {
                Some(State::Kept { until, .. }) if *until > now => return,
                Some(_) | None => self.forget_oldest(),
            }
        }
    }

    /// The newest stays, whatever its size: it is the one that is asked for.
    fn make_room(&mut self) {
        let mut is_early = false;
        while self.kept.len() > 1
            && (self.kept.len() > self.max_entries || self.kept_bytes > self.max_bytes)
        {
            self.forget_oldest();
            is_early = true;
        }
        if is_early && !std::mem::replace(&mut self.is_told, true) {
            tracing::warn!(
                "idempotency keys are forgotten before their window is over; raise \
                 idempotency.max_entries and idempotency.max_bytes, or shorten idempotency.window"
            );
        }
    }

    fn forget_oldest(&mut self) {
        let Some(oldest) = self.kept.pop_front() else { return };
        if let Some(Entry { state: State::Kept { answer, .. }, .. }) = self.entries.remove(&oldest)
        {
            self.kept_bytes = self.kept_bytes.saturating_sub(answer.size_bytes());
        }
    }
}

/// The right and the duty to carry out the first call. Dropped, it frees the key.
#[derive(Debug)]
pub struct Turn {
    idempotency: Arc<Idempotency>,
    key: Key,
    answer: watch::Sender<Option<Arc<Answer>>>,
    has_ended: bool,
}

/// The end of a call.
#[derive(Debug)]
pub struct End {
    /// What its caller hears.
    pub answer: Answer,
    /// Whether it is kept. If not, the next call with the key is carried out.
    pub is_kept: bool,
}

impl Turn {
    /// Carries the call out, and gives the answer to all who wait for it. It goes on when its
    /// caller hangs up: who repeats it then must hear what became of it.
    #[must_use]
    pub fn carry_out(self, call: impl Future<Output = End> + Send + 'static) -> Waiting {
        let waiting = Waiting(self.answer.subscribe());
        let runtime = self.idempotency.runtime.clone();
        runtime.spawn(async move { self.end(call.await) }.in_current_span());
        waiting
    }

    fn end(mut self, end: End) {
        let answer = Arc::new(end.answer);
        if end.is_kept {
            self.idempotency.keep(self.key, Arc::clone(&answer));
        } else {
            self.idempotency.free(self.key);
        }
        // From here on the key may be another call's.
        self.has_ended = true;
        self.answer.send_replace(Some(answer));
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.has_ended {
            self.idempotency.free(self.key);
        }
    }
}

/// A call that waits for the answer of the first.
#[derive(Debug)]
pub struct Waiting(watch::Receiver<Option<Arc<Answer>>>);

impl Waiting {
    /// The answer of the first call; `None` when it ended without one, and its key is free.
    pub async fn answer(mut self) -> Option<Arc<Answer>> {
        self.0.wait_for(Option::is_some).await.ok()?.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAMETERS: Parameters = Parameters([7; 32]);

    fn key(number: u8) -> Key {
        Key([number; 32])
    }

    fn keys(settings: Settings) -> Arc<Idempotency> {
        Arc::new(Idempotency::new(&settings, Handle::current()))
    }

    fn answer(body: &'static str) -> Answer {
        let headers = vec![("apns-id", "a".to_owned())];
        Answer { status: 200, headers, body: Bytes::from_static(body.as_bytes()) }
    }

    fn first(keys: &Arc<Idempotency>, number: u8) -> Turn {
        match keys.claim(key(number), PARAMETERS) {
            Claim::First(turn) => turn,
            other => panic!("{number}: {other:?}"),
        }
    }

    async fn keep(keys: &Arc<Idempotency>, number: u8, body: &'static str) {
        let end = End { answer: answer(body), is_kept: true };
        let heard = first(keys, number).carry_out(async { end }).answer().await;
        assert_eq!(heard.as_deref(), Some(&answer(body)));
    }

    fn kept(keys: &Arc<Idempotency>, number: u8) -> Option<Answer> {
        match keys.claim(key(number), PARAMETERS) {
            Claim::Kept(answer) => Some((*answer).clone()),
            Claim::First(_) => None,
            other => panic!("{number}: {other:?}"),
        }
    }

    #[tokio::test]
    async fn an_end_is_kept_and_what_was_not_sent_frees_its_key() {
        let keys = keys(Settings::default());

        keep(&keys, 1, "one").await;
        let not_sent = End { answer: answer("busy"), is_kept: false };
        let heard = first(&keys, 2).carry_out(async { not_sent }).answer().await;

        assert_eq!(heard.as_deref(), Some(&answer("busy")));
        assert_eq!(kept(&keys, 1), Some(answer("one")));
        assert_eq!(kept(&keys, 2), None);
        assert!(matches!(keys.claim(key(1), Parameters([8; 32])), Claim::Reused));
    }

    #[tokio::test]
    async fn who_comes_meanwhile_hears_the_same() {
        let keys = keys(Settings::default());
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        let turn = first(&keys, 1);
        let waiting = turn.carry_out(async {
            let _ = gone.await;
            End { answer: answer("late"), is_kept: false }
        });
        let Claim::UnderWay(second) = keys.claim(key(1), PARAMETERS) else { panic!("under way") };
        assert!(matches!(keys.claim(key(1), Parameters([8; 32])), Claim::Reused));

        // The first caller hangs up.
        drop(waiting);
        go.send(()).unwrap_or_default();

        assert_eq!(second.answer().await.as_deref(), Some(&answer("late")));
    }

    #[tokio::test]
    async fn a_turn_that_is_given_up_frees_its_key() {
        let keys = keys(Settings::default());
        let turn = first(&keys, 1);
        let Claim::UnderWay(waiting) = keys.claim(key(1), PARAMETERS) else { panic!("under way") };

        drop(turn);

        assert_eq!(waiting.answer().await, None);
        drop(first(&keys, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_ends() {
        let window = Duration::from_secs(5);
        let keys = keys(Settings { window, ..Settings::default() });
        keep(&keys, 1, "one").await;
        tokio::time::advance(Duration::from_secs(4)).await;
        keep(&keys, 2, "two").await;
        assert_eq!(kept(&keys, 1), Some(answer("one")));

        tokio::time::advance(Duration::from_secs(1)).await;

        assert_eq!((kept(&keys, 1), kept(&keys, 2)), (None, Some(answer("two"))));
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(kept(&keys, 2), None);
        let known = keys.known();
        assert_eq!((known.entries.len(), known.kept.len(), known.kept_bytes), (0, 0, 0));
    }

    #[tokio::test]
    async fn the_oldest_answers_make_room_and_none_that_is_under_way() {
        let one_bytes = answer("one").size_bytes();
        for settings in [
            Settings { max_entries: 2, ..Settings::default() },
            Settings { max_bytes: 2 * one_bytes, ..Settings::default() },
        ] {
            let keys = keys(settings);
            let under_way = first(&keys, 9);
            for number in 1..=3 {
                keep(&keys, number, "one").await;
            }

            let left = [1, 2, 3].map(|number| kept(&keys, number).is_some());
            assert_eq!(left, [false, true, true]);
            assert!(matches!(keys.claim(key(9), PARAMETERS), Claim::UnderWay(_)));
            assert_eq!(keys.known().kept_bytes, 2 * one_bytes);
            drop(under_way);
        }
    }

    #[tokio::test]
    async fn other_limits_hold_at_once() {
        let keys = keys(Settings::default());
        for number in 1..=3 {
            keep(&keys, number, "one").await;
        }

        keys.change_limits(&Settings { max_entries: 1, ..Settings::default() });

        let left = [1, 2, 3].map(|number| kept(&keys, number).is_some());
        assert_eq!(left, [false, false, true]);
    }

    #[tokio::test]
    async fn so_many_may_be_under_way_and_no_more() {
        let keys = keys(Settings { max_entries: 1, ..Settings::default() });
        let turn = first(&keys, 1);

        assert!(matches!(keys.claim(key(2), PARAMETERS), Claim::Full));

        drop(turn);
        drop(first(&keys, 2));
    }

    #[tokio::test]
    async fn an_answer_over_the_limit_is_kept_alone() {
        let keys = keys(Settings { max_bytes: 1, ..Settings::default() });

        keep(&keys, 1, "one").await;
        assert_eq!(kept(&keys, 1), Some(answer("one")));
        keep(&keys, 2, "two").await;

        assert_eq!((kept(&keys, 1), kept(&keys, 2)), (None, Some(answer("two"))));
    }
}
