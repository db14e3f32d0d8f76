//! From a message to the HTTP request that Apple wants (Apple, "Sending notification requests to
//! APNs").

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Method, Request, Uri};

use super::Apns;
use super::channels::{APNS_CHANNEL_ID, APNS_REQUEST_ID};
use super::message::{Message, Priority, Target};
use crate::outcome::Outcome;

const APNS_COLLAPSE_ID: HeaderName = HeaderName::from_static("apns-collapse-id");
const APNS_EXPIRATION: HeaderName = HeaderName::from_static("apns-expiration");
const APNS_ID: HeaderName = HeaderName::from_static("apns-id");
const APNS_PRIORITY: HeaderName = HeaderName::from_static("apns-priority");
const APNS_PUSH_TYPE: HeaderName = HeaderName::from_static("apns-push-type");
const APNS_TOPIC: HeaderName = HeaderName::from_static("apns-topic");

impl Apns {
    /// The request that a message would go out as.
    pub(in crate::providers) fn preview(
        &self,
        message: &Message,
    ) -> Result<crate::providers::Request, Outcome> {
        let environment = self.environment(message);
        let mut head = self.ready(message, environment).map_err(|attempt| attempt.outcome)?.head;
        if let Some(token) = head.headers_mut().get_mut(AUTHORIZATION) {
            *token = HeaderValue::from_static("bearer ***");
        }
        let environment = Some(environment.unwrap_or(self.mode).as_str());
        Ok(crate::providers::Request { head, payload: message.payload.clone(), environment })
    }
}

/// The head of the request; the body is the message's payload. `None` when a value does not fit
/// into a header, which [`Message`] has ruled out.
pub(super) fn build(
    message: &Message,
    authority: &Authority,
    authorization: Option<HeaderValue>,
) -> Option<Request<()>> {
    let path = match &message.target {
        Target::Channel(_) => format!("/4/broadcasts/apps/{}", message.topic),
        Target::Device(token) => format!("/3/device/{}", token.as_hex()),
    };
    let uri = Uri::builder()
        .scheme(Scheme::HTTPS)
        .authority(authority.clone())
        .path_and_query(PathAndQuery::from_maybe_shared(Bytes::from(path)).ok()?)
        .build()
        .ok()?;
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    // No more than is needed: the map makes room for half again as much, in one large piece.
    let optional = [
        authorization.is_some(),
        message.priority.is_some(),
        message.expiration_unix_secs.is_some(),
        message.collapse_id.is_some(),
    ];
    let of_target = match &message.target {
        Target::Channel(_) => 4,
        Target::Device(_) => 2,
    };
    headers.reserve(3 + of_target + optional.into_iter().filter(|given| *given).count());
    if let Some(authorization) = authorization {
        headers.insert(AUTHORIZATION, authorization);
    }
    let mut id = HeaderValue::try_from(message.apns_id.hyphenated().to_string()).ok()?;
    // Each id is used once: kept out of the compression table, it evicts nothing that recurs.
    id.set_sensitive(true);
    match &message.target {
        Target::Channel(channel) => {
            headers.insert(APNS_REQUEST_ID, id);
            headers.insert(APNS_CHANNEL_ID, HeaderValue::from_str(channel.as_str()).ok()?);
            // Both are required here, and a message for a device may lack them.
            headers.insert(APNS_PRIORITY, HeaderValue::from_static(Priority::Immediate.as_str()));
            headers.insert(APNS_EXPIRATION, HeaderValue::from(0));
        }
        Target::Device(_) => {
            headers.insert(APNS_ID, id);
            headers.insert(APNS_TOPIC, HeaderValue::from_str(&message.topic).ok()?);
        }
    }
    let push_type = match message.push_type.as_static() {
        Some(known) => HeaderValue::from_static(known),
        None => HeaderValue::from_str(message.push_type.as_str()).ok()?,
    };
    headers.insert(APNS_PUSH_TYPE, push_type);
    if let Some(priority) = message.priority {
        headers.insert(APNS_PRIORITY, HeaderValue::from_static(priority.as_str()));
    }
    if let Some(expiration) = message.expiration_unix_secs {
        headers.insert(APNS_EXPIRATION, HeaderValue::from(expiration));
    }
    if let Some(collapse_id) = &message.collapse_id {
        headers.insert(APNS_COLLAPSE_ID, HeaderValue::from_bytes(collapse_id.as_bytes()).ok()?);
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(message.payload.len()));
    Some(request)
}
