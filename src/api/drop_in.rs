//! `POST /fcm/send` and `POST /gcm/send`: Google's legacy call as Google served it, for programs
//! that were written for it (Google, "Legacy HTTP server protocol").

use std::sync::Arc;
use std::time::SystemTime;

use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::{HttpMessage, HttpRequest, HttpResponse, HttpResponseBuilder, web};
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::body::{self, Unread};
use super::error::ApiError;
use super::fcm_answer::{self, Answer};
use super::outcome::seconds;
use super::turns::{Turns, Waited};
use super::{Api, Bridged, Snapshot, answer, idempotency};
use crate::apps::Application;
use crate::delivery::idempotency::Parameters;
use crate::providers::fcm::bridge::Plan;
use crate::providers::fcm::message::FcmTarget;
use crate::providers::gcm::KeyHash;
use crate::providers::json::{self, Member, Object};
use crate::providers::legacy::{
    Draft, MAX_REGISTRATION_IDS, MAX_TIME_TO_LIVE_SECS, Priority, Report, Row, Target, random_id,
};

/// What a caller hears whose key nobody knows; Google's own page said no more.
const UNAUTHORIZED: &str =
    "<HTML><HEAD><TITLE>Unauthorized</TITLE></HEAD><BODY>Unauthorized</BODY></HTML>\n";

/// The shapes in which Google answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// JSON with a row for each token.
    Rows,
    /// Lines of text, for one token.
    Text,
    /// JSON for a topic or a condition.
    Topic,
}

/// Sends a message and answers as Google did.
pub(super) async fn send(
    request: HttpRequest,
    payload: web::Payload,
    api: Snapshot,
) -> Result<HttpResponse, ApiError> {
    let waited = Turns::of(&request).await;
    answer(&api, Box::pin(run(&request, payload, &api, waited))).await
}

async fn run(
    request: &HttpRequest,
    payload: web::Payload,
    api: &Snapshot,
    waited: Waited,
) -> Result<HttpResponse, ApiError> {
    api.door.refuse_pages(request)?;
    let Some(bridged) = bridged(request.headers(), api) else { return Ok(unauthorized()) };
    let body = match body::raw(request.headers(), payload, api.body).await {
        Ok(body) => body,
        Err(Unread::Broken) => return Ok(bad_request("the body ended before it was complete")),
        Err(Unread::Late) => return Ok(bad_request("the body was not complete in time")),
        Err(Unread::ManyTooLarge | Unread::TooLarge) => {
            return Err(ApiError::request_too_large(api.body.size_bytes));
        }
    };
    let came = waited.since();
    let call = match request.content_type() {
        "application/json" => Call::of_json(&body),
        "" | "application/x-www-form-urlencoded" | "text/plain" => Call::of_form(&body),
        _ => Err("Content-Type must be application/json or \
                  application/x-www-form-urlencoded;charset=UTF-8"
            .to_owned()),
    };
    let planned = call.and_then(|call| Ok((call.shape(), call.plan(bridged.fcm_target)?)));
    let (shape, plan) = match planned {
        Ok(planned) => planned,
        Err(problem) => return Ok(bad_request(&problem)),
    };
    let application = Arc::clone(&bridged.application);
    let authorization = request.headers().get(header::AUTHORIZATION);
    let caller = authorization.map(HeaderValue::as_bytes).unwrap_or_default();
    let key = match idempotency::key(request, &[caller]) {
        Ok(Some(key)) => key,
        Ok(None) => return respond(api, &application, plan, shape, came).await,
        Err(problem) => return Ok(bad_request(&problem.to_string())),
    };
    let prepared = async {
        let api = api.clone();
        Ok(async move { respond(&api, &application, plan, shape, came).await })
    };
    // Programs for Google's own route repeat a call byte by byte.
    let parameters = Parameters(openssl::sha::sha256(&body));
    idempotency::once(api, key, parameters, false, prepared).await
}

/// `Authorization: key=…`
fn bridged<'a>(headers: &HeaderMap, api: &'a Api) -> Option<&'a Bridged> {
    let authorization = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let key = authorization.trim().strip_prefix("key=")?;
    api.bridge.get(&KeyHash::of(key.trim()))
}

