//! `/channels`: Apple's broadcast channels of an application. What is said on one is a message like
//! any other, by `POST /channels/{channel_id}` or by `POST /send_notification` with `channel_id`.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use uuid::Uuid;

use super::auth::Caller;
use super::error::ApiError;
use super::message::{Service, timeout};
use super::params::Params;
use super::{Api, Snapshot, answer, body, idempotency, lookup, outcome};
use crate::apps::Application;
use crate::delivery::Share;
use crate::providers::apns::channels::{Action, ChannelId, Reply, Request};
use crate::providers::apns::message::bundle_id;

/// The parameters of a new channel.
const OF_NEW: &[&str] = &["application_id", "message_storage_policy", "timeout_ms", "topic"];
/// What the query string of the other calls may hold: they have no body, and neither is a secret.
const OF_QUERY: &[&str] = &["application_id", "timeout_ms", "topic"];

/// Whether Apple has done what nobody heard it say.
const UNKNOWN: &str = "apple did not answer, and may have done what it was asked; look at the channels \
                       before you ask again";

#[derive(Serialize)]
struct Created {
    channel_id: String,
    message_storage_policy: u8,
}

#[derive(Serialize)]
struct Found {
    channel_id: String,
    message_storage_policy: u8,
    push_type: String,
}

#[derive(Serialize)]
struct List {
    channels: Vec<String>,
}

#[derive(Serialize)]
struct Done {
    response: &'static str,
}

/// Makes a channel.
pub(super) async fn create(
    request: HttpRequest,
    payload: web::Payload,
    api: Snapshot,
) -> Result<HttpResponse, ApiError> {
    let call = async {
        let caller = api.door.admit(&request)?;
        let mut params = body::read(&request, payload, api.body).await?;
        let id = params.peek("application_id").unwrap_or_default().into_owned();
        let key = idempotency::key(&request, &[caller.name(), id.as_bytes()])?;
        let parameters = params.fingerprint();
        let checked = check_new(&mut params, &caller, &api);
        match key {
            None => checked.await?.carry_out(&api).await,
            Some(key) => {
                let prepared = async {
                    let checked = checked.await?;
                    let api = api.clone();
                    Ok(async move { checked.carry_out(&api).await })
                };
                idempotency::once(&api, key, parameters, false, prepared).await
            }
        }
    };
    answer(&api, call).await
}

/// Lists the channels of an application.
pub(super) async fn list(request: HttpRequest, api: Snapshot) -> Result<HttpResponse, ApiError> {
    answer(&api, of_query(&request, &api, |_| Ok(Action::List))).await
}

/// Looks a channel up.
pub(super) async fn read(request: HttpRequest, api: Snapshot) -> Result<HttpResponse, ApiError> {
    let action = |request: &HttpRequest| Ok(Action::Read(channel(request)?));
    answer(&api, of_query(&request, &api, action)).await
}

/// Deletes a channel, for good.
pub(super) async fn delete(request: HttpRequest, api: Snapshot) -> Result<HttpResponse, ApiError> {
    let action = |request: &HttpRequest| Ok(Action::Delete(channel(request)?));
    answer(&api, of_query(&request, &api, action)).await
}

/// A call that has passed every check.
struct Checked {
    app: Arc<Application>,
    request: Request,
    share: Share,
    timeout: Option<Duration>,
}

async fn check_new(
    params: &mut Params,
    caller: &Caller<'_>,
    api: &Api,
) -> Result<Checked, ApiError> {
    params.check_names(&[OF_NEW], &api.compat)?;
    let app = application(params, caller, api).await?;
    let policy = params.integer("message_storage_policy", 0..=1)?.unwrap_or(0);
    let message_storage_policy = u8::from(policy == 1);
    check(params, caller, app, Action::Create { message_storage_policy })
}

/// A call without a body.
async fn of_query(
    request: &HttpRequest,
    api: &Api,
    action: impl FnOnce(&HttpRequest) -> Result<Action, ApiError>,
) -> Result<HttpResponse, ApiError> {
    let caller = api.door.admit(request)?;
    let mut params = body::form(&Bytes::copy_from_slice(request.query_string().as_bytes()))?;
    params.check_text()?;
    params.check_names(&[OF_QUERY], &api.compat)?;
    let app = application(&mut params, &caller, api).await?;
    check(&mut params, &caller, app, action(request)?)?.carry_out(api).await
}

fn channel(request: &HttpRequest) -> Result<ChannelId, ApiError> {
    let problem = "must be the base64 that Apple gave, percent-encoded (`/` as %2F)";
    let id = ChannelId::parse(id_of_path(request));
    id.ok_or_else(|| ApiError::invalid("channel_id", problem))
}

/// The channel that the path names. Base64 has slashes, which stand there as `%2F`.
pub(super) fn id_of_path(request: &HttpRequest) -> String {
    let encoded = request.match_info().get("channel_id").unwrap_or_default();
    percent_decode_str(encoded).decode_utf8_lossy().into_owned()
}

async fn application(
    params: &mut Params,
    caller: &Caller<'_>,
    api: &Api,
) -> Result<Arc<Application>, ApiError> {
    let id = params.text("application_id")?.ok_or_else(ApiError::missing_application_id)?;
    lookup::application(&id, caller, api).await
}

fn check(
    params: &mut Params,
    caller: &Caller<'_>,
    app: Arc<Application>,
    action: Action,
) -> Result<Checked, ApiError> {
    let apns = app.providers.apns.as_ref().ok_or_else(|| ApiError::missing_credentials("apns"))?;
    let topic = params.text("topic")?;
    let is_topic_given = topic.is_some();
    let bundle_id = bundle_id(topic, apns.default_topic())?;
    let request = Request { bundle_id, is_topic_given, action, request_id: Uuid::new_v4() };
    let timeout = timeout(params)?;
    caller.pay(1)?;
    Ok(Checked { app, request, share: caller.share().clone(), timeout })
}

impl Checked {
    async fn carry_out(self, api: &Api) -> Result<HttpResponse, ApiError> {
        let Self { app, request, share, timeout } = self;
        match api.dispatcher.manage(&app, &request, &share, timeout).await {
            Ok(reply) => Ok(respond(reply, &request.action)),
            Err(outcome) => {
                let told = outcome::respond(outcome, Service::Apns);
                told.map_err(|error| error.if_unknown(UNKNOWN))
            }
        }
    }
}

fn respond(reply: Reply, action: &Action) -> HttpResponse {
    let mut response = HttpResponse::build(StatusCode::OK);
    match (reply, action) {
        (Reply::Created(channel_id), Action::Create { message_storage_policy }) => {
            let message_storage_policy = *message_storage_policy;
            response.json(Created { channel_id, message_storage_policy })
        }
        (Reply::Channel { message_storage_policy, push_type }, Action::Read(id)) => {
            let channel_id = id.as_str().to_owned();
            response.json(Found { channel_id, message_storage_policy, push_type })
        }
        (Reply::Channels(channels), _) => response.json(List { channels }),
        (Reply::Channel { .. } | Reply::Created(_) | Reply::Deleted, _) => {
            response.json(Done { response: "ok" })
        }
    }
}
