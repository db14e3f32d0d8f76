//! The fake FCM HTTP v1.

use std::sync::atomic::Ordering;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use serde_json::json;
use tokio::time::sleep;

use super::fcm_error::Refusal;
use super::fcm_request::Message;
use super::record::{Provider, Received, Verdict, now_ms};
use super::script::Answer;
use super::{Shared, gcm, http1};

/// `POST /v1/projects/{project}/messages:send`.
pub(super) async fn send(
    request: HttpRequest,
    project: web::Path<String>,
    shared: web::Data<Shared>,
    body: Bytes,
) -> HttpResponse {
    let call = shared.fcm_call(&request, &project, &body);
    let target = call.as_ref().map(|(message, _)| message.target.clone()).unwrap_or_default();
    let scripted = if call.is_ok() { shared.script.take(&target) } else { None };
    let (delay, answer) = scripted.unwrap_or(Answer::Accept).into_parts();
    let result = match (&answer, &call) {
        (_, Err(refusal)) => Err(refusal.clone()),
        (Answer::Reject(rejection), _) => {
            let status = rejection.status.as_u16();
            let refusal = Refusal::named(&rejection.reason)
                .unwrap_or_else(|| Refusal::new(status, &rejection.reason, "scripted", Vec::new()));
            Err(refusal.after(rejection.retry_after_secs))
        }
        (_, Ok((message, _))) => Refusal::named(&message.target).map_or(Ok(()), Err),
    };
    shared.record_fcm(call.as_ref().ok(), &body, verdict(&answer, &result));
    if !delay.is_zero() {
        sleep(delay).await;
    }
    match (answer, result) {
        (Answer::Drop | Answer::GoAway { .. } | Answer::Reset { .. }, _) => http1::cut(&request),
        (Answer::Never, _) => std::future::pending().await,
        (Answer::Raw(raw), _) => gcm::raw_response(raw),
        (_, Err(refusal)) => refusal.into_response(),
        (_, Ok(())) => {
            let id = call.map(|(message, _)| shared.message_id(&message)).unwrap_or_default();
            gcm::response(200).json(json!({ "name": format!("projects/{project}/messages/{id}") }))
        }
    }
}

impl Shared {
    /// The message, and whose access token it came with.
    fn fcm_call(
        &self,
        request: &HttpRequest,
        project: &str,
        body: &[u8],
    ) -> Result<(Message, String), Refusal> {
        let authorization = request.headers().get(header::AUTHORIZATION);
        let token = authorization.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let grant = token.and_then(|token| self.grants.find(token));
        let sender = match grant {
            None if self.checks => return Err(Refusal::token()),
            None => String::new(),
            Some(grant) => {
                if grant.project_id.is_some_and(|own| own != project) {
                    return Err(Refusal::named("PERMISSION_DENIED").unwrap_or_else(Refusal::token));
                }
                grant.client_email
            }
        };
        Ok((Message::read(body)?, sender))
    }

    /// Ids of topics are numbers.
    fn message_id(&self, message: &Message) -> String {
        let number = self.next_message_id.fetch_add(1, Ordering::Relaxed);
        if message.validate_only {
            "fake_message_id".to_owned()
        } else if message.is_topic {
            format!("{number:019}")
        } else {
            format!("0:{}%{number:016x}", now_ms())
        }
    }

    fn record_fcm(&self, call: Option<&(Message, String)>, body: &Bytes, verdict: Verdict) {
        if !self.record.is_kept() {
            return;
        }
        let message = call.map(|(message, _)| message);
        let target = message.map(|message| message.target.clone()).unwrap_or_default();
        let is_topic = message.is_some_and(|message| message.is_topic);
        self.record.push(Received {
            provider: Provider::Fcm,
            connection: None,
            topic: is_topic.then(|| target.clone()),
            device_token: target,
            channel_id: None,
            push_type: None,
            priority: message.and_then(|message| message.priority.clone()),
            expiration: message.and_then(|message| message.ttl.clone()),
            collapse_id: message.and_then(|message| message.collapse_key.clone()),
            apns_id: None,
            authenticated_as: call.map(|(_, sender)| sender.clone()),
            payload: body.clone(),
            verdict,
            received_at_ms: now_ms(),
        });
    }
}

fn verdict(answer: &Answer, result: &Result<(), Refusal>) -> Verdict {
    match (answer, result) {
        (Answer::Drop | Answer::GoAway { .. } | Answer::Reset { .. }, _) => {
            Verdict::Unanswered { by: "drop" }
        }
        (Answer::Never, _) => Verdict::Unanswered { by: "never" },
        (Answer::Raw(raw), _) if raw.status.as_u16() != 200 => {
            Verdict::Refused { status: raw.status.as_u16(), reason: String::new() }
        }
        (_, Err(refusal)) => {
            Verdict::Refused { status: refusal.status, reason: refusal.reason.clone() }
        }
        (_, Ok(())) => Verdict::Accepted,
    }
}
