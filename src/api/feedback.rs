//! `POST /application_feedback`: the dead tokens of an application.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use serde::Serialize;

use super::error::ApiError;
use super::{Api, Snapshot, answer, body, lookup, timestamp};
use crate::apps::feedback::{DeadToken, Taken};

const KNOWN: &[&str] = &["application_id", "keep"];
/// The answer is handed over in pieces, so that a connection that breaks is noticed before the
/// end.
const PIECE_BYTES: usize = 16 * 1024;

#[derive(Serialize)]
struct Answer<'a> {
    response: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    device_token: &'a str,
    timestamp: String,
}

/// Answers the list, and empties it unless `keep` is true.
pub(super) async fn read(
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
    let id = params.text("application_id")?.ok_or_else(ApiError::missing_application_id)?;
    let application = lookup::application(&id, &caller, api).await?;
    let (rest, taken) = if params.boolean("keep")?.unwrap_or(false) {
        (json(&application.feedback.read())?, None)
    } else {
        let taken = application.feedback.take();
        (json(taken.entries())?, Some(taken))
    };
    Ok(HttpResponse::Ok().content_type("application/json").body(List { rest, taken }))
}

fn json(entries: &[DeadToken]) -> Result<Bytes, ApiError> {
    let response = entries
        .iter()
        .map(|entry| Row { device_token: &entry.given, timestamp: timestamp(entry.since) })
        .collect();
    let text = serde_json::to_vec(&Answer { response }).map_err(|_| ApiError::internal_error())?;
    Ok(text.into())
}

/// The answer on its way out. Dropped before its end was taken, the connection is gone.
struct List {
    rest: Bytes,
    taken: Option<Taken>,
}

impl MessageBody for List {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.rest.len() as u64)
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        if self.rest.is_empty() {
            if let Some(taken) = self.taken.take() {
                taken.delivered();
            }
            return Poll::Ready(None);
        }
        let piece = self.rest.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(self.rest.split_to(piece))))
    }
}
