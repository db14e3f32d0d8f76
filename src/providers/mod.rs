//! The push services: one folder or file each. A new one is one variant, one field and one arm
//! here.

pub mod apns;
mod attempt;
pub mod fcm;
pub mod file;
pub mod gcm;
pub mod json;
pub mod legacy;
mod timeout;
pub(crate) mod web;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};
use tokio::time::Instant;

use self::apns::{Apns, Mode};
pub use self::attempt::Attempt;
use self::fcm::Fcm;
use self::gcm::Gcm;
use crate::metrics::Provider;
use crate::outcome::Outcome;
use crate::transport::ConnectionId;

/// A peer that asks to wait for longer than a day is not believed.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// A message for one of the services, ready to be sent.
#[derive(Debug)]
pub enum Message {
    /// For Apple.
    Apns(apns::message::Message),
    /// For Google.
    Fcm(fcm::message::Message),
    /// For an endpoint that speaks Google's legacy protocol.
    Gcm(gcm::Message),
}

impl Message {
    /// The service that it is for.
    #[must_use]
    pub fn provider(&self) -> Provider {
        match self {
            Self::Apns(_) => Provider::Apns,
            Self::Fcm(_) => Provider::Fcm,
            Self::Gcm(_) => Provider::Gcm,
        }
    }
}

/// What an application can send through. Each side is shared with the application that it
/// replaces, when only the other side was registered anew.
#[derive(Debug, Clone, Default)]
pub struct Providers {
    /// Apple.
    pub apns: Option<Arc<Apns>>,
    /// Google.
    pub fcm: Option<Arc<Fcm>>,
    /// Google's legacy protocol.
    pub gcm: Option<Arc<Gcm>>,
}

/// A message as it would go out, its credential shortened.
#[derive(Debug)]
pub struct Request {
    /// Method, URL and headers.
    pub head: http::Request<()>,
    /// The whole body.
    pub payload: Bytes,
    /// Apple's environment, in the word of parameters.
    pub environment: Option<&'static str>,
}

/// The application has no credential for the service that the message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotRegistered;

impl Providers {
    /// Whether nothing can be sent through it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.apns.is_none() && self.fcm.is_none() && self.gcm.is_none()
    }

    /// Where a message for Apple goes first, and after its end where its token is known; `None`
    /// where there is no choice.
    #[must_use]
    pub fn environment(&self, message: &Message) -> Option<Mode> {
        match message {
            Message::Apns(message) => self.apns.as_ref()?.environment(message),
            Message::Fcm(_) | Message::Gcm(_) => None,
        }
    }

    /// Remembers for a while where the token of a message for Apple is known.
    pub fn learn_environment(&self, message: &Message, environment: Mode) {
        if let (Message::Apns(message), Some(apns)) = (message, &self.apns) {
            apns.learn_environment(message, environment);
        }
    }

    /// Sends a message once, to `environment` where there is a choice. An answer that comes too
    /// late for the caller goes to `on_late`.
    ///
    /// # Errors
    /// [`NotRegistered`]; nothing was sent.
    pub async fn send(
        &self,
        message: &Message,
        environment: Option<Mode>,
        deadline: Instant,
        avoid: Option<ConnectionId>,
        on_late: impl FnOnce(Outcome) + Send + 'static,
    ) -> Result<Attempt, NotRegistered> {
        match message {
            Message::Apns(message) => {
                let apns = self.apns.as_ref().ok_or(NotRegistered)?;
                Ok(apns.send(message, environment, deadline, avoid, on_late).await)
            }
            Message::Fcm(message) => {
                let fcm = self.fcm.as_ref().ok_or(NotRegistered)?;
                // Twice as large as what a message for Apple needs, which would keep room for it.
                Ok(Box::pin(fcm.send(message, deadline, avoid, on_late)).await)
            }
            Message::Gcm(message) => {
                let gcm = self.gcm.as_ref().ok_or(NotRegistered)?;
                let outcome = gcm.send(message, deadline).await;
                Ok(Attempt { outcome, avoid: None })
            }
        }
    }

    /// What a message would go out as. Nothing is sent, and no connection made; where that could
    /// not be done either, it is what a send would come to.
    ///
    /// # Errors
    /// [`NotRegistered`].
    pub fn preview(&self, message: &Message) -> Result<Result<Request, Outcome>, NotRegistered> {
        Ok(match message {
            Message::Apns(message) => self.apns.as_ref().ok_or(NotRegistered)?.preview(message),
            Message::Fcm(message) => self.fcm.as_ref().ok_or(NotRegistered)?.preview(message),
            Message::Gcm(message) => self.gcm.as_ref().ok_or(NotRegistered)?.preview(message),
        })
    }

    /// How long a call may take in all for a message of this kind.
    #[must_use]
    pub fn timeout(&self, message: &Message) -> Duration {
        let timeout = match message {
            Message::Apns(_) => self.apns.as_ref().map(|apns| apns.timeout()),
            Message::Fcm(_) => self.fcm.as_ref().map(|fcm| fcm.timeout()),
            Message::Gcm(_) => self.gcm.as_ref().map(|gcm| gcm.timeout()),
        };
        timeout.unwrap_or_default()
    }
}

/// The peer's clock, where it tells (RFC 9110 §6.6.1).
fn date(headers: &HeaderMap) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()
}

/// Seconds or an HTTP date (RFC 9110 §10.2.3).
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds).min(LONGEST_RETRY_AFTER));
    }
    let at = httpdate::parse_http_date(value).ok()?;
    Some(at.duration_since(now).unwrap_or_default().min(LONGEST_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, http::HeaderValue::from_static("7"));
        assert_eq!(retry_after(&headers, UNIX_EPOCH), Some(Duration::from_secs(7)));

        let date = http::HeaderValue::from_static("Thu, 01 Jan 1970 00:01:00 GMT");
        headers.insert(RETRY_AFTER, date);
        assert_eq!(retry_after(&headers, UNIX_EPOCH), Some(Duration::from_secs(60)));
    }
}
