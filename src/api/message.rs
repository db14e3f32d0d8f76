//! `POST /send_notification`: from the parameters to a message, and from its outcome to an answer.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use tokio::time::Instant;

use super::apns_message::{APNS_ONLY, apns_draft};
use super::auth::Caller;
use super::batch::{Batch, Checked};
use super::error::ApiError;
use super::gcm_message::{GCM_ONLY, fcm_plan, legacy_draft};
use super::params::{Params, Value};
use super::preview::Preview;
use super::row::Single;
use super::turns::{Turns, Waited};
use super::{
    Api, Snapshot, answer, body, channels, fcm_answer, idempotency, lookup, ndjson, outcome,
};
use crate::apps::Application;
use crate::delivery::{Share, Terms};
use crate::providers::fcm::bridge::Plan;
use crate::providers::fcm::message::FcmTarget;
use crate::providers::gcm::{self, KeyHash};
use crate::providers::{Message, apns, fcm};

/// The parameters that both services have.
const SHARED: &[&str] = &[
    "alert",
    "application_id",
    "at_least_once",
    "badge",
    "content_available",
    "data",
    "device_token",
    "dry_run",
    "gcm_api_key",
    "mutable_content",
    "preview",
    "priority",
    "sound",
    "timeout_ms",
    "title",
    "type",
];
/// The parameters that make a call one of many messages.
pub(super) const MANY: &[&str] = &["device_tokens", "messages"];
/// The parameters that say to whom; one of them is needed.
const TARGETS: &[&str] =
    &["channel_id", "condition", "device_token", "message", "registration_ids", "to"];
/// What the name of a topic begins with where a token could stand.
const TOPICS: &str = "/topics/";
/// The longest that a caller may wait, in milliseconds: as much as the services' own timeouts.
const MAX_TIMEOUT_MS: u64 = 25_000;

/// A push service, as `type` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Apple.
    Apns,
    /// Google.
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
    api: Snapshot,
) -> Result<HttpResponse, ApiError> {
    let waited = Turns::of(&request).await;
    answer(&api, Box::pin(run(&request, payload, &api, None, waited))).await
}

/// The same, on the broadcast channel of the path.
pub(super) async fn broadcast(
    request: HttpRequest,
    payload: web::Payload,
    api: Snapshot,
) -> Result<HttpResponse, ApiError> {
    let waited = Turns::of(&request).await;
    let channel_id = Some(channels::id_of_path(&request));
    answer(&api, Box::pin(run(&request, payload, &api, channel_id, waited))).await
}

/// Stands in a box that is made when it is the call's turn: hundreds may wait for theirs. What
/// needs more room than a message to Apple has a box of its own, since a future is as large as the
/// largest of its ways.
async fn run(
    request: &HttpRequest,
    payload: web::Payload,
    api: &Snapshot,
    channel_id: Option<String>,
    waited: Waited,
) -> Result<HttpResponse, ApiError> {
    let caller = api.door.admit(request)?;
    if channel_id.is_none() && ndjson::is_asked(request) {
        return ndjson::respond(request, payload, &caller, api);
    }
    let mut params = body::read_many(request, payload, api.body, api.batch.size_bytes).await?;
    let came = waited.since();
    if let Some(id) = channel_id {
        params.push("channel_id".to_owned(), Value::Bytes(id.into()));
    }
    let key = {
        let [id, api_key] =
            ["application_id", "gcm_api_key"].map(|name| params.peek(name).unwrap_or_default());
        idempotency::key(request, &[caller.name(), id.as_bytes(), api_key.as_bytes()])?
    };
    let Some(key) = key else {
        return check(&mut params, &caller, api, came).await?.carry_out(api).await;
    };
    let (parameters, at_least_once) = (params.fingerprint(), params.is_at_least_once());
    let checked = async {
        let call = check(&mut params, &caller, api, came).await?;
        let api = api.clone();
        Ok(async move { call.carry_out(&api).await })
    };
    Box::pin(idempotency::once(api, key, parameters, at_least_once, checked)).await
}

/// A call that has passed every check: one message, or many.
enum Call {
    Many(Checked),
    /// With what its time counts from.
    One(Prepared, Share, Instant),
}

async fn check(
    params: &mut Params,
    caller: &Caller<'_>,
    api: &Api,
    came: Instant,
) -> Result<Call, ApiError> {
    if let Some(batch) = Batch::of(params, api)? {
        return Ok(Call::Many(Box::pin(batch.check(caller, api, came)).await?));
    }
    if params.size_bytes() > api.body.size_bytes {
        return Err(ApiError::request_too_large(api.body.size_bytes));
    }
    let prepared = prepare(params, caller, api).await?;
    caller.pay(prepared.messages())?;
    Ok(Call::One(prepared, caller.share().clone(), came))
}

impl Call {
    /// Sends what the call asked for.
    async fn carry_out(self, api: &Api) -> Result<HttpResponse, ApiError> {
        match self {
            Self::Many(checked) => Ok(Box::pin(checked.send(api)).await),
            Self::One(prepared, share, came) => carry_out(api, prepared, &share, came).await,
        }
    }
}

