//! `GET /healthz`, `/readyz` and `/status`: for whoever keeps the relay running.

use std::sync::atomic::Ordering;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};

use super::error::ApiError;
use super::status::Report;
use super::{Api, Snapshot, answer};

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
    let caller = api.door.admit(request)?;
    let report = Report::new(api.clone(), &caller);
    // A thousand applications take milliseconds, which the calls of this worker need not wait for.
    let text = web::block(move || report.json()).await;
    let text = text.ok().flatten().ok_or_else(ApiError::internal_error)?;
    Ok(json(StatusCode::OK).body(text))
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
