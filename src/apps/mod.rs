//! What callers have registered.

pub mod feedback;
pub mod preload;
pub mod registration;
pub mod registry;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use self::feedback::Feedback;
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
}
