//! The callers: one message after the other, each with an id of its own, and what they hear.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::chance::Chance;
use super::witness::{Number, apns_id, token};

/// What a caller made of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// `{"response":"ok"}`.
    Ok,
    /// No final answer, and the message did not reach a phone.
    NotSent,
    /// A final refusal: its code, and Apple's status and reason.
    Refused { error: String, status: Option<u16>, reason: Option<String> },
    /// No final answer, and the message may have reached a phone.
    Unknown,
    /// Nothing that a caller may be told.
    Nonsense(String),
}

/// What all callers share.
pub struct Desk {
    pub client: reqwest::Client,
    pub url: String,
    pub applications: Vec<String>,
    pub next: AtomicU64,
    pub closed: AtomicBool,
    pub slowest_ms: AtomicU64,
}

/// Calls until the desk is closed.
pub async fn call(desk: Arc<Desk>, mut chance: Chance) -> Vec<(Number, Heard)> {
    let mut heard = Vec::new();
    while !desk.closed.load(Ordering::Relaxed) {
        let number = desk.next.fetch_add(1, Ordering::Relaxed);
        let application = chance.pick(&desk.applications);
        let start = Instant::now();
        heard.push((number, send(&desk.client, &desk.url, application, number).await));
        let taken_ms = u64::try_from(start.elapsed().as_millis()).unwrap();
        desk.slowest_ms.fetch_max(taken_ms, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(chance.between(20, 100))).await;
    }
    heard
}

/// Sends one message and hears what became of it.
pub async fn send(client: &reqwest::Client, url: &str, application: &str, number: Number) -> Heard {
    let body = json!({
        "application_id": application,
        "device_token": token(number),
        "alert": format!("call {number}"),
        "apns_id": apns_id(number),
    });
    let request = client.post(url).header("content-type", "application/json");
    let response = match request.body(body.to_string()).send().await {
        Ok(response) => response,
        Err(error) => return Heard::Nonsense(format!("no answer: {error:?}")),
    };
    let status = response.status().as_u16();
    let header = response.headers().get("apns-id").and_then(|id| id.to_str().ok());
    let header = header.map(str::to_lowercase);
    let has_retry_after = response.headers().contains_key("retry-after");
    let text = response.text().await.unwrap_or_default();
    if status == 200 && text == r#"{"response":"ok"}"# && header == Some(apns_id(number)) {
        return Heard::Ok;
    }
    let body: Value = serde_json::from_str(&text).unwrap_or_default();
    let says = format!("{status} {header:?} {text}");
    // An answer to another call would carry its id.
    let id = body["apns_id"].as_str().map(str::to_lowercase);
    if id.is_some_and(|id| id != apns_id(number)) {
        return Heard::Nonsense(format!("the answer to another call: {says}"));
    }
    let error = body["error"].as_str().unwrap_or_default();
    match (status, error, body["delivery"].as_str()) {
        (503, "apns_unavailable", Some("not_sent")) | (504, "apns_timeout", Some("not_sent"))
            if has_retry_after =>
        {
            Heard::NotSent
        }
        (503, "apns_unavailable", Some("unknown")) | (504, "apns_timeout", Some("unknown"))
            if !has_retry_after =>
        {
            Heard::Unknown
        }
        (503, "overloaded", _) if has_retry_after => Heard::NotSent,
        (400, "apns_rejected" | "invalid_device_token", None)
        | (410, "device_token_unregistered", None)
        | (429, "apns_throttled", None)
        | (502, "apns_credentials_rejected" | "apns_protocol_error", None) => Heard::Refused {
            error: error.to_owned(),
            status: body["status"].as_u64().and_then(|status| u16::try_from(status).ok()),
            reason: body["reason"].as_str().map(str::to_owned),
        },
        _ => Heard::Nonsense(says),
    }
}