async fn respond(
    api: &Api,
    application: &Arc<Application>,
    plan: Plan,
    shape: Shape,
    came: Instant,
) -> Result<HttpResponse, ApiError> {
    let answer = fcm_answer::carry_out(api, application, plan, None, (came, None)).await?;
    if answer.refused.is_some() {
        return Ok(unauthorized());
    }
    let mut response = HttpResponse::Ok();
    if let Some(wait) = answer.retry_after {
        response.insert_header((header::RETRY_AFTER, seconds(wait)));
    }
    Ok(match shape {
        Shape::Rows => response.json(Report::new(answer.rows)),
        Shape::Text => text(response, answer),
        Shape::Topic => match answer.rows.into_iter().next() {
            Some(Row::Accepted { message_id }) => {
                let message_id = message_id.parse().unwrap_or_else(|_| random_id());
                response.json(Topic { message_id })
            }
            failed => response.json(failed),
        },
    })
}

/// The answer for a topic; its id is a number.
#[derive(Serialize)]
struct Topic {
    message_id: u64,
}

/// Plain text has no word for what is temporary: that is a 500 or a 503.
fn text(mut response: HttpResponseBuilder, answer: Answer) -> HttpResponse {
    response.content_type("text/plain; charset=UTF-8");
    match answer.rows.into_iter().next() {
        Some(Row::Accepted { message_id }) => response.body(format!("id={message_id}\n")),
        Some(Row::Failed { error, .. }) => {
            match &*error {
                "InternalServerError" => {
                    response.status(actix_web::http::StatusCode::INTERNAL_SERVER_ERROR);
                }
                "Unavailable" => {
                    response.status(actix_web::http::StatusCode::SERVICE_UNAVAILABLE);
                }
                _ => {}
            }
            response.body(format!("Error={error}\n"))
        }
        None => response.finish(),
    }
}

fn unauthorized() -> HttpResponse {
    HttpResponse::Unauthorized().content_type("text/html; charset=UTF-8").body(UNAUTHORIZED)
}

fn bad_request(problem: &str) -> HttpResponse {
    HttpResponse::BadRequest()
        .content_type("text/plain; charset=UTF-8")
        .body(format!("{problem}\n"))
}

/// A call as it was read.
struct Call {
    /// `None`: none was named.
    target: Option<Target>,
    /// As it was given, perhaps out of range.
    time_to_live: Option<i64>,
    is_form: bool,
    /// Everything else.
    draft: Draft,
}

impl Call {
    fn shape(&self) -> Shape {
        match &self.target {
            _ if self.is_form => Shape::Text,
            Some(Target::Condition(_)) => Shape::Topic,
            Some(Target::To(to)) if to.starts_with("/topics/") => Shape::Topic,
            Some(Target::RegistrationIds(_) | Target::To(_)) | None => Shape::Rows,
        }
    }

    fn plan(self, fcm_target: FcmTarget) -> Result<Plan, String> {
        let refuse = |rows, error| Ok(Plan::Refuse { rows, error });
        let Some(target) = self.target else { return refuse(1, "MissingRegistration") };
        let rows = match &target {
            Target::RegistrationIds(tokens) => tokens.len(),
            Target::Condition(_) | Target::To(_) => 1,
        };
        let time_to_live_secs = match self.time_to_live.map(u32::try_from) {
            None => None,
            Some(Ok(secs)) if secs <= MAX_TIME_TO_LIVE_SECS => Some(secs),
            Some(_) => return refuse(rows, "InvalidTtl"),
        };
        let draft = Draft { target, time_to_live_secs, ..self.draft };
        Plan::of_draft(draft, fcm_target, SystemTime::now())
            .map_err(|problem| format!("Field \"notification\" {problem}"))
    }

    /// Names that nobody knows are passed over, as Google did.
    fn of_json(body: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(body).map_err(|_| "JSON_PARSING_ERROR: it is not UTF-8")?;
        let object = Object::parse(text).map_err(|error| format!("JSON_PARSING_ERROR: {error}"))?;
        let fields = Fields(object.members());
        Ok(Self {
            target: json_target(&fields)?,
            time_to_live: fields.read("time_to_live", "number")?,
            is_form: false,
            draft: Draft {
                collapse_key: fields.read("collapse_key", "string")?,
                priority: fields
                    .read::<String>("priority", "string")?
                    .map(|word| {
                        let priority = Priority::parse(&word.to_ascii_lowercase());
                        priority.ok_or("Field \"priority\" must be normal or high")
                    })
                    .transpose()?,
                content_available: fields.flag("content_available")?,
                mutable_content: fields.flag("mutable_content")?,
                restricted_package_name: fields.read("restricted_package_name", "string")?,
                dry_run: fields.flag("dry_run")?,
                data: fields.object("data")?,
                notification: fields.object("notification")?,
                ..empty_draft()
            },
        })
    }

