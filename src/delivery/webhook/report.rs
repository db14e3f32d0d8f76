//! One report: its bytes, its signature, and what the receiver said to it.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use serde::Serialize;
use uuid::Uuid;

use super::queue::Entry;
use crate::apps::ApplicationId;
use crate::apps::feedback::timestamp;
use crate::apps::webhook::Webhook;
use crate::providers::retry_after;
use crate::providers::web::{LazyClient, sentence};

/// Names the report, the same on each try.
const DELIVERY: &str = "Pushlet-Delivery";
/// When the try was made, in Unix seconds.
const TIMESTAMP: &str = "Pushlet-Timestamp";
/// `v1=` and the HMAC-SHA256 of the timestamp, a full stop and the body, in hexadecimal.
const SIGNATURE: &str = "Pushlet-Signature";

/// A batch of dead tokens of one application.
pub(super) struct Report {
    application: ApplicationId,
    delivery: Uuid,
    tokens: usize,
    body: Bytes,
}

/// What became of one try.
pub(super) enum Heard {
    Taken,
    /// It makes no sense to try again.
    Refused {
        why: String,
    },
    /// Later it may be taken; perhaps the receiver said when.
    Later {
        why: String,
        wait: Option<Duration>,
    },
}

#[derive(Serialize)]
struct Body<'a> {
    application_id: &'a str,
    tokens: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    device_token: &'a str,
    timestamp: String,
    provider: &'static str,
}

impl<'a> Row<'a> {
    fn of(entry: &'a Entry) -> Self {
        Self {
            device_token: &entry.device_token,
            timestamp: timestamp(entry.since),
            provider: entry.provider.as_str(),
        }
    }
}

impl Report {
    /// `None` if it cannot be written, which is logged.
    pub(super) fn new(id: &ApplicationId, entries: &[Entry]) -> Option<Self> {
        let tokens = entries.iter().map(Row::of).collect();
        match serde_json::to_vec(&Body { application_id: id.as_str(), tokens }) {
            Ok(body) => Some(Self {
                application: id.clone(),
                delivery: Uuid::new_v4(),
                tokens: entries.len(),
                body: body.into(),
            }),
            Err(error) => {
                tracing::error!(%error, "a report of dead tokens could not be written");
                None
            }
        }
    }

    /// Tries once.
    pub(super) async fn post(&self, client: &LazyClient, webhook: &Webhook) -> Heard {
        let client = match client.get() {
            Ok(client) => client,
            Err(error) => {
                return Heard::Refused { why: format!("no client: {}", sentence(&error)) };
            }
        };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = now.as_secs().to_string();
        let signature = match signature(webhook.secret.expose(), &now, &self.body) {
            Ok(signature) => signature,
            Err(error) => return Heard::Refused { why: format!("it cannot be signed: {error}") },
        };
        let request = client
            .post(webhook.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(DELIVERY, self.delivery.hyphenated().to_string())
            .header(TIMESTAMP, now)
            .header(SIGNATURE, format!("v1={signature}"))
            .body(self.body.clone());
        match request.send().await {
            Ok(response) => heard(&response),
            Err(error) => Heard::Later { why: sentence(&error), wait: None },
        }
    }

    pub(super) fn log_taken(&self, webhook: &Webhook) {
        let (host, tokens) = (webhook.authority(), self.tokens);
        let (app_id, delivery) = (self.application.as_str(), self.delivery);
        tracing::debug!(app.id = app_id, host, tokens, %delivery, "dead tokens were reported");
    }

    pub(super) fn log_again(&self, webhook: &Webhook, why: &str, wait: Duration) {
        let (host, tokens) = (webhook.authority(), self.tokens);
        let (app_id, delivery) = (self.application.as_str(), self.delivery);
        tracing::info!(
            app.id = app_id,
            host,
            tokens,
            %delivery,
            why,
            ?wait,
            "a webhook did not take a report of dead tokens; it is tried again"
        );
    }

    pub(super) fn log_lost(&self, webhook: &Webhook, why: &str) {
        let (host, tokens) = (webhook.authority(), self.tokens);
        let (app_id, delivery) = (self.application.as_str(), self.delivery);
        tracing::warn!(
            app.id = app_id,
            host,
            tokens,
            %delivery,
            why,
            "a webhook did not take a report of dead tokens; it is given up"
        );
    }
}

fn heard(response: &reqwest::Response) -> Heard {
    let status = response.status();
    let why = format!("it answered {}", status.as_u16());
    if status.is_success() {
        Heard::Taken
    } else if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        Heard::Later { why, wait: retry_after(response.headers(), SystemTime::now()) }
    } else {
        Heard::Refused { why }
    }
}

/// HMAC-SHA256 (RFC 2104) in hexadecimal.
fn signature(
    secret: &str,
    timestamp: &str,
    body: &[u8],
) -> Result<String, openssl::error::ErrorStack> {
    let key = PKey::hmac(secret.as_bytes())?;
    let mut signer = Signer::new(MessageDigest::sha256(), &key)?;
    signer.update(timestamp.as_bytes())?;
    signer.update(b".")?;
    signer.update(body)?;
    Ok(signer.sign_to_vec()?.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf '1700000000.{}' | openssl dgst -sha256 -hmac secret`
    #[test]
    fn the_signature_is_that_of_another_program() {
        let signature = signature("secret", "1700000000", b"{}").unwrap_or_default();

        assert_eq!(signature, "b8569b78799ff9e3cbff0fc2d63a33a2b57f3282abd07c37ae5e8e7d79a5f163");
    }
}
