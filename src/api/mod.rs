//! The HTTP surface: every route on one page.

pub mod action;
pub mod apns_message;
mod applications;
pub mod auth;
pub mod batch;
pub mod body;
mod channels;
mod console;
mod credentials;
pub mod current;
mod drop_in;
pub mod error;
mod fcm_answer;
mod feedback;
mod fingerprint;
mod gcm_message;
mod idempotency;
pub mod lines;
mod live_activity;
mod lookup;
pub mod message;
mod metrics;
mod ndjson;
pub mod openapi;
pub mod ops;
mod outcome;
pub mod params;
pub mod preview;
pub mod proxies;
mod rate;
pub mod row;
mod status;
mod trace_context;
pub mod turns;
pub mod unread;

use std::collections::HashMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::http::{ConnectionType, header::HeaderMap};
use actix_web::middleware::Next;
use actix_web::{HttpResponse, web};
use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument, Span};

pub use self::applications::KNOWN as REGISTRATION_PARAMETERS;
use self::auth::Door;
use self::current::{Current, Snapshot};
use self::error::ApiError;
use crate::apps::Application;
use crate::apps::feedback::timestamp;
use crate::apps::opened::Opened;
use crate::apps::registration::Registrar;
use crate::apps::registry::Registry;
use crate::delivery::Dispatcher;
use crate::delivery::idempotency::Idempotency;
use crate::metrics::{Calls, Metrics};
use crate::providers::fcm::message::FcmTarget;
use crate::providers::gcm::KeyHash;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id that is taken from a caller, in characters.
const MAX_REQUEST_ID: usize = 128;

/// The section `[compat]`: what the original Pushlet did and nobody should want today.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compat {
    /// Answer 200 for the errors of a send, a registration or a feedback call, as the original's
    /// framework did. The body still tells. Not for 401, 403 `forbidden`, unknown routes, 405, 413
    /// `request_too_large`, 415 and 500.
    pub always_200: bool,
    /// Ignore parameters that nobody knows, as the original did, instead of refusing the call.
    pub ignore_unknown: bool,
}

/// What every call works with, shared by all workers. What a reload changes stands here as such; the
/// rest lives as long as the process, and a further state shares it.
#[derive(Debug, Clone)]
pub struct Api {
    /// Who may call.
    pub door: Door,
    /// How much of a body is read, and for how long.
    pub body: body::Limits,
    /// How much a call with many messages may bring.
    pub batch: batch::Limits,
    /// The original's ways.
    pub compat: Compat,
    /// Who is registered.
    pub registry: Arc<Registry>,
    /// The registrations that callers keep themselves.
    pub opened: Arc<Opened>,
    /// Reads credentials.
    pub registrar: Arc<Registrar>,
    /// Sends.
    pub dispatcher: Arc<Dispatcher>,
    /// Which calls with an `Idempotency-Key` were answered, and how.
    pub idempotency: Arc<Idempotency>,
    /// Stands for everybody who sends with a `gcm_api_key` and no application, unless the key is
    /// bridged.
    pub bare_keys: Arc<Application>,
    /// The old keys that stand for service accounts.
    pub bridge: HashMap<KeyHash, Bridged>,
    /// The numbers of the relay.
    pub metrics: Arc<Metrics>,
    /// Who may read them, and the status.
    pub ops: Arc<ops::Access>,
    /// When the relay started.
    pub started: Started,
    /// Where messages of a stream are sent, since no handler can stall it.
    pub runtime: Handle,
    /// Set when the process is on its way out: connections are closed after their answer.
    pub draining: Arc<AtomicBool>,
}

/// A moment by both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Started {
    /// For people.
    pub at: SystemTime,
    /// To measure from.
    pub instant: Instant,
}

impl Started {
    /// This moment.
    #[must_use]
    pub fn now() -> Self {
        Self { at: SystemTime::now(), instant: Instant::now() }
    }
}

/// What an old key of Google's stands for.
#[derive(Debug, Clone)]
pub struct Bridged {
    /// The service account, as an application without a name.
    pub application: Arc<Application>,
    /// How its devices are addressed.
    pub fcm_target: FcmTarget,
}

/// Google's own routes, for programs that were written for them.
pub fn drop_in_routes(config: &mut web::ServiceConfig) {
    for path in ["/fcm/send", "/gcm/send"] {
        let post = web::post().to(drop_in::send);
        let only_post = web::to(method_not_allowed);
        config.service(web::resource(path).route(post).default_service(only_post));
    }
}

/// What tells of the relay itself.
pub fn ops_routes(config: &mut web::ServiceConfig) {
    let look = |path: &str, get: actix_web::Route, head: actix_web::Route| {
        web::resource(path).route(get).route(head).default_service(web::to(only_get))
    };
    config
        .service(look("/healthz", web::get().to(ops::health), web::head().to(ops::health)))
        .service(look("/readyz", web::get().to(ops::ready), web::head().to(ops::ready)))
        .service(look("/status", web::get().to(ops::status), web::head().to(ops::status)))
        .service(look("/metrics", web::get().to(ops::metrics), web::head().to(ops::metrics)));
}

