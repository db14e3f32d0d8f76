//! `POST /register_application`: from an uploaded credential to an application.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use time::OffsetDateTime;
use url::Url;

use super::credentials::{Apple, apple};
use super::error::ApiError;
use super::params::Params;
use super::{Api, Snapshot, answer, body};
use crate::apps::ApplicationId;
use crate::apps::registration::{Registration, RegistrationError};
use crate::apps::registry::Registry;
use crate::apps::sealed::{self, Contents, NotSealed};
use crate::apps::webhook::{self, Webhook};
use crate::providers::Providers;
use crate::providers::apns::credential::{Raw, valid_apple_identifier};
use crate::providers::apns::message::is_topic;
use crate::providers::apns::parts::Parts;
use crate::providers::apns::{Apns, Mode};
use crate::providers::fcm::credential::essentials;
use crate::secret::Secret;

/// Its parameters.
pub const KNOWN: &[&str] = &[
    "application_id",
    "apns_key_id",
    "apns_mode",
    "apns_p12",
    "apns_p12_pass",
    "apns_p8",
    "apns_pem",
    "apns_pem_pass",
    "apns_team_id",
    "apns_topic",
    "fcm_service_account",
    "sealed",
    "webhook_secret",
    "webhook_url",
];

#[derive(Serialize)]
struct Answer<'a> {
    application_id: &'a str,
    /// Of a sealed registration: how logs and scopes call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    apns: Option<Apple<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

/// Registers an application, or replaces the credential of one.
pub(super) async fn register(
    request: HttpRequest,
    payload: web::Payload,
    api: Snapshot,
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
    params.check_names(&[KNOWN], &api.compat)?;
    check_combination(&params)?;
    let named = params.text("application_id")?;
    match &named {
        Some(id) => caller.must_own(id)?,
        None => caller.must_be_free()?,
    }
    let id = match named {
        Some(id) => ApplicationId::parse(&id).ok_or_else(invalid_id)?,
        None => ApplicationId::fresh(),
    };
    let is_sealed = sealed(&mut params, api)?;
    let apple = has_apple(&params).then(|| registration(&mut params)).transpose()?;
    let google = params.file("fcm_service_account")?;
    let reports = reports(&mut params, &api.registry, is_sealed)?;
    if !is_sealed && !api.registry.has_room_for(&id) {
        return Err(full());
    }
    let mut contents = Contents { name: id.as_str().to_owned(), apple: None, google: None };
    let mut providers = Providers::default();
    if let Some(Registration { credential, mode, topic }) = apple {
        let credential = api.registrar.read(credential).await?;
        if is_sealed {
            let parts = Parts::of(&credential).map_err(|_| ApiError::internal_error())?;
            contents.apple =
                Some(sealed::Apple { parts, mode: mode.as_str().to_owned(), topic: topic.clone() });
        }
        let apns = Apns::new(api.registrar.context(), credential, mode, topic);
        providers.apns = Some(apns.into());
    }
    if let Some(file) = google {
        contents.google = essentials(&file).filter(|_| is_sealed);
        let fcm = api.registrar.read_service_account(file).await?;
        providers.fcm = Some(fcm.into());
    }
    let sealed = is_sealed.then(|| api.opened.seal().seal(&contents)).transpose()?;
    let answer = summary(&id, sealed.as_deref(), providers.apns.as_deref());
    let answer = serde_json::to_string(&answer).map_err(|_| ApiError::internal_error())?;
    if is_sealed {
        tracing::info!(app.id = id.as_str(), "an application was sealed");
    } else {
        tracing::info!(app.id = id.as_str(), "an application was registered");
        api.registry.register(id.clone(), providers).map_err(|_| full())?;
        report(api, &id, reports);
    }
    Ok(HttpResponse::Ok().content_type("application/json").body(answer))
}

/// Whether the registration is to be sealed, and can be.
fn sealed(params: &mut Params, api: &Api) -> Result<bool, ApiError> {
    let is_sealed = params.boolean("sealed")?.unwrap_or(false);
    if is_sealed && !api.opened.seal().can_seal() {
        return Err(NotSealed::NoKey.into());
    }
    Ok(is_sealed)
}

/// Has the dead tokens of an application reported there from now on.
fn report(api: &Api, id: &ApplicationId, reports: Option<Option<Arc<Webhook>>>) {
    if let (Some(application), Some(webhook)) = (api.registry.find(id.as_str()), reports) {
        application.feedback.report_to(webhook);
    }
}

