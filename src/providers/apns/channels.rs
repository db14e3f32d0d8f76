//! Broadcast channels: how they are made, read, listed and deleted (Apple, "Sending channel
//! management requests to APNs").

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Method, Uri};
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::Instant;
use url::Url;
use uuid::Uuid;

use super::response::Sent;
use super::{Access, Apns, Context, Mode, Settings};
use crate::outcome::{Cause, Delivery, Failure, Outcome, Retry};
use crate::providers::Attempt;
use crate::transport::{self, Answer, ConnectionId, Endpoint, Homes, Pool, Request as Job, proxy};

pub(super) const APNS_CHANNEL_ID: HeaderName = HeaderName::from_static("apns-channel-id");
pub(super) const APNS_REQUEST_ID: HeaderName = HeaderName::from_static("apns-request-id");
/// Longest id of a channel. A bound of ours: Apple names none, and real ones have some dozens.
const MAX_ID_BYTES: usize = 512;

/// The id of a channel: Apple's base64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelId(String);

impl ChannelId {
    /// Reads an id; `None` for what is no base64.
    #[must_use]
    pub fn parse(text: String) -> Option<Self> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=-_".contains(&byte);
        let fits = (1..=MAX_ID_BYTES).contains(&text.len());
        (fits && text.bytes().all(known)).then_some(Self(text))
    }

    /// The id itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ChannelId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Whether the text is a bundle id as it stands in a path: no suffix of a push type.
#[must_use]
pub fn is_bundle_id(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    (1..=255).contains(&text.len())
        && text.bytes().all(known)
        && !text.ends_with(".push-type.liveactivity")
}

/// What is done about channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A new one is made.
    Create {
        /// Whether Apple keeps the last message for phones that are off: 1, else 0.
        message_storage_policy: u8,
    },
    /// One is deleted, for good.
    Delete(ChannelId),
    /// All of them are listed.
    List,
    /// One is looked up.
    Read(ChannelId),
}

/// A request about the channels of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The app.
    pub bundle_id: String,
    /// Whether the caller named the app, and so answers for it.
    pub is_topic_given: bool,
    /// What is done.
    pub action: Action,
    /// The id of this request, the same on each try.
    pub request_id: Uuid,
}

/// What Apple answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The channel is there.
    Channel {
        /// As in [`Action::Create`].
        message_storage_policy: u8,
        /// `LiveActivity`.
        push_type: String,
    },
    /// All channels that there are.
    Channels(Vec<String>),
    /// The id of the new channel.
    Created(String),
    /// It is deleted.
    Deleted,
}

impl Request {
    /// Whether a second one changes nothing.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        matches!(self.action, Action::List | Action::Read(_))
    }

    fn body(&self) -> Bytes {
        match &self.action {
            Action::Create { message_storage_policy: policy } => Bytes::from(format!(
                "{{\"message-storage-policy\":{policy},\"push-type\":\"LiveActivity\"}}"
            )),
            Action::Delete(_) | Action::List | Action::Read(_) => Bytes::new(),
        }
    }

    /// `None` when a value does not fit into the head, which the types have ruled out.
    fn head(
        &self,
        authority: &Authority,
        authorization: Option<HeaderValue>,
        body_bytes: usize,
    ) -> Option<http::Request<()>> {
        let (method, what, channel) = match &self.action {
            Action::Create { .. } => (Method::POST, "channels", None),
            Action::Delete(id) => (Method::DELETE, "channels", Some(id)),
            Action::List => (Method::GET, "all-channels", None),
            Action::Read(id) => (Method::GET, "channels", Some(id)),
        };
        let path = format!("/1/apps/{}/{what}", self.bundle_id);
        let mut head = http::Request::new(());
        *head.method_mut() = method;
        *head.uri_mut() = Uri::builder()
            .scheme(Scheme::HTTPS)
            .authority(authority.clone())
            .path_and_query(PathAndQuery::from_maybe_shared(Bytes::from(path)).ok()?)
            .build()
            .ok()?;
        let headers = head.headers_mut();
        if let Some(authorization) = authorization {
            headers.insert(AUTHORIZATION, authorization);
        }
        let id = self.request_id.hyphenated().to_string();
        headers.insert(APNS_REQUEST_ID, HeaderValue::try_from(id).ok()?);
        if let Some(channel) = channel {
            headers.insert(APNS_CHANNEL_ID, HeaderValue::from_str(channel.as_str()).ok()?);
        }
        if body_bytes > 0 {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert(CONTENT_LENGTH, HeaderValue::from(body_bytes));
        }
        Some(head)
    }

    /// What a good answer says; `None` if it is none.
    fn reply(&self, answer: &Answer) -> Option<Reply> {
        #[derive(Deserialize)]
        struct Channel {
            #[serde(rename = "message-storage-policy")]
            policy: u8,
            #[serde(rename = "push-type")]
            push_type: String,
        }
        #[derive(Deserialize)]
        struct Channels {
            channels: Vec<String>,
        }
        match &self.action {
            Action::Create { .. } => {
                let id = answer.headers.get(APNS_CHANNEL_ID)?.to_str().ok()?;
                Some(Reply::Created(id.to_owned()))
            }
            Action::Delete(_) => Some(Reply::Deleted),
            Action::List => {
                let Channels { channels } = serde_json::from_slice(&answer.body).ok()?;
                Some(Reply::Channels(channels))
            }
            Action::Read(_) => {
                let Channel { policy, push_type } = serde_json::from_slice(&answer.body).ok()?;
                Some(Reply::Channel { message_storage_policy: policy, push_type })
            }
        }
    }
}

