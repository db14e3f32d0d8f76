//! `/channels`: Apple's broadcast channels of an application. What is said on one is said by
//! `POST /send_notification` with `channel_id`.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use uuid::Uuid;

use super::auth::Caller;
use super::error::ApiError;
use super::message::Service;
use super::params::Params;
use super::{Api, Snapshot, answer, body, idempotency, lookup, outcome};
use crate::apps::Application;
use crate::providers::apns::channels::{Action, ChannelId, Reply, Request};
use crate::providers::apns::message::bundle_id;

/// The parameters of a new channel.
const OF_NEW: &[&str] = &["application_id", "message_storage_policy", "topic"];
/// What the query string of the other calls may hold: they have no body, and neither is a secret.
const OF_QUERY: &[&str] = &["application_id", "topic"];

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
        let prepared = prepare_new(&mut params, &caller, &api);
        match key {
            None => {
                let (app, request) = prepared.await?;
                manage(&api, &app, &request).await
            }
            Some(key) => {
                let prepared = async {
                    let (app, request) = prepared.await?;
                    let api = api.clone();
                    Ok(async move { manage(&api, &app, &request).await })
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

async fn prepare_new(
    params: &mut Params,
    caller: &Caller<'_>,
    api: &Api,
) -> Result<(Arc<Application>, Request), ApiError> {
    params.check_names(&[OF_NEW], &api.compat)?;
    let app = application(params, caller, api).await?;
    let policy = params.integer("message_storage_policy", 0..=1)?.unwrap_or(0);
    let message_storage_policy = u8::from(policy == 1);
    let request = request_for(params, &app, Action::Create { message_storage_policy })?;
    Ok((app, request))
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
    let request = request_for(&mut params, &app, action(request)?)?;
    manage(api, &app, &request).await
}

/// The channel that the path names. Base64 has slashes, which stand there as `%2F`.
fn channel(request: &HttpRequest) -> Result<ChannelId, ApiError> {
    let encoded = request.match_info().get("channel_id").unwrap_or_default();
    let id = percent_decode_str(encoded).decode_utf8_lossy().into_owned();
    let problem = "must be the base64 that Apple gave, percent-encoded (`/` as %2F)";
    ChannelId::parse(id).ok_or_else(|| ApiError::invalid("channel_id", problem))
}

async fn application(
    params: &mut Params,
    caller: &Caller<'_>,
    api: &Api,
) -> Result<Arc<Application>, ApiError> {
    let id = params.text("application_id")?.ok_or_else(ApiError::missing_application_id)?;
    lookup::application(&id, caller, api).await
}

fn request_for(
    params: &mut Params,
    app: &Application,
    action: Action,
) -> Result<Request, ApiError> {
    let apns = app.providers.apns.as_ref().ok_or_else(|| ApiError::missing_credentials("apns"))?;
    let topic = params.text("topic")?;
    let is_topic_given = topic.is_some();
    let bundle_id = bundle_id(topic, apns.default_topic())?;
    Ok(Request { bundle_id, is_topic_given, action, request_id: Uuid::new_v4() })
}

async fn manage(
    api: &Api,
    app: &Arc<Application>,
    request: &Request,
) -> Result<HttpResponse, ApiError> {
    let reply = match api.dispatcher.manage(app, request).await {
        Ok(reply) => reply,
        Err(outcome) => return outcome::respond(outcome, Service::Apns),
    };
    let mut response = HttpResponse::build(StatusCode::OK);
    Ok(match (reply, &request.action) {
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
    })
}
