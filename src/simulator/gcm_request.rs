//! A call to the legacy GCM endpoint, read and checked.

use serde::Deserialize;
use serde_json::{Map, Value};

const RECIPIENTS_MAX: usize = 1_000;
const DATA_BYTES_MAX: usize = 4_096;
const TOPIC_DATA_BYTES_MAX: usize = 2_048;
/// Four weeks.
const TIME_TO_LIVE_SECS_MAX: i64 = 2_419_200;

/// A call that could be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) target: Target,
    pub(super) collapse_key: Option<String>,
    pub(super) priority: Option<String>,
    pub(super) time_to_live: Option<i64>,
    pub(super) dry_run: bool,
    /// The error that every recipient gets.
    pub(super) fault: Option<&'static str>,
}

/// To whom.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Registration tokens, in the caller's order. No target at all is one token of no letters.
    Recipients(Vec<String>),
    /// `/topics/NAME` or a condition.
    Topic(String),
}

/// Of the many fields of a call those that decide something here; the others may be anything.
#[derive(Deserialize)]
struct Body {
    registration_ids: Option<Vec<String>>,
    to: Option<String>,
    condition: Option<String>,
    collapse_key: Option<String>,
    priority: Option<String>,
    time_to_live: Option<i64>,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    data: Map<String, Value>,
}

impl Message {
    /// Reads JSON. The error is the text of a 400.
    pub(super) fn from_json(body: &[u8]) -> Result<Self, String> {
        let body: Body =
            serde_json::from_slice(body).map_err(|error| format!("JSON_PARSING_ERROR: {error}"))?;
        let is_doubled = body.registration_ids.is_some() && body.to.is_some()
            || body.condition.is_some() && (body.registration_ids.is_some() || body.to.is_some());
        if is_doubled {
            return Err("Must use either \"registration_ids\", \"to\" or \"condition\"".to_owned());
        }
        let target = match (body.registration_ids, body.to, body.condition) {
            (Some(tokens), _, _) if tokens.is_empty() => {
                return Err("\"registration_ids\" field cannot be empty".to_owned());
            }
            (Some(tokens), _, _) if tokens.len() > RECIPIENTS_MAX => {
                let count = tokens.len();
                return Err(format!(
                    "Number of messages on bulk ({count}) exceeds maximum allowed ({RECIPIENTS_MAX})"
                ));
            }
            (Some(tokens), _, _) => Target::Recipients(tokens),
            (None, Some(to), _) if to.starts_with("/topics/") => Target::Topic(to),
            (None, Some(to), _) => Target::Recipients(vec![to]),
            (None, None, Some(condition)) => Target::Topic(condition),
            (None, None, None) => Target::Recipients(vec![String::new()]),
        };
        let fault = fault(&target, &body.data, body.time_to_live);
        Ok(Self {
            target,
            collapse_key: body.collapse_key,
            priority: body.priority,
            time_to_live: body.time_to_live,
            dry_run: body.dry_run,
            fault,
        })
    }

    /// Reads a form, "plain text" in Google's words. The error is the text of a 400.
    pub(super) fn from_form(body: &[u8]) -> Result<Self, String> {
        let mut token = String::new();
        let mut message = Self {
            target: Target::Recipients(Vec::new()),
            collapse_key: None,
            priority: None,
            time_to_live: None,
            dry_run: false,
            fault: None,
        };
        let mut data = Map::new();
        for (name, value) in url::form_urlencoded::parse(body) {
            match name.as_ref() {
                "registration_id" => token = value.into_owned(),
                "collapse_key" => message.collapse_key = Some(value.into_owned()),
                "time_to_live" => {
                    let secs = value.parse().map_err(|_| "time_to_live is not a number")?;
                    message.time_to_live = Some(secs);
                }
                "dry_run" => message.dry_run = matches!(value.as_ref(), "1" | "true"),
                other => {
                    if let Some(key) = other.strip_prefix("data.") {
                        data.insert(key.to_owned(), Value::String(value.into_owned()));
                    }
                }
            }
        }
        message.target = Target::Recipients(vec![token]);
        message.fault = fault(&message.target, &data, message.time_to_live);
        Ok(message)
    }
}

