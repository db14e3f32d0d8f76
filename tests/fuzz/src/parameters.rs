//! Bodies of calls, read as the relay reads them, and held against what they should say.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use actix_web::http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use bytes::Bytes;
use pushlet::api::body;
use pushlet::api::error::ApiError;
use pushlet::api::params::Params;

/// How often a future is asked whose whole input is there.
const MAX_POLLS: usize = 1_000;

/// What a parameter says, as far as it can be asked for as text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Said {
    /// A value that is no text.
    Another,
    /// Nothing, or the empty text, which counts as nothing for some names.
    Nothing,
    /// Text.
    Text(String),
}

impl Said {
    /// The meaning of bytes that a form carries.
    pub fn bytes(value: Vec<u8>) -> Self {
        String::from_utf8(value).map_or(Self::Another, Self::text)
    }

    /// The meaning of text.
    pub fn text(text: String) -> Self {
        if text.is_empty() { Self::Nothing } else { Self::Text(text) }
    }
}

/// Reads a form body.
pub fn form(body: &[u8]) -> Result<Params, ApiError> {
    body::form(&Bytes::copy_from_slice(body))
}

/// Reads a multipart body with this boundary.
pub fn multipart(boundary: &str, body: &[u8]) -> Result<Params, ApiError> {
    let content_type = format!("multipart/form-data; boundary={boundary}");
    let content_type = HeaderValue::try_from(content_type).expect("a boundary fits a header");
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, content_type)]);
    at_once(body::multipart(&headers, Bytes::copy_from_slice(body)))
}

/// Panics unless the parameters are these, in any order, and no others.
pub fn assert_are(mut params: Params, expected: Vec<(String, Said)>) {
    let mut by_name = BTreeMap::<String, Vec<Said>>::new();
    for (name, said) in expected {
        by_name.entry(name).or_default().push(said);
    }
    for (name, mut expected) in by_name {
        let mut found: Vec<Said> = expected.iter().map(|_| take(&mut params, &name)).collect();
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "{name:?}");
    }
    assert_eq!(format!("{params:?}"), "[]", "nothing else was read");
}

/// Takes the texts of some parameters.
pub fn texts(params: &mut Params, names: &BTreeSet<&str>) -> Vec<String> {
    let texts = names.iter().map(|name| take(params, name));
    texts.filter_map(|said| if let Said::Text(text) = said { Some(text) } else { None }).collect()
}

fn take(params: &mut Params, name: &str) -> Said {
    match params.text(name) {
        Ok(text) => Said::text(text.unwrap_or_default()),
        Err(_) => Said::Another,
    }
}

/// The end of a future that waits for nothing.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..MAX_POLLS {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
    panic!("a body that is here as a whole was never read to its end");
}
