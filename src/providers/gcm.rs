//! Google Cloud Messaging as it was: the legacy HTTP call, forwarded.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::HeaderValue;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::Instant;
use url::Url;

use super::fcm::message::FcmTarget;
use super::json::Object;
use super::legacy::{Draft, Priority, Report, Row, Target};
use super::retry_after;
use super::web::{self, LazyClient};
use crate::metrics::{Metrics, Peer, Provider};
use crate::outcome::{Cause, Delivery, Failure, Fault, Outcome, Receipt, Rejection, Retry};
use crate::secret::Secret;
use crate::transport::proxy;

/// The section `[gcm]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where the documented GCM call is forwarded to when its key is not in `[[gcm.bridge]]`: an
    /// endpoint that speaks Google's legacy protocol. `https`, or `http` on loopback. Left out,
    /// such a call is refused: Google switched its own off in 2024.
    pub legacy_url: Option<Url>,
    /// How long a call waits for that endpoint; at most 25 s.
    pub timeout: Duration,
    /// Serve `POST /fcm/send` and `POST /gcm/send` as Google did, for libraries whose URL can be
    /// set. They take the keys of `[[gcm.bridge]]` instead of a user name and password.
    pub drop_in_routes: bool,
    /// Old keys and what they stand for today: a message with such a `gcm_api_key` goes through
    /// FCM HTTP v1. An account that can't be read is logged, and the rest runs.
    pub bridge: Vec<Bridge>,
}

/// One entry of `[[gcm.bridge]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// The key that callers go on using; any text will do. Or `api_key_sha256`, the SHA-256 of it
    /// in hexadecimal; only that is kept in memory.
    pub api_key: KeyHash,
    /// The service account that Google gives for the project: a path, or the JSON itself. A
    /// relative path starts at the folder of this file.
    pub service_account: AccountSource,
    /// How devices are addressed: `token` (default), `fid`, or `auto`, by what a token looks like.
    pub fcm_target: FcmTarget,
}

/// The SHA-256 of an old key.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KeyHash(pub [u8; 32]);

impl KeyHash {
    /// The hash of a key.
    #[must_use]
    pub fn of(api_key: &str) -> Self {
        Self(openssl::sha::sha256(api_key.as_bytes()))
    }
}

/// Enough to tell two of them apart.
impl fmt::Debug for KeyHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second, ..] = self.0;
        write!(formatter, "KeyHash({first:02x}{second:02x}…)")
    }
}

/// Where a service account is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountSource {
    /// In this file.
    File(PathBuf),
    /// In the configuration itself.
    Text(Secret<String>),
}

impl AccountSource {
    /// The JSON of it.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub fn contents(&self) -> Result<Vec<u8>, String> {
        match self {
            Self::File(path) => std::fs::read(path)
                .map_err(|error| format!("{} could not be read: {error}", path.display())),
            Self::Text(text) => Ok(text.expose().clone().into_bytes()),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            legacy_url: None,
            timeout: Duration::from_secs(10),
            drop_in_routes: false,
            bridge: Vec::new(),
        }
    }
}

/// The largest answer that is read: a thousand rows take some 100 KiB.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// A message in the words of Google's legacy protocol, for the owner of an API key.
pub struct Message {
    api_key: Secret<String>,
    shape: Shape,
    body: Bytes,
    /// Send it again when its answer was lost, though people may be notified twice.
    pub at_least_once: bool,
}

/// Leaves out what is said and to whom.
impl fmt::Debug for Message {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Message")
            .field("shape", &self.shape)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// What a good answer looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One row for each of so many tokens.
    Rows(usize),
    /// One row, or what a topic, a condition or a device group gets.
    Single,
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    registration_ids: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    collapse_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<Priority>,
    #[serde(skip_serializing_if = "is_false")]
    content_available: bool,
    #[serde(skip_serializing_if = "is_false")]
    mutable_content: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_to_live: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    restricted_package_name: Option<&'a str>,
    #[serde(skip_serializing_if = "is_false")]
    dry_run: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notification: Option<&'a RawValue>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

impl Message {
    /// A message in the words that it was given in; `data` and `notification` keep their bytes.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn new(api_key: Secret<String>, draft: &Draft) -> Result<Self, serde_json::Error> {
        let (registration_ids, to, condition) = match &draft.target {
            Target::Condition(condition) => (None, None, Some(condition.as_str())),
            Target::RegistrationIds(tokens) => (Some(tokens.as_slice()), None, None),
            Target::To(to) => (None, Some(to.as_str()), None),
        };
        let body = serde_json::to_vec(&Body {
            registration_ids,
            to,
            condition,
            collapse_key: draft.collapse_key.as_deref(),
            priority: draft.priority,
            content_available: draft.content_available,
            mutable_content: draft.mutable_content,
            time_to_live: draft.time_to_live_secs,
            restricted_package_name: draft.restricted_package_name.as_deref(),
            dry_run: draft.dry_run,
            data: draft.data.as_ref().map(Object::as_raw),
            notification: draft.notification.as_ref().map(Object::as_raw),
        })?;
        let shape = registration_ids.map_or(Shape::Single, |tokens| Shape::Rows(tokens.len()));
        Ok(Self { api_key, shape, body: body.into(), at_least_once: draft.at_least_once })
    }
}

