//! What became of one notification to one token: the word that all layers share.

use std::time::{Duration, SystemTime};

/// The end of one send. A value and not an error: a dead token is news, not a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The provider took responsibility for the message. It says nothing about the phone.
    Accepted(Receipt),
    /// No final answer: the message may be worth another try.
    Failed(Failure),
    /// A final "no" of the provider.
    Rejected(Rejection),
}

/// What the provider gave for an accepted message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Receipt {
    /// The `apns-id` under which Apple knows the message.
    Apns {
        /// Apple's spelling; ours where the answer carried none.
        apns_id: String,
    },
    /// The id under which FCM knows the message.
    Fcm {
        /// The last part of the message's name.
        message_id: String,
    },
    /// The answer of a GCM endpoint, one row of `results` for each token, as it was received.
    Gcm {
        /// Compact JSON, in the documented shape.
        answer: String,
        /// How long the provider asks to wait before failed rows are sent again.
        retry_after: Option<Duration>,
    },
}

/// A final refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Whose turn it is to act.
    pub fault: Fault,
    /// HTTP status of the answer; `None` when there was none: a TLS alert, a GOAWAY, or a
    /// credential of ours that cannot be used at all.
    pub status: Option<u16>,
    /// The provider's reason, verbatim; empty when it gave none.
    pub reason: String,
    /// What the reason alone does not say, for people.
    pub detail: Option<String>,
    /// The id of the message at the provider.
    pub id: Option<String>,
    /// Since when the token is dead; set exactly when the provider called it dead.
    pub gone_since: Option<SystemTime>,
}

/// Who has to act on a rejection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The operator: certificate, key or account is not accepted.
    Credentials,
    /// The caller: the message cannot be sent as it is.
    Message,
    /// The caller: this token cannot be reached with this application.
    Token,
}

/// No final answer was had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What stood in the way.
    pub cause: Cause,
    /// What is known about the message itself.
    pub delivery: Delivery,
    /// What the retry loop may do.
    pub retry: Retry,
    /// How long the provider asks to wait before the next try.
    pub retry_after: Option<Duration>,
    /// The id of the message at the provider.
    pub id: Option<String>,
}

/// What stood in the way of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The relay itself holds as many messages as it may.
    Busy,
    /// The deadline passed first.
    Deadline,
    /// What came is no answer of this provider's protocol.
    Nonsense {
        /// HTTP status.
        status: u16,
        /// The provider's word, or what was wrong with the answer.
        reason: String,
    },
    /// The provider answered that it cannot now.
    Provider {
        /// HTTP status.
        status: u16,
        /// The provider's reason, verbatim; empty when it gave none.
        reason: String,
    },
    /// The provider limits this token, or this sender.
    Throttled {
        /// HTTP status.
        status: u16,
        /// The provider's reason, verbatim; empty when it gave none.
        reason: String,
    },
    /// The message left and the connection ended before an answer came.
    Unanswered {
        /// What ended it, for people.
        detail: String,
    },
    /// No connection could be had, or none that took the message.
    Unreachable {
        /// What was tried and how it failed, for people.
        detail: String,
    },
}

/// What is known about a message that got no final answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// It was not processed: it is safe to send it again.
    NotSent,
    /// It was written and not answered: it may have reached the phone.
    Unknown,
}

/// What the retry loop may do with a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Try again while there is time: the peer was there and did not process the message.
    Freely,
    /// Try again once, if the caller accepts that the person may be notified twice.
    IfAtLeastOnce,
    /// Do not try again.
    Never,
    /// Try again once: the provider answered, and another try may fare better.
    Once,
    /// Try again once, at once, with a fresh access token: the one that was shown is refused.
    Renewed,
    /// Try again a few times: the peer could not be reached at all.
    Seldom,
}
