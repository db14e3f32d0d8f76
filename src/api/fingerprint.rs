//! Whether two calls ask for the same: a hash of their parameters, whatever their order. Nothing
//! of a parameter can be read from it.

use openssl::sha::Sha256;

use super::params::{Params, Value};
use crate::delivery::idempotency::Parameters;
use crate::providers::json;

impl Params {
    /// The hash of all parameters. A form, a multipart body and JSON that say the same in text,
    /// numbers and booleans have the same one; members of JSON objects may come in any order.
    pub(super) fn fingerprint(&self) -> Parameters {
        let mut entries: Vec<(&str, &Value)> = self.given().collect();
        // Of a name that stands twice the order counts: it is that of the answers.
        entries.sort_by_key(|(name, _)| *name);
        let mut hash = Sha256::new();
        for (name, value) in entries {
            add(&mut hash, name.as_bytes());
            match value {
                Value::Bytes(bytes) => add_text(&mut hash, bytes),
                Value::Json(raw) => match json::kind(raw) {
                    "array" | "object" => {
                        let mut canonical = Vec::with_capacity(raw.get().len());
                        write(&mut raw.get().as_bytes(), &mut canonical);
                        hash.update(b"j");
                        add(&mut hash, &canonical);
                    }
                    "string" => {
                        let text: String = serde_json::from_str(raw.get()).unwrap_or_default();
                        add_text(&mut hash, text.as_bytes());
                    }
                    _ => add_text(&mut hash, raw.get().as_bytes()),
                },
            }
        }
        Parameters(hash.finish())
    }

    /// Whether a message whose answer was lost may go out twice.
    pub(super) fn is_at_least_once(&self) -> bool {
        let yes: [&[u8]; 4] = [b"true", b"1", b"\"true\"", b"\"1\""];
        self.given().filter(|(name, _)| *name == "at_least_once").any(|(_, value)| match value {
            Value::Bytes(bytes) => yes.contains(&&**bytes),
            Value::Json(raw) => yes.contains(&raw.get().as_bytes()),
        })
    }
}

fn add_text(hash: &mut Sha256, text: &[u8]) {
    hash.update(b"t");
    add(hash, text);
}

/// The length goes first, so that no two lists of parts look alike.
fn add(hash: &mut Sha256, part: &[u8]) {
    hash.update(&part.len().to_be_bytes());
    hash.update(part);
}

/// Writes one value of valid JSON without white space and with the members of its objects in the
/// order of their names as they are spelt. It nests as deep as [`json::check`] has allowed.
fn write(rest: &mut &[u8], to: &mut Vec<u8>) {
    skip_space(rest);
    match rest.first() {
        Some(b'{') => write_object(rest, to),
        Some(b'[') => {
            to.push(b'[');
            *rest = rest.get(1..).unwrap_or_default();
            while !ends(rest, b']') {
                write(rest, to);
                to.push(b',');
            }
        }
        Some(b'"') => to.extend_from_slice(string(rest)),
        Some(_) | None => {
            let is_end =
                |byte: &u8| matches!(byte, b',' | b']' | b'}') || byte.is_ascii_whitespace();
            let end = rest.iter().position(is_end).unwrap_or(rest.len());
            let (scalar, after) = rest.split_at(end);
            to.extend_from_slice(scalar);
            *rest = after;
        }
    }
}

fn write_object(rest: &mut &[u8], to: &mut Vec<u8>) {
    *rest = rest.get(1..).unwrap_or_default();
    let mut members: Vec<(&[u8], Vec<u8>)> = Vec::new();
    while !ends(rest, b'}') {
        let name = string(rest);
        skip_space(rest);
        *rest = rest.strip_prefix(b":").unwrap_or(rest);
        let mut value = Vec::new();
        write(rest, &mut value);
        members.push((name, value));
    }
    members.sort_by_key(|(name, _)| *name);
    to.push(b'{');
    for (name, value) in members {
        to.extend_from_slice(name);
        to.push(b':');
        to.extend_from_slice(&value);
        to.push(b',');
    }
    to.push(b'}');
}

