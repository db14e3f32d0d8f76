//! What would go out, without sending it: every check of a message, and its request to the byte.

use actix_web::http::StatusCode;
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::error::ApiError;
use super::outcome;
use crate::apps::Application;
use crate::providers::{Message, Request};

/// The answer to a call that sends nothing.
#[derive(Debug, Serialize)]
pub struct Preview {
    dry_run: bool,
    /// Of a message to one target.
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<Sketch>,
    /// Of several messages, in the caller's order.
    #[serde(skip_serializing_if = "Option::is_none")]
    requests: Option<Vec<Sketch>>,
}

/// A request that was not made.
#[derive(Debug, Clone, Serialize)]
pub struct Sketch {
    method: &'static str,
    url: String,
    /// All of them but the credential, which is shortened.
    headers: Map<String, Value>,
    payload: Box<RawValue>,
    /// Bytes of the payload.
    size: usize,
    /// Apple's limit on that.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<&'static str>,
}

impl Preview {
    /// What these messages of an application would go out as.
    ///
    /// # Errors
    /// What a send would be answered whose credential cannot be used at all.
    pub fn of<'a>(
        application: &Application,
        messages: impl IntoIterator<Item = &'a Message>,
        credentials_status: StatusCode,
    ) -> Result<Self, ApiError> {
        let sketch = |message| Sketch::of(application, message, credentials_status);
        let mut sketches = messages.into_iter().map(sketch).collect::<Result<Vec<_>, _>>()?;
        match sketches.len() {
            1 => Ok(Self { dry_run: true, request: sketches.pop(), requests: None }),
            _ => Ok(Self { dry_run: true, request: None, requests: Some(sketches) }),
        }
    }
}

impl Sketch {
    /// What a message of an application would go out as.
    ///
    /// # Errors
    /// What a send would be answered whose credential cannot be used at all.
    pub fn of(
        application: &Application,
        message: &Message,
        credentials_status: StatusCode,
    ) -> Result<Self, ApiError> {
        let request = match application.providers.preview(message) {
            Ok(Ok(request)) => request,
            Ok(Err(refused)) => {
                let told = outcome::tell(refused, message.provider(), credentials_status);
                return Err(told.err().unwrap_or_else(ApiError::internal_error));
            }
            Err(_) => return Err(ApiError::internal_error()),
        };
        let Request { head, payload, environment } = request;
        let (limit, topic) = match message {
            Message::Apns(message) => {
                (Some(message.payload_limit_bytes()), Some(message.topic.clone()))
            }
            Message::Fcm(_) | Message::Gcm(_) => (None, None),
        };
        let headers = head.headers().iter().map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.as_str().to_owned(), Value::from(value))
        });
        Ok(Self {
            method: "POST",
            url: head.uri().to_string(),
            headers: headers.collect(),
            size: payload.len(),
            payload: raw(&payload)?,
            limit,
            topic,
            environment,
        })
    }
}

/// The bytes as they are: whatever is sent is JSON.
fn raw(payload: &Bytes) -> Result<Box<RawValue>, ApiError> {
    let text = std::str::from_utf8(payload).map_err(|_| ApiError::internal_error())?;
    RawValue::from_string(text.to_owned()).map_err(|_| ApiError::internal_error())
}
