//! Bodies: form, multipart and JSON, read into the same parameters.

use std::borrow::Cow;
use std::fmt;
use std::future::ready;
use std::str;
use std::time::Duration;

use actix_multipart::{Field, Multipart, MultipartError};
use actix_web::http::header::{self, HeaderMap};
use actix_web::{HttpMessage, HttpRequest, web};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::error::ApiError;
use super::params::{Params, Value};
use crate::providers::json;

/// Most parameters of one call. The contract knows about forty.
const MAX_PARAMETERS: usize = 100;
/// Most device tokens of one call, whatever `server.max_batch` says.
const MAX_DEVICE_TOKENS: usize = 10_000;
/// The room made for a body before its first byte is here, whatever its length is said to be.
const MAX_EARLY_ROOM_BYTES: usize = 16 * 1024;
/// A mark that some editors and languages put before text. RFC 8259 §8.1 lets a reader pass over
/// it.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// How much of a body is read, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest body, in bytes.
    pub size_bytes: usize,
    /// From the end of the head to the end of the body.
    pub time: Duration,
}

/// Reads the parameters of a call, whatever the type of its body.
///
/// No body and no content type make no parameters. A transfer encoding of multipart parts
/// (`base64`, `quoted-printable`) is refused: RFC 7578 §4.7 ended it, and guessing would damage
/// files.
///
/// # Errors
///
/// In this order: `unsupported_media_type` for another type, charset or `Content-Encoding`;
/// `request_too_large` over its limit, by the header before anything is read and by count after;
/// `invalid_request` for a body that does not come in time, for a query string and for what does
/// not parse.
pub async fn read(
    request: &HttpRequest,
    payload: web::Payload,
    limits: Limits,
) -> Result<Params, ApiError> {
    read_many(request, payload, limits, limits.size_bytes).await
}

/// The same for a call that may bring many messages: beyond the limit of one, its body is read on
/// to `many_bytes` if the name that makes it such a call stands in it by then. A body that holds
/// the name somewhere else is read for nothing, and the caller looks at its size again.
///
/// # Errors
///
/// As [`read`].
pub(super) async fn read_many(
    request: &HttpRequest,
    payload: web::Payload,
    limits: Limits,
    many_bytes: usize,
) -> Result<Params, ApiError> {
    refuse_encoding(request.headers())?;
    let kind = kind(request)?;
    let (limit_bytes, many_bytes) =
        if kind.is_some() { (limits.size_bytes, many_bytes) } else { (0, 0) };
    let reading = collect(request.headers(), payload, limit_bytes, many_bytes);
    let body = match timeout(limits.time, reading).await.unwrap_or(Err(Unread::Late)) {
        Ok(body) => body,
        Err(Unread::Broken) => {
            return Err(ApiError::invalid_request(
                "the body ended before it was complete; send it again",
            ));
        }
        Err(Unread::Late) => {
            return Err(ApiError::invalid_request(format!(
                "the body was not complete {:?} after its head; send it again",
                limits.time
            )));
        }
        Err(Unread::ManyTooLarge) => return Err(ApiError::batch_too_large(many_bytes)),
        Err(Unread::TooLarge) => {
            return Err(match kind {
                Some(_) => ApiError::request_too_large(limits.size_bytes),
                None => ApiError::unsupported_media_type(
                    "there is a body without a Content-Type; name one of \
                     application/x-www-form-urlencoded, multipart/form-data and application/json",
                ),
            });
        }
    };
    let size_bytes = body.len();
    refuse_query(request)?;
    let params = match kind {
        None => Params::default(),
        Some(Kind::Form) => form(&body)?,
        Some(Kind::Json) => json(&body)?,
        Some(Kind::Multipart) => Box::pin(multipart(request.headers(), body)).await?,
    };
    params.check_text()?;
    Ok(params.with_size(size_bytes))
}

/// What can be said against the head of a call whose body is read elsewhere.
///
/// # Errors
///
/// `unsupported_media_type`, `invalid_request`.
pub(super) fn check_head(request: &HttpRequest) -> Result<(), ApiError> {
    refuse_encoding(request.headers())?;
    refuse_query(request)
}

