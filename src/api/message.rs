//! `POST /send_notification`: from the parameters to a message, and from its outcome to an answer.

use std::sync::Arc;
use std::time::SystemTime;

use actix_web::{HttpRequest, HttpResponse, web};

use super::apns_message::{APNS_ONLY, apns_draft};
use super::auth::Caller;
use super::error::ApiError;
use super::params::Params;
use super::{Api, answer, body, outcome};
use crate::apps::Application;
use crate::providers::gcm::{self, Notification};
use crate::providers::json::Object;
use crate::providers::{Message, apns};

/// The parameters that both services have.
const SHARED: &[&str] = &[
    "alert",
    "application_id",
    "badge",
    "data",
    "device_token",
    "gcm_api_key",
    "sound",
    "title",
    "type",
];
/// The parameters that only Google's service has.
const GCM_ONLY: &[&str] = &["registration_ids"];
/// Most tokens of one call to Google (Google, "Legacy HTTP server protocol": `registration_ids`).
const MAX_REGISTRATION_IDS: usize = 1_000;

/// A push service, as `type` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    Apns,
    Gcm,
}

impl Service {
    fn parse(word: &str) -> Option<Self> {
        match word {
            "apns" => Some(Self::Apns),
            "gcm" | "fcm" => Some(Self::Gcm),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Apns => "apns",
            Self::Gcm => "gcm",
        }
    }
}

/// Sends a message and answers when its fate is known.
pub(super) async fn send(
    request: HttpRequest,
    payload: web::Payload,
    api: web::Data<Api>,
) -> Result<HttpResponse, ApiError> {
    answer(&api, run(&request, payload, &api)).await
}

async fn run(
    request: &HttpRequest,
    payload: web::Payload,
    api: &Api,
) -> Result<HttpResponse, ApiError> {
    let caller = api.door.admit(request)?;
    let mut params = body::read(request, payload, api.body).await?;
    let (application, message) = prepare(&mut params, &caller, api)?;
    let service = match &message {
        Message::Apns(_) => Service::Apns,
        Message::Gcm(_) => Service::Gcm,
    };
    let outcome = api.dispatcher.deliver(&application, Arc::new(message)).await;
    outcome::respond(outcome, service)
}

/// Every check that a message has to pass before anything is sent, in the contract's order.
fn prepare(
    params: &mut Params,
    caller: &Caller<'_>,
    api: &Api,
) -> Result<(Arc<Application>, Message), ApiError> {
    let known = [SHARED, APNS_ONLY, GCM_ONLY].concat();
    params.check_names(&known, &api.compat)?;
    let has_id = params.has("application_id");
    let has_key = params.has("gcm_api_key");
    let word = params.text("type");
    let said = word.as_ref().ok().and_then(Option::as_deref).and_then(Service::parse);
    // Which service it is follows from the names alone but for an application without `type`.
    if let Some(service) = said.or((has_key && !has_id).then_some(Service::Gcm)) {
        check_service(params, service, api)?;
    }
    params.check_excluded("device_token", &["registration_ids"])?;
    if !has_id && (!has_key || said == Some(Service::Apns)) {
        return Err(ApiError::missing_identifier());
    }
    if !params.has("device_token") && !params.has("registration_ids") {
        return Err(ApiError::device_token_required());
    }
    // With both identifiers `type` decides which one counts; the other is looked at no more.
    let uses_key = has_key && said != Some(Service::Apns);
    let uses_id = has_id && !(has_key && said == Some(Service::Gcm));
    let id = params.text("application_id")?.unwrap_or_default();
    if uses_id {
        caller.must_own(&id)?;
    }
    if uses_key {
        caller.must_own_keys()?;
    }
    let application = if uses_id {
        api.registry.find(&id).ok_or_else(ApiError::application_not_found)?
    } else {
        Arc::clone(&api.bare_keys)
    };
    if word?.is_some() && said.is_none() {
        return Err(ApiError::invalid("type", "must be apns or gcm"));
    }
    if uses_id && uses_key {
        return Err(ApiError::missing_type());
    }
    let service = service(said, &application)?;
    check_service(params, service, api)?;
    let message = match service {
        Service::Apns => Message::Apns(apns_message(params, &application)?),
        Service::Gcm => Message::Gcm(gcm_message(params)?),
    };
    Ok((application, message))
}

fn check_service(params: &Params, service: Service, api: &Api) -> Result<(), ApiError> {
    let (other, names) = match service {
        Service::Apns => (Service::Gcm, GCM_ONLY),
        Service::Gcm => (Service::Apns, APNS_ONLY),
    };
    params.check_service(service.as_str(), other.as_str(), names, &api.compat)
}

/// The service that was said, or the one that the application has.
fn service(said: Option<Service>, application: &Application) -> Result<Service, ApiError> {
    let providers = &application.providers;
    let service = match (said, providers.apns.is_some(), providers.gcm.is_some()) {
        (Some(service), _, _) => service,
        (None, true, true) => return Err(ApiError::missing_type()),
        (None, false, true) => Service::Gcm,
        (None, _, false) => Service::Apns,
    };
    let has = match service {
        Service::Apns => providers.apns.is_some(),
        Service::Gcm => providers.gcm.is_some(),
    };
    if has { Ok(service) } else { Err(ApiError::missing_credentials(service.as_str())) }
}

fn apns_message(
    params: &mut Params,
    application: &Application,
) -> Result<apns::message::Message, ApiError> {
    let draft = apns_draft(params)?;
    let topic = application.providers.apns.as_ref().and_then(|apns| apns.default_topic());
    Ok(draft.into_message(topic, SystemTime::now())?)
}

fn gcm_message(params: &mut Params) -> Result<gcm::Message, ApiError> {
    let registration_ids = match params.texts("registration_ids", MAX_REGISTRATION_IDS)? {
        Some(ids) => ids,
        None => vec![params.text("device_token")?.ok_or_else(ApiError::device_token_required)?],
    };
    let notification = Notification {
        title: params.text("title")?,
        body: params.text("alert")?,
        sound: params.text("sound")?,
        badge: params
            .integer("badge", 0..=i32::MAX as u64)?
            .and_then(|number| u32::try_from(number).ok()),
    };
    let data = params.object("data")?;
    let api_key = params.secret("gcm_api_key")?.unwrap_or_default();
    let data = data.as_ref().map(Object::as_raw);
    gcm::Message::new(api_key, &registration_ids, data, notification)
        .map_err(|_| ApiError::internal_error())
}
