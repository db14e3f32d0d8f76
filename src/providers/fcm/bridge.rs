//! From the words of the legacy protocol to messages of FCM v1, one for each target.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::message::{FcmTarget, Message, Target};
use crate::providers::json::{self, Object};
use crate::providers::legacy::{self, Draft, Priority};

/// Google's limit for keys and values of `data` together, in bytes; half of it for topics.
const MAX_DATA_BYTES: usize = 4_096;
const MAX_TOPIC_DATA_BYTES: usize = 2_048;
const TOPICS: &str = "/topics/";

/// What becomes of a call.
#[derive(Debug, PartialEq)]
pub enum Plan {
    /// Each row is refused with the legacy protocol's word, and nothing is sent: Google would
    /// answer so, or with a word that says nothing.
    Refuse {
        /// How many rows there are.
        rows: usize,
        /// The word.
        error: &'static str,
    },
    /// One message for each row.
    Send(Vec<Message>),
}

/// Why a notification cannot be: the end of a sentence that starts with its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidNotification(String);

impl fmt::Display for InvalidNotification {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for InvalidNotification {}

impl Plan {
    /// The messages of a call in legacy words. `now` is what a time to live counts from.
    ///
    /// # Errors
    /// [`InvalidNotification`].
    pub fn of_draft(
        draft: Draft,
        fcm_target: FcmTarget,
        now: SystemTime,
    ) -> Result<Self, InvalidNotification> {
        let mut parts = Parts::default();
        if let Some(notification) = &draft.notification {
            parts.add_notification(notification)?;
        }
        parts.add_options(&draft, now);
        let targets: Vec<Target> = match draft.target {
            legacy::Target::Condition(condition) => vec![Target::Condition(condition)],
            legacy::Target::RegistrationIds(tokens) => {
                tokens.into_iter().map(|token| fcm_target.of(token)).collect()
            }
            legacy::Target::To(to) => match to.strip_prefix(TOPICS) {
                Some(topic) => vec![Target::Topic(topic.to_owned())],
                None => vec![fcm_target.of(to)],
            },
        };
        let is_topic = targets.iter().any(|t| matches!(t, Target::Condition(_) | Target::Topic(_)));
        if let Some(error) = draft.data.as_ref().and_then(|data| data_error(data, is_topic)) {
            return Ok(Self::Refuse { rows: targets.len(), error });
        }
        let members: Arc<str> = parts.into_members(draft.data.as_ref()).into();
        let (dry_run, at_least_once) = (draft.dry_run, draft.at_least_once);
        let message = |target| Message::new(target, &members, dry_run, at_least_once);
        Ok(Self::Send(targets.into_iter().map(message).collect()))
    }

    /// The plan for a message in the words of FCM v1.
    #[must_use]
    pub fn of_whole(message: Message) -> Self {
        let is_topic = message.token().is_none();
        match message.whole_data().and_then(|data| data_error(&data, is_topic)) {
            Some(error) => Self::Refuse { rows: 1, error },
            None => Self::Send(vec![message]),
        }
    }
}

/// The word for data that Google would refuse.
fn data_error(data: &Object, is_topic: bool) -> Option<&'static str> {
    let mut bytes = 0_usize;
    for member in data.members() {
        let name = member.name();
        // `from` to `gcm` by the legacy reference, the prefixes by that of v1.
        let is_reserved = matches!(&*name, "from" | "gcm" | "message_type")
            || ["google", "gcm."].iter().any(|prefix| name.starts_with(prefix));
        if is_reserved {
            return Some("InvalidDataKey");
        }
        bytes = bytes.saturating_add(name.len()).saturating_add(as_text(member.value).len());
    }
    let most = if is_topic { MAX_TOPIC_DATA_BYTES } else { MAX_DATA_BYTES };
    (bytes > most).then_some("MessageTooBig")
}

/// v1 takes text alone: text as it is, everything else as compact JSON.
fn as_text(value: &RawValue) -> String {
    match json::kind(value) {
        "string" => serde_json::from_str(value.get()).unwrap_or_default(),
        "array" | "object" => json::compact(value.get()),
        _ => value.get().to_owned(),
    }
}

