//! Bodies: form, multipart and JSON, read into the same parameters.

use std::borrow::Cow;
use std::fmt;
use std::future::ready;
use std::str;

use actix_multipart::{Field, Multipart, MultipartError};
use actix_web::http::header::{self, HeaderMap};
use actix_web::{HttpMessage, HttpRequest, web};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::error::ApiError;
use super::params::{Params, Value};
use crate::providers::json;

/// Most parameters of one call. The contract knows about forty.
const MAX_PARAMETERS: usize = 100;
/// The room made for a body before its first byte is here, whatever its length is said to be.
const MAX_EARLY_ROOM_BYTES: usize = 16 * 1024;
/// A mark that some editors and languages put before text. RFC 8259 §8.1 lets a reader pass over
/// it.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads the parameters of a call, whatever the type of its body.
///
/// No body and no content type make no parameters. A transfer encoding of multipart parts
/// (`base64`, `quoted-printable`) is refused: RFC 7578 §4.7 ended it, and guessing would damage
/// files.
///
/// # Errors
///
/// In this order: `unsupported_media_type` for another type, charset or `Content-Encoding`;
/// `request_too_large` over `max_body_bytes`, by the header before anything is read and by count
/// after; `invalid_request` for a query string and for what does not parse.
pub async fn read(
    request: &HttpRequest,
    payload: web::Payload,
    max_body_bytes: usize,
) -> Result<Params, ApiError> {
    refuse_encoding(request.headers())?;
    let kind = kind(request)?;
    let limit_bytes = kind.as_ref().map_or(0, |_| max_body_bytes);
    let body = match collect(request.headers(), payload, limit_bytes).await {
        Ok(body) => body,
        Err(Unread::Broken) => {
            return Err(ApiError::invalid_request(
                "the body ended before it was complete; send it again",
            ));
        }
        Err(Unread::TooLarge) => {
            return Err(match kind {
                Some(_) => ApiError::request_too_large(max_body_bytes),
                None => ApiError::unsupported_media_type(
                    "there is a body without a Content-Type; name one of \
                     application/x-www-form-urlencoded, multipart/form-data and application/json",
                ),
            });
        }
    };
    if !request.query_string().is_empty() {
        return Err(ApiError::invalid_request(
            "parameters are not read from the query string, where logs would keep them; send them \
             in the body",
        ));
    }
    match kind {
        None => Ok(Params::default()),
        Some(Kind::Form) => form(&body),
        Some(Kind::Json) => json(&body),
        Some(Kind::Multipart) => multipart(request.headers(), body).await,
    }
}

/// The types of bodies that are read.
enum Kind {
    Form,
    Json,
    Multipart,
}

fn refuse_encoding(headers: &HeaderMap) -> Result<(), ApiError> {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING);
    match encodings.find(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        None => Ok(()),
        Some(_) => Err(ApiError::unsupported_media_type(
            "a body with a Content-Encoding is not read; send it as it is",
        )),
    }
}

fn kind(request: &HttpRequest) -> Result<Option<Kind>, ApiError> {
    let refused = || {
        ApiError::unsupported_media_type(
            "a body of this Content-Type is not read; send application/x-www-form-urlencoded, \
             multipart/form-data or application/json",
        )
    };
    let Some(mime) = request.mime_type().map_err(|_| refused())? else { return Ok(None) };
    let kind = match mime.essence_str() {
        "application/x-www-form-urlencoded" => Kind::Form,
        "application/json" => Kind::Json,
        "multipart/form-data" => Kind::Multipart,
        _ => return Err(refused()),
    };
    match mime.get_param("charset") {
        Some(charset) if charset != "utf-8" && charset != "utf8" => {
            Err(ApiError::unsupported_media_type("a body in this charset is not read; send utf-8"))
        }
        Some(_) | None => Ok(Some(kind)),
    }
}

/// Why a body is not there.
enum Unread {
    Broken,
    TooLarge,
}

