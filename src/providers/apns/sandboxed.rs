//! What the sandbox is for applications that find out (`apns_mode=auto`): which device tokens
//! turned out to be its own, and the connections there.

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::message::Message;
use super::{Apns, Mode};
use crate::transport::{Identity, Pool};

/// How many tokens a generation holds; there are two of them.
const GENERATION: usize = 50_000;
/// After this long the next generation begins, so that a token is remembered for half a day to a
/// day after its last message. Whoever installs another build has another token anyway.
const GENERATION_TIME: Duration = Duration::from_secs(12 * 60 * 60);

/// The tokens themselves are not kept. Two that share a hash cost one request more.
#[derive(Debug)]
pub(super) struct Sandboxed {
    hasher: RandomState,
    /// Guards both generations; held for one look-up.
    generations: Mutex<Generations>,
}

#[derive(Debug)]
struct Generations {
    young: HashSet<u64>,
    old: HashSet<u64>,
    since: Instant,
}

impl Sandboxed {
    pub(super) fn new() -> Self {
        let (young, old) = (HashSet::new(), HashSet::new());
        let generations = Mutex::new(Generations { young, old, since: Instant::now() });
        Self { hasher: RandomState::new(), generations }
    }

    pub(super) fn contains(&self, token: &str) -> bool {
        let hash = self.hasher.hash_one(token);
        let generations = self.generations();
        generations.young.contains(&hash) || generations.old.contains(&hash)
    }

    pub(super) fn insert(&self, token: &str) {
        let hash = self.hasher.hash_one(token);
        let mut generations = self.generations();
        if generations.young.len() >= GENERATION && !generations.young.contains(&hash) {
            generations.turn();
        }
        generations.young.insert(hash);
    }

    pub(super) fn remove(&self, token: &str) {
        let hash = self.hasher.hash_one(token);
        let mut generations = self.generations();
        generations.young.remove(&hash);
        generations.old.remove(&hash);
    }

    fn generations(&self) -> MutexGuard<'_, Generations> {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let age = generations.since.elapsed();
        if age >= 2 * GENERATION_TIME {
            generations.young.clear();
        }
        if age >= GENERATION_TIME {
            generations.turn();
        }
        generations
    }
}

impl Generations {
    /// The old ones are forgotten.
    fn turn(&mut self) {
        self.old = std::mem::take(&mut self.young);
        self.since = Instant::now();
    }
}

/// Connections to the sandbox, made when the first message goes there.
pub(super) struct Sandbox {
    pub(super) identity: Option<Identity>,
    pub(super) pool: OnceLock<Box<Pool>>,
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Sandbox(used: {})", self.pool.get().is_some())
    }
}

impl Apns {
    /// Where a message goes first, as far as its token is known; `None` where there is no choice.
    #[must_use]
    pub fn environment(&self, message: &Message) -> Option<Mode> {
        self.sandbox.as_ref()?;
        // A channel belongs to one environment, and nothing of it says to which.
        let token = message.device_token();
        let is_sandboxed = token.is_some_and(|t| self.context.sandboxed.contains(t.as_hex()));
        Some(if is_sandboxed { Mode::Development } else { Mode::Production })
    }

    /// Remembers for a while where the token of a message is known.
    pub fn learn_environment(&self, message: &Message, environment: Mode) {
        let Some(token) = message.device_token() else { return };
        let (tokens, token) = (&self.context.sandboxed, token.as_hex());
        match environment {
            Mode::Development => tokens.insert(token),
            Mode::Auto | Mode::Production => tokens.remove(token),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_token_is_remembered_for_hours_after_its_last_message() {
        let tokens = Sandboxed::new();
        tokens.insert("ab");
        assert!(tokens.contains("ab") && !tokens.contains("cd"));

        tokio::time::advance(GENERATION_TIME).await;
        assert!(tokens.contains("ab"));
        tokens.insert("ab");
        tokio::time::advance(GENERATION_TIME).await;
        assert!(tokens.contains("ab"), "it was used again");
        tokio::time::advance(GENERATION_TIME).await;
        assert!(!tokens.contains("ab"));

        tokens.insert("ab");
        tokio::time::advance(3 * GENERATION_TIME).await;
        assert!(!tokens.contains("ab"), "after a long silence");
    }

    #[test]
    fn no_more_than_two_generations_are_kept() {
        let tokens = Sandboxed::new();
        let token = |number: usize| format!("{number:x}");

        for number in 0..3 * GENERATION {
            tokens.insert(&token(number));
        }

        assert!(!tokens.contains(&token(0)) && tokens.contains(&token(3 * GENERATION - 1)));
        let generations = tokens.generations();
        assert!(generations.young.len() + generations.old.len() <= 2 * GENERATION);
    }

    #[test]
    fn what_is_removed_is_forgotten() {
        let tokens = Sandboxed::new();
        tokens.insert("ab");
        tokens.remove("ab");
        assert!(!tokens.contains("ab"));
    }
}
