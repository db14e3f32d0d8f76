//! A JSON body: it is refused and read as another reader would have it, and its objects keep their
//! bytes.
#![no_main]

use std::fmt;

use libfuzzer_sys::fuzz_target;
use pushlet::api::body;
use pushlet::providers::json::{MAX_DEPTH, Object, Writer};
use pushlet_fuzz::parameters::{self, Said};
use pushlet_fuzz::seeds;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

/// The bound of the relay.
const MAX_PARAMETERS: usize = 100;

fuzz_target!(init: seeds::write("json", seeds), |body: &[u8]| {
    let read = body::json(body);
    let text = str::from_utf8(body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body));

    match text.map(serde_json::from_str::<Pairs>) {
        Ok(Ok(Pairs(pairs))) if pairs.len() > MAX_PARAMETERS => assert!(read.is_err()),
        Ok(Ok(Pairs(pairs))) => {
            let expected = pairs.into_iter().map(|(name, value)| (name, said(value))).collect();
            parameters::assert_are(read.unwrap(), expected);
        }
        // The relay keeps numbers as they are written, and nests a little deeper.
        Ok(Err(error)) if is_bound_of_the_other_reader(&error) => {}
        Ok(Err(_)) | Err(_) => assert!(read.is_err()),
    }
    if let Ok(text) = text {
        rebuild(text);
    }
});

/// An object that is taken apart and put together says the same.
fn rebuild(text: &str) {
    let Ok(object) = Object::parse(text) else { return };
    assert_eq!(object.as_str(), text.trim_matches([' ', '\t', '\r', '\n']));
    let mut writer = Writer::open();
    for member in object.members() {
        let name: String = serde_json::from_str(member.key.get()).unwrap();
        assert_eq!(member.name(), name);
        writer.member(&member);
    }
    let again = writer.close();
    let rebuilt = Object::parse(&again).unwrap();
    let (before, after) = (object.members(), rebuilt.members());
    assert_eq!(before.len(), after.len());
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((before.key.get(), before.value.get()), (after.key.get(), after.value.get()));
    }
    assert!(depth(text) <= MAX_DEPTH);
}

/// How deep valid JSON nests.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth -= 1,
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn said(value: Value) -> Said {
    match value {
        Value::Null => Said::Nothing,
        Value::String(text) => Said::text(text),
        _ => Said::Another,
    }
}

fn is_bound_of_the_other_reader(error: &serde_json::Error) -> bool {
    let error = error.to_string();
    error.starts_with("number out of range") || error.starts_with("recursion limit exceeded")
}

/// The members of an object, those with the same name too.
struct Pairs(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Pairs;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}

fn seeds() -> Vec<Vec<u8>> {
    [
        "{}",
        "\u{feff} {\"\\u0061\":\"\\u00e9\",\"b\":null, \"c\" : [1, {\"d\":1.0e2}]} ",
        r#"{"alert":"\ud83d\ude00 \n","badge":12345678901234567890,"alert":true}"#,
        r#"{"data":{"aps":{},"x":[[[[[[[[-0.5E+7]]]]]]]]},"n":1e999}"#,
        "[1]",
    ]
    .map(|seed| seed.as_bytes().to_vec())
    .into()
}