/// The objects of a v1 message, as far as a call fills them.
#[derive(Default)]
struct Parts {
    notification: Map<String, Value>,
    android: Map<String, Value>,
    android_notification: Map<String, Value>,
    aps: Map<String, Value>,
    aps_alert: Map<String, Value>,
    apns_headers: Map<String, Value>,
    webpush_headers: Map<String, Value>,
}

/// Members of `notification` that v1 has for Android alone, and their names there.
const ANDROID: &[(&str, &str)] = &[
    ("android_channel_id", "channel_id"),
    ("body_loc_key", "body_loc_key"),
    ("click_action", "click_action"),
    ("color", "color"),
    ("icon", "icon"),
    ("sound", "sound"),
    ("tag", "tag"),
    ("title_loc_key", "title_loc_key"),
];
/// Members that an iPhone reads from `aps`.
const APS: &[(&str, &str)] = &[("click_action", "category"), ("sound", "sound")];
/// Members that an iPhone reads from the alert of `aps`.
const ALERT: &[(&str, &str)] =
    &[("body_loc_key", "loc-key"), ("subtitle", "subtitle"), ("title_loc_key", "title-loc-key")];
/// Lists of texts, and their names on an iPhone.
const LISTS: &[(&str, &str)] =
    &[("body_loc_args", "loc-args"), ("title_loc_args", "title-loc-args")];

impl Parts {
    /// Members that the legacy protocol did not know are left out, as Google left them out.
    fn add_notification(&mut self, notification: &Object) -> Result<(), InvalidNotification> {
        for member in notification.members() {
            let name = member.name();
            if json::kind(member.value) == "null" {
                continue;
            }
            let named = |table: &[(&'static str, &'static str)]| {
                table.iter().find(|(legacy, _)| *legacy == name).map(|(_, v1)| (*v1).to_owned())
            };
            if let Some(alert) = named(LISTS) {
                let list = Value::from(texts(&name, member.value)?);
                self.android_notification.insert(name.into_owned(), list.clone());
                self.aps_alert.insert(alert, list);
                continue;
            }
            if name == "badge" {
                let number = badge(member.value)?;
                self.android_notification.insert("notification_count".to_owned(), number.into());
                self.aps.insert("badge".to_owned(), number.into());
                continue;
            }
            let targets = [
                (named(ANDROID), &mut self.android_notification),
                (named(APS), &mut self.aps),
                (named(ALERT), &mut self.aps_alert),
                (
                    matches!(&*name, "body" | "image" | "title").then(|| name.clone().into_owned()),
                    &mut self.notification,
                ),
            ];
            for (key, object) in targets {
                if let Some(key) = key {
                    object.insert(key, scalar(&name, member.value)?.into());
                }
            }
        }
        Ok(())
    }

    fn add_options(&mut self, draft: &Draft, now: SystemTime) {
        let is_silent = draft.content_available && draft.notification.is_none();
        if let Some(key) = &draft.collapse_key {
            self.android.insert("collapse_key".to_owned(), key.as_str().into());
        }
        if let Some(name) = &draft.restricted_package_name {
            self.android.insert("restricted_package_name".to_owned(), name.as_str().into());
        }
        let apns_priority = match draft.priority {
            // Apple refuses 10 for what only wakes the app.
            Some(Priority::Normal) => Some("5"),
            Some(Priority::High) if !is_silent => Some("10"),
            Some(Priority::High) => Some("5"),
            None => is_silent.then_some("5"),
        };
        if let Some(priority) = draft.priority {
            let word = match priority {
                Priority::High => "HIGH",
                Priority::Normal => "NORMAL",
            };
            self.android.insert("priority".to_owned(), word.into());
        }
        if let Some(priority) = apns_priority {
            self.apns_headers.insert("apns-priority".to_owned(), priority.into());
        }
        if let Some(secs) = draft.time_to_live_secs {
            self.android.insert("ttl".to_owned(), format!("{secs}s").into());
            let until = now + Duration::from_secs(secs.into());
            let until = until.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            // Apple's word for "now or never" is 0.
            let expiration = if secs == 0 { 0 } else { until };
            let headers = &mut self.apns_headers;
            headers.insert("apns-expiration".to_owned(), expiration.to_string().into());
            self.webpush_headers.insert("TTL".to_owned(), secs.to_string().into());
        }
        for (flag, name) in [
            (draft.content_available, "content-available"),
            (draft.mutable_content, "mutable-content"),
        ] {
            if flag {
                self.aps.insert(name.to_owned(), 1.into());
            }
        }
    }

