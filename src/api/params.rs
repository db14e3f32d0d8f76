//! Parameters: names checked, and values taken out one by one, each as the type it must be.

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;
use std::str;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::Compat;
use super::error::ApiError;
use crate::providers::file;
use crate::providers::json::{self, Number, Object, TextOrObject};
use crate::secret::Secret;

/// Ids, tokens, keys, credentials and their passwords: empty, they count as left out, since forms send every field.
const EMPTY_IS_LEFT_OUT: &[&str] = &[
    "apns_id",
    "apns_key_id",
    "apns_p12",
    "apns_p12_pass",
    "apns_p8",
    "apns_pem",
    "apns_pem_pass",
    "apns_team_id",
    "application_id",
    "channel_id",
    "collapse_id",
    "collapse_key",
    "condition",
    "device_token",
    "fcm_service_account",
    "gcm_api_key",
    "input_push_channel",
    "target_content_id",
    "thread_id",
    "to",
    "webhook_secret",
];

/// What may be bytes; everything else is text.
const FILES: &[&str] = &["apns_p12", "apns_p8", "apns_pem", "fcm_service_account"];

/// The one name that may come more than once: such a call has a message for each.
const DEVICE_TOKEN: &str = "device_token";

/// The parameters of one call, as they came. Each is taken out once.
#[derive(Clone, Default)]
pub struct Params {
    entries: Vec<(String, Value)>,
    device_tokens: usize,
    size_bytes: usize,
}

/// A value, not looked into yet.
#[derive(Clone)]
pub enum Value {
    /// Of a form or a multipart body: text or a file.
    Bytes(Bytes),
    /// Of a JSON body: any JSON, its bytes kept.
    Json(Box<RawValue>),
}

impl Params {
    /// Adds one more, under a name that may be there already.
    pub(super) fn push(&mut self, name: String, value: Value) {
        self.device_tokens += usize::from(name == DEVICE_TOKEN);
        self.entries.push((name, value));
    }

    /// Of how large a body they are, in bytes.
    pub(super) fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// Notes the size of their body.
    pub(super) fn with_size(self, size_bytes: usize) -> Self {
        Self { size_bytes, ..self }
    }

    /// Takes the device tokens out if there are several: the form of a call with a message for
    /// each. In JSON a name stands once.
    pub(super) fn take_device_tokens(&mut self) -> Vec<String> {
        let text = |(name, value): &(String, Value)| match value {
            Value::Bytes(bytes) if name == DEVICE_TOKEN && !bytes.is_empty() => {
                str::from_utf8(bytes).ok().map(str::to_owned)
            }
            Value::Bytes(_) | Value::Json(_) => None,
        };
        if self.device_tokens < 2 {
            return Vec::new();
        }
        let tokens: Vec<String> = self.entries.iter().filter_map(text).collect();
        if tokens.len() < 2 {
            return Vec::new();
        }
        self.entries.retain(|(name, _)| name != DEVICE_TOKEN);
        self.device_tokens = 0;
        tokens
    }

    /// The first name that is given, but for one.
    pub(super) fn other_than(&self, name: &str) -> Option<&str> {
        let mut others = self
            .entries
            .iter()
            .filter(|(given, value)| given != name && !is_left_out(given, value));
        others.next().map(|(given, _)| given.as_str())
    }

    /// Checks that text is text.
    ///
    /// # Errors
    ///
    /// `invalid_request` for what is not UTF-8.
    pub(super) fn check_text(&self) -> Result<(), ApiError> {
        for (name, value) in &self.entries {
            match value {
                Value::Bytes(bytes) if !FILES.contains(&name.as_str()) => utf8(name, bytes)?,
                Value::Bytes(_) | Value::Json(_) => continue,
            };
        }
        Ok(())
    }

    /// How many there are, device tokens not counted.
    pub(super) fn len(&self) -> usize {
        self.entries.len().saturating_sub(self.device_tokens)
    }

