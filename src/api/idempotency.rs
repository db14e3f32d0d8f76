//! The header `Idempotency-Key`: a call that is repeated with it is carried out once.

use std::future::Future;
use std::time::Duration;

use actix_web::body::MessageBody;
use actix_web::http::header::HeaderName;
use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use bytes::Bytes;
use openssl::sha::Sha256;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use super::error::{ApiError, Details};
use super::{Api, Compat};
use crate::delivery::idempotency::{Answer, Claim, End, Key, Parameters};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENCY_REPLAYED: &str = "idempotency-replayed";
const MAX_KEY_BYTES: usize = 255;

/// The headers of an answer that belong to what became of the call.
const KEPT_HEADERS: [&str; 4] = ["apns-environment", "apns-id", "content-type", "retry-after"];
/// As long as any call may take: the first one has ended by then.
const LONGEST_WAIT: Duration = Duration::from_secs(25);
/// Words of Google's legacy protocol for a row that was not sent and may be repeated.
const TEMPORARY: [&str; 4] = [
    "DeviceMessageRateExceeded",
    "InternalServerError",
    "TopicsMessageRateExceeded",
    "Unavailable",
];

/// What a call is known by; `None` for one without the header. `who` is the caller and the
/// application: the same word of another one, or on another route, is another key.
///
/// # Errors
/// `invalid_idempotency_key`.
pub(super) fn key(request: &HttpRequest, who: &[&[u8]]) -> Result<Option<Key>, ApiError> {
    let Some(word) = request.headers().get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let is_alone = request.headers().get_all(IDEMPOTENCY_KEY).count() == 1;
    let fits = (1..=MAX_KEY_BYTES).contains(&word.len());
    if !is_alone || !fits || !word.as_bytes().iter().all(u8::is_ascii_graphic) {
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "invalid_idempotency_key",
            "Idempotency-Key must be 1 to 255 visible ASCII characters, and come once",
        ));
    }
    let mut hash = Sha256::new();
    for part in [request.path().as_bytes(), word.as_bytes()].iter().chain(who) {
        hash.update(&part.len().to_be_bytes());
        hash.update(part);
    }
    Ok(Some(Key(hash.finish())))
}

/// Carries a call out if it is the first with its key, and answers as the first was answered if
/// it is not. `prepare` makes every check that needs no provider; a call that fails them is not
/// the first.
///
/// # Errors
/// Those of `prepare`; `idempotency_key_reused`, `idempotency_key_in_use`, `overloaded`.
pub(super) async fn once<C>(
    api: &Api,
    key: Key,
    parameters: Parameters,
    at_least_once: bool,
    prepare: impl Future<Output = Result<C, ApiError>>,
) -> Result<HttpResponse, ApiError>
where
    C: Future<Output = Result<HttpResponse, ApiError>> + Send + 'static,
{
    let deadline = Instant::now() + LONGEST_WAIT;
    let turn = loop {
        match api.idempotency.claim(key, parameters) {
            Claim::First(turn) => break turn,
            Claim::Full => {
                return Err(ApiError::overloaded(
                    "as many calls with idempotency keys are under way as may be; repeat it later",
                ));
            }
            Claim::Kept(answer) => return Ok(replayed(&answer)),
            Claim::Reused => return Err(reused()),
            Claim::UnderWay(first) => match timeout_at(deadline, first.answer()).await {
                Ok(Some(answer)) => return Ok(replayed(&answer)),
                // The first failed its checks, and so will this one.
                Ok(None) => {}
                Err(_) => return Err(in_use()),
            },
        }
    };
    let call = prepare.await?;
    let compat = api.compat.clone();
    let waiting = turn.carry_out(async move { end(call.await, at_least_once, &compat) });
    match waiting.answer().await {
        Some(answer) => Ok(thawed(&answer)),
        None => {
            tracing::error!("a call ended in a panic; this is a bug in pushlet, please report it");
            Err(ApiError::internal_error())
        }
    }
}

/// The end of a call, without what belongs to a connection.
fn end(result: Result<HttpResponse, ApiError>, at_least_once: bool, compat: &Compat) -> End {
    let fate = result.as_ref().err().map(fate_of_error);
    let response = result.unwrap_or_else(|error| error.under(compat).error_response());
    let status = response.status().as_u16();
    let headers = KEPT_HEADERS.into_iter().filter_map(|name| {
        let value = response.headers().get(name)?.to_str().ok()?;
        Some((name, value.to_owned()))
    });
    let headers = headers.collect();
    // Every answer to a call that may be repeated is there as a whole.
    let body = response.into_body().try_into_bytes().unwrap_or_default();
    let is_kept = match fate.unwrap_or_else(|| fate_of_answer(status, &body)) {
        Fate::Final => true,
        Fate::NotSent => false,
        Fate::Unknown => !at_least_once,
    };
    End { answer: Answer { status, headers, body }, is_kept }
}

fn replayed(answer: &Answer) -> HttpResponse {
    let mut response = thawed(answer);
    let (name, yes) = (HeaderName::from_static(IDEMPOTENCY_REPLAYED), "true");
    response.headers_mut().insert(name, header::HeaderValue::from_static(yes));
    response
}

