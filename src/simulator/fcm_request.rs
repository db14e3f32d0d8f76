//! A call to FCM v1, read and checked as Google does (REST resource `projects.messages`).

use serde_json::{Map, Value};

use super::fcm_error::Refusal;

/// What a field may hold.
#[derive(Clone, Copy)]
enum Kind {
    Bool,
    Number,
    Object(&'static [(&'static str, Self)]),
    /// Any object.
    Struct,
    Text,
    TextMap,
    Texts,
    Word(&'static [&'static str]),
}

use Kind::{Bool, Number, Object, Struct, Text, TextMap, Texts, Word};

const ANALYTICS: Kind = Object(&[("analytics_label", Text)]);

#[rustfmt::skip]
const ANDROID_NOTIFICATION: &[(&str, Kind)] = &[
    ("id", Number), ("title", Text), ("body", Text), ("icon", Text), ("color", Text),
    ("sound", Text), ("tag", Text), ("click_action", Text), ("body_loc_key", Text),
    ("body_loc_args", Texts), ("title_loc_key", Text), ("title_loc_args", Texts),
    ("channel_id", Text), ("ticker", Text), ("sticky", Bool), ("event_time", Text),
    ("local_only", Bool), ("notification_priority", Text), ("default_sound", Bool),
    ("default_vibrate_timings", Bool), ("default_light_settings", Bool),
    ("vibrate_timings", Texts), ("visibility", Word(&["VISIBILITY_UNSPECIFIED", "PRIVATE", "PUBLIC", "SECRET"])),
    ("notification_count", Number), ("light_settings", Struct), ("image", Text), ("proxy", Text),
    ("bypass_proxy_notification", Bool),
];

#[rustfmt::skip]
const ANDROID: &[(&str, Kind)] = &[
    ("collapse_key", Text), ("priority", Word(&["NORMAL", "HIGH"])), ("ttl", Text),
    ("restricted_package_name", Text), ("data", TextMap),
    ("notification", Object(ANDROID_NOTIFICATION)), ("fcm_options", ANALYTICS),
    ("direct_boot_ok", Bool), ("bandwidth_constrained_ok", Bool),
    ("restricted_satellite_ok", Bool),
];

#[rustfmt::skip]
const MESSAGE: &[(&str, Kind)] = &[
    ("name", Text), ("fid", Text), ("token", Text), ("topic", Text), ("condition", Text),
    ("data", TextMap), ("fcm_options", ANALYTICS),
    ("notification", Object(&[("title", Text), ("body", Text), ("image", Text)])),
    ("android", Object(ANDROID)), ("android_v2", Struct),
    ("apns", Object(&[
        ("headers", TextMap), ("payload", Struct), ("live_activity_token", Text),
        ("fcm_options", Object(&[("analytics_label", Text), ("image", Text)])),
    ])),
    ("webpush", Object(&[
        ("headers", TextMap), ("data", TextMap), ("notification", Struct),
        ("fcm_options", Object(&[("link", Text), ("analytics_label", Text)])),
    ])),
];

const REQUEST: &[(&str, Kind)] = &[("message", Object(MESSAGE)), ("validate_only", Bool)];
const DATA_BYTES_MAX: usize = 4_096;
/// Four weeks.
const TTL_SECS_MAX: f64 = 2_419_200.0;

/// A call that Google would take.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// The device, topic or condition.
    pub(super) target: String,
    pub(super) is_topic: bool,
    pub(super) validate_only: bool,
    pub(super) priority: Option<String>,
    pub(super) ttl: Option<String>,
    pub(super) collapse_key: Option<String>,
}

impl Message {
    pub(super) fn read(body: &[u8]) -> Result<Self, Refusal> {
        let Ok(Value::Object(call)) = serde_json::from_slice(body) else {
            return Err(Refusal::field("", "Invalid JSON payload received."));
        };
        check_object(&call, REQUEST, "")?;
        let Some(Value::Object(message)) = get(&call, "message") else {
            return Err(Refusal::field("message", "Message is not set."));
        };
        let targets: Vec<_> = ["fid", "token", "topic", "condition"]
            .into_iter()
            .filter_map(|name| Some((name, get(message, name)?.as_str()?)))
            .collect();
        let [(name, target)] = targets[..] else {
            let problem = if targets.is_empty() {
                "Recipient of the message is not set."
            } else {
                "oneof field 'target' is already set. Cannot set another one"
            };
            return Err(Refusal::field("message", problem));
        };
        let android = get(message, "android").and_then(Value::as_object);
        if android.is_some() && get(message, "android_v2").is_some() {
            return Err(Refusal::field("message.android_v2", "android and android_v2 are set"));
        }
        check_topic(name, target)?;
        check_data(message)?;
        let option = |name| Some(get(android?, name)?.as_str()?.to_owned());
        let ttl = option("ttl");
        if let Some(ttl) = &ttl {
            check_ttl(ttl)?;
        }
        Ok(Self {
            target: target.to_owned(),
            is_topic: matches!(name, "topic" | "condition"),
            validate_only: get(&call, "validate_only") == Some(&Value::Bool(true)),
            priority: option("priority"),
            ttl,
            collapse_key: option("collapse_key"),
        })
    }
}

