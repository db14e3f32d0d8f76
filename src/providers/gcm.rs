//! Google Cloud Messaging as it was: the legacy HTTP call, forwarded.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::HeaderValue;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::runtime::Handle;
use tokio::time::Instant;
use url::Url;

use super::retry_after;
use crate::outcome::{Cause, Delivery, Failure, Fault, Outcome, Receipt, Rejection, Retry};
use crate::secret::Secret;

/// The section `[gcm]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where the documented GCM call is forwarded to: an endpoint that speaks Google's legacy
    /// protocol. `https`, or `http` on loopback. Left out, such a call is refused: Google switched
    /// its own off in 2024.
    pub legacy_url: Option<Url>,
    /// How long a call waits for that endpoint; at most 25 s.
    pub timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { legacy_url: None, timeout: Duration::from_secs(10) }
    }
}

/// The largest answer that is read: a thousand rows take some 100 KiB.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// A message in the words of Google's legacy protocol, for the owner of an API key.
#[derive(Debug)]
pub struct Message {
    api_key: Secret<String>,
    /// How many tokens it is for, and so how many rows its answer has.
    recipients: usize,
    body: Bytes,
}

/// What of a notification the phone shows by itself; each member only if it was given.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Notification {
    /// The first line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The name of a sound of the app.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sound: Option<String>,
    /// The number on the icon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub badge: Option<u32>,
}

#[derive(Serialize)]
struct Body<'a> {
    registration_ids: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notification: Option<&'a Notification>,
}

impl Message {
    /// A message for these tokens. `data` keeps its bytes.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn new(
        api_key: Secret<String>,
        registration_ids: &[String],
        data: Option<&RawValue>,
        notification: Notification,
    ) -> Result<Self, serde_json::Error> {
        let notification = (notification != Notification::default()).then_some(&notification);
        let body = serde_json::to_vec(&Body { registration_ids, data, notification })?;
        Ok(Self { api_key, recipients: registration_ids.len(), body: body.into() })
    }
}

/// The way to the legacy endpoint, shared by everybody who comes with a key of his own.
#[derive(Debug)]
pub struct Gcm {
    client: reqwest::Client,
    settings: Settings,
    runtime: Handle,
}

/// The numbers of an answer (Google, "Downstream HTTP messages: interpret message response").
#[derive(Deserialize)]
struct Multicast {
    #[serde(rename = "multicast_id")]
    _multicast_id: serde_json::Number,
    #[serde(rename = "success")]
    _success: u64,
    #[serde(rename = "failure")]
    _failure: u64,
    #[serde(rename = "canonical_ids")]
    _canonical_ids: u64,
    results: Vec<IgnoredAny>,
}

impl Gcm {
    /// Makes no connection. `runtime` is where requests run, since a handler's own runtime may be
    /// busy with other calls.
    ///
    /// # Errors
    /// When the TLS library cannot be set up.
    pub fn new(settings: Settings, runtime: Handle) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .user_agent(concat!("pushlet/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, settings, runtime })
    }

    /// How long a call may take in all.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.settings.timeout
    }

    /// Sends a message once.
    pub async fn send(&self, message: &Message, deadline: Instant) -> Outcome {
        let Some(url) = self.settings.legacy_url.clone() else { return switched_off() };
        let Ok(mut key) = HeaderValue::try_from(format!("key={}", message.api_key.expose())) else {
            return key_refused(None, Some("the key has characters that no key has".to_owned()));
        };
        key.set_sensitive(true);
        let request = self
            .client
            .post(url)
            .header(AUTHORIZATION, key)
            .header(CONTENT_TYPE, "application/json")
            .timeout(deadline.saturating_duration_since(Instant::now()))
            .body(message.body.clone());
        let recipients = message.recipients;
        let exchange = self.runtime.spawn(async move {
            match request.send().await {
                Ok(response) => answered(response, recipients).await,
                Err(error) => unanswered(&error),
            }
        });
        // The task ends with its runtime, or by a bug: what became of the message is not known.
        exchange.await.unwrap_or_else(|_| lost("the exchange was ended".to_owned()))
    }
}

