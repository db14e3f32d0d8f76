//! What is counted, in the words that `/metrics` has for it. Whoever counts translates into these.

mod calls;
mod page;
mod peer;
mod process;
mod reason;
mod reports;
mod tally;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

pub use self::calls::Calls;
pub use self::page::{CONTENT_TYPE, Family, Page};
pub use self::peer::{Closed, Connections, Peer, Timing};
pub use self::reason::known_reason;
pub use self::reports::Reports;
pub use self::tally::{Repeats, Sends, Tally};

/// The numbers of the relay as a whole. What is of one application stands in its [`Tally`].
#[derive(Debug, Default)]
pub struct Metrics {
    /// Calls over HTTP.
    pub calls: Calls,
    /// Dead tokens that a webhook was to be told of.
    pub reports: Arc<Reports>,
    peers: [Arc<Peer>; Provider::ALL.len()],
    /// Guards the counts of answers that came after their caller had stopped waiting.
    late: Mutex<BTreeMap<(Provider, Fate), u64>>,
}

impl Metrics {
    /// The numbers of a provider.
    #[must_use]
    pub fn peer(&self, provider: Provider) -> &Arc<Peer> {
        let [apns, fcm, gcm] = &self.peers;
        match provider {
            Provider::Apns => apns,
            Provider::Fcm => fcm,
            Provider::Gcm => gcm,
        }
    }

    /// An answer came after its caller had stopped waiting.
    pub fn late(&self, provider: Provider, outcome: Fate) {
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        let count = late.entry((provider, outcome)).or_default();
        *count = count.saturating_add(1);
    }

    /// Tells all of it, and of the process itself.
    pub fn write(&self, page: &mut Page) {
        self.calls.write(page);
        self.reports.write(page);
        let mut sends = Family::histogram(
            "pushlet_send_seconds",
            "From admitting a message to its end, repeats included.",
        );
        let mut waits = Family::histogram(
            "pushlet_queue_wait_seconds",
            "From handing a message over to writing it: for a connection, or room on one.",
        );
        let mut answers = Family::histogram(
            "pushlet_answer_seconds",
            "From writing a message to the answer of the provider.",
        );
        let mut connections = peer::Families::new();
        for provider in Provider::ALL {
            let (peer, label) = (self.peer(provider), ("provider", provider.as_str()));
            peer.sends.write(&mut sends, &[label]);
            peer.queue_wait.write(&mut waits, &[label]);
            peer.answers.write(&mut answers, &[label]);
            peer.connections.write(&mut connections, label);
        }
        let mut late = Family::counter(
            "pushlet_late_answers_total",
            "Answers that came after their caller had stopped waiting.",
        );
        let counts = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        for ((provider, outcome), count) in counts.iter() {
            let labels = [("provider", provider.as_str()), ("outcome", outcome.as_str())];
            late.count(&labels, *count);
        }
        drop(counts);
        let peer::Families { opened, failed, closed } = connections;
        for family in [sends, waits, answers, late, opened, failed, closed] {
            page.push(family);
        }
        process::write(page);
    }
}

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

/// Why a message went out once more: the label `cause`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The provider answered that it cannot now.
    Answered,
    /// The peer left it unread.
    NotProcessed,
    /// The access token that was shown is refused.
    TokenRenewed,
    /// Its answer was lost, and its caller wants it sent all the same.
    Unanswered,
    /// No connection could be had.
    Unreachable,
}

impl Cause {
    /// The word in labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::NotProcessed => "not_processed",
            Self::TokenRenewed => "token_renewed",
            Self::Unanswered => "unanswered",
            Self::Unreachable => "unreachable",
        }
    }
}
