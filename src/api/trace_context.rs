//! Where a call stands in its caller's trace: the header `traceparent` (W3C Trace Context §3.2).

use actix_web::http::header::{HeaderMap, HeaderName};
use tracing::Span;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What the caller says of its own place.
#[derive(Debug, PartialEq, Eq)]
struct Parent<'a> {
    trace_id: &'a str,
    id: &'a str,
}

/// Notes on a span which trace it belongs to, below which span of the caller, and a fresh id of its
/// own. The fields `trace.id`, `parent.id` and `span.id` have to be declared empty. What is
/// malformed counts as not there, as the standard wants it (§3.2.2.1); `tracestate` is for those
/// who go on calling others, and nobody is told of either.
pub(super) fn note(span: &Span, headers: &HeaderMap) {
    let Some(Parent { trace_id, id }) = parent(headers) else { return };
    // The variant's bits are never all zero, so that this is a valid id.
    let (_, own_id) = uuid::Uuid::new_v4().as_u64_pair();
    span.record("trace.id", trace_id);
    span.record("parent.id", id);
    span.record("span.id", format_args!("{own_id:016x}"));
}

fn parent(headers: &HeaderMap) -> Option<Parent<'_>> {
    let mut given = headers.get_all(TRACEPARENT);
    let only = given.next()?;
    if given.next().is_some() {
        return None;
    }
    parse(only.to_str().ok()?)
}

/// `version-traceid-parentid-flags`. A later version may have more behind a further dash; what
/// stands before it is read as that of version 00 (§3.2.2.3).
fn parse(text: &str) -> Option<Parent<'_>> {
    let mut parts = text.splitn(5, '-');
    let version = hex(parts.next()?, 2)?;
    let trace_id = hex(parts.next()?, 32)?;
    let id = hex(parts.next()?, 16)?;
    hex(parts.next()?, 2)?;
    let is_ended = parts.next().is_none();
    let is_nobody = |id: &str| id.bytes().all(|byte| byte == b'0');
    let is_wrong = version == "ff" || (version == "00" && !is_ended);
    (!is_wrong && !is_nobody(trace_id) && !is_nobody(id)).then_some(Parent { trace_id, id })
}

/// So many digits in lower case, the only spelling that is allowed.
fn hex(text: &str, digits: usize) -> Option<&str> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (text.len() == digits && text.bytes().all(is_digit)).then_some(text)
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    /// The example of the standard, §3.2.
    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const READ: Parent<'_> =
        Parent { trace_id: "4bf92f3577b34da6a3ce929d0e0e4736", id: "00f067aa0ba902b7" };

    #[test]
    fn good_ones_are_read() {
        for text in [
            EXAMPLE.to_owned(),
            EXAMPLE.replace("-01", "-00"),
            EXAMPLE.replace("00-4", "01-4"),
            EXAMPLE.replace("00-4", "cc-4") + "-what-the-future-will-be-like",
        ] {
            assert_eq!(parse(&text), Some(READ), "{text}");
        }
    }

    #[test]
    fn malformed_ones_are_not_there() {
        for text in [
            "",
            "00",
            &EXAMPLE.replace("00-4", "ff-4"),
            &EXAMPLE.replace("00-4", "0-4"),
            &EXAMPLE.replace("00-4", "0g-4"),
            &EXAMPLE.to_uppercase(),
            &EXAMPLE.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &EXAMPLE.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &EXAMPLE.replace("4bf9", "4bf"),
            &EXAMPLE.replace("02b7", "02b"),
            &EXAMPLE.replace("-01", "-1"),
            &EXAMPLE.replace("-01", ""),
            &format!("{EXAMPLE}-"),
            &format!("{EXAMPLE}-01"),
            &format!(" {EXAMPLE}"),
            &EXAMPLE.replace("00-4", "01-4").replace("-01", "-012"),
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn two_of_them_are_none() {
        let mut headers = HeaderMap::new();
        assert_eq!(parent(&headers), None);
        headers.append(TRACEPARENT, HeaderValue::from_static(EXAMPLE));
        assert_eq!(parent(&headers), Some(READ));
        headers.append(TRACEPARENT, HeaderValue::from_static(EXAMPLE));
        assert_eq!(parent(&headers), None);
    }

    proptest! {
        #[test]
        fn anything_may_come(text in "[0-9a-f-]{0,60}", any in ".{0,60}") {
            parse(&text);
            parse(&any);
        }
    }
}
