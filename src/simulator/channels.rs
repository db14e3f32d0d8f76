//! Broadcast channels: managed, and sent to, as Apple does it.
//!
//! Apple, *Sending channel management requests to APNs*, *Sending broadcast push notification
//! requests to APNs* and *Handling error responses from Apple Push Notification service*.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::checks::{Request, Standing, header, is_message_id};
use super::reasons::Refusal;
use super::script::Raw;

/// "You can maintain up to 10,000 channels for your app".
const CHANNELS_MAX: usize = 10_000;
const PAYLOAD_BYTES_MAX: usize = 5_120;
/// The one push type of a channel, as its configuration spells it.
const LIVE_ACTIVITY: &str = "LiveActivity";

/// The channels that there are.
#[derive(Debug, Default)]
pub(super) struct Channels {
    /// Guards the storage policy of each channel, by bundle id and channel id; held for one
    /// request.
    known: Mutex<BTreeMap<(String, String), u8>>,
}

/// The body of a creation.
#[derive(Deserialize)]
struct Configuration {
    #[serde(rename = "message-storage-policy")]
    policy: Option<u8>,
    #[serde(rename = "push-type")]
    push_type: Option<String>,
}

/// The bundle id of a broadcast's path.
pub(super) fn broadcast_to(path: &str) -> Option<&str> {
    path.strip_prefix("/4/broadcasts/apps/").filter(|bundle| !bundle.contains('/'))
}

impl Channels {
    /// Answers a management request of a sender who may.
    pub(super) fn manage(
        &self,
        request: &Request<'_>,
        standing: &Standing,
    ) -> Result<Raw, Refusal> {
        let parts = request.path.strip_prefix("/1/apps/").and_then(|rest| rest.split_once('/'));
        let Some((bundle, what)) = parts else { return Err(Refusal::new("BadPath")) };
        check_bundle(bundle, request.headers, standing)?;
        match (what, request.method) {
            ("channels", &Method::POST) => self.create(bundle, request.payload),
            ("channels", &Method::GET) => {
                let (_, policy) = self.named(bundle, request.headers)?;
                let body = json!({ "message-storage-policy": policy, "push-type": LIVE_ACTIVITY });
                Ok(answer(StatusCode::OK, Bytes::from(body.to_string())))
            }
            ("channels", &Method::DELETE) => {
                let (id, _) = self.named(bundle, request.headers)?;
                self.known().remove(&(bundle.to_owned(), id));
                Ok(answer(StatusCode::NO_CONTENT, Bytes::new()))
            }
            ("all-channels", &Method::GET) => {
                let known = self.known();
                let of_bundle = known.keys().filter(|(of, _)| of == bundle).map(|(_, id)| id);
                let body = json!({ "channels": of_bundle.collect::<Vec<_>>() });
                Ok(answer(StatusCode::OK, Bytes::from(body.to_string())))
            }
            ("channels" | "all-channels", _) => Err(Refusal::new("MethodNotAllowed")),
            _ => Err(Refusal::new("BadPath")),
        }
    }

    fn create(&self, bundle: &str, payload: &[u8]) -> Result<Raw, Refusal> {
        let members: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(payload).map_err(|_| Refusal::new("BadRequestPayload"))?;
        let is_known = |name: &str| ["message-storage-policy", "push-type"].contains(&name);
        if !members.keys().all(|name| is_known(name)) {
            return Err(Refusal::new("BadRequestParams"));
        }
        let Configuration { policy, push_type } =
            serde_json::from_slice(payload).map_err(|_| Refusal::new("BadRequestParams"))?;
        match push_type.as_deref() {
            None => return Err(Refusal::new("MissingPushType")),
            Some(LIVE_ACTIVITY) => {}
            Some(_) => return Err(Refusal::new("InvalidPushType")),
        }
        let Some(policy @ (0 | 1)) = policy else { return Err(Refusal::new("BadRequestParams")) };
        let mut known = self.known();
        if known.keys().filter(|(of, _)| of == bundle).count() >= CHANNELS_MAX {
            return Err(Refusal::new("CannotCreateChannelConfig"));
        }
        let id = STANDARD.encode(Uuid::new_v4().as_bytes());
        known.insert((bundle.to_owned(), id.clone()), policy);
        let mut made = answer(StatusCode::CREATED, Bytes::new());
        if let Ok(value) = HeaderValue::try_from(id) {
            made.headers.insert(HeaderName::from_static("apns-channel-id"), value);
        }
        Ok(made)
    }

    /// Checks a broadcast of a sender who may.
    pub(super) fn check_broadcast(
        &self,
        bundle: &str,
        request: &Request<'_>,
        standing: &Standing,
    ) -> Result<(), Refusal> {
        if request.method != Method::POST {
            return Err(Refusal::new("MethodNotAllowed"));
        }
        check_bundle(bundle, request.headers, standing)?;
        let (_, policy) = self.named(bundle, request.headers)?;
        match header(request.headers, "apns-push-type") {
            None => return Err(Refusal::new("MissingPushType")),
            Some(word) if word.eq_ignore_ascii_case(LIVE_ACTIVITY) => {}
            Some(_) => return Err(Refusal::new("InvalidPushType")),
        }
        // Required, and for a channel that stores nothing 0.
        let expiration = header(request.headers, "apns-expiration");
        let secs = expiration.and_then(|text| text.parse::<u32>().ok());
        if secs.is_none_or(|secs| policy == 0 && secs != 0) {
            return Err(Refusal::new("BadExpirationDate"));
        }
        if !matches!(header(request.headers, "apns-priority"), Some("1" | "5" | "10")) {
            return Err(Refusal::new("BadPriority"));
        }
        match request.payload {
            [] => Err(Refusal::new("PayloadEmpty")),
            payload if payload.len() > PAYLOAD_BYTES_MAX => Err(Refusal::new("PayloadTooLarge")),
            payload => match serde_json::from_slice::<serde_json::Value>(payload) {
                Ok(_) => Ok(()),
                Err(_) => Err(Refusal::new("BadRequestPayload")),
            },
        }
    }

    /// The channel of a request, and its storage policy.
    fn named(&self, bundle: &str, headers: &HeaderMap) -> Result<(String, u8), Refusal> {
        let id = header(headers, "apns-channel-id");
        let id = id.ok_or_else(|| Refusal::new("MissingChannelId"))?;
        if id.is_empty() || STANDARD.decode(id).is_err() {
            return Err(Refusal::new("BadChannelId"));
        }
        let key = (bundle.to_owned(), id.to_owned());
        let policy = self.known().get(&key).copied();
        policy.map(|policy| (key.1, policy)).ok_or_else(|| Refusal::new("ChannelNotRegistered"))
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<(String, String), u8>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What every request about channels is checked for.
fn check_bundle(bundle: &str, headers: &HeaderMap, standing: &Standing) -> Result<(), Refusal> {
    if header(headers, "apns-request-id").is_some_and(|id| !is_message_id(id)) {
        return Err(Refusal::new("BadMessageId"));
    }
    // "Ensure that no push type suffix is added to the bundle ID."
    if bundle.ends_with(".push-type.liveactivity") {
        return Err(Refusal::new("TopicDisallowed"));
    }
    let is_allowed = standing
        .client
        .as_ref()
        .is_none_or(|client| client.topics.iter().any(|topic| topic == bundle));
    if is_allowed { Ok(()) } else { Err(Refusal::new("TopicMismatch")) }
}

fn answer(status: StatusCode, body: Bytes) -> Raw {
    Raw { status, headers: HeaderMap::new(), body }
}