fn thawed(answer: &Answer) -> HttpResponse {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    for (name, value) in &answer.headers {
        response.insert_header((*name, value.as_str()));
    }
    response.body(answer.body.clone())
}

fn reused() -> ApiError {
    ApiError::new(
        StatusCode::CONFLICT,
        "idempotency_key_reused",
        "another call with other parameters had this Idempotency-Key; give each call its own",
    )
}

fn in_use() -> ApiError {
    let message = "the first call with this Idempotency-Key is still under way; repeat the call \
                   with the same key";
    let details = Details { delivery: Some("unknown"), ..Details::default() };
    ApiError::new(StatusCode::GATEWAY_TIMEOUT, "idempotency_key_in_use", message)
        .with_details(details)
}

/// What is known of the messages of a call when it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// One of them at least was accepted or rejected: it must not go out again.
    Final,
    /// None of them reached anybody.
    NotSent,
    /// One of them may have arrived.
    Unknown,
}

impl Fate {
    fn of(status: u16, delivery: Option<&str>) -> Self {
        match (delivery, status) {
            (Some("unknown"), _) => Self::Unknown,
            // A credential that was refused can be replaced.
            (_, 401 | 403 | 429 | 500..) => Self::NotSent,
            _ => Self::Final,
        }
    }
}

fn fate_of_error(error: &ApiError) -> Fate {
    let delivery = error.details().and_then(|details| details.delivery);
    Fate::of(error.status_code().as_u16(), delivery)
}

/// The rows of an answer, as far as they say what became of a message.
#[derive(Deserialize)]
struct Rows {
    results: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    status: Option<u16>,
    error: Option<String>,
    delivery: Option<String>,
}

impl Row {
    fn fate(&self) -> Fate {
        let delivery = self.delivery.as_deref();
        match (self.status, &self.error) {
            (Some(status), Some(_)) => Fate::of(status, delivery),
            (None, Some(word)) if TEMPORARY.contains(&word.as_str()) => Fate::of(503, delivery),
            _ => Fate::of(200, delivery),
        }
    }
}

/// What an answer says that is no error of ours. One without rows is about one message.
fn fate_of_answer(status: u16, body: &Bytes) -> Fate {
    let Ok(Rows { results }) = serde_json::from_slice(body) else {
        let row = serde_json::from_slice::<Row>(body);
        return row.map_or_else(|_| Fate::of(status, None), |row| row.fate());
    };
    let has = |fate| results.iter().any(|row| row.fate() == fate);
    match () {
        () if has(Fate::Final) || results.is_empty() => Fate::Final,
        () if has(Fate::Unknown) => Fate::Unknown,
        () => Fate::NotSent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &str) -> Fate {
        fate_of_answer(200, &Bytes::from(format!("{{\"multicast_id\":1,\"results\":[{rows}]}}")))
    }

    #[test]
    fn one_row_that_arrived_keeps_all_of_them() {
        let accepted = r#"{"message_id":"1"}"#;
        let temporary = r#"{"error":"Unavailable"}"#;
        let unknown = r#"{"error":"Unavailable","delivery":"unknown"}"#;
        let dead = r#"{"error":"NotRegistered"}"#;

        assert_eq!(rows(accepted), Fate::Final);
        assert_eq!(rows(dead), Fate::Final);
        assert_eq!(rows(temporary), Fate::NotSent);
        assert_eq!(rows(unknown), Fate::Unknown);
        assert_eq!(rows(&format!("{temporary},{unknown}")), Fate::Unknown);
        assert_eq!(rows(&format!("{temporary},{unknown},{dead}")), Fate::Final);
    }

    #[test]
    fn one_message_goes_by_the_word_or_the_status() {
        let of = |status, body: &'static str| {
            fate_of_answer(status, &Bytes::from_static(body.as_bytes()))
        };

        assert_eq!(of(200, r#"{"response":"ok"}"#), Fate::Final);
        assert_eq!(of(200, r#"{"message_id":1}"#), Fate::Final);
        assert_eq!(of(200, r#"{"error":"TopicsMessageRateExceeded"}"#), Fate::NotSent);
        assert_eq!(of(200, "id=1\n"), Fate::Final);
        assert_eq!(of(503, "Error=Unavailable\n"), Fate::NotSent);
        assert_eq!(of(401, "<HTML>"), Fate::NotSent);
    }

    #[test]
    fn rows_of_a_batch_go_by_their_status() {
        let row = |status: u16, delivery: &str| {
            rows(&format!(r#"{{"status":{status},"error":"x"{delivery}}}"#))
        };

        assert_eq!(rows(r#"{"status":200,"response":"ok"}"#), Fate::Final);
        for (status, fate) in [
            (400, Fate::Final),
            (410, Fate::Final),
            (403, Fate::NotSent),
            (429, Fate::NotSent),
            (502, Fate::NotSent),
            (503, Fate::NotSent),
        ] {
            assert_eq!(row(status, ""), fate, "{status}");
        }
        assert_eq!(row(504, r#","delivery":"unknown""#), Fate::Unknown);
        assert_eq!(row(504, r#","delivery":"not_sent""#), Fate::NotSent);
    }
}