    /// `registration_id`, `data.KEY` and a few options.
    fn of_form(body: &Bytes) -> Result<Self, String> {
        let mut call =
            Self { target: None, time_to_live: None, is_form: true, draft: empty_draft() };
        let mut data = Map::new();
        for (name, value) in url::form_urlencoded::parse(body) {
            let value = value.into_owned();
            match &*name {
                "registration_id" if !value.is_empty() => {
                    call.target = Some(Target::RegistrationIds(vec![value]));
                }
                "collapse_key" => call.draft.collapse_key = Some(value),
                "dry_run" => call.draft.dry_run = matches!(value.as_str(), "1" | "true"),
                "restricted_package_name" => call.draft.restricted_package_name = Some(value),
                "time_to_live" => {
                    let secs = value.parse().map_err(|_| "time_to_live must be a number")?;
                    call.time_to_live = Some(secs);
                }
                other => {
                    if let Some(key) = other.strip_prefix("data.") {
                        data.insert(key.to_owned(), Value::from(value));
                    }
                }
            }
        }
        if !data.is_empty() {
            let text = Value::from(data).to_string();
            call.draft.data = Some(Object::parse(&text).map_err(|error| error.to_string())?);
        }
        Ok(call)
    }
}

fn json_target(fields: &Fields<'_>) -> Result<Option<Target>, String> {
    let tokens: Option<Vec<String>> = fields.read("registration_ids", "array of strings")?;
    let to: Option<String> = fields.read("to", "string")?;
    let group: Option<String> = fields.read("notification_key", "string")?;
    let condition: Option<String> = fields.read("condition", "string")?;
    match (tokens, to.or(group), condition) {
        (Some(tokens), None, None) if tokens.is_empty() => {
            Err("\"registration_ids\" field cannot be empty".to_owned())
        }
        (Some(tokens), None, None) if tokens.len() > MAX_REGISTRATION_IDS => Err(format!(
            "Number of messages on bulk ({}) exceeds maximum allowed ({MAX_REGISTRATION_IDS})",
            tokens.len()
        )),
        (Some(tokens), None, None) => Ok(Some(Target::RegistrationIds(tokens))),
        (None, Some(to), None) => Ok(Some(Target::To(to))),
        (None, None, Some(condition)) => Ok(Some(Target::Condition(condition))),
        (None, None, None) => Ok(None),
        _ => Err("Must use one of \"registration_ids\", \"to\" and \"condition\"".to_owned()),
    }
}

fn empty_draft() -> Draft {
    Draft {
        target: Target::RegistrationIds(Vec::new()),
        collapse_key: None,
        priority: None,
        content_available: false,
        mutable_content: false,
        time_to_live_secs: None,
        restricted_package_name: None,
        dry_run: false,
        data: None,
        notification: None,
        at_least_once: false,
    }
}

/// The members of the body, each read as the type it must be.
struct Fields<'a>(Vec<Member<'a>>);

impl Fields<'_> {
    /// Of a name that stands twice the last one counts; null is left out.
    fn raw(&self, name: &str) -> Option<Box<RawValue>> {
        let member = self.0.iter().rfind(|member| member.name() == name)?;
        (json::kind(member.value) != "null").then(|| member.value.to_owned())
    }

    fn read<T: serde::de::DeserializeOwned>(
        &self,
        name: &str,
        kind: &str,
    ) -> Result<Option<T>, String> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        let value = serde_json::from_str(raw.get());
        value.map(Some).map_err(|_| format!("Field \"{name}\" must be a JSON {kind}"))
    }

    fn flag(&self, name: &str) -> Result<bool, String> {
        Ok(self.read(name, "boolean")?.unwrap_or(false))
    }

    fn object(&self, name: &str) -> Result<Option<Object>, String> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        let object = Object::from_checked(raw);
        object.map(Some).map_err(|_| format!("Field \"{name}\" must be a JSON object"))
    }
}