    /// How many device tokens there are.
    pub(super) fn device_tokens(&self) -> usize {
        self.device_tokens
    }

    /// Checks all names: those that stand in none of the lists of `known` are refused, unless
    /// `compat.ignore_unknown`, and so are known ones given twice.
    ///
    /// # Errors
    ///
    /// `unknown_parameter`, `conflicting_parameters`.
    pub fn check_names(&self, known: &[&[&str]], compat: &Compat) -> Result<(), ApiError> {
        for (index, (name, value)) in self.entries.iter().enumerate() {
            if !known.iter().any(|list| list.contains(&name.as_str())) {
                if compat.ignore_unknown || is_left_out(name, value) {
                    continue;
                }
                return Err(unknown(name, known));
            }
            if self.entries.iter().take(index).any(|(earlier, _)| earlier == name) {
                return Err(ApiError::conflicting_parameters(format!(
                    "{name} is given twice; give it once"
                )));
            }
        }
        Ok(())
    }

    /// Refuses parameters that belong to the other service, unless `compat.ignore_unknown`.
    /// `service` is where the message goes, `other` whose names these are.
    ///
    /// # Errors
    ///
    /// `unknown_parameter`.
    pub fn check_service(
        &self,
        service: &str,
        other: &str,
        names_of_other: &[&str],
        compat: &Compat,
    ) -> Result<(), ApiError> {
        let stray = names_of_other.iter().find(|name| self.has(name));
        match stray {
            Some(name) if !compat.ignore_unknown => Err(ApiError::unknown_parameter(format!(
                "{name} is a parameter of {other}, and this message goes to {service}; leave it out"
            ))),
            Some(_) | None => Ok(()),
        }
    }

    /// Refuses what stands beside a parameter that excludes it.
    ///
    /// # Errors
    ///
    /// `conflicting_parameters`.
    pub fn check_excluded(&self, name: &str, excluded: &[&str]) -> Result<(), ApiError> {
        match excluded.iter().find(|other| self.has(other)) {
            Some(other) if self.has(name) => Err(ApiError::conflicting_parameters(format!(
                "{name} and {other} exclude each other; give one of them"
            ))),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether it was given, and not left out by a null or, for ids and the like, emptiness.
    pub fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|(given, value)| given == name && !is_left_out(name, value))
    }