fn fault(
    target: &Target,
    data: &Map<String, Value>,
    time_to_live: Option<i64>,
) -> Option<&'static str> {
    let data_bytes_max = match target {
        Target::Recipients(tokens) if tokens.iter().all(String::is_empty) => {
            return Some("MissingRegistration");
        }
        Target::Recipients(_) => DATA_BYTES_MAX,
        Target::Topic(_) => TOPIC_DATA_BYTES_MAX,
    };
    if data.keys().any(|key| is_reserved(key)) {
        return Some("InvalidDataKey");
    }
    if time_to_live.is_some_and(|secs| !(0..=TIME_TO_LIVE_SECS_MAX).contains(&secs)) {
        return Some("InvalidTtl");
    }
    let size = |value: &Value| match value {
        Value::String(text) => text.len(),
        other => other.to_string().len(),
    };
    let data_bytes: usize = data.iter().map(|(key, value)| key.len() + size(value)).sum();
    (data_bytes > data_bytes_max).then_some("MessageTooBig")
}

/// `google` is a prefix; the last two came with FCM.
fn is_reserved(key: &str) -> bool {
    key.starts_with("google") || matches!(key, "from" | "gcm" | "message_type")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]
mod tests {
    use serde_json::json;

    use super::*;

    fn fault_of(body: &Value) -> Option<&'static str> {
        Message::from_json(body.to_string().as_bytes()).unwrap().fault
    }

    fn refusal_of(body: &Value) -> String {
        Message::from_json(body.to_string().as_bytes()).unwrap_err()
    }

    #[test]
    fn limits_of_the_data() {
        let with =
            |to: &str, size: usize| fault_of(&json!({"to": to, "data": {"k": "x".repeat(size)}}));

        assert_eq!(with("42", 4_095), None);
        assert_eq!(with("42", 4_096), Some("MessageTooBig"));
        assert_eq!(with("/topics/a", 2_047), None);
        assert_eq!(with("/topics/a", 2_048), Some("MessageTooBig"));
    }

    #[test]
    fn keys_that_google_keeps() {
        for key in ["from", "google", "google.x", "googler", "gcm", "message_type"] {
            assert_eq!(fault_of(&json!({"to": "42", "data": {key: 1}})), Some("InvalidDataKey"));
        }
        assert_eq!(fault_of(&json!({"to": "42", "data": {"collapse_key": 1}})), None);
    }

    #[test]
    fn limits_of_the_time_to_live() {
        let with = |secs: i64| fault_of(&json!({"to": "42", "time_to_live": secs}));

        assert_eq!(with(0), None);
        assert_eq!(with(2_419_200), None);
        assert_eq!(with(2_419_201), Some("InvalidTtl"));
        assert_eq!(with(-1), Some("InvalidTtl"));
    }

    #[test]
    fn what_is_not_a_call() {
        assert_eq!(
            refusal_of(&json!({"registration_ids": []})),
            "\"registration_ids\" field cannot be empty"
        );
        assert_eq!(
            refusal_of(&json!({"registration_ids": vec!["a"; 1_001]})),
            "Number of messages on bulk (1001) exceeds maximum allowed (1000)"
        );
        assert_eq!(
            refusal_of(&json!({"registration_ids": ["a"], "to": "b"})),
            "Must use either \"registration_ids\", \"to\" or \"condition\""
        );
        for wrong in [json!([]), json!({"to": 1}), json!({"to": "a", "data": "text"})] {
            assert!(refusal_of(&wrong).starts_with("JSON_PARSING_ERROR: "), "{wrong}");
        }
        assert_eq!(fault_of(&json!({})), Some("MissingRegistration"));
    }

    #[test]
    fn forms_have_one_recipient() {
        let message = Message::from_form(b"registration_id=4%202&data.k=v&dry_run=1").unwrap();

        assert_eq!(message.target, Target::Recipients(vec!["4 2".to_owned()]));
        assert!(message.dry_run);
        assert_eq!(message.fault, None);
        assert_eq!(Message::from_form(b"").unwrap().fault, Some("MissingRegistration"));
    }
}
