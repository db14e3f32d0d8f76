//! Many messages on one call: all of them checked, then sent, and a row for each.

use std::fmt;
use std::sync::Arc;

use actix_web::HttpResponse;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde::Serialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

use super::Api;
use super::auth::Caller;
use super::body;
use super::error::ApiError;
use super::message::{MANY, prepare_single};
use super::params::{Params, Value};
use super::rate::Rate;
use super::row::{Row, Single};
use crate::delivery::Share;
use crate::providers::json;

/// So many messages are checked before other calls of the worker get a turn.
const CHECKED_AT_ONCE: usize = 32;

/// How much one call may bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most messages.
    pub messages: usize,
    /// Largest body, in bytes.
    pub size_bytes: usize,
}

/// The messages of one call, not looked into yet.
pub(super) enum Batch {
    /// A list of messages, each with all of its parameters.
    Messages(Value),
    /// One message for many phones.
    Tokens {
        /// What the tokens are called in an error.
        name: &'static str,
        tokens: Vec<String>,
        params: Params,
    },
}

impl Batch {
    /// The messages of a call that brings many; `None` of any other, which is left as it is.
    ///
    /// # Errors
    /// `conflicting_parameters`, `invalid_device_tokens`, and `request_too_large` for more messages
    /// than may come on one call.
    pub(super) fn of(params: &mut Params, api: &Api) -> Result<Option<Self>, ApiError> {
        let most = api.batch.messages;
        let [device_tokens, messages] = MANY else { return Ok(None) };
        if params.has(messages) {
            if let Some(other) = params.other_than(messages) {
                return Err(ApiError::conflicting_parameters(format!(
                    "{messages} and {other} exclude each other; give {other} in each message"
                )));
            }
            return Ok(params.take(messages).map(Self::Messages));
        }
        let (name, tokens) = if params.has(device_tokens) {
            params.check_excluded(device_tokens, &["device_token"])?;
            let list = params.take(device_tokens);
            (*device_tokens, list.map(|list| texts(&list, most)).transpose()?.unwrap_or_default())
        } else {
            ("device_token", params.take_device_tokens())
        };
        if tokens.is_empty() {
            return Ok(None);
        }
        if tokens.len() > most {
            return Err(ApiError::too_many_messages(most));
        }
        if params.has("apns_id") {
            return Err(ApiError::conflicting_parameters(
                "apns_id names one message, and there are several; leave it out, or give messages",
            ));
        }
        Ok(Some(Self::Tokens { name, tokens, params: std::mem::take(params) }))
    }

    /// Makes all the checks of each message. What they may take in all counts from `came`.
    ///
    /// # Errors
    /// That of the first message that fails one, which its sentence names by its place.
    pub(super) async fn check(
        self,
        caller: &Caller<'_>,
        api: &Api,
        came: Instant,
    ) -> Result<Checked, ApiError> {
        let singles = match self {
            Self::Messages(list) => of_list(&list, caller, api).await?,
            Self::Tokens { name, tokens, params } => {
                of_tokens(name, tokens, &params, caller, api).await?
            }
        };
        let rate = caller.rate().map(Arc::clone);
        Ok(Checked { singles, share: caller.share().clone(), rate, start: came })
    }
}

/// The messages of one call, each of which has passed every check.
pub(super) struct Checked {
    singles: Vec<Single>,
    share: Share,
    rate: Option<Arc<Rate>>,
    start: Instant,
}

impl Checked {
    /// Sends all of them.
    ///
    /// # Cancel safety
    /// Dropped, it sends nothing more.
    pub(super) async fn send(self, api: &Api) -> HttpResponse {
        let Self { singles, share, rate, start } = self;
        let mut rows: Vec<Option<Row>> = singles.iter().map(|_| None).collect();
        let sends = singles.into_iter().enumerate().map(|(place, single)| {
            // What is only shown takes nobody's place.
            let rate = rate.as_ref().filter(|_| !single.is_preview);
            let turn = rate.map(|rate| rate.reserve(1, start, start + single.time()));
            let share = &share;
            async move {
                match turn.transpose() {
                    Ok(turn) => {
                        sleep_until(turn.unwrap_or(start)).await;
                        (place, single.deliver(&api.dispatcher, share, start).await)
                    }
                    Err(wait) => (place, single.refused(&ApiError::rate_limited(wait))),
                }
            }
        });
        // All at once: those without a turn wait for it together, so that the messages of one
        // application do not stand in the way of another one's.
        let mut sends: FuturesUnordered<_> = sends.collect();
        while let Some((place, row)) = sends.next().await {
            if let Some(slot) = rows.get_mut(place) {
                *slot = Some(row);
            }
        }
        HttpResponse::Ok().json(Answer { results: rows.into_iter().flatten().collect() })
    }
}

