//! The legacy GCM endpoint, as Google's *HTTP server protocol* reference had it before it was
//! switched off in 2024.

use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;
use tokio::time::sleep;

use super::gcm_request::{Message, Target};
use super::magic::{self, Gcm};
use super::record::{Provider, Received, Verdict, now_ms};
use super::script::{Answer, Raw, Rejection};
use super::{Shared, http1};

/// A row of `results`.
#[derive(Debug, Serialize, PartialEq, Eq)]
#[serde(untagged)]
enum Row {
    Delivered {
        message_id: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        registration_id: Option<String>,
    },
    Failed {
        error: String,
    },
}

/// The answer to a call with recipients, its members in Google's order.
#[derive(Serialize)]
struct Report {
    multicast_id: u64,
    success: usize,
    failure: usize,
    canonical_ids: usize,
    results: Vec<Row>,
}

/// What the script makes of a whole call.
enum Whole {
    Cut,
    Never,
    Raw(Raw),
}

/// What becomes of a call.
#[derive(Default)]
struct Course {
    delay: Duration,
    retry_after_secs: Option<u32>,
    whole: Option<Whole>,
    rows: Vec<Row>,
}

/// `POST /gcm/send` and `POST /fcm/send`.
pub(super) async fn send(
    request: HttpRequest,
    shared: web::Data<Shared>,
    body: Bytes,
) -> HttpResponse {
    if !is_authorized(&request) {
        return HttpResponse::Unauthorized()
            .content_type("text/html; charset=UTF-8")
            .body("<HTML><HEAD><TITLE>Unauthorized</TITLE></HEAD><BODY>Error 401</BODY></HTML>");
    }
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let is_json =
        content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/json"));
    let parsed = if is_json { Message::from_json(&body) } else { Message::from_form(&body) };
    let message = match parsed {
        Ok(message) => message,
        Err(fault) => return HttpResponse::BadRequest().content_type("text/plain").body(fault),
    };

    let course = shared.gcm_course(&message, &body);
    if !course.delay.is_zero() {
        sleep(course.delay).await;
    }
    match course.whole {
        Some(Whole::Cut) => http1::cut(&request),
        Some(Whole::Never) => std::future::pending().await,
        Some(Whole::Raw(raw)) => raw_response(raw),
        None if is_json => json_response(&shared, &message.target, course),
        None => form_response(course),
    }
}

/// `key=…`; keys that start with `bad` are the ones that Google does not know.
fn is_authorized(request: &HttpRequest) -> bool {
    let authorization = request.headers().get(header::AUTHORIZATION);
    let key = authorization.and_then(|value| value.to_str().ok()?.strip_prefix("key="));
    key.is_some_and(|key| !key.trim().is_empty() && !key.starts_with("bad"))
}

impl Shared {
    fn gcm_course(&self, message: &Message, body: &Bytes) -> Course {
        let recipients = match &message.target {
            Target::Recipients(tokens) => tokens.as_slice(),
            Target::Topic(topic) => std::slice::from_ref(topic),
        };
        let mut course = Course::default();
        for token in recipients {
            let verdict = self.gcm_verdict(token, message, &mut course);
            self.record.push(Received {
                provider: Provider::Gcm,
                connection: None,
                device_token: token.clone(),
                channel_id: None,
                topic: matches!(message.target, Target::Topic(_)).then(|| token.clone()),
                push_type: None,
                priority: message.priority.clone(),
                expiration: message.time_to_live.map(|secs| secs.to_string()),
                collapse_id: message.collapse_key.clone(),
                apns_id: None,
                authenticated_as: None,
                payload: body.clone(),
                verdict,
                received_at_ms: now_ms(),
            });
        }
        course
    }

