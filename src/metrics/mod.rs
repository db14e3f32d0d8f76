//! What is counted, in the words that `/metrics` has for it. Whoever counts translates into these.

mod reason;
mod tally;

pub use self::reason::known_reason;
pub use self::tally::{Sends, Tally};

/// A push service: the label `provider`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Provider {
    /// Apple.
    Apns,
    /// Google, by FCM HTTP v1.
    Fcm,
    /// An endpoint that speaks Google's legacy protocol.
    Gcm,
}

impl Provider {
    /// Each of them, in the order of their names.
    pub const ALL: [Self; 3] = [Self::Apns, Self::Fcm, Self::Gcm];

    /// The word in labels and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Apns => "apns",
            Self::Fcm => "fcm",
            Self::Gcm => "gcm",
        }
    }
}

/// What became of a message: the label `outcome`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// Its caller hung up before there was an answer.
    Abandoned,
    /// The provider took it.
    Accepted,
    /// There was no final answer, and it did not reach the phone.
    FailedNotSent,
    /// The provider, or a circuit that remembers the provider's word, refused it.
    Rejected,
    /// It was written and not answered: it may have reached the phone.
    Unknown,
}

impl Fate {
    /// The word in labels and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Abandoned => "abandoned",
            Self::Accepted => "accepted",
            Self::FailedNotSent => "failed_not_sent",
            Self::Rejected => "rejected",
            Self::Unknown => "unknown",
        }
    }
}