#[derive(Serialize)]
struct Answer {
    results: Vec<Row>,
}

async fn of_list(list: &Value, caller: &Caller<'_>, api: &Api) -> Result<Vec<Single>, ApiError> {
    let mut singles = Vec::new();
    for (place, message) in messages(list, api.batch.messages)?.into_iter().enumerate() {
        if place % CHECKED_AT_ONCE == CHECKED_AT_ONCE - 1 {
            yield_now().await;
        }
        let single = of_message(message, caller, api).await;
        singles.push(single.map_err(|error| error.at(format_args!("messages[{place}]")))?);
    }
    Ok(singles)
}

async fn of_message(
    message: &RawValue,
    caller: &Caller<'_>,
    api: &Api,
) -> Result<Single, ApiError> {
    match json::kind(message) {
        "object" => prepare_single(&mut body::json(message.get().as_bytes())?, caller, api).await,
        found => {
            Err(ApiError::invalid("messages", format_args!("must hold objects, found {found}")))
        }
    }
}

/// The same message for each token: its parameters are read once, unless the service has no words
/// for sharing them.
async fn of_tokens(
    name: &str,
    tokens: Vec<String>,
    params: &Params,
    caller: &Caller<'_>,
    api: &Api,
) -> Result<Vec<Single>, ApiError> {
    let keeps_identifier = params.has("identifier");
    let mut singles: Vec<Single> = Vec::with_capacity(tokens.len());
    for (place, token) in tokens.into_iter().enumerate() {
        if place % CHECKED_AT_ONCE == CHECKED_AT_ONCE - 1 {
            yield_now().await;
        }
        let like_first =
            singles.first().and_then(|first| first.for_device(&token, keeps_identifier));
        let single = match like_first {
            Some(single) => single,
            None => {
                let mut params = params.clone();
                params.push("device_token".to_owned(), Value::Bytes(token.into()));
                prepare_single(&mut params, caller, api).await
            }
        };
        singles.push(single.map_err(|error| match error.code() {
            "invalid_device_token" => error.at(format_args!("{name}[{place}]")),
            _ => error,
        })?);
    }
    Ok(singles)
}

/// Tokens, none of them empty.
fn texts(list: &Value, most: usize) -> Result<Vec<String>, ApiError> {
    let problem = || format!("must be a json array of 1 to {most} texts, none of them empty");
    let text = |element: &RawValue| {
        let text: Option<String> = serde_json::from_str(element.get()).ok();
        text.filter(|text| !text.is_empty())
    };
    let texts: Option<Vec<_>> =
        elements(list, "device_tokens", most, problem)?.into_iter().map(text).collect();
    texts.ok_or_else(|| ApiError::invalid("device_tokens", problem()))
}

fn messages(list: &Value, most: usize) -> Result<Vec<&RawValue>, ApiError> {
    elements(list, "messages", most, || format!("must be a json array of 1 to {most} objects"))
}

/// The elements of a list of 1 to `most`: a JSON array, or a form's text of one.
fn elements<'a>(
    list: &'a Value,
    name: &str,
    most: usize,
    problem: impl Fn() -> String,
) -> Result<Vec<&'a RawValue>, ApiError> {
    let refused = || ApiError::invalid(name, problem());
    let text = match list {
        Value::Bytes(bytes) => {
            let text = std::str::from_utf8(bytes).unwrap_or_default();
            serde_json::from_str::<&RawValue>(text).map_err(|_| refused())?;
            json::check(text).map_err(|_| refused())?;
            text
        }
        Value::Json(raw) => raw.get(),
    };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let elements = deserializer.deserialize_seq(Elements { most }).map_err(|_| refused())?;
    if elements.is_empty() {
        return Err(refused());
    }
    if elements.len() > most {
        return Err(ApiError::too_many_messages(most));
    }
    Ok(elements)
}

/// Keeps the elements of a list up to the first that is one too many.
struct Elements {
    most: usize,
}

impl<'de> Visitor<'de> for Elements {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element()? {
            elements.push(element);
            if elements.len() > self.most {
                while let Some(IgnoredAny) = list.next_element()? {}
                break;
            }
        }
        Ok(elements)
    }
}