    /// Takes text.
    ///
    /// # Errors
    ///
    /// `invalid_<name>` for JSON that is no string, `invalid_request` for bytes that are not UTF-8.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        self.take(name).map(|value| text(name, &value)).transpose()
    }

    /// Takes text that must not be printed.
    ///
    /// # Errors
    ///
    /// As [`Params::text`].
    pub fn secret(&mut self, name: &str) -> Result<Option<Secret<String>>, ApiError> {
        Ok(self.text(name)?.map(Secret::new))
    }

    /// Takes a boolean: `true`, `false`, `1` or `0`.
    ///
    /// # Errors
    ///
    /// `invalid_<name>`, and `invalid_request` for bytes that are not UTF-8.
    pub fn boolean(&mut self, name: &str) -> Result<Option<bool>, ApiError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let word = word(name, &value)?;
        match &*word {
            "true" | "1" => Ok(Some(true)),
            "false" | "0" => Ok(Some(false)),
            _ => Err(must_be(name, "true, false, 1 or 0", &word)),
        }
    }

    /// Takes a whole number: decimal digits, a JSON integer, or its string.
    ///
    /// # Errors
    ///
    /// `invalid_<name>`, also out of range, and `invalid_request` for bytes that are not UTF-8.
    pub fn integer(
        &mut self,
        name: &str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, ApiError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let word = word(name, &value)?;
        let is_digits = word.bytes().all(|byte| byte.is_ascii_digit());
        match word.parse::<u64>() {
            Ok(number) if is_digits && range.contains(&number) => Ok(Some(number)),
            Ok(_) | Err(_) => {
                let expected = format!("a whole number from {} to {}", range.start(), range.end());
                Err(must_be(name, &expected, &word))
            }
        }
    }

    /// Takes a number, its spelling kept.
    ///
    /// # Errors
    ///
    /// `invalid_<name>`, and `invalid_request` for bytes that are not UTF-8.
    pub fn number(&mut self, name: &str) -> Result<Option<Number>, ApiError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let word = word(name, &value)?;
        match Number::parse(&word) {
            Some(number) => Ok(Some(number)),
            None => Err(must_be(name, "a number, such as 0.5", &word)),
        }
    }

    /// Takes one of a few words, by the function that knows them; `expected` lists them.
    ///
    /// # Errors
    ///
    /// As [`Params::text`].
    pub fn choice<T>(
        &mut self,
        name: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        let Some(word) = self.text(name)? else { return Ok(None) };
        match parse(&word) {
            Some(choice) => Ok(Some(choice)),
            None => Err(must_be(name, expected, &word)),
        }
    }

    /// Takes a file: DER and PEM as they are, and so is JSON; anything else is base64.
    /// A service account may also be a JSON object in a JSON body.
    ///
    /// # Errors
    ///
    /// `invalid_<name>`.
    pub fn file(&mut self, name: &str) -> Result<Option<Vec<u8>>, ApiError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let contents = match &value {
            Value::Bytes(bytes) => file::contents(bytes),
            Value::Json(raw) => match json::kind(raw) {
                "string" => file::contents(json_text(raw)?.as_bytes()),
                "object" if name == "fcm_service_account" => Some(raw.get().as_bytes().to_vec()),
                found => {
                    let problem = format!("expected text with base64 or PEM, found {found}");
                    return Err(ApiError::invalid_file(name, problem));
                }
            },
        };
        match contents {
            Some(contents) => Ok(Some(contents)),
            None => Err(ApiError::invalid_file(
                name,
                "it is neither DER nor PEM nor base64 (in a form, write each `+` as `%2B`)",
            )),
        }
    }

    /// Takes a JSON object, its bytes kept: of a form its text, of a JSON body an object or a
    /// string that holds the text of one.
    ///
    /// # Errors
    ///
    /// `invalid_data_json` for `data`, `invalid_<name>` for others; `invalid_request` for bytes
    /// that are not UTF-8.
    pub fn object(&mut self, name: &str) -> Result<Option<Object>, ApiError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let object = match value {
            Value::Bytes(bytes) => Object::parse(utf8(name, &bytes)?),
            Value::Json(raw) if json::kind(&raw) == "string" => Object::parse(&json_text(&raw)?),
            Value::Json(raw) => Object::from_checked(raw),
        };
        object.map(Some).map_err(|error| ApiError::invalid_json(name, error))
    }

    /// Takes text or an object: a JSON object, or a form value that reads as one; else it is text.
    ///
    /// # Errors
    ///
    /// `invalid_<name>` for other JSON, `invalid_request` for bytes that are not UTF-8.
    pub fn text_or_object(&mut self, name: &str) -> Result<Option<TextOrObject>, ApiError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let given = match value {
            Value::Bytes(bytes) => {
                let text = utf8(name, &bytes)?;
                let looks_like_one = text.trim_ascii_start().starts_with('{');
                match looks_like_one.then(|| Object::parse(text)) {
                    Some(Ok(object)) => TextOrObject::Object(object),
                    Some(Err(_)) | None => TextOrObject::Text(text.to_owned()),
                }
            }
            Value::Json(raw) => match json::kind(&raw) {
                "string" => TextOrObject::Text(json_text(&raw)?),
                found => TextOrObject::Object(Object::from_checked(raw).map_err(|_| {
                    ApiError::invalid(name, format!("must be text or an object, found {found}"))
                })?),
            },
        };
        Ok(Some(given))
    }

    /// Takes a list of 1 to `most` texts, none of them empty: a JSON array, or a form's text of
    /// one.
    ///
    /// # Errors
    ///
    /// `invalid_<name>`, and `invalid_request` for bytes that are not UTF-8.
    pub fn texts(&mut self, name: &str, most: usize) -> Result<Option<Vec<String>>, ApiError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let list = match &value {
            Value::Bytes(bytes) => utf8(name, bytes)?,
            Value::Json(raw) => raw.get(),
        };
        match serde_json::from_str::<Vec<String>>(list) {
            Ok(texts)
                if (1..=most).contains(&texts.len()) && texts.iter().all(|t| !t.is_empty()) =>
            {
                Ok(Some(texts))
            }
            Ok(texts) if texts.len() > most => {
                let found = texts.len();
                Err(ApiError::invalid(name, format!("must be at most {most} texts, found {found}")))
            }
            Ok(_) | Err(_) => Err(ApiError::invalid(
                name,
                format!("must be a json array of 1 to {most} texts, none of them empty"),
            )),
        }
    }

    /// All that were given and count, in their order.
    pub(super) fn given(&self) -> impl Iterator<Item = (&str, &Value)> {
        let counts = |(name, value): &&(String, Value)| !is_left_out(name, value);
        self.entries.iter().filter(counts).map(|(name, value)| (name.as_str(), value))
    }

    /// What was given as text, without taking it; `None` for everything else.
    pub(super) fn peek(&self, name: &str) -> Option<Cow<'_, str>> {
        let (_, value) = self.entries.iter().find(|(given, _)| given == name)?;
        match value {
            _ if is_left_out(name, value) => None,
            Value::Bytes(bytes) => str::from_utf8(bytes).ok().map(Cow::Borrowed),
            Value::Json(raw) => serde_json::from_str(raw.get()).ok().map(Cow::Owned),
        }
    }

    /// Takes a value as it came.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        let index = self.entries.iter().position(|(given, _)| given == name)?;
        let (name, value) = self.entries.swap_remove(index);
        (!is_left_out(&name, &value)).then_some(value)
    }
}