/// Where dead tokens are to be reported; the outer `None` is where they are now, the inner one
/// where the configuration says.
fn reports(
    params: &mut Params,
    registry: &Registry,
    is_sealed: bool,
) -> Result<Option<Option<Arc<Webhook>>>, ApiError> {
    let url = params.text("webhook_url")?;
    let secret = params.secret("webhook_secret")?;
    if is_sealed && (url.is_some() || secret.is_some()) {
        return Err(ApiError::conflicting_parameters(
            "sealed and webhook_url exclude each other: dead tokens of a sealed application are \
             reported where the configuration says; leave one out",
        ));
    }
    let Some(url) = url else {
        let problem = "belongs to webhook_url; give both or none";
        return secret.map_or(Ok(None), |_| Err(ApiError::invalid("webhook_secret", problem)));
    };
    if url.is_empty() {
        return Ok(Some(None));
    }
    let url = Url::parse(&url).ok().filter(webhook::is_safe).ok_or_else(|| {
        let problem = "must be an https address without user name, password and fragment";
        ApiError::invalid("webhook_url", problem)
    })?;
    if !registry.takes_webhook(&url) {
        let problem = "names a host that is not in feedback.webhook_hosts; who runs this relay \
                       says which are";
        return Err(ApiError::invalid("webhook_url", problem));
    }
    let secret = secret.ok_or_else(|| {
        ApiError::invalid("webhook_secret", "is needed with webhook_url; reports are signed")
    })?;
    Ok(Some(Some(Arc::new(Webhook { url, secret }))))
}

fn has_apple(params: &Params) -> bool {
    ["apns_p12", "apns_pem", "apns_p8"].iter().any(|name| params.has(name))
}

/// At most one Apple credential, with all that it needs and nothing that belongs to another.
fn check_combination(params: &Params) -> Result<(), ApiError> {
    params.check_excluded("apns_p12", &["apns_pem", "apns_p8", "apns_pem_pass"])?;
    params.check_excluded("apns_pem", &["apns_p8", "apns_p12_pass"])?;
    params.check_excluded("apns_p8", &["apns_p12_pass", "apns_pem_pass"])?;
    for other in ["apns_p12", "apns_pem"] {
        params.check_excluded(other, &["apns_key_id", "apns_team_id"])?;
    }
    let is_google_alone = params.has("fcm_service_account")
        && !KNOWN.iter().any(|name| name.starts_with("apns_") && params.has(name));
    if !has_apple(params) && !is_google_alone {
        return Err(ApiError::missing_apns_certificate());
    }
    if params.has("apns_p8") && !params.has("apns_key_id") {
        return Err(ApiError::missing_apns_key_id());
    }
    if params.has("apns_p8") && !params.has("apns_team_id") {
        return Err(ApiError::missing_apns_team_id());
    }
    Ok(())
}

fn registration(params: &mut Params) -> Result<Registration, ApiError> {
    let mode =
        params.choice("apns_mode", "production, development, sandbox or auto", Mode::parse)?;
    let topic = params.choice("apns_topic", "a topic, such as a bundle id", |topic| {
        is_topic(topic).then(|| topic.to_owned())
    })?;
    Ok(Registration { credential: credential(params)?, mode: mode.unwrap_or_default(), topic })
}

fn credential(params: &mut Params) -> Result<Raw, ApiError> {
    let password = |secret: Option<Secret<String>>| secret.unwrap_or_default();
    if params.has("apns_p12") {
        let password = password(params.secret("apns_p12_pass")?);
        let der = params.file("apns_p12")?.unwrap_or_default();
        return Ok(Raw::P12 { der, password });
    }
    if params.has("apns_pem") {
        let password = password(params.secret("apns_pem_pass")?);
        let text = params.file("apns_pem")?.unwrap_or_default();
        return Ok(Raw::Pem { text, password });
    }
    let identifier = |text: &str| valid_apple_identifier(text).then(|| text.to_owned());
    let expected = "ten letters and digits";
    let key_id = params.choice("apns_key_id", expected, identifier)?;
    let team_id = params.choice("apns_team_id", expected, identifier)?;
    let key_id = key_id.ok_or_else(ApiError::missing_apns_key_id)?;
    let team_id = team_id.ok_or_else(ApiError::missing_apns_team_id)?;
    let text = params.file("apns_p8")?.unwrap_or_default();
    Ok(Raw::P8 { text, key_id, team_id })
}

fn summary<'a>(
    id: &'a ApplicationId,
    sealed: Option<&'a str>,
    apns: Option<&'a Apns>,
) -> Answer<'a> {
    let mut warnings = Vec::new();
    let now = OffsetDateTime::now_utc();
    let apns = apns.map(|facts| apple(facts, now, &mut warnings));
    let (application_id, name) = match sealed {
        Some(text) => (text, Some(id.as_str())),
        None => (id.as_str(), None),
    };
    Answer { application_id, name, apns, warnings }
}

fn invalid_id() -> ApiError {
    ApiError::invalid(
        "application_id",
        "must be 1 to 128 characters of letters, digits, `.`, `_`, `-` and `:`",
    )
}

fn full() -> ApiError {
    ApiError::overloaded(
        "as many applications are registered as may be; raise server.max_applications",
    )
}

impl From<NotSealed> for ApiError {
    fn from(problem: NotSealed) -> Self {
        match problem {
            NotSealed::Failed => Self::internal_error(),
            NotSealed::NoKey | NotSealed::TooLarge(_) => Self::invalid("sealed", problem),
        }
    }
}

impl From<RegistrationError> for ApiError {
    fn from(error: RegistrationError) -> Self {
        match error {
            RegistrationError::Busy => {
                Self::overloaded("too many credentials wait to be read; try again")
            }
            RegistrationError::Credential(error) => {
                Self::invalid_file(error.format.parameter(), error.problem)
            }
            RegistrationError::ServiceAccount(problem) => {
                Self::invalid_file("fcm_service_account", problem)
            }
        }
    }
}