/// Goes to the next part of a list or object; true at its end, which is passed over.
fn ends(rest: &mut &[u8], close: u8) -> bool {
    skip_space(rest);
    if let Some(after) = rest.strip_prefix(b",") {
        *rest = after;
        skip_space(rest);
    }
    match rest.split_first() {
        Some((first, after)) if *first == close => {
            *rest = after;
            true
        }
        Some(_) => false,
        None => true,
    }
}

/// Takes a string with its quotes.
fn string<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let mut is_escaped = true;
    let end = rest.iter().position(|byte| {
        let is_end = *byte == b'"' && !is_escaped;
        // The first quote opens.
        is_escaped = *byte == b'\\' && !is_escaped;
        is_end
    });
    let (string, after) = rest.split_at(end.map_or(rest.len(), |end| end.saturating_add(1)));
    *rest = after;
    string
}

fn skip_space(rest: &mut &[u8]) {
    *rest = rest.trim_ascii_start();
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::api::body;

    fn form(text: &str) -> Parameters {
        let params = body::form(&Bytes::copy_from_slice(text.as_bytes()));
        params.unwrap_or_else(|error| panic!("{error}")).fingerprint()
    }

    fn json(text: &str) -> Parameters {
        body::json(text.as_bytes()).unwrap_or_else(|error| panic!("{error}")).fingerprint()
    }

    fn written(text: &str) -> String {
        let (mut rest, mut to) = (text.as_bytes(), Vec::new());
        write(&mut rest, &mut to);
        assert_eq!(rest, b"", "{text}");
        String::from_utf8_lossy(&to).into_owned()
    }

    #[test]
    fn what_says_the_same_is_the_same() {
        let call = form("alert=a+b&badge=1&device_token=ab");
        assert_eq!(form("device_token=ab&badge=%31&alert=a%20b"), call);
        assert_eq!(json(r#"{"badge":1,"alert":"a\u0020b","device_token":"ab"}"#), call);
        assert_eq!(json(r#"{"badge":"1","alert":"a b","device_token":"ab","topic":null}"#), call);
        assert_eq!(form("alert=a+b&badge=1&device_token=ab&apns_id="), call, "left out");
        assert_eq!(
            json(r#"{"data":{"a":[1,{"x":"}","y":{}}],"b":2}}"#),
            json(r#"{ "data" : { "b":2, "a" : [ 1 , {"y":{ },"x":"}"} ] } }"#)
        );
    }

    #[test]
    fn what_differs_is_another_call() {
        let all = [
            json(r#"{"data":{"a":1}}"#),
            json(r#"{"data":{"a":1.0}}"#),
            json(r#"{"data":{"a":"1"}}"#),
            json(r#"{"data":{"a":[1]}}"#),
            json(r#"{"data":{"a":[1,2]}}"#),
            json(r#"{"data":{"a":[2,1]}}"#),
            json(r#"{"data":{"a":{"b":1},"c":2}}"#),
            json(r#"{"data":{"a":{"b":1,"c":2}}}"#),
            json(r#"{"data":"{\"a\":1}"}"#),
            json("{}"),
            form("a=bc"),
            form("ab=c"),
            form("device_token=a&device_token=b"),
            form("device_token=b&device_token=a"),
        ];
        for (place, one) in all.iter().enumerate() {
            assert!(!all.iter().skip(place + 1).any(|other| other == one), "{place}");
        }
    }

    #[test]
    fn every_value_is_passed_over_to_its_end() {
        for (text, expected) in [
            (r#" {"b" : "\"\\" , "a":[ ] } "#.trim_end(), r#"{"a":[,"b":"\"\\",}"#),
            ("[ [ ] , -1.5e3 , true,null ]", "[[,-1.5e3,true,null,"),
            (r#"{"a":1,"a":0}"#, r#"{"a":1,"a":0,}"#),
            (r#"["a,]}",{"k":"\\"}]"#, r#"["a,]}",{"k":"\\",},"#),
        ] {
            assert_eq!(written(text), expected, "{text}");
        }
    }
}
