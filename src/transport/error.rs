//! How a request can end without an answer.

use std::error::Error as StdError;
use std::fmt;

use super::pool::ConnectionId;

/// A request that got no answer. The variants differ in what is known of the request itself,
/// since that decides whether it may be sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The pool holds as many waiting requests as it may. Nothing was sent.
    Busy,
    /// No connection could be made. Nothing was sent.
    Connect {
        /// What was tried and how it failed.
        detail: String,
        /// The peer's word, where it refused us: see [`Refusal`].
        refusal: Option<Refusal>,
    },
    /// The deadline passed.
    Deadline {
        /// Whether the request had been written to a connection by then.
        written: bool,
    },
    /// The peer said that it did not process the request: a GOAWAY below the stream, or
    /// `REFUSED_STREAM` (RFC 9113 §6.8, §8.7). It is safe to send again.
    NotProcessed {
        /// The connection that was left.
        connection: ConnectionId,
        /// What the peer said.
        detail: String,
        /// The peer's word, where it gave one.
        refusal: Option<Refusal>,
    },
    /// The request was written and the connection or stream ended without an answer: sending
    /// again may notify twice.
    Unanswered {
        /// The connection that was left.
        connection: ConnectionId,
        /// What ended it.
        detail: String,
        /// The peer's word, where it gave one.
        refusal: Option<Refusal>,
    },
}

/// Why a peer refused a whole connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// A TLS alert about our certificate (RFC 8446 §6.2), by its name there.
    Alert(&'static str),
    /// The `reason` in the debug data of a GOAWAY, as APNs writes it: `{"reason":"…"}`.
    GoAway(String),
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => formatter.write_str("too many requests wait for a connection"),
            Self::Connect { detail, .. } => write!(formatter, "no connection: {detail}"),
            Self::Deadline { written: true } => formatter.write_str("no answer in time"),
            Self::Deadline { written: false } => formatter.write_str("no free connection in time"),
            Self::NotProcessed { detail, .. } => write!(formatter, "not processed: {detail}"),
            Self::Unanswered { detail, .. } => write!(formatter, "no answer: {detail}"),
        }
    }
}

impl StdError for Error {}

impl Error {
    /// What `h2` said of one stream, or of its whole connection. `refusal` is what the peer said
    /// of the connection: `h2` does not tell that to streams that a GOAWAY includes.
    pub(super) fn of_stream(
        error: &h2::Error,
        connection: ConnectionId,
        refusal: Option<Refusal>,
    ) -> Self {
        let detail = describe(error);
        let refusal = refusal.or_else(|| goaway_reason(error));
        let refused_stream = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        if error.is_remote() && (error.is_go_away() || refused_stream) {
            return Self::NotProcessed { connection, detail, refusal };
        }
        Self::Unanswered { connection, detail, refusal }
    }
}

/// A sentence for people; `h2` words a clean GOAWAY as "not a result of an error".
pub(super) fn describe(error: &h2::Error) -> String {
    if error.is_go_away() && error.is_remote() {
        return match goaway_reason(error) {
            Some(Refusal::GoAway(reason)) => format!("the peer closed the connection: {reason}"),
            _ => format!("the peer closed the connection (GOAWAY, {})", code(error)),
        };
    }
    if error.is_reset() && error.is_remote() {
        return format!("the peer reset the stream ({})", code(error));
    }
    format!("the connection broke: {error}")
}

fn code(error: &h2::Error) -> String {
    error.reason().map_or_else(|| "no code".to_owned(), |reason| format!("{reason:?}"))
}

/// The `reason` in a GOAWAY's debug data. `h2` shows those bytes in `Display` only, so this one
/// place reads text (pinned by `tests/transport/goaway.rs` against the `h2` in use).
pub(super) fn goaway_reason(error: &h2::Error) -> Option<Refusal> {
    if !error.is_go_away() || !error.is_remote() {
        return None;
    }
    let text = error.to_string().replace("\\\"", "\"");
    let (_, rest) = text.split_once("\"reason\"")?;
    let (_, rest) = rest.split_once('"')?;
    let (reason, _) = rest.split_once('"')?;
    Some(Refusal::GoAway(reason.to_owned()))
}

/// The name of a TLS alert that concerns our certificate or key, by OpenSSL's reason code, which
/// is 1000 more than the alert's number (RFC 8446 §6).
pub(super) fn certificate_alert(reason_code: i32) -> Option<&'static str> {
    match reason_code {
        1042 => Some("bad_certificate"),
        1043 => Some("unsupported_certificate"),
        1044 => Some("certificate_revoked"),
        1045 => Some("certificate_expired"),
        1046 => Some("certificate_unknown"),
        1048 => Some("unknown_ca"),
        1049 => Some("access_denied"),
        // What OpenSSL says when our certificate's signature does not fit its issuer's key.
        1051 => Some("decrypt_error"),
        1116 => Some("certificate_required"),
        _ => None,
    }
}
