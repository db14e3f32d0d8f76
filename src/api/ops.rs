//! `GET /healthz`, `/readyz`, `/status` and `/metrics`: for whoever keeps the relay running.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};

use super::auth::{self, Caller, Door};
use super::error::ApiError;
use super::metrics::Numbers;
use super::proxies::Proxies;
use super::status::Report;
use super::{Api, Snapshot, answer};
use crate::apps::Application;
use crate::metrics::CONTENT_TYPE;

/// The section `[ops]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// One more address that serves `/healthz`, `/readyz`, `/status` and `/metrics`, and no calls;
    /// with TLS if the main one has it. Port 0 takes a free one. Left out, there is none.
    pub bind: Option<SocketAddr>,
    /// Answer `/metrics` to anybody, with the numbers of all applications; where `bind` is given,
    /// on that address alone.
    pub open_metrics: bool,
}

/// Which of the relay's addresses a call came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// The one for calls.
    Main,
    /// The one of `ops.bind`.
    Ops,
}

/// Who is let in by the address of `ops.bind`, and who is shown the numbers where.
#[derive(Debug)]
pub struct Access {
    door: Door,
    /// Where `/metrics` is for anybody.
    open_on: Option<Listener>,
}

impl Access {
    /// What the configuration says.
    #[must_use]
    pub fn new(settings: &Settings, auth: &auth::Settings) -> Self {
        let loopback = settings.bind.is_some_and(|bind| bind.ip().to_canonical().is_loopback());
        let open_on = if settings.bind.is_some() { Listener::Ops } else { Listener::Main };
        Self { door: Door::new(auth, loopback), open_on: settings.open_metrics.then_some(open_on) }
    }

    /// The same, with proxies in front of it that are believed.
    #[must_use]
    pub fn behind(self, proxies: &Proxies) -> Self {
        Self { door: self.door.behind(proxies), ..self }
    }
}

/// The process lives: it answers.
pub(super) async fn health() -> HttpResponse {
    word(StatusCode::OK, "ok")
}

/// Whether to send it traffic.
pub(super) async fn ready(api: Snapshot) -> HttpResponse {
    match state(&api) {
        DRAINING => word(StatusCode::SERVICE_UNAVAILABLE, DRAINING),
        ready => word(StatusCode::OK, ready),
    }
}

/// Every application of the caller's: what it is, and how it fares.
pub(super) async fn status(request: HttpRequest, api: Snapshot) -> Result<HttpResponse, ApiError> {
    answer(&api, tell(&request, &api)).await
}

async fn tell(request: &HttpRequest, api: &Snapshot) -> Result<HttpResponse, ApiError> {
    let caller = admit(request, api)?;
    let report = Report::new(api.clone(), &caller);
    // A thousand applications take milliseconds, which the calls of this worker need not wait for.
    let text = web::block(move || report.json()).await;
    let text = text.ok().flatten().ok_or_else(ApiError::internal_error)?;
    Ok(json(StatusCode::OK).body(text))
}

/// Every number, in Prometheus' text format; of a limited credential, those of its applications.
pub(super) async fn metrics(request: HttpRequest, api: Snapshot) -> Result<HttpResponse, ApiError> {
    answer(&api, count(&request, &api)).await
}

async fn count(request: &HttpRequest, api: &Snapshot) -> Result<HttpResponse, ApiError> {
    let is_open = api.ops.open_on == Some(listener(request));
    let caller = if is_open { api.ops.door.anybody() } else { admit(request, api)? };
    let numbers = Numbers::of_caller(api.clone(), &caller);
    let text = web::block(move || numbers.text()).await;
    let text = text.ok().flatten().ok_or_else(ApiError::internal_error)?;
    let mut response = HttpResponse::Ok();
    response.content_type(CONTENT_TYPE).insert_header((header::CACHE_CONTROL, "no-store"));
    Ok(response.body(text))
}

/// By the door of the address that the call came to.
fn admit<'a>(request: &HttpRequest, api: &'a Api) -> Result<Caller<'a>, ApiError> {
    match listener(request) {
        Listener::Main => api.door.admit(request),
        Listener::Ops => api.ops.door.admit(request),
    }
}

fn listener(request: &HttpRequest) -> Listener {
    request.app_data::<Listener>().copied().unwrap_or(Listener::Main)
}

/// The applications of a caller, sorted by id; with the sealed ones that are open, unless one of
/// their name is registered.
pub(super) fn applications(api: &Api, caller: &Caller<'_>) -> Vec<Arc<Application>> {
    let mut applications = api.registry.all();
    let opened = api.opened.all().into_iter();
    applications.extend(opened.filter(|app| api.registry.find(app.id.as_str()).is_none()));
    applications.retain(|app| caller.owns(app.id.as_str()));
    applications.sort_unstable_by(|one, other| one.id.as_str().cmp(other.id.as_str()));
    applications
}

/// How many sends of those with a `gcm_api_key` are in flight.
pub(super) fn in_flight_by_keys(api: &Api) -> usize {
    let bridged = api.bridge.values().map(|bridged| &bridged.application);
    let all = bridged.chain([&api.bare_keys]);
    all.map(|application| application.in_flight.load(Ordering::Relaxed)).sum()
}

const DRAINING: &str = "draining";

/// The word for whether the relay takes traffic.
pub(super) fn state(api: &Api) -> &'static str {
    if api.draining.load(Ordering::Relaxed) { DRAINING } else { "ready" }
}

fn word(status: StatusCode, word: &str) -> HttpResponse {
    json(status).body(format!("{{\"status\":\"{word}\"}}"))
}

/// An answer that is true now and not for long.
fn json(status: StatusCode) -> actix_web::HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    response.content_type("application/json").insert_header((header::CACHE_CONTROL, "no-store"));
    response
}