    /// The members of the message, each with a comma before it.
    fn into_members(mut self, data: Option<&Object>) -> String {
        let mut members = String::new();
        if let Some(data) = data {
            members.push_str(",\"data\":");
            members.push_str(&text_map(data));
        }
        let mut alert = self.aps_alert;
        if !alert.is_empty() {
            // An alert of one's own takes the place of the one that FCM would make.
            for name in ["body", "title"] {
                if let Some(text) = self.notification.get(name) {
                    alert.insert(name.to_owned(), text.clone());
                }
            }
            self.aps.insert("alert".to_owned(), alert.into());
        }
        if !self.android_notification.is_empty() {
            self.android.insert("notification".to_owned(), self.android_notification.into());
        }
        let mut apns = Map::new();
        if !self.apns_headers.is_empty() {
            apns.insert("headers".to_owned(), self.apns_headers.into());
        }
        if !self.aps.is_empty() {
            apns.insert("payload".to_owned(), json!({ "aps": self.aps }));
        }
        let mut webpush = Map::new();
        if !self.webpush_headers.is_empty() {
            webpush.insert("headers".to_owned(), self.webpush_headers.into());
        }
        for (name, object) in [
            ("notification", self.notification),
            ("android", self.android),
            ("apns", apns),
            ("webpush", webpush),
        ] {
            if !object.is_empty() {
                members.push_str(&format!(",\"{name}\":{}", Value::from(object)));
            }
        }
        members
    }
}

/// The payload with all values as text, in their order. Of a key that stands twice the last value
/// counts, as it does for Google.
fn text_map(data: &Object) -> String {
    let members = data.members();
    let mut written = Vec::with_capacity(members.len());
    for (place, member) in members.iter().enumerate() {
        let name = member.name();
        let is_last = members.iter().skip(place.saturating_add(1)).all(|m| m.name() != name);
        if is_last {
            let value = as_text(member.value);
            written.push(format!("{}:{}", member.key.get(), json::quoted(&value)));
        }
    }
    format!("{{{}}}", written.join(","))
}

/// Text, or a number or boolean as text.
fn scalar(name: &str, value: &RawValue) -> Result<String, InvalidNotification> {
    match json::kind(value) {
        "array" | "object" => Err(not("text", name, value)),
        _ => Ok(as_text(value)),
    }
}

/// A list of texts, or the text of one, as the legacy protocol had it.
fn texts(name: &str, value: &RawValue) -> Result<Vec<String>, InvalidNotification> {
    let spelt = match json::kind(value) {
        "string" => as_text(value),
        _ => value.get().to_owned(),
    };
    let list: Vec<Box<RawValue>> =
        serde_json::from_str(&spelt).map_err(|_| not("a list of texts", name, value))?;
    list.iter().map(|item| scalar(name, item)).collect()
}

/// The number on the icon, which the legacy protocol wrote as text.
fn badge(value: &RawValue) -> Result<u32, InvalidNotification> {
    let number = as_text(value).parse().ok().filter(|number| *number <= i32::MAX.unsigned_abs());
    number.ok_or_else(|| not("a whole number from 0 to 2147483647", "badge", value))
}

fn not(expected: &str, name: &str, found: &RawValue) -> InvalidNotification {
    let found = json::kind(found);
    InvalidNotification(format!("must have {expected} as `{name}`, found {found}"))
}