/// The names only: values are tokens, texts and keys.
impl fmt::Debug for Params {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.entries.iter().map(|(name, _)| name)).finish()
    }
}

/// What of a caller's text goes into a sentence: enough to find it, and no control characters.
pub(super) fn excerpt(text: &str) -> String {
    const MAX_CHARS: usize = 40;
    let mut excerpt: String = text.chars().take(MAX_CHARS).flat_map(char::escape_debug).collect();
    if text.chars().nth(MAX_CHARS).is_some() {
        excerpt.push('…');
    }
    excerpt
}

fn must_be(name: &str, expected: &str, found: &str) -> ApiError {
    ApiError::invalid(name, format_args!("must be {expected}, found `{}`", excerpt(found)))
}

fn unknown(name: &str, known: &[&[&str]]) -> ApiError {
    // Only the start is compared: the cost grows with the length, and that is the caller's.
    let name = excerpt(name);
    let nearest = known
        .iter()
        .copied()
        .flatten()
        .map(|known| (strsim::jaro_winkler(&name, known), known))
        .max_by(|(left, _), (right, _)| left.total_cmp(right));
    let hint = nearest.map(|(_, nearest)| format!("; did you mean {nearest}?")).unwrap_or_default();
    ApiError::unknown_parameter(format!("there is no parameter `{name}` in this call{hint}"))
}

fn is_left_out(name: &str, value: &Value) -> bool {
    match value {
        Value::Bytes(bytes) => bytes.is_empty() && EMPTY_IS_LEFT_OUT.contains(&name),
        Value::Json(raw) => {
            raw.get() == "null" || (raw.get() == "\"\"" && EMPTY_IS_LEFT_OUT.contains(&name))
        }
    }
}