/// Sends the one message of a call, or those of a list of tokens that is answered as Google did.
async fn carry_out(
    api: &Api,
    prepared: Prepared,
    share: &Share,
    came: Instant,
) -> Result<HttpResponse, ApiError> {
    let Prepared { application, work, timeout } = prepared;
    match work {
        Work::Fcm { plan, credentials_status } => {
            let (caller, time) = (Some(share), (came, timeout));
            let answer = Box::pin(fcm_answer::carry_out(api, &application, plan, caller, time));
            let outcome = answer.await?;
            outcome.respond(credentials_status)
        }
        Work::One { message, service } => {
            let sent = Arc::clone(&message);
            let terms = Terms { caller: share, start: came, timeout };
            let outcome = api.dispatcher.deliver(&application, sent, terms).await;
            let environment = application.providers.environment(&message);
            outcome::in_environment(environment, outcome::respond(outcome, service))
        }
        Work::Preview(preview) => Ok(HttpResponse::Ok().json(preview)),
    }
}

/// A call that has passed every check.
#[derive(Debug)]
pub struct Prepared {
    /// Whose message it is.
    pub application: Arc<Application>,
    /// What there is to send.
    pub work: Work,
    /// How long it may take in all; `None` leaves it to the service.
    pub timeout: Option<Duration>,
}

/// What a call has to send.
#[derive(Debug)]
pub enum Work {
    /// One message for each row of the answer.
    Fcm {
        /// The messages.
        plan: Plan,
        /// The status where the account is refused: it depends on whose it is.
        credentials_status: StatusCode,
    },
    /// One message for all of it.
    One {
        /// The message.
        message: Arc<Message>,
        /// Whose words the answer has.
        service: Service,
    },
    /// Nothing: it is shown what would go out.
    Preview(Box<Preview>),
}

impl Prepared {
    /// How many messages go out.
    fn messages(&self) -> usize {
        match &self.work {
            Work::Fcm { plan: Plan::Send(messages), .. } => messages.len(),
            Work::Fcm { plan: Plan::Refuse { .. }, .. } | Work::Preview(_) => 0,
            Work::One { message, .. } => match &**message {
                Message::Gcm(message) => message.rows(),
                Message::Apns(_) | Message::Fcm(_) => 1,
            },
        }
    }

    /// The same call, shown instead of sent. What is refused anyway stays refused.
    fn previewed(self) -> Result<Self, ApiError> {
        let Self { application, work, timeout } = self;
        let preview = match work {
            Work::Fcm { plan: Plan::Send(messages), credentials_status } => {
                let messages: Vec<_> = messages.into_iter().map(Message::Fcm).collect();
                Preview::of(&application, &messages, credentials_status)?
            }
            Work::One { message, .. } => {
                Preview::of(&application, [&*message], StatusCode::FORBIDDEN)?
            }
            work @ (Work::Fcm { plan: Plan::Refuse { .. }, .. } | Work::Preview(_)) => {
                return Ok(Self { application, work, timeout });
            }
        };
        Ok(Self { application, work: Work::Preview(Box::new(preview)), timeout })
    }
}

/// One message to one target, whose outcome will be a row: all checks of [`prepare`], and that
/// there is one target.
///
/// # Errors
/// Those of [`prepare`], and `conflicting_parameters` for a list of tokens.
pub async fn prepare_single(
    params: &mut Params,
    caller: &Caller<'_>,
    api: &Api,
) -> Result<Single, ApiError> {
    if params.has("registration_ids") {
        return Err(ApiError::conflicting_parameters(
            "registration_ids is answered by a list of its own; give each token a message",
        ));
    }
    let target = ["device_token", "to"].into_iter().find_map(|name| params.peek(name));
    let device_token = target.filter(|to| !to.starts_with(TOPICS)).map(Cow::into_owned);
    let Prepared { application, work, timeout } = checked(params, caller, api).await?;
    let is_preview = is_preview(params)?;
    let (message, credentials_status) = match work {
        Work::One { message, .. } => (message, StatusCode::FORBIDDEN),
        Work::Fcm { plan, credentials_status } => {
            (Arc::new(Message::Fcm(of_plan(plan)?)), credentials_status)
        }
        Work::Preview(_) => return Err(ApiError::internal_error()),
    };
    let device_token = device_token.or_else(|| match &*message {
        Message::Fcm(message) => message.token().map(str::to_owned),
        Message::Apns(_) | Message::Gcm(_) => None,
    });
    Ok(Single { application, message, device_token, credentials_status, timeout, is_preview })
}

/// The one message of a plan for one target.
fn of_plan(plan: Plan) -> Result<fcm::message::Message, ApiError> {
    match plan {
        Plan::Refuse { error, .. } => Err(outcome::unsendable(error)),
        Plan::Send(messages) => messages.into_iter().next().ok_or_else(ApiError::internal_error),
    }
}

/// Every check that a message has to pass before anything is sent, in the contract's order.
///
/// # Errors
/// The first check that fails.
pub async fn prepare(
    params: &mut Params,
    caller: &Caller<'_>,
    api: &Api,
) -> Result<Prepared, ApiError> {
    let prepared = checked(params, caller, api).await?;
    if is_preview(params)? { prepared.previewed() } else { Ok(prepared) }
}