fn refuse_query(request: &HttpRequest) -> Result<(), ApiError> {
    if request.query_string().is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid_request(
        "parameters are not read from the query string, where logs would keep them; send them in \
         the body",
    ))
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
pub(super) enum Unread {
    Broken,
    Late,
    /// Even for many messages.
    ManyTooLarge,
    TooLarge,
}

/// Reads a body within its limits, whatever it is.
pub(super) async fn raw(
    headers: &HeaderMap,
    payload: web::Payload,
    limits: Limits,
) -> Result<Bytes, Unread> {
    let body = collect(headers, payload, limits.size_bytes, limits.size_bytes);
    timeout(limits.time, body).await.unwrap_or(Err(Unread::Late))
}

async fn collect(
    headers: &HeaderMap,
    mut payload: web::Payload,
    mut limit_bytes: usize,
    many_bytes: usize,
) -> Result<Bytes, Unread> {
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let declared = declared.and_then(|length| length.parse::<usize>().ok()).unwrap_or(0);
    if declared > limit_bytes.max(many_bytes) {
        let is_for_one = many_bytes <= limit_bytes;
        return Err(if is_for_one { Unread::TooLarge } else { Unread::ManyTooLarge });
    }
    let mut body = BytesMut::with_capacity(declared.min(MAX_EARLY_ROOM_BYTES));
    let mut is_for_many = false;
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| Unread::Broken)?;
        let is_over = |limit: usize| chunk.len() > limit.saturating_sub(body.len());
        if is_over(limit_bytes) {
            if many_bytes <= limit_bytes || !(brings_many(&body) || brings_many(&chunk)) {
                return Err(if is_for_many { Unread::ManyTooLarge } else { Unread::TooLarge });
            }
            if is_over(many_bytes) {
                return Err(Unread::ManyTooLarge);
            }
            (limit_bytes, is_for_many) = (many_bytes, true);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// Whether a name stands there that comes with many messages, in whichever type of body.
fn brings_many(body: &[u8]) -> bool {
    let count = |name: &[u8]| body.windows(name.len()).filter(|word| *word == name).take(2).count();
    count(b"device_token") > 1 || count(b"device_tokens") > 0 || count(b"messages") > 0
}

/// Reads `name=value&…`, percent-encoded; an empty body is no parameters.
///
/// # Errors
///
/// `invalid_request` for a malformed escape, a name that is not UTF-8, and too many parameters.
pub fn form(body: &Bytes) -> Result<Params, ApiError> {
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

/// Reads one JSON object; its values keep their bytes.
///
/// # Errors
///
/// `invalid_request` for what is no JSON object, nests too deep, holds half of a surrogate pair,
/// or has too many members.
pub fn json(body: &[u8]) -> Result<Params, ApiError> {
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

/// Reads the parts of a multipart body that is here as a whole, so that it is bounded already. Its
/// boundary is in `Content-Type`.
///
/// # Errors
///
/// `invalid_request` for a body that is cut off or malformed, a transfer encoding, and too many
/// parts.
pub async fn multipart(headers: &HeaderMap, body: Bytes) -> Result<Params, ApiError> {
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
        MultipartError::BoundaryMissing => "a boundary is missing or cut off",
        MultipartError::ContentDispositionMissing => "a part has no Content-Disposition: form-data",
        MultipartError::ContentDispositionNameMissing => "a part has no name",
        MultipartError::Incomplete => "it ends before its last boundary",
        MultipartError::Nested => "a part holds parts",
        _ => "a part's headers cannot be read",
    };
    ApiError::invalid_request(format!("the multipart body is broken: {problem}"))
}

fn add(params: &mut Params, name: String, value: Value) -> Result<(), ApiError> {
    if params.device_tokens() > MAX_DEVICE_TOKENS {
        return Err(ApiError::too_many_messages(MAX_DEVICE_TOKENS));
    }
    if params.len() == MAX_PARAMETERS && name != "device_token" {
        return Err(ApiError::invalid_request(format!(
            "there are more than {MAX_PARAMETERS} parameters; no call knows as many"
        )));
    }
    params.push(name, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{CONTENT_TYPE, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    /// The values of text parameters, in the order of `names`.
    fn texts(params: Result<Params, ApiError>, names: &[&str]) -> Vec<Option<String>> {
        let mut params = params.unwrap_or_else(|error| panic!("{error}"));
        let texts = names.iter().map(|name| params.text(name));
        texts.map(|text| text.unwrap_or_else(|error| panic!("{error}"))).collect()
    }

    fn refused(params: Result<Params, ApiError>) -> (String, String) {
        params.err().map(|error| (error.code().to_owned(), error.to_string())).unwrap_or_default()
    }

    fn invalid(message: &str) -> (String, String) {
        ("invalid_request".to_owned(), message.to_owned())
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    fn form_of(body: &str) -> Result<Params, ApiError> {
        form(&Bytes::copy_from_slice(body.as_bytes()))
    }

    fn multipart_of(body: impl Into<Bytes>) -> Result<Params, ApiError> {
        let mut headers = HeaderMap::new();
        let content_type = HeaderValue::from_static("multipart/form-data; boundary=B");
        headers.insert(CONTENT_TYPE, content_type);
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.unwrap_or_else(|error| panic!("{error}"));
        runtime.block_on(multipart(&headers, body.into()))
    }

    #[test]
    fn a_form_is_decoded() {
        let params = form_of("a=1+2%2b%C3%A9&&b&=x&c=d=e&%61%2B=f");

        assert_eq!(
            texts(params, &["a", "b", "", "c", "a+", "d"]),
            [some("1 2+é"), some(""), some("x"), some("d=e"), some("f"), None]
        );
    }

    #[test]
    fn a_broken_form_is_refused() {
        let escape = "the form holds a `%` that no two hexadecimal digits follow; send a percent \
                      sign as `%25`";

        for body in ["a=100%", "a=%4", "a=%zz", "a=%+1", "%=1"] {
            assert_eq!(refused(form_of(body)), invalid(escape), "{body}");
        }
        assert_eq!(refused(form_of("%ff=1")), invalid("a parameter's name is not utf-8"));
        assert_eq!(
            refused(form_of(&"a&".repeat(101))),
            invalid("there are more than 100 parameters; no call knows as many")
        );
    }

    #[test]
    fn json_is_read_with_a_mark_before_it() {
        let params = json("\u{feff} {\"\\u0061\":\"\\u00e9\",\"b\":null} ".as_bytes());

        assert_eq!(texts(params, &["a", "b"]), [some("é"), None]);
    }

    #[test]
    fn broken_json_is_refused() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(500_000), "]".repeat(500_000));
        let many: String = (0..101).map(|number| format!("\"{number}\":0,")).collect();
        let table: &[(&[u8], &str)] = &[
            (b"", "EOF while parsing a value at line 1 column 0"),
            (b"[1]", "expected an object, found array"),
            (b"\"my secret\"", "expected an object, found string"),
            (b"{} {}", "trailing characters at line 1 column 4"),
            (b"{\"a\":NaN}", "expected value at line 1 column 6"),
            (b"{\"a\":01}", "invalid number at line 1 column 7"),
            (b"{\"a\":1,}", "trailing comma at line 1 column 8"),
            (b"{\"a\":\"\\ud83d\"}", "a string holds half of a surrogate pair; escape both halves"),
            (b"{\"a\":\"\xff\"}", "invalid utf-8 sequence of 1 bytes from index 6"),
            (deep.as_bytes(), "nested deeper than 128 levels"),
        ];

        for (body, problem) in table {
            let message = format!("the body could not be read as json: {problem}");
            assert_eq!(refused(json(body)), invalid(&message));
        }
        let (code, message) = refused(json(format!("{{{many}\"a\":0}}").as_bytes()));
        assert_eq!(code, "invalid_request");
        assert!(message.contains("more than 100 members"), "{message}");
    }

    #[test]
    fn parts_are_text_or_files() {
        let params = multipart_of(concat!(
            "preamble\r\n--B\r\ncontent-disposition: form-data; name=\"a\"\r\n\r\none\r\n--\r\n",
            "--B\r\nContent-Disposition: form-data; name=\"b\"; filename=\"b.txt\"\r\n",
            "Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n",
            "\r\n--B--\r\nepilogue"
        ));

        assert_eq!(texts(params, &["a", "b"]), [some("one\r\n--"), some("")]);
    }

    #[test]
    fn a_broken_multipart_body_is_refused() {
        let table = [
            ("", "it ends before its last boundary"),
            ("--X--\r\n", "it ends before its last boundary"),
            ("--B\r\nX: y\r\n\r\nx\r\n--B--", "a part has no Content-Disposition: form-data"),
            ("--B\r\nContent-Disposition: form-data\r\n\r\nx\r\n--B--", "a part has no name"),
            (
                "--B\r\nContent-Disposition: form-data; name=a\r\n\r\nx",
                "it ends before its last boundary",
            ),
            (
                "--B\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--B",
                "a boundary is missing or cut off",
            ),
            (
                "--B\r\nContent-Disposition: form-data; name=a\r\nContent-Type: \
                 multipart/mixed\r\n\r\nx\r\n--B--",
                "a part holds parts",
            ),
            ("--B\r\n:\r\n\r\nx\r\n--B--", "a part's headers cannot be read"),
        ];

        for (body, problem) in table {
            let message = format!("the multipart body is broken: {problem}");
            assert_eq!(refused(multipart_of(body)), invalid(&message), "{body:?}");
        }
    }

    #[test]
    fn an_encoded_part_is_refused() {
        let body = "--B\r\nContent-Disposition: form-data; name=a\r\n\
                    Content-Transfer-Encoding: base64\r\n\r\neA==\r\n--B--";

        assert_eq!(
            refused(multipart_of(body)),
            invalid("the part `a` has a Content-Transfer-Encoding; send its bytes as they are")
        );
    }

    #[test]
    fn too_many_parts_are_refused() {
        let part = "--B\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n";

        assert_eq!(
            refused(multipart_of(format!("{}--B--", part.repeat(101)))),
            invalid("there are more than 100 parameters; no call knows as many")
        );
    }

    proptest! {
        #[test]
        fn form_texts_come_back(name in "[a-z_]{1,8}", text in any::<String>()) {
            let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();

            prop_assert_eq!(texts(form_of(&format!("{name}={encoded}")), &[&name]), [Some(text)]);
        }

        #[test]
        fn json_texts_come_back(name in any::<String>(), text in any::<String>()) {
            prop_assume!(!["collapse_id", "thread_id"].contains(&name.as_str()) && !text.is_empty());
            let body = serde_json::json!({ name.clone(): text.clone() }).to_string();

            prop_assert_eq!(texts(json(body.as_bytes()), &[&name]), [Some(text)]);
        }

        #[test]
        fn multipart_files_come_back(contents in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let mut body =
                b"--B\r\nContent-Disposition: form-data; name=\"apns_p12\"\r\n\r\n\x30".to_vec();
            body.extend_from_slice(&contents);
            body.extend_from_slice(b"\r\n--B--\r\n");
            prop_assume!(!contents.windows(4).any(|window| window == b"\n--B" || window == b"\r--B"));

            let mut params = multipart_of(body).map_err(|e| TestCaseError::fail(e.to_string()))?;

            let file = params.file("apns_p12").map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(file, Some([b"\x30".as_slice(), &contents].concat()));
        }

        #[test]
        fn anything_may_come(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            drop(form(&Bytes::copy_from_slice(&body)));
            drop(json(&body));
            drop(multipart_of(body.clone()));
            drop(multipart_of([b"--B\r\n".as_slice(), &body, b"\r\n--B--"].concat()));
        }

        #[test]
        fn almost_a_body_may_come(
            body in "(--B|--|\r\n|\r|\n|Content-Disposition: form-data; name=|\"a\"|:|;|x|Content-Length: 3){0,30}",
            text in "([{}\\[\\],:\"\\\\]|\\\\u|d83d|a|1|-|e|null|%|&|=|\\+| ){0,30}",
        ) {
            drop(multipart_of(body));
            drop(form_of(&text));
            drop(json(text.as_bytes()));
            drop(json(format!("{{\"a\":{text}}}").as_bytes()));
        }
    }
}