fn text(name: &str, value: &Value) -> Result<String, ApiError> {
    match value {
        Value::Bytes(bytes) => utf8(name, bytes).map(str::to_owned),
        Value::Json(raw) => match json::kind(raw) {
            "string" => json_text(raw),
            found => Err(ApiError::invalid(name, format_args!("must be text, found {found}"))),
        },
    }
}

/// The text of a form value or of a JSON string; of other JSON its spelling.
fn word<'a>(name: &str, value: &'a Value) -> Result<Cow<'a, str>, ApiError> {
    match value {
        Value::Bytes(bytes) => utf8(name, bytes).map(Cow::Borrowed),
        Value::Json(raw) if json::kind(raw) == "string" => json_text(raw).map(Cow::Owned),
        Value::Json(raw) => Ok(Cow::Borrowed(raw.get())),
    }
}

fn utf8<'a>(name: &str, bytes: &'a [u8]) -> Result<&'a str, ApiError> {
    str::from_utf8(bytes).map_err(|_| {
        let name = excerpt(name);
        ApiError::invalid_request(format!("{name} is not utf-8; send it as utf-8"))
    })
}

fn json_text(raw: &RawValue) -> Result<String, ApiError> {
    serde_json::from_str(raw.get())
        .map_err(|_| ApiError::invalid_request("the body holds a string that is no text"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::body;

    const KNOWN: &[&str] = &["alert", "application_id", "collapse_id", "device_token", "sound"];

    fn form(text: &str) -> Params {
        body::form(&Bytes::copy_from_slice(text.as_bytes()))
            .unwrap_or_else(|error| panic!("{error}"))
    }

    fn json(text: &str) -> Params {
        body::json(text.as_bytes()).unwrap_or_else(|error| panic!("{error}"))
    }

    fn refused<T>(result: Result<T, ApiError>) -> Option<(String, String)> {
        result.err().map(|error| (error.code().to_owned(), error.to_string()))
    }

    fn with(code: &str, message: &str) -> Option<(String, String)> {
        Some((code.to_owned(), message.to_owned()))
    }

    #[test]
    fn unknown_names_are_refused_with_the_nearest() {
        let check = |params: Params| refused(params.check_names(&[KNOWN], &Compat::default()));

        assert_eq!(
            check(form("alert=x&colapse_id=1")),
            with(
                "unknown_parameter",
                "there is no parameter `colapse_id` in this call; did you mean collapse_id?"
            )
        );
        let long = "o\n".repeat(50);
        assert_eq!(
            check(json(&format!("{{{}:1}}", serde_json::json!(long)))),
            with(
                "unknown_parameter",
                &format!(
                    "there is no parameter `{}…` in this call; did you mean sound?",
                    "o\\n".repeat(20)
                )
            )
        );
        assert_eq!(check(json(r#"{"alert":"x","nothing":null}"#)), None);
    }

    #[test]
    fn doubled_names_are_refused() {
        let lenient = Compat { ignore_unknown: true, ..Compat::default() };
        let check = |params: Params| refused(params.check_names(&[KNOWN], &lenient));
        let twice = with("conflicting_parameters", "alert is given twice; give it once");

        assert_eq!(check(form("alert=x&sound=y&alert=x")), twice);
        assert_eq!(check(json(r#"{"alert":null,"\u0061lert":"x"}"#)), twice);
        assert_eq!(check(form("foo=x&alert=y&foo=x")), None);
    }

    #[test]
    fn a_name_of_the_other_service_says_so() {
        let check = |params: Params, compat: &Compat| {
            refused(params.check_service("gcm", "apns", &["topic", "collapse_id"], compat))
        };
        let lenient = Compat { ignore_unknown: true, ..Compat::default() };

        assert_eq!(
            check(form("alert=x&topic="), &Compat::default()),
            with(
                "unknown_parameter",
                "topic is a parameter of apns, and this message goes to gcm; leave it out"
            )
        );
        assert_eq!(check(form("alert=x&topic=a"), &lenient), None);
        assert_eq!(check(json(r#"{"topic":null}"#), &Compat::default()), None);
        assert_eq!(check(form("collapse_id="), &Compat::default()), None);
    }

    #[test]
    fn null_and_empty_ids_are_left_out() {
        let ids = "application_id=&gcm_api_key=&device_token=&apns_p12=&fcm_service_account=";
        let mut of_form = form(ids);

        assert!(!of_form.has("application_id"));
        for name in ["application_id", "gcm_api_key", "device_token"] {
            assert_eq!(of_form.text(name), Ok(None), "{name}");
        }
        assert_eq!(of_form.file("apns_p12"), Ok(None));
        assert_eq!(json(r#"{"fcm_service_account":""}"#).file("fcm_service_account"), Ok(None));
        assert_eq!(json(r#"{"alert":null}"#).text("alert"), Ok(None));
        assert_eq!(json(r#"{"alert":""}"#).text("alert"), Ok(Some(String::new())));
        assert!(form("alert=").has("alert"));
    }

    #[test]
    fn a_password_is_not_printed() {
        let mut params = form("apns_p12_pass=hunter2&alert=x");

        assert_eq!(format!("{params:?}"), r#"["apns_p12_pass", "alert"]"#);
        let secret = params.secret("apns_p12_pass");
        assert_eq!(format!("{secret:?}"), "Ok(Some(***))");
        assert_eq!(secret.map(|s| s.map(|s| s.expose().clone())), Ok(Some("hunter2".to_owned())));
    }

    #[test]
    fn a_file_may_come_in_any_body() {
        let file = |mut params: Params| params.file("fcm_service_account");

        assert_eq!(file(form("fcm_service_account=%30%ff")), Ok(Some(vec![0x30, 0xff])));
        assert_eq!(file(json(r#"{"fcm_service_account":"MP8="}"#)), Ok(Some(vec![0x30, 0xff])));
        assert_eq!(
            file(json(r#"{"fcm_service_account":{"a": 1.0}}"#)),
            Ok(Some(br#"{"a": 1.0}"#.to_vec()))
        );
        assert_eq!(
            refused(file(json(r#"{"fcm_service_account":[]}"#))),
            with(
                "invalid_fcm_service_account",
                "could not process fcm_service_account: expected text with base64 or PEM, found \
                 array"
            )
        );
    }

    #[test]
    fn a_bad_file_gets_the_documented_answer() {
        let start = "could not process apns_p12 certificate, check that it is in p12 format and \
                     is valid";

        assert_eq!(
            refused(form("apns_p12=no+file!").file("apns_p12")),
            with(
                "invalid_apns_p12",
                &format!(
                    "{start}: it is neither DER nor PEM nor base64 (in a \
                 form, write each `+` as `%2B`)"
                )
            )
        );
        assert_eq!(
            refused(json(r#"{"apns_p12":{}}"#).file("apns_p12")),
            with(
                "invalid_apns_p12",
                &format!("{start}: expected text with base64 or PEM, found object")
            )
        );
    }

    #[test]
    fn a_list_is_an_array_of_texts() {
        let most = 2;
        let list = |mut params: Params| params.texts("ids", most);
        let array = "ids must be a json array of 1 to 2 texts, none of them empty";

        let expected = Ok(Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(list(form(r#"ids=["a","b"]"#)), expected);
        assert_eq!(list(json(r#"{"ids":["a","b"]}"#)), expected);
        for bad in ["[]", "[1]", "[\"\"]", "\"a\"", "{}", "[[\"a\"]]"] {
            assert_eq!(refused(list(form(&format!("ids={bad}")))), with("invalid_ids", array));
            let body = format!("{{\"ids\":{bad}}}");
            assert_eq!(refused(list(json(&body))), with("invalid_ids", array));
        }
        assert_eq!(
            refused(list(form(r#"ids=["a","b","c"]"#))),
            with("invalid_ids", "ids must be at most 2 texts, found 3")
        );
    }
}
