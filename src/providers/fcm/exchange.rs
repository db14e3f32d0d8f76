//! One request to FCM and its answer, over the connections that its address asks for.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Method, Request, Uri};
use reqwest::Certificate;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use url::Url;

use super::{Settings, response};
use crate::metrics::Peer;
use crate::outcome::{Cause, Delivery, Failure, Outcome, Retry};
use crate::providers::attempt::{Attempt, Watch, without_answer};
use crate::providers::web::{self, LazyClient};
use crate::providers::{date, retry_after};
use crate::transport::{self, Answer, ConnectionId, Endpoint, Error, Homes, Pool, Trust, proxy};

/// The largest answer that is read: Google's take some 2 KiB.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Google lets 100 streams be open on one connection; with its usual answer in 100 ms this is more
/// than a project's quota of 600,000 messages a minute needs.
const MAX_CONNECTIONS: usize = 32;
/// More than all calls that may be in flight have under way at a time.
const MAX_WAITING: usize = 100_000;
const APPLICATION_JSON: HeaderValue = HeaderValue::from_static("application/json");
const PUSHLET: HeaderValue =
    HeaderValue::from_static(concat!("pushlet/", env!("CARGO_PKG_VERSION")));

/// How FCM is reached.
#[derive(Debug)]
pub(super) enum Way {
    /// Without TLS, which only loopback may have: whatever stands in for Google there.
    Plain(Box<LazyClient>, Arc<Peer>),
    /// As Google is: our own connections, which know what became of each request.
    Tls(Box<LazyPool>),
}

/// A pool that is made when it is first needed, as [`LazyClient`] is, and why.
#[derive(Debug)]
pub(super) struct LazyPool {
    settings: Settings,
    proxy: proxy::Settings,
    metrics: Arc<Peer>,
    homes: Homes,
    made: OnceLock<Pool>,
}

/// A message on its way to FCM.
pub(super) struct Post {
    pub(super) uri: Uri,
    pub(super) authorization: HeaderValue,
    pub(super) body: Bytes,
    pub(super) deadline: Instant,
    pub(super) avoid: Option<ConnectionId>,
}

impl Way {
    pub(super) fn new(settings: &Settings, authorities: Vec<Certificate>, homes: Homes) -> Self {
        if settings.url.scheme() == "https" {
            let settings = settings.clone();
            let (proxy, metrics) = (proxy::Settings::default(), Arc::default());
            let made = OnceLock::new();
            return Self::Tls(Box::new(LazyPool { settings, proxy, metrics, homes, made }));
        }
        let client = LazyClient::new(authorities, Some(CONNECT_TIMEOUT), None);
        Self::Plain(Box::new(client), Arc::default())
    }

    /// The same, counted in these numbers.
    pub(super) fn metered(self, metrics: Arc<Peer>) -> Self {
        match self {
            Self::Plain(client, _) => Self::Plain(client, metrics),
            Self::Tls(pool) => Self::Tls(Box::new(LazyPool { metrics, ..*pool })),
        }
    }

    /// The same, reached through what stands in between.
    pub(super) fn through(self, proxy: &proxy::Settings) -> Self {
        match self {
            Self::Plain(client, metrics) => Self::Plain(client, metrics),
            Self::Tls(pool) => Self::Tls(Box::new(LazyPool { proxy: proxy.clone(), ..*pool })),
        }
    }

    /// Sends it once. An answer that comes after the caller hung up goes to `on_late`.
    pub(super) async fn send(
        &self,
        post: Post,
        runtime: &Handle,
        on_late: impl FnOnce(Outcome) + Send + 'static,
    ) -> Attempt {
        match self {
            Self::Plain(client, metrics) => {
                let metrics = Arc::clone(metrics);
                let outcome = match client.get() {
                    Ok(client) => plain(client, post, metrics, runtime, on_late).await,
                    Err(error) => web::no_client(&error),
                };
                Attempt { outcome, avoid: None }
            }
            Self::Tls(pool) => match pool.get() {
                Ok(pool) => over_tls(pool, post, runtime, on_late).await,
                Err(detail) => {
                    let error = Error::Connect { detail, refusal: None };
                    Attempt { outcome: without_answer(error, None), avoid: None }
                }
            },
        }
    }
}

/// Whether anybody answers.
impl Way {
    /// The clock of what stands at `url`, where it tells. Any answer will do.
    ///
    /// # Errors
    /// Why no answer came.
    pub(super) async fn date(
        &self,
        url: &Url,
        deadline: Instant,
    ) -> Result<Option<SystemTime>, String> {
        let pool = match self {
            Self::Plain(client, _) => {
                let client = client.get().map_err(|error| web::sentence(&error))?;
                return web::date(client, url.clone(), deadline).await;
            }
            Self::Tls(pool) => pool.get()?,
        };
        let head = Request::head(url.as_str()).body(()).map_err(|error| error.to_string())?;
        let request = transport::Request { head, body: Bytes::new(), avoid: None, deadline };
        let mut flight = pool.send(request).map_err(|error| error.to_string())?;
        let answer = flight.answer().await.map_err(|error| error.to_string())?;
        Ok(date(&answer.headers))
    }
}