impl Message {
    /// How many rows its answer has: one for each token.
    #[must_use]
    pub fn rows(&self) -> usize {
        match self.shape {
            Shape::Rows(rows) => rows,
            Shape::Single => 1,
        }
    }
}

/// The way to the legacy endpoint, shared by everybody who comes with a key of his own.
#[derive(Debug)]
pub struct Gcm {
    client: LazyClient,
    legacy_url: Option<Url>,
    timeout: Duration,
    metrics: Arc<Peer>,
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

/// The answer to a message for a topic or a condition.
#[derive(Deserialize)]
struct TopicAnswer {
    message_id: Option<serde_json::Number>,
    error: Option<String>,
}

/// The answer to a message for a device group; tokens that failed may follow.
#[derive(Deserialize)]
struct GroupAnswer {
    #[serde(rename = "success")]
    _success: u64,
    #[serde(rename = "failure")]
    _failure: u64,
}

impl Gcm {
    /// Makes no connection. `runtime` is where requests run, since a handler's own runtime may be
    /// busy with other calls.
    #[must_use]
    pub fn new(settings: &Settings, runtime: Handle) -> Self {
        let (legacy_url, timeout) = (settings.legacy_url.clone(), settings.timeout);
        let client = LazyClient::new(Vec::new(), None, None);
        Self { client, legacy_url, timeout, metrics: Arc::default(), runtime }
    }

    /// The same, counted in these numbers.
    #[must_use]
    pub fn metered(self, metrics: &Metrics) -> Self {
        Self { metrics: Arc::clone(metrics.peer(Provider::Gcm)), ..self }
    }

    /// The same, reached through what stands in between.
    #[must_use]
    pub fn through(self, proxy: &proxy::Settings) -> Self {
        Self { client: self.client.through(proxy), ..self }
    }

    /// How long a call may take in all.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Whether there is an endpoint at all.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        self.legacy_url.is_some()
    }

    /// Whether anybody answers at the endpoint, without a key: its clock, where it tells; `None`
    /// without an endpoint.
    ///
    /// # Errors
    /// Why no answer came.
    pub async fn probe(&self, deadline: Instant) -> Option<Result<Option<SystemTime>, String>> {
        let url = self.legacy_url.clone()?;
        let client = self.client.get().map_err(|error| web::sentence(&error));
        Some(match client {
            Ok(client) => web::date(client, url, deadline).await,
            Err(sentence) => Err(sentence),
        })
    }

    /// The request that a message would go out as.
    pub(super) fn preview(&self, message: &Message) -> Result<super::Request, Outcome> {
        let uri = self.legacy_url.as_ref().and_then(|url| http::Uri::try_from(url.as_str()).ok());
        let Some(uri) = uri else { return Err(switched_off()) };
        let mut head = http::Request::new(());
        *head.method_mut() = http::Method::POST;
        *head.uri_mut() = uri;
        head.headers_mut().insert(AUTHORIZATION, HeaderValue::from_static("key=***"));
        head.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(super::Request { head, payload: message.body.clone(), environment: None })
    }