async fn collect(
    headers: &HeaderMap,
    mut payload: web::Payload,
    limit_bytes: usize,
) -> Result<Bytes, Unread> {
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let declared = declared.and_then(|length| length.parse::<usize>().ok()).unwrap_or(0);
    if declared > limit_bytes {
        return Err(Unread::TooLarge);
    }
    let mut body = BytesMut::with_capacity(declared.min(MAX_EARLY_ROOM_BYTES));
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| Unread::Broken)?;
        if chunk.len() > limit_bytes.saturating_sub(body.len()) {
            return Err(Unread::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// `name=value&…`, percent-encoded; an empty body is no parameters.
fn form(body: &Bytes) -> Result<Params, ApiError> {
    let mut params = Params::default();
    for pair in body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        let mut halves = pair.splitn(2, |byte| *byte == b'=');
        let name = decoded(halves.next().unwrap_or_default())?;
        let value = match decoded(halves.next().unwrap_or_default())? {
            Cow::Borrowed(plain) => body.slice_ref(plain),
            Cow::Owned(value) => Bytes::from(value),
        };
        let name = String::from_utf8(name.into_owned())
            .map_err(|_| ApiError::invalid_request("a parameter's name is not utf-8"))?;
        add(&mut params, name, Value::Bytes(value))?;
    }
    Ok(params)
}

/// Undoes percent-encoding; `+` is a space. A malformed escape is an error, as it was for Ruby:
/// what is left of a text cut or encoded twice should not reach a phone.
fn decoded(encoded: &[u8]) -> Result<Cow<'_, [u8]>, ApiError> {
    if !encoded.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return Ok(Cow::Borrowed(encoded));
    }
    let mut plain = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'%', [high, low, tail @ ..]) => {
                let (Some(high), Some(low)) = (digit(*high), digit(*low)) else {
                    return Err(malformed_escape());
                };
                plain.push(high << 4 | low);
                rest = tail;
            }
            (b'%', _) => return Err(malformed_escape()),
            (b'+', _) => plain.push(b' '),
            (other, _) => plain.push(*other),
        }
    }
    Ok(Cow::Owned(plain))
}

fn digit(hex: u8) -> Option<u8> {
    char::from(hex).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

fn malformed_escape() -> ApiError {
    ApiError::invalid_request(
        "the form holds a `%` that no two hexadecimal digits follow; send a percent sign as `%25`",
    )
}

/// One JSON object; its values keep their bytes.
fn json(body: &[u8]) -> Result<Params, ApiError> {
    let refused = |problem: &dyn fmt::Display| {
        ApiError::invalid_request(format!("the body could not be read as json: {problem}"))
    };
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    let text = str::from_utf8(body).map_err(|error| refused(&error))?;
    if !text.trim_ascii_start().starts_with('{') {
        // The parser would quote what it found, and that may be a secret.
        return Err(match serde_json::from_str::<&RawValue>(text) {
            Ok(value) => refused(&json::Error::NotAnObject { found: json::kind(value) }),
            Err(error) => refused(&error),
        });
    }
    let Entries(entries) = serde_json::from_str(text).map_err(|error| refused(&error))?;
    json::check(text).map_err(|error| refused(&error))?;
    let mut params = Params::default();
    for (name, value) in entries {
        add(&mut params, name, Value::Json(value))?;
    }
    Ok(params)
}

/// The members of the body's object. It stops at the first that is one too many.
struct Entries(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Entries;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    if entries.len() == MAX_PARAMETERS {
                        return Err(A::Error::custom(format_args!(
                            "more than {MAX_PARAMETERS} members"
                        )));
                    }
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}

/// Parts of a multipart body that is here as a whole, so that it is bounded already.
async fn multipart(headers: &HeaderMap, body: Bytes) -> Result<Params, ApiError> {
    let size_bytes = body.len();
    let mut parts = Multipart::new(headers, stream::once(ready(Ok(body))));
    let mut params = Params::default();
    while let Some(part) = parts.next().await {
        let mut part = part.map_err(broken_multipart)?;
        let name = part.name().unwrap_or_default().to_owned();
        refuse_transfer_encoding(&part, &name)?;
        let value = match part.bytes(size_bytes).await {
            Ok(value) => value.map_err(broken_multipart)?,
            Err(_) => return Err(ApiError::internal_error()),
        };
        add(&mut params, name, Value::Bytes(value))?;
    }
    Ok(params)
}

fn refuse_transfer_encoding(part: &Field, name: &str) -> Result<(), ApiError> {
    let encoding = part.headers().get(header::HeaderName::from_static("content-transfer-encoding"));
    let is_plain = encoding.is_none_or(|encoding| {
        ["binary", "8bit", "7bit"]
            .iter()
            .any(|plain| encoding.as_bytes().eq_ignore_ascii_case(plain.as_bytes()))
    });
    if is_plain {
        return Ok(());
    }
    Err(ApiError::invalid_request(format!(
        "the part `{}` has a Content-Transfer-Encoding; send its bytes as they are",
        super::params::excerpt(name)
    )))
}

fn broken_multipart(error: MultipartError) -> ApiError {
    let problem = match error {
        MultipartError::BoundaryMissing => "its boundary is missing",
        MultipartError::ContentDispositionMissing => "a part has no Content-Disposition: form-data",
        MultipartError::ContentDispositionNameMissing => "a part has no name",
        MultipartError::Incomplete => "it ends before its last boundary",
        MultipartError::Nested => "a part holds parts",
        _ => "a part's headers cannot be read",
    };
    ApiError::invalid_request(format!("the multipart body is broken: {problem}"))
}

fn add(params: &mut Params, name: String, value: Value) -> Result<(), ApiError> {
    if params.len() == MAX_PARAMETERS {
        return Err(ApiError::invalid_request(format!(
            "there are more than {MAX_PARAMETERS} parameters; no call knows as many"
        )));
    }
    params.push(name, value);
    Ok(())
}