fn check_topic(name: &str, target: &str) -> Result<(), Refusal> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~%".contains(&byte);
    if name == "topic" && (target.is_empty() || !target.bytes().all(known)) {
        return Err(Refusal::field("message.topic", "Malformed topic name"));
    }
    Ok(())
}

fn check_data(message: &Map<String, Value>) -> Result<(), Refusal> {
    let data = get(message, "data").and_then(Value::as_object);
    let mut bytes = 0_usize;
    for (key, value) in data.into_iter().flatten() {
        let is_reserved = matches!(key.as_str(), "from" | "message_type")
            || ["google.", "gcm.notification."].iter().any(|prefix| key.starts_with(prefix));
        if is_reserved {
            let problem = format!("Invalid data payload key: {key}");
            return Err(Refusal::field("message.data", &problem));
        }
        bytes = bytes.saturating_add(key.len()).saturating_add(value.as_str().map_or(0, str::len));
    }
    if bytes > DATA_BYTES_MAX {
        let message = "Request contains an invalid argument.";
        return Err(Refusal::new(400, "INVALID_ARGUMENT", message, Vec::new()));
    }
    Ok(())
}

/// A duration such as `3.5s`.
fn check_ttl(ttl: &str) -> Result<(), Refusal> {
    let secs = ttl.strip_suffix('s').and_then(|secs| secs.parse::<f64>().ok());
    if secs.is_some_and(|secs| (0.0..=TTL_SECS_MAX).contains(&secs)) {
        return Ok(());
    }
    Err(Refusal::field("message.android.ttl", "Illegal duration"))
}

fn check_object(
    object: &Map<String, Value>,
    fields: &[(&str, Kind)],
    path: &str,
) -> Result<(), Refusal> {
    for (name, value) in object {
        let Some((_, kind)) = fields.iter().find(|(known, _)| is_spelling(name, known)) else {
            let problem = format!(
                "Invalid JSON payload received. Unknown name \"{name}\" at '{path}': Cannot find \
                 field."
            );
            return Err(Refusal::field(path, &problem));
        };
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        check_value(value, *kind, &path)?;
    }
    Ok(())
}

fn check_value(value: &Value, kind: Kind, path: &str) -> Result<(), Refusal> {
    let fits = match (kind, value) {
        (Object(fields), Value::Object(object)) => return check_object(object, fields, path),
        (_, Value::Null)
        | (Bool, Value::Bool(_))
        | (Number, Value::Number(_))
        | (Struct, Value::Object(_))
        | (Text, Value::String(_)) => true,
        (TextMap, Value::Object(map)) => map.values().all(Value::is_string),
        (Texts, Value::Array(list)) => list.iter().all(Value::is_string),
        (Word(words), Value::String(word)) => {
            words.iter().any(|known| word.eq_ignore_ascii_case(known))
        }
        _ => false,
    };
    let problem = || Refusal::field(path, &format!("Invalid value at '{path}'"));
    if fits { Ok(()) } else { Err(problem()) }
}

/// Google reads both spellings of a name.
fn get<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let found = object.iter().find(|(given, _)| is_spelling(given, name));
    found.map(|(_, value)| value).filter(|value| !value.is_null())
}

/// `snake_case` as in the documents, or the `camelCase` of proto3's JSON.
fn is_spelling(given: &str, name: &str) -> bool {
    let mut camel = String::with_capacity(name.len());
    for part in name.split('_') {
        match part.chars().next() {
            Some(first) if !camel.is_empty() => {
                camel.push(first.to_ascii_uppercase());
                camel.push_str(part.get(1..).unwrap_or_default());
            }
            _ => camel.push_str(part),
        }
    }
    given == name || given == camel
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(message: &Value) -> Option<(u16, String)> {
        let body = json!({ "message": message }).to_string();
        Message::read(body.as_bytes()).err().map(|refusal| (refusal.status, refusal.reason))
    }

    #[test]
    fn what_google_takes_is_taken_in_both_spellings() {
        for message in [
            json!({"token": "t", "data": {"a": "1"}}),
            json!({"topic": "news", "android": {"ttl": "1.5s", "priority": "high"}}),
            json!({"fid": "f", "android": {"collapseKey": "c", "directBootOk": true}}),
            json!({"condition": "'a' in topics", "apns": {"payload": {"aps": {}}}}),
        ] {
            assert_eq!(refused(&message), None, "{message}");
        }
    }

    #[test]
    fn what_google_refuses_is_refused() {
        for message in [
            json!({}),
            json!({"token": "t", "topic": "x"}),
            json!({"token": "t", "to": "x"}),
            json!({"token": "t", "data": {"a": 1}}),
            json!({"token": "t", "data": {"from": "1"}}),
            json!({"token": "t", "data": {"a": "x".repeat(4_096)}}),
            json!({"token": "t", "android": {"ttl": 5}}),
            json!({"token": "t", "android": {"ttl": "2419201s"}}),
            json!({"token": "t", "android": {"priority": "urgent"}}),
            json!({"token": "t", "android": {}, "androidV2": {}}),
            json!({"topic": "/topics/x"}),
        ] {
            let expected = Some((400, "INVALID_ARGUMENT".to_owned()));
            assert_eq!(refused(&message), expected, "{message}");
        }
        assert!(Message::read(b"{").is_err());
    }
}
