//! The record: what arrived, and what became of it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::{Serialize, Serializer};

/// The service that a message was meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// Apple.
    Apns,
    /// Google.
    Fcm,
    /// Google's legacy API.
    Gcm,
    /// Google's token endpoint.
    Oauth,
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "lowercase")]
pub enum Verdict {
    /// 200, or a row of `results` with a message id.
    Accepted,
    /// Refused, in the service's words.
    Refused {
        /// The HTTP status; 200 if it is a row of GCM's `results`.
        status: u16,
        /// Apple's reason, Google's error, or empty if the script wrote the answer itself.
        reason: String,
    },
    /// No answer was given.
    Unanswered {
        /// What was done instead: `never`, `drop`, `reset` or `goaway`.
        by: &'static str,
    },
}

/// One message to one token, as it arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Received {
    /// The service.
    pub provider: Provider,
    /// APNs: which connection, counted from 1.
    pub connection: Option<u64>,
    /// The token as it stood in the path or the body.
    pub device_token: String,
    /// APNs: the broadcast channel that it is for or about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel_id: Option<String>,
    /// `apns-topic`, or Google's topic or condition.
    pub topic: Option<String>,
    /// `apns-push-type`.
    pub push_type: Option<String>,
    /// `apns-priority`, or Google's `priority`.
    pub priority: Option<String>,
    /// `apns-expiration`, or Google's `time_to_live` or `ttl`.
    pub expiration: Option<String>,
    /// `apns-collapse-id`, or Google's `collapse_key`.
    pub collapse_id: Option<String>,
    /// APNs: the id of the message, the sender's or the one made for it.
    pub apns_id: Option<String>,
    /// APNs: `certificate UID` or `key KEY of team TEAM`. Google: the service account.
    pub authenticated_as: Option<String>,
    /// The body, byte by byte; JSON has it as text.
    #[serde(serialize_with = "as_text")]
    pub payload: Bytes,
    /// What became of it.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// When it arrived, in milliseconds since 1970.
    pub received_at_ms: u64,
}

impl Received {
    /// Whether the service took it.
    pub fn accepted(&self) -> bool {
        self.verdict == Verdict::Accepted
    }
}

/// One line for people: the token is shortened, the payload is text.
impl fmt::Display for Received {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.channel_id.as_ref().unwrap_or(&self.device_token);
        let token: String = token.chars().take(8).collect();
        let provider = match self.provider {
            Provider::Apns => "apns",
            Provider::Fcm => "fcm",
            Provider::Gcm => "gcm",
            Provider::Oauth => "oauth",
        };
        write!(formatter, "{provider} {token}…")?;
        for word in [&self.topic, &self.push_type].into_iter().flatten() {
            write!(formatter, " {}", word.escape_debug())?;
        }
        match &self.verdict {
            Verdict::Accepted => formatter.write_str(": accepted")?,
            Verdict::Refused { status, reason } => write!(formatter, ": {status} {reason}")?,
            Verdict::Unanswered { by } => write!(formatter, ": no answer ({by})")?,
        }
        let payload = String::from_utf8_lossy(&self.payload);
        // A terminal obeys control characters; the payload must not command it.
        write!(formatter, " {}", payload.replace(char::is_control, " "))
    }
}

/// Called with each message as it arrives.
pub type OnMessage = Box<dyn Fn(&Received) + Send + Sync>;

/// The newest messages, bounded.
pub(super) struct Record {
    /// Guards the list; held for one push or one copy.
    kept: Mutex<VecDeque<Received>>,
    capacity: usize,
    on_message: Option<OnMessage>,
}

impl Record {
    pub(super) fn new(capacity: usize, on_message: Option<OnMessage>) -> Self {
        Self { kept: Mutex::default(), capacity, on_message }
    }

    /// Whether anybody will ever see what is pushed; if not, it need not be put together.
    pub(super) fn is_kept(&self) -> bool {
        self.capacity > 0 || self.on_message.is_some()
    }

    /// Keeps a message; the oldest makes room.
    pub(super) fn push(&self, received: Received) {
        if let Some(on_message) = &self.on_message {
            on_message(&received);
        }
        let mut kept = self.lock();
        kept.push_back(received);
        if kept.len() > self.capacity {
            kept.pop_front();
        }
    }

    /// All that are kept, oldest first.
    pub(super) fn all(&self) -> Vec<Received> {
        self.lock().iter().cloned().collect()
    }

    /// Forgets them.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Received>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The wall clock in milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn as_text<S: Serializer>(payload: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received() -> Received {
        Received {
            provider: Provider::Apns,
            connection: Some(1),
            device_token: "0123456789abcdef".to_owned(),
            channel_id: None,
            topic: Some("com.example".to_owned()),
            push_type: Some("alert".to_owned()),
            priority: None,
            expiration: None,
            collapse_id: None,
            apns_id: None,
            authenticated_as: None,
            payload: Bytes::from_static(b"{\"aps\":\x1b[2J}"),
            verdict: Verdict::Refused { status: 410, reason: "Unregistered".to_owned() },
            received_at_ms: 7,
        }
    }

    #[test]
    fn the_line_is_short_and_tame() {
        assert_eq!(
            received().to_string(),
            "apns 01234567… com.example alert: 410 Unregistered {\"aps\": [2J}"
        );
    }

    #[test]
    fn the_oldest_makes_room() {
        let record = Record::new(1, None);
        record.push(received());
        let newer = Received { received_at_ms: 8, ..received() };

        record.push(newer.clone());

        assert_eq!(record.all(), [newer]);
    }
}