async fn answered(mut response: reqwest::Response, recipients: usize) -> Outcome {
    let status = response.status().as_u16();
    let retry_after = retry_after(response.headers(), SystemTime::now());
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= MAX_ANSWER_BYTES => {
                body.extend_from_slice(&chunk);
            }
            Ok(Some(_)) => return nonsense(status, "its answer is too long"),
            Ok(None) => break,
            // The status says it all but for a 200, whose rows are what counts.
            Err(error) if status == 200 => return unanswered(&error),
            Err(_) => break,
        }
    }
    match status {
        200 => accepted(&body, recipients, retry_after),
        400 => rejected(Fault::Message, status, first_line(&body)),
        401 | 403 => key_refused(Some(status), None),
        429 => {
            let cause = Cause::Throttled { status, reason: String::new() };
            not_sent(cause, retry_after)
        }
        500..=599 => {
            let cause = Cause::Provider { status, reason: String::new() };
            not_sent(cause, retry_after)
        }
        _ => nonsense(status, "it is no endpoint of the legacy protocol"),
    }
}

fn accepted(body: &[u8], recipients: usize, retry_after: Option<Duration>) -> Outcome {
    match serde_json::from_slice::<Multicast>(body) {
        Ok(answer) if answer.results.len() == recipients => {}
        Ok(_) => return nonsense(200, "its answer has not one result for each token"),
        Err(_) => return nonsense(200, "its answer is not the documented JSON"),
    }
    match serde_json::from_slice::<Box<RawValue>>(body) {
        Ok(answer) => {
            let answer = answer.get().trim().to_owned();
            Outcome::Accepted(Receipt::Gcm { answer, retry_after })
        }
        Err(_) => nonsense(200, "its answer is not the documented JSON"),
    }
}

fn switched_off() -> Outcome {
    let detail = "google switched this api off in 2024 and was not asked; set gcm.legacy_url to an \
                  endpoint that still speaks it";
    key_refused(None, Some(detail.to_owned()))
}

fn key_refused(status: Option<u16>, detail: Option<String>) -> Outcome {
    Outcome::Rejected(Rejection {
        fault: Fault::Credentials,
        status,
        reason: String::new(),
        detail,
        id: None,
        gone_since: None,
    })
}

fn rejected(fault: Fault, status: u16, reason: String) -> Outcome {
    Outcome::Rejected(Rejection {
        fault,
        status: Some(status),
        reason,
        detail: None,
        id: None,
        gone_since: None,
    })
}

fn not_sent(cause: Cause, retry_after: Option<Duration>) -> Outcome {
    let (delivery, retry) = (Delivery::NotSent, Retry::Never);
    Outcome::Failed(Failure { cause, delivery, retry, retry_after, id: None })
}

fn nonsense(status: u16, what: &str) -> Outcome {
    let cause = Cause::Nonsense { status, reason: what.to_owned() };
    let delivery = if status == 200 { Delivery::Unknown } else { Delivery::NotSent };
    Outcome::Failed(Failure { cause, delivery, retry: Retry::Never, retry_after: None, id: None })
}

fn lost(detail: String) -> Outcome {
    let cause = Cause::Unanswered { detail };
    let (delivery, retry) = (Delivery::Unknown, Retry::IfAtLeastOnce);
    Outcome::Failed(Failure { cause, delivery, retry, retry_after: None, id: None })
}

/// No answer came. What `reqwest` calls a failure to connect came before the request was written.
fn unanswered(error: &reqwest::Error) -> Outcome {
    let detail = sentence(error);
    if error.is_timeout() {
        let delivery = if error.is_connect() { Delivery::NotSent } else { Delivery::Unknown };
        let cause = Cause::Deadline;
        let retry = Retry::Never;
        return Outcome::Failed(Failure { cause, delivery, retry, retry_after: None, id: None });
    }
    if error.is_connect() {
        let cause = Cause::Unreachable { detail };
        let (delivery, retry) = (Delivery::NotSent, Retry::Seldom);
        return Outcome::Failed(Failure { cause, delivery, retry, retry_after: None, id: None });
    }
    lost(detail)
}

/// The causes of an error, without the URL: it may hold what is nobody's business.
fn sentence(error: &reqwest::Error) -> String {
    let mut sentence =
        if error.is_connect() { "connecting failed" } else { "the exchange broke" }.to_owned();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        sentence.push_str(": ");
        sentence.push_str(&inner.to_string());
        cause = inner.source();
    }
    sentence
}

/// Google's word for a request that it does not understand is a line of plain text.
fn first_line(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.lines().next().unwrap_or_default().chars().take(200).collect()
}