impl LazyPool {
    fn get(&self) -> Result<&Pool, String> {
        if let Some(pool) = self.made.get() {
            return Ok(pool);
        }
        let endpoint = Endpoint::of(&self.settings.url)
            .ok_or_else(|| format!("fcm.url has no host: {}", self.settings.url))?;
        let endpoint = endpoint.through(&self.proxy);
        let trust = Trust::new(self.settings.ca_file.as_deref()).map_err(|error| {
            format!("the certificate authorities could not be read: {error}; check fcm.ca_file")
        })?;
        let settings = transport::Settings {
            connections: MAX_CONNECTIONS,
            connect_timeout: CONNECT_TIMEOUT,
            keepalive_interval: Duration::from_secs(60),
            keepalive_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(300),
            max_waiting: MAX_WAITING,
            // One more than is allowed tells that there was more.
            max_answer_bytes: MAX_ANSWER_BYTES + 1,
        };
        let (_, settings) = watch::channel(settings);
        let metrics = Arc::clone(&self.metrics);
        let pool = Pool::new(endpoint, trust, None, settings, metrics, &self.homes);
        // Of two that were made at once, one is kept.
        Ok(self.made.get_or_init(|| pool))
    }
}

/// The head of the request.
pub(super) fn head(uri: Uri, authorization: HeaderValue, body_bytes: usize) -> Request<()> {
    let mut head = Request::new(());
    *head.method_mut() = Method::POST;
    *head.uri_mut() = uri;
    let headers = head.headers_mut();
    headers.reserve(4);
    headers.insert(AUTHORIZATION, authorization);
    headers.insert(CONTENT_TYPE, APPLICATION_JSON);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body_bytes));
    headers.insert(USER_AGENT, PUSHLET);
    head
}

async fn over_tls(
    pool: &Pool,
    post: Post,
    runtime: &Handle,
    on_late: impl FnOnce(Outcome) + Send + 'static,
) -> Attempt {
    let Post { uri, authorization, body, deadline, avoid } = post;
    let head = head(uri, authorization, body.len());
    let flight = match pool.send(transport::Request { head, body, avoid, deadline }) {
        Ok(flight) => flight,
        Err(error) => return Attempt { outcome: without_answer(error, None), avoid: None },
    };
    let mut watch = Watch::new(flight, runtime, move |answer| on_late(read(&answer)));
    match watch.answer().await {
        Ok(answer) => Attempt { outcome: read(&answer), avoid: Some(answer.connection) },
        Err(error) => {
            let avoid = match &error {
                Error::NotProcessed { connection, .. } | Error::Unanswered { connection, .. } => {
                    Some(*connection)
                }
                Error::Busy | Error::Connect { .. } | Error::Deadline { .. } => None,
            };
            Attempt { outcome: without_answer(error, None), avoid }
        }
    }
}

fn read(answer: &Answer) -> Outcome {
    let (status, now) = (answer.status.as_u16(), SystemTime::now());
    if answer.body.len() > MAX_ANSWER_BYTES {
        return too_long(status);
    }
    match (answer.is_whole, status) {
        (true, _) => response::read(status, retry_after(&answer.headers, now), &answer.body, now),
        (false, 200) => web::lost("its answer broke off".to_owned()),
        (false, _) => cut_off(status, retry_after(&answer.headers, now), now),
    }
}

/// What is not 200 says by its status alone that nothing was delivered.
fn cut_off(status: u16, retry_after: Option<Duration>, now: SystemTime) -> Outcome {
    response::read(status, retry_after, b"", now)
}

async fn plain(
    client: &reqwest::Client,
    post: Post,
    metrics: Arc<Peer>,
    runtime: &Handle,
    on_late: impl FnOnce(Outcome) + Send + 'static,
) -> Outcome {
    let Post { uri, authorization, body, deadline, .. } = post;
    let request = client
        .post(uri.to_string())
        .header(AUTHORIZATION, authorization)
        .header(CONTENT_TYPE, APPLICATION_JSON)
        .timeout(deadline.saturating_duration_since(Instant::now()))
        .body(body);
    let (done, answer) = oneshot::channel();
    runtime.spawn(async move {
        let written = Instant::now();
        let outcome = match request.send().await {
            Ok(response) => {
                metrics.answers.observe(written.elapsed());
                plain_answer(response, deadline).await
            }
            Err(error) => web::unanswered(&error, deadline, ""),
        };
        if let Err(outcome) = done.send(outcome) {
            on_late(outcome);
        }
    });
    // The task ends with its runtime, or by a bug: what became of the message is not known.
    answer.await.unwrap_or_else(|_| web::lost("the exchange was ended".to_owned()))
}

async fn plain_answer(mut response: reqwest::Response, deadline: Instant) -> Outcome {
    let (status, now) = (response.status().as_u16(), SystemTime::now());
    let retry_after = retry_after(response.headers(), now);
    match web::body(&mut response, MAX_ANSWER_BYTES).await {
        Ok(body) => response::read(status, retry_after, &body, now),
        Err(web::Unread::Broken(error)) if status == 200 => web::unanswered(&error, deadline, ""),
        Err(web::Unread::Broken(_)) => cut_off(status, retry_after, now),
        Err(web::Unread::TooLong) => too_long(status),
    }
}

fn too_long(status: u16) -> Outcome {
    let delivery = if status == 200 { Delivery::Unknown } else { Delivery::NotSent };
    let cause = Cause::Nonsense { status, reason: "its answer is too long".to_owned() };
    Outcome::Failed(Failure { cause, delivery, retry: Retry::Never, retry_after: None, id: None })
}
