//! What callers have registered.

pub mod expiry;
pub mod feedback;
pub mod opened;
pub mod preload;
pub mod preloaded;
pub mod record;
pub mod registration;
pub mod registry;
pub mod sealed;
pub mod webhook;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use self::feedback::Feedback;
use self::record::Record;
use crate::providers::Providers;

/// The name of an application: 1 to 128 characters of letters, digits, `.`, `_`, `-`, `:`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ApplicationId(Arc<str>);

impl ApplicationId {
    /// Checks a name that somebody chose; `None` when it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=128).contains(&text.len());
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte);
        (fits && text.bytes().all(known)).then(|| Self(text.into()))
    }

    /// A fresh name for an application that was given none.
    #[must_use]
    pub fn fresh() -> Self {
        Self(uuid::Uuid::new_v4().hyphenated().to_string().into())
    }

    /// Stands in logs for those who send with a `gcm_api_key` and no application. No caller can
    /// choose it: it has brackets.
    #[must_use]
    pub fn bare_keys() -> Self {
        Self("(gcm_api_key)".into())
    }

    /// Whether this is [`Self::bare_keys`].
    #[must_use]
    pub fn is_bare_keys(&self) -> bool {
        self.as_str().starts_with('(')
    }

    /// The name itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ApplicationId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// One application as it is now. Registering its id again makes a new one; who still holds this
/// one ends with it.
#[derive(Debug)]
pub struct Application {
    /// Its name.
    pub id: ApplicationId,
    /// What it can send through.
    pub providers: Providers,
    /// Its dead tokens, which outlive a new registration.
    pub feedback: Arc<Feedback>,
    /// How many sends are in flight or waiting, whatever the credential.
    pub in_flight: Arc<AtomicUsize>,
    /// What it may still repeat.
    pub repeats: Arc<Repeats>,
    /// What became of its messages, which outlives a new registration.
    pub record: Arc<Record>,
}

/// How many messages may go out a second time although the provider saw them once: one for five
/// that were accepted, so that a provider in trouble is not sent twice the load.
#[derive(Debug)]
pub struct Repeats(AtomicU32);

impl Repeats {
    /// What a repeat costs, in accepted messages.
    const PRICE: u32 = 5;
    /// Free repeats, and the most that can be saved up, at that price.
    const FREE: u32 = 10 * Self::PRICE;
    const MOST: u32 = 1_000 * Self::PRICE;

    /// A message was accepted.
    pub fn earn(&self) {
        // Beyond the most it counts no further; a few too many from a race do no harm.
        if self.0.load(Ordering::Relaxed) < Self::MOST {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Pays for a repeat; false when there is nothing left to pay with.
    #[must_use]
    pub fn spend(&self) -> bool {
        let pay = |saved: u32| saved.checked_sub(Self::PRICE);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay).is_ok()
    }
}

impl Default for Repeats {
    fn default() -> Self {
        Self(AtomicU32::new(Self::FREE))
    }
}
