//! JSON that keeps its bytes: objects are taken apart and put together, never rewritten.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// How deep arrays and objects may nest. Far beyond any real message, and well within what the
/// parsers of phones take.
pub const MAX_DEPTH: usize = 128;

/// A JSON object as the caller wrote it.
#[derive(Clone)]
pub struct Object(Box<RawValue>);

impl Object {
    /// Reads an object out of JSON text.
    ///
    /// # Errors
    ///
    /// Every variant of [`Error`]: the text is no JSON, no object, or fails [`check`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        let raw: &RawValue = serde_json::from_str(text).map_err(Error::Syntax)?;
        check(raw.get())?;
        Self::from_checked(raw.to_owned())
    }

    /// Takes a value that has passed [`check`], alone or inside a larger text.
    ///
    /// # Errors
    ///
    /// [`Error::NotAnObject`].
    pub fn from_checked(raw: Box<RawValue>) -> Result<Self, Error> {
        match kind(&raw) {
            "object" => Ok(Self(raw)),
            found => Err(Error::NotAnObject { found }),
        }
    }

    /// The text, byte for byte, without the white space around it.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// The object as it was given.
    pub fn as_raw(&self) -> &RawValue {
        &self.0
    }

    /// The members in their order. A name that stands twice is there twice.
    pub fn members(&self) -> Vec<Member<'_>> {
        members(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Object({} bytes)", self.as_str().len())
    }
}

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

/// The members of a value, or `None` if it is no object.
pub fn members(value: &RawValue) -> Option<Vec<Member<'_>>> {
    let Members(members) = serde_json::from_str(value.get()).ok()?;
    Some(members)
}

/// One member of an object.
pub struct Member<'a> {
    /// The name as it was written, with its quotes and escapes.
    pub key: &'a RawValue,
    /// The value as it was written.
    pub value: &'a RawValue,
}

impl Member<'_> {
    /// The name without quotes and escapes.
    pub fn name(&self) -> Cow<'_, str> {
        let quoted = self.key.get();
        let plain = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        match plain {
            Some(plain) if !plain.contains('\\') => Cow::Borrowed(plain),
            Some(_) | None => Cow::Owned(serde_json::from_str(quoted).unwrap_or_default()),
        }
    }
}

/// Text or an object: what `alert` and `sound` may be.
#[derive(Debug, Clone, PartialEq)]
pub enum TextOrObject {
    /// An object, its bytes kept.
    Object(Object),
    /// Plain text.
    Text(String),
}

/// A number that is finite and keeps its spelling.
#[derive(Debug, Clone, PartialEq)]
pub struct Number {
    text: String,
    value: f64,
}

impl Number {
    /// Reads a number in JSON's spelling; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let raw: &RawValue = serde_json::from_str(text).ok()?;
        let value: f64 = text.parse().ok()?;
        let whole = raw.get().len() == text.len();
        (whole && value.is_finite()).then(|| Self { text: text.to_owned(), value })
    }

    /// The spelling that was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The number, rounded as 64-bit floats are.
    pub fn value(&self) -> f64 {
        self.value
    }
}

/// Why a text is not the JSON that was wanted.
#[derive(Debug)]
pub enum Error {
    /// A string holds half of a surrogate pair, which is no character (RFC 8259 §8.2).
    LoneSurrogate,
    /// It is JSON, but no object.
    NotAnObject {
        /// What it is, in JSON's words.
        found: &'static str,
    },
    /// It is no JSON.
    Syntax(serde_json::Error),
    /// It nests deeper than [`MAX_DEPTH`].
    TooDeep,
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LoneSurrogate => {
                formatter.write_str("a string holds half of a surrogate pair; escape both halves")
            }
            Self::NotAnObject { found } => write!(formatter, "expected an object, found {found}"),
            Self::Syntax(error) => error.fmt(formatter),
            Self::TooDeep => write!(formatter, "nested deeper than {MAX_DEPTH} levels"),
        }
    }
}

impl std::error::Error for Error {}

/// What a value is, in JSON's words.
pub fn kind(value: &RawValue) -> &'static str {
    match value.get().as_bytes().first() {
        Some(b'{') => "object",
        Some(b'[') => "array",
        Some(b'"') => "string",
        Some(b't' | b'f') => "boolean",
        Some(b'n') => "null",
        Some(_) | None => "number",
    }
}

/// Checks what the parser leaves open in a value that it does not look into: `serde_json` skips
/// one without counting depth and without pairing surrogates.
///
/// # Errors
///
/// [`Error::TooDeep`] and [`Error::LoneSurrogate`]. The text must be JSON otherwise.
pub fn check(json: &str) -> Result<(), Error> {
    let mut depth = 0_usize;
    let mut rest = json.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match first {
            b'{' | b'[' => depth = depth.saturating_add(1),
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => rest = after_string(tail)?,
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(Error::TooDeep);
        }
    }
    Ok(())
}

/// Skips a string whose opening quote was read.
fn after_string(mut rest: &[u8]) -> Result<&[u8], Error> {
    let mut half = false;
    loop {
        let (is_high, is_low) = match rest {
            [b'\\', b'u', b'd' | b'D', b'8' | b'9' | b'a' | b'b' | b'A' | b'B', ..] => {
                (true, false)
            }
            [b'\\', b'u', b'd' | b'D', b'c'..=b'f' | b'C'..=b'F', ..] => (false, true),
            _ => (false, false),
        };
        if half != is_low {
            return Err(Error::LoneSurrogate);
        }
        half = is_high;
        rest = match rest {
            [b'"', tail @ ..] => return Ok(tail),
            [b'\\', b'u', _, _, _, _, tail @ ..] | [b'\\', _, tail @ ..] | [_, tail @ ..] => tail,
            [] => return Ok(rest),
        };
    }
}