/// Where channels are managed, and how.
#[derive(Debug)]
pub(super) struct Place {
    production: Endpoint,
    sandbox: Endpoint,
    pools: watch::Sender<transport::Settings>,
}

impl Place {
    /// # Errors
    /// A sentence that names the setting.
    pub(super) fn new(settings: &Settings) -> Result<Self, String> {
        let endpoint =
            |url: &Url, key| Endpoint::of(url).ok_or_else(|| format!("{key} has no host: {url}"));
        Ok(Self {
            production: endpoint(
                &settings.production_channels_url,
                "apns.production_channels_url",
            )?,
            sandbox: endpoint(&settings.sandbox_channels_url, "apns.sandbox_channels_url")?,
            pools: watch::Sender::new(of_pool(settings)),
        })
    }

    /// The same, reached through what stands in between.
    pub(super) fn through(self, proxy: &proxy::Settings) -> Self {
        let (production, sandbox) = (self.production.through(proxy), self.sandbox.through(proxy));
        Self { production, sandbox, ..self }
    }

    /// Lets the limits of other settings apply from now on.
    pub(super) fn change_limits(&self, settings: &Settings) {
        self.pools.send_if_modified(|pools| {
            let next = of_pool(settings);
            let is_other = *pools != next;
            *pools = next;
            is_other
        });
    }

    fn endpoint(&self, mode: Mode) -> &Endpoint {
        match mode {
            Mode::Development => &self.sandbox,
            Mode::Auto | Mode::Production => &self.production,
        }
    }
}

/// One connection is enough, and the list of all channels is long: Apple lets an app have 10,000.
fn of_pool(settings: &Settings) -> transport::Settings {
    const MAX_ANSWER_BYTES: usize = 1024 * 1024;
    let max_answer_bytes = MAX_ANSWER_BYTES;
    transport::Settings { connections: 1, max_answer_bytes, ..super::of_pool(settings) }
}

impl Apns {
    /// The connections for this; opened by the first such call, since few need them.
    fn channels_pool(&self) -> &Pool {
        self.channels.get_or_init(|| {
            let identity = match &self.access {
                Access::Certificate { identity, .. } => Some(identity.clone()),
                Access::Token { .. } | Access::Unusable(_) => None,
            };
            let Context { trust, channels, homes, metrics, .. } = &*self.context;
            // Not with the workers, who may stop as soon as no message is under way.
            let homes = Homes::new(homes.process().clone());
            let endpoint = channels.endpoint(self.mode).clone();
            let (settings, metrics) = (channels.pools.subscribe(), Arc::clone(metrics));
            Box::new(Pool::new(endpoint, trust.clone(), identity, settings, metrics, &homes))
        })
    }

    /// Makes a request about channels once.
    ///
    /// # Errors
    /// What came of it instead of a reply; never accepted.
    pub async fn manage(
        &self,
        request: &Request,
        deadline: Instant,
        avoid: Option<ConnectionId>,
    ) -> Result<Reply, Attempt> {
        let id = request.request_id.hyphenated().to_string();
        let signer = match &self.access {
            Access::Certificate { .. } => None,
            Access::Token { signer, .. } => Some(signer),
            Access::Unusable(reason) => return Err(Attempt::unusable(reason.clone())),
        };
        let authorization = signer.map(|signer| signer.authorization()).transpose();
        let authorization = authorization
            .map_err(|error| Attempt::unusable(format!("the signing key cannot sign: {error}")))?;
        let body = request.body();
        let authority = self.context.channels.endpoint(self.mode).authority();
        let head = request.head(authority, authorization.clone(), body.len());
        let Some(head) = head else {
            let problem = "a header of the request could not be written";
            return Err(Attempt::unusable(problem.to_owned()));
        };
        let pool = self.channels_pool();
        let answered = match pool.send(Job { head, body, avoid, deadline }) {
            Ok(mut flight) => flight.answer().await,
            Err(error) => Err(error),
        };
        let answer = answered.map_err(|error| Attempt::failed(error, id.clone()))?;
        self.context.clock.hear(&answer.headers, SystemTime::now());
        if !answer.status.is_success() {
            let sent = Sent { apns_id: &id, topic_given: request.is_topic_given };
            let token = signer.zip(authorization.as_ref());
            return Err(Attempt::answered(&answer, sent, pool, token));
        }
        request.reply(&answer).ok_or_else(|| {
            let status = answer.status.as_u16();
            let reason = "without what it should say".to_owned();
            let outcome = Outcome::Failed(Failure {
                cause: Cause::Nonsense { status, reason },
                delivery: Delivery::Unknown,
                retry: Retry::Never,
                retry_after: None,
                id: Some(id),
            });
            Attempt { outcome, avoid: None }
        })
    }
}