    /// Decides on one recipient: script, magic token, checks, in this order.
    fn gcm_verdict(&self, token: &str, message: &Message, course: &mut Course) -> Verdict {
        let scripted = self.script.take(token);
        let (delay, answer) = scripted.unwrap_or(Answer::Accept).into_parts();
        course.delay = course.delay.max(delay);
        match answer {
            Answer::Accept | Answer::Delay { .. } => {
                let row = self.gcm_row(token, message);
                let verdict = match &row {
                    Row::Delivered { .. } => Verdict::Accepted,
                    Row::Failed { error } => refused(StatusCode::OK, error),
                };
                course.rows.push(row);
                verdict
            }
            Answer::Drop | Answer::GoAway { .. } | Answer::Reset { .. } => {
                course.whole = Some(Whole::Cut);
                Verdict::Unanswered { by: "drop" }
            }
            Answer::Never => {
                course.whole = Some(Whole::Never);
                Verdict::Unanswered { by: "never" }
            }
            Answer::Raw(raw) => {
                let verdict = match raw.status {
                    StatusCode::OK => Verdict::Accepted,
                    status => refused(status, ""),
                };
                course.whole = Some(Whole::Raw(raw));
                verdict
            }
            Answer::Reject(rejection) if rejection.status.is_server_error() => {
                let verdict = refused(rejection.status, &rejection.reason);
                course.whole = Some(Whole::Raw(server_error(rejection)));
                verdict
            }
            Answer::Reject(rejection) => {
                course.retry_after_secs = course.retry_after_secs.max(rejection.retry_after_secs);
                let verdict = refused(StatusCode::OK, &rejection.reason);
                course.rows.push(Row::Failed { error: rejection.reason });
                verdict
            }
        }
    }

    fn gcm_row(&self, token: &str, message: &Message) -> Row {
        if let Some(error) = message.fault {
            return Row::Failed { error: error.to_owned() };
        }
        let registration_id = match magic::gcm(token) {
            Some(Gcm::Error(error)) => return Row::Failed { error: error.to_owned() },
            Some(Gcm::Canonical(canonical)) => Some(canonical),
            None => None,
        };
        let message_id = if message.dry_run {
            "fake_message_id".to_owned()
        } else {
            format!("1:{:02}", self.next_message_id.fetch_add(1, Ordering::Relaxed))
        };
        Row::Delivered { message_id, registration_id }
    }
}

fn refused(status: StatusCode, reason: &str) -> Verdict {
    Verdict::Refused { status: status.as_u16(), reason: reason.to_owned() }
}

fn server_error(rejection: Rejection) -> Raw {
    let mut headers = http::HeaderMap::new();
    if let Some(secs) = rejection.retry_after_secs {
        headers.insert(http::header::RETRY_AFTER, secs.into());
    }
    Raw { status: rejection.status, headers, body: Bytes::from(rejection.reason) }
}

/// `http` of the script is not the `http` of actix-web: names and values cross as bytes.
pub(super) fn raw_response(raw: Raw) -> HttpResponse {
    let mut response = response(raw.status.as_u16());
    for (name, value) in &raw.headers {
        response.append_header((name.as_str(), value.as_bytes()));
    }
    response.body(raw.body)
}

pub(super) fn response(status: u16) -> HttpResponseBuilder {
    let status = actix_web::http::StatusCode::from_u16(status);
    HttpResponse::build(status.unwrap_or(actix_web::http::StatusCode::INTERNAL_SERVER_ERROR))
}

fn json_response(shared: &Shared, target: &Target, course: Course) -> HttpResponse {
    let mut response = response(200);
    if let Some(secs) = course.retry_after_secs {
        response.insert_header((header::RETRY_AFTER, secs.to_string()));
    }
    if let (Target::Topic(_), [row]) = (target, course.rows.as_slice()) {
        return match row {
            Row::Delivered { .. } => response.json(TopicReport {
                message_id: shared.next_multicast_id.fetch_add(1, Ordering::Relaxed),
            }),
            Row::Failed { .. } => response.json(row),
        };
    }
    let failure = course.rows.iter().filter(|row| matches!(row, Row::Failed { .. })).count();
    let is_canonical = |row: &&Row| matches!(row, Row::Delivered { registration_id: Some(_), .. });
    response.json(Report {
        multicast_id: shared.next_multicast_id.fetch_add(1, Ordering::Relaxed),
        success: course.rows.len().saturating_sub(failure),
        failure,
        canonical_ids: course.rows.iter().filter(is_canonical).count(),
        results: course.rows,
    })
}

/// The answer to a message to a topic; its id is a number.
#[derive(Serialize)]
struct TopicReport {
    message_id: u64,
}

/// Plain text has no row for `Unavailable`: that is a 503.
fn form_response(course: Course) -> HttpResponse {
    let text = match course.rows.first() {
        Some(Row::Failed { error }) if error == "Unavailable" => {
            return response(503).content_type("text/plain").body("Unavailable");
        }
        Some(Row::Failed { error }) => format!("Error={error}"),
        Some(Row::Delivered { message_id, registration_id: Some(canonical) }) => {
            format!("id={message_id}\nregistration_id={canonical}")
        }
        Some(Row::Delivered { message_id, registration_id: None }) => format!("id={message_id}"),
        None => "Error=MissingRegistration".to_owned(),
    };
    response(200).content_type("text/plain; charset=UTF-8").body(text)
}