/// Writes one object, member by member.
pub struct Writer(String);

impl Writer {
    /// Starts an object.
    pub fn open() -> Self {
        Self("{".to_owned())
    }

    /// Writes a member as it was read.
    pub fn member(&mut self, member: &Member<'_>) {
        self.comma();
        self.0.push_str(member.key.get());
        self.0.push(':');
        self.0.push_str(member.value.get());
    }

    /// Writes a value that is JSON already.
    pub fn raw(&mut self, name: &'static str, value: &str) {
        self.name(name);
        self.0.push_str(value);
    }

    /// Writes text as a JSON string.
    pub fn text(&mut self, name: &'static str, text: &str) {
        self.name(name);
        self.0.push_str(&quoted(text));
    }

    /// Ends the object: its text.
    pub fn close(mut self) -> String {
        self.0.push('}');
        self.0
    }

    /// The names are ours and need no escapes.
    fn name(&mut self, name: &'static str) {
        self.comma();
        self.0.push('"');
        self.0.push_str(name);
        self.0.push_str("\":");
    }

    fn comma(&mut self) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
    }
}

/// The same JSON without the white space between its parts; strings keep theirs.
pub fn compact(json: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let keep = |character: &char| {
        if in_string {
            in_string = escaped || *character != '"';
            escaped = !escaped && *character == '\\';
            return true;
        }
        in_string = *character == '"';
        !character.is_ascii_whitespace()
    };
    json.chars().filter(keep).collect()
}

/// Text as JSON spells it, with its quotes.
#[expect(clippy::expect_used, reason = "every text has a spelling in JSON")]
pub(super) fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("text is written as JSON")
}

/// The members of an object, borrowed from its text.
struct Members<'a>(Vec<Member<'a>>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((key, value)) = map.next_entry()? {
                    members.push(Member { key, value });
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Object::parse(text).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn members_keep_their_bytes_and_order() {
        let object = Object::parse(r#" {"z":1.0e2, "\u0061":[1, 2],"z":12345678901234567890} "#);
        let object = object.unwrap_or_else(|error| panic!("{error}"));

        let members: Vec<_> = object
            .members()
            .iter()
            .map(|m| (m.key.get().to_owned(), m.name().into_owned(), m.value.get().to_owned()))
            .collect();

        let member = |key: &str, name: &str, value: &str| {
            (key.to_owned(), name.to_owned(), value.to_owned())
        };
        assert_eq!(
            members,
            [
                member(r#""z""#, "z", "1.0e2"),
                member(r#""\u0061""#, "a", "[1, 2]"),
                member(r#""z""#, "z", "12345678901234567890"),
            ]
        );
    }

    #[test]
    fn what_is_no_object_is_named() {
        assert_eq!(refused("[1]"), "expected an object, found array");
        assert_eq!(refused("\"{}\""), "expected an object, found string");
        assert_eq!(refused("-1"), "expected an object, found number");
        assert_eq!(refused("true"), "expected an object, found boolean");
        assert_eq!(refused("null"), "expected an object, found null");
        assert_eq!(refused("{\"a\":NaN}"), "expected value at line 1 column 6");
        assert_eq!(refused("{} x"), "trailing characters at line 1 column 4");
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| {
            let inner = depth.saturating_sub(1);
            format!("{{\"a\":{}1{}}}", "[".repeat(inner), "]".repeat(inner))
        };

        assert_eq!(refused(&nested(MAX_DEPTH)), "");
        assert_eq!(refused(&nested(MAX_DEPTH + 1)), "nested deeper than 128 levels");
        assert_eq!(refused(&nested(500_000)), "nested deeper than 128 levels");
        assert_eq!(refused(&format!("{{\"a\":\"{}\"}}", "[".repeat(200))), "");
    }

    #[test]
    fn surrogates_come_in_pairs() {
        let lone = "a string holds half of a surrogate pair; escape both halves";

        assert_eq!(refused(r#"{"a":"\ud83d\ude00 \uD7FF\uE000 \\ud83d"}"#), "");
        for text in [r"\ud83d", r"\uDE00", r"\ud83dx", r"\ud83d\n", r"\ud83d\ud83d\ude00"] {
            assert_eq!(refused(&format!("{{\"a\":\"{text}\"}}")), lone, "{text}");
            assert_eq!(refused(&format!("{{\"{text}\":1}}")), lone, "{text} as a name");
        }
    }

    #[test]
    fn compact_json_loses_white_space_between_its_parts_alone() {
        let text = "{ \"a b\" :\t[ 1.0 , \"\\\" x \\\\\" , \"\" ] ,\r\n\"c\" : null }";

        assert_eq!(compact(text), r#"{"a b":[1.0,"\" x \\",""],"c":null}"#);
    }

    #[test]
    fn numbers_keep_their_spelling() {
        let number = Number::parse("0.50").map(|n| (n.as_str().to_owned(), n.value()));
        assert_eq!(number, Some(("0.50".to_owned(), 0.5)));
        for text in ["", " 1", "1 ", "NaN", "inf", "1e999", "+1", "01", ".5", "true", "\"1\""] {
            assert_eq!(Number::parse(text), None, "{text}");
        }
    }
}