    /// Sends a message once.
    ///
    /// # Cancel safety
    /// Dropped before the request was written, it is never sent. Afterwards nobody hears the answer.
    pub async fn send(&self, message: &Message, deadline: Instant) -> Outcome {
        let Some(url) = self.legacy_url.clone() else { return switched_off() };
        let Ok(mut key) = HeaderValue::try_from(format!("key={}", message.api_key.expose())) else {
            return key_refused(None, Some("the key has characters that no key has".to_owned()));
        };
        key.set_sensitive(true);
        let client = match self.client.get() {
            Ok(client) => client,
            Err(error) => return web::no_client(&error),
        };
        let via = self.client.via(&url);
        let request = client
            .post(url)
            .header(AUTHORIZATION, key)
            .header(CONTENT_TYPE, "application/json")
            .timeout(deadline.saturating_duration_since(Instant::now()))
            .body(message.body.clone());
        let (shape, metrics) = (message.shape, Arc::clone(&self.metrics));
        let exchange = async move {
            let written = Instant::now();
            match request.send().await {
                Ok(response) => {
                    metrics.answers.observe(written.elapsed());
                    answered(response, shape, deadline).await
                }
                Err(error) => web::unanswered(&error, deadline, &via),
            }
        };
        // A set ends its task when it is dropped: on its own it would wait for a connection, and send
        // after its caller has left.
        let mut exchanges = JoinSet::new();
        exchanges.spawn_on(exchange, &self.runtime);
        match exchanges.join_next().await {
            Some(Ok(outcome)) => outcome,
            // The task ends with its runtime, or by a bug: what became of the message is not known.
            Some(Err(_)) | None => web::lost("the exchange was ended".to_owned()),
        }
    }
}

async fn answered(mut response: reqwest::Response, shape: Shape, deadline: Instant) -> Outcome {
    let status = response.status().as_u16();
    let retry_after = retry_after(response.headers(), SystemTime::now());
    let body = match web::body(&mut response, MAX_ANSWER_BYTES).await {
        Ok(body) => body,
        Err(web::Unread::TooLong) => return nonsense(status, "its answer is too long"),
        // The status says it all but for a 200, whose rows are what counts.
        Err(web::Unread::Broken(error)) if status == 200 => {
            return web::unanswered(&error, deadline, "");
        }
        Err(web::Unread::Broken(_)) => Vec::new(),
    };
    read(status, retry_after, &body, shape)
}

/// Reads an answer to a message whose good answer looks so. `body` may be anything.
#[must_use]
pub fn read(status: u16, retry_after: Option<Duration>, body: &[u8], shape: Shape) -> Outcome {
    match status {
        200 => accepted(body, shape, retry_after),
        400 => rejected(Fault::Message, status, first_line(body)),
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

fn accepted(body: &[u8], shape: Shape, retry_after: Option<Duration>) -> Outcome {
    const OTHER: &str = "its answer is not the documented JSON";
    // Read as a type of ours, a list would be an answer too.
    if !body.trim_ascii_start().starts_with(b"{") {
        return nonsense(200, OTHER);
    }
    let verbatim = || {
        let answer = serde_json::from_slice::<Box<RawValue>>(body).ok()?;
        Some(answer.get().trim().to_owned())
    };
    let expected = match shape {
        Shape::Rows(rows) => rows,
        Shape::Single => 1,
    };
    let answer = match serde_json::from_slice::<Multicast>(body) {
        Ok(answer) if answer.results.len() == expected => verbatim(),
        Ok(_) => return nonsense(200, "its answer has not one result for each token"),
        Err(_) if shape == Shape::Single => single(body)
            .or_else(|| serde_json::from_slice::<GroupAnswer>(body).ok().and_then(|_| verbatim())),
        Err(_) => None,
    };
    match answer {
        Some(answer) => Outcome::Accepted(Receipt::Gcm { answer, retry_after }),
        None => nonsense(200, OTHER),
    }
}

/// The answer to a topic, in the shape that the other answers have.
fn single(body: &[u8]) -> Option<String> {
    let row = match serde_json::from_slice::<TopicAnswer>(body).ok()? {
        TopicAnswer { message_id: Some(id), error: None } => {
            Row::Accepted { message_id: id.to_string() }
        }
        TopicAnswer { message_id: None, error: Some(error) } => {
            Row::Failed { error: error.into(), delivery: None }
        }
        TopicAnswer { .. } => return None,
    };
    serde_json::to_string(&Report::new(vec![row])).ok()
}

fn switched_off() -> Outcome {
    let detail = "google switched this api off in 2024 and was not asked; give the key a service \
                  account in [[gcm.bridge]], or set gcm.legacy_url to an endpoint that still \
                  speaks it";
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

/// Google's word for a request that it does not understand is a line of plain text.
fn first_line(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.lines().next().unwrap_or_default().chars().take(200).collect()
}