/// Whether a message that was checked is to be shown and not sent.
fn is_preview(params: &mut Params) -> Result<bool, ApiError> {
    let is_preview = params.boolean("preview")?.unwrap_or(false);
    // A message for Google has taken it with it: that dry run is Google's to make.
    let is_dry_run = params.boolean("dry_run")?.unwrap_or(false);
    Ok(is_preview || is_dry_run)
}

async fn checked(
    params: &mut Params,
    caller: &Caller<'_>,
    api: &Api,
) -> Result<Prepared, ApiError> {
    params.check_names(&[SHARED, APNS_ONLY, GCM_ONLY, MANY], &api.compat)?;
    if let Some(name) = MANY.iter().find(|name| params.has(name)) {
        return Err(ApiError::conflicting_parameters(format!(
            "{name} stands for many messages, and this is one; give device_token"
        )));
    }
    let has_id = params.has("application_id");
    let has_key = params.has("gcm_api_key");
    let word = params.text("type");
    let said = word.as_ref().ok().and_then(Option::as_deref).and_then(Service::parse);
    // Which service it is follows from the names alone but for an application without `type`.
    if let Some(service) = said.or((has_key && !has_id).then_some(Service::Gcm)) {
        check_service(params, service, api)?;
    }
    for (place, target) in TARGETS.iter().enumerate() {
        params.check_excluded(target, TARGETS.get(place + 1..).unwrap_or_default())?;
    }
    if !has_id && (!has_key || said == Some(Service::Apns)) {
        return Err(ApiError::missing_identifier());
    }
    if !TARGETS.iter().any(|name| params.has(name)) {
        return Err(ApiError::device_token_required());
    }
    // With both identifiers `type` decides which one counts; the other is looked at no more.
    let uses_key = has_key && said != Some(Service::Apns);
    let uses_id = has_id && !(has_key && said == Some(Service::Gcm));
    let id = params.text("application_id")?.unwrap_or_default();
    // Scopes come before any look-up.
    if uses_key {
        caller.must_own_keys()?;
    }
    let registered = match uses_id {
        true => Some(lookup::application(&id, caller, api).await?),
        false => None,
    };
    if word?.is_some() && said.is_none() {
        return Err(ApiError::invalid("type", "must be apns or gcm"));
    }
    if uses_id && uses_key {
        return Err(ApiError::missing_type());
    }
    match registered {
        Some(application) => of_application(params, application, said, api),
        None => {
            check_service(params, Service::Gcm, api)?;
            of_key(params, api)
        }
    }
}

/// A message of a registered application.
fn of_application(
    params: &mut Params,
    application: Arc<Application>,
    said: Option<Service>,
    api: &Api,
) -> Result<Prepared, ApiError> {
    let service = service(said, &application)?;
    check_service(params, service, api)?;
    let timeout = timeout(params)?;
    match service {
        Service::Apns => {
            let message = Arc::new(Message::Apns(apns_message(params, &application)?));
            Ok(Prepared { application, work: Work::One { message, service }, timeout })
        }
        Service::Gcm => {
            let plan = fcm_plan(params, FcmTarget::default())?;
            let credentials_status = StatusCode::BAD_GATEWAY;
            Ok(Prepared { application, work: Work::Fcm { plan, credentials_status }, timeout })
        }
    }
}

/// A message for the owner of a key: through the service account that it stands for, or to the
/// legacy endpoint.
fn of_key(params: &mut Params, api: &Api) -> Result<Prepared, ApiError> {
    let timeout = timeout(params)?;
    let key = params.secret("gcm_api_key")?.unwrap_or_default();
    if let Some(bridged) = api.bridge.get(&KeyHash::of(key.expose())) {
        let plan = fcm_plan(params, bridged.fcm_target)?;
        return Ok(Prepared {
            application: Arc::clone(&bridged.application),
            work: Work::Fcm { plan, credentials_status: StatusCode::FORBIDDEN },
            timeout,
        });
    }
    let draft = legacy_draft(params)?;
    let message = gcm::Message::new(key, &draft).map_err(|_| ApiError::internal_error())?;
    Ok(Prepared {
        application: Arc::clone(&api.bare_keys),
        work: Work::One { message: Arc::new(Message::Gcm(message)), service: Service::Gcm },
        timeout,
    })
}

pub(super) fn timeout(params: &mut Params) -> Result<Option<Duration>, ApiError> {
    Ok(params.integer("timeout_ms", 1..=MAX_TIMEOUT_MS)?.map(Duration::from_millis))
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
    let service = match (said, providers.apns.is_some(), providers.fcm.is_some()) {
        (Some(service), _, _) => service,
        (None, true, true) => return Err(ApiError::missing_type()),
        (None, false, true) => Service::Gcm,
        (None, _, false) => Service::Apns,
    };
    let has = match service {
        Service::Apns => providers.apns.is_some(),
        Service::Gcm => providers.fcm.is_some(),
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