/// The same and nothing else, for the address of `ops.bind`.
pub fn ops_alone(config: &mut web::ServiceConfig) {
    ops_routes(config);
    config.app_data(ops::Listener::Ops).default_service(web::to(not_found));
}

/// The page, and its files.
fn console_routes(config: &mut web::ServiceConfig) {
    let look = |path: &str, get: actix_web::Route, head: actix_web::Route| {
        web::resource(path).route(get).route(head).default_service(web::to(only_get))
    };
    config
        .service(look("/console", web::get().to(console::page), web::head().to(console::page)))
        .service(look(
            "/console/{file}",
            web::get().to(console::file),
            web::head().to(console::file),
        ));
}

/// Apple's broadcast channels.
fn channel_routes(config: &mut web::ServiceConfig) {
    config
        .service(
            web::resource("/channels")
                .route(web::get().to(channels::list))
                .route(web::post().to(channels::create))
                .default_service(web::to(get_or_post)),
        )
        .service(
            web::resource("/channels/{channel_id}")
                .route(web::get().to(channels::read))
                .route(web::post().to(message::broadcast))
                .route(web::delete().to(channels::delete))
                .default_service(web::to(delete_get_or_post)),
        );
}

/// The calls, their description, and the console. What else is asked for is answered in the
/// same JSON.
pub fn routes(config: &mut web::ServiceConfig) {
    let call = |path: &str, post: actix_web::Route| {
        web::resource(path).route(post).default_service(web::to(method_not_allowed))
    };
    config
        .service(call("/register_application", web::post().to(applications::register)))
        .service(call("/send_notification", web::post().to(message::send)))
        .service(call("/application_feedback", web::post().to(feedback::read)))
        .service(
            web::resource("/openapi.json")
                .route(web::get().to(openapi::document))
                .route(web::head().to(openapi::document))
                .default_service(web::to(only_get)),
        )
        // Paths with a name in them are told by a regular expression, so they come after those that
        // every message goes to.
        .configure(channel_routes)
        .configure(console_routes)
        .default_service(web::to(not_found));
}

async fn method_not_allowed() -> Result<HttpResponse, ApiError> {
    Err(ApiError::method_not_allowed("POST"))
}

/// For what is only read.
async fn only_get() -> Result<HttpResponse, ApiError> {
    Err(ApiError::method_not_allowed("GET, HEAD"))
}

async fn get_or_post() -> Result<HttpResponse, ApiError> {
    Err(ApiError::method_not_allowed("GET, POST"))
}

async fn delete_get_or_post() -> Result<HttpResponse, ApiError> {
    Err(ApiError::method_not_allowed("DELETE, GET, POST"))
}

async fn not_found() -> Result<HttpResponse, ApiError> {
    Err(ApiError::not_found())
}

/// Runs a call to its answer: its errors get the status that the configuration wants, and a panic
/// costs this call and no other. An `async fn` would keep room for the call twice: as what it was
/// given, and as what it waits for.
fn answer(
    api: &Api,
    call: impl Future<Output = Result<HttpResponse, ApiError>>,
) -> impl Future<Output = Result<HttpResponse, ApiError>> {
    AssertUnwindSafe(call).catch_unwind().map(|ended| {
        let result = ended.unwrap_or_else(|_| {
            tracing::error!("a call ended in a panic; this is a bug in pushlet, please report it");
            Err(ApiError::internal_error())
        });
        result.map_err(|error| error.under(&api.compat))
    })
}

/// Gives every call an id, which its answer and each line of its log carry.
///
/// # Errors
/// Those of the call itself.
pub async fn identify<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    let id = request_id(request.headers());
    let api = request.app_data::<web::Data<Current>>().map(|current| current.api());
    let (start, path) = (Instant::now(), Calls::route(request.path()));
    let span = span(&id, request.headers());
    let called = next.call(request).instrument(span).await;
    if let Some(api) = &api {
        let status = match &called {
            Ok(response) => response.status(),
            Err(error) => error.as_response_error().status_code(),
        };
        api.metrics.calls.answered(path, status.as_u16(), start.elapsed());
    }
    let mut response = called?;
    response.headers_mut().insert(X_REQUEST_ID, id);
    if api.is_some_and(|api| api.draining.load(Ordering::Relaxed)) {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    Ok(response)
}

/// What every line of the log of a call stands in.
fn span(id: &HeaderValue, headers: &HeaderMap) -> Span {
    let span = tracing::error_span!(
        "call",
        request.id = id.to_str().unwrap_or_default(),
        trace.id = Empty,
        parent.id = Empty,
        span.id = Empty
    );
    trace_context::note(&span, headers);
    span
}

/// The caller's id if it is sane, else a fresh one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get(X_REQUEST_ID).filter(|id| {
        (1..=MAX_REQUEST_ID).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    });
    given.cloned().unwrap_or_else(|| {
        HeaderValue::try_from(uuid::Uuid::new_v4().hyphenated().to_string())
            .unwrap_or_else(|_| HeaderValue::from_static("none"))
    })
}
