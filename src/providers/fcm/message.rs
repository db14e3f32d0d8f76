//! Messages of FCM's HTTP v1 API, each to one target.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::providers::json::{self, Member, Object};

/// A message, ready to be sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    content: Content,
    validate_only: bool,
    /// Send it again when its answer was lost, though the person may be notified twice.
    pub at_least_once: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Content {
    /// Put together by us: the other members of the object, each with a comma before it, are
    /// shared by all the targets of a call.
    Parts { target: Target, members: Arc<str> },
    /// Given as a whole, and sent byte for byte.
    Whole { message: Object, token: Option<String> },
}

/// To whom one message goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// An expression over topics.
    Condition(String),
    /// A Firebase installation id.
    Fid(String),
    /// A registration token; FCM takes a Firebase installation id here as well.
    Token(String),
    /// The name of a topic, without `/topics/`.
    Topic(String),
}

/// The name under which a device is addressed: Google began to replace `token` by `fid` in 2026.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FcmTarget {
    /// By what the token looks like.
    Auto,
    /// `fid`.
    Fid,
    /// `token`, which takes both for the time being.
    #[default]
    Token,
}

impl FcmTarget {
    /// Reads the word that parameters and configuration use.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "auto" => Some(Self::Auto),
            "fid" => Some(Self::Fid),
            "token" => Some(Self::Token),
            _ => None,
        }
    }

    /// The target for this token.
    #[must_use]
    pub fn of(self, token: String) -> Target {
        match self {
            Self::Fid => Target::Fid(token),
            Self::Auto if is_fid(&token) => Target::Fid(token),
            Self::Auto | Self::Token => Target::Token(token),
        }
    }
}

/// 22 characters, of which the first holds four fixed bits (npm `@firebase/installations`).
fn is_fid(token: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    token.len() == 22 && token.starts_with(['c', 'd', 'e', 'f']) && token.bytes().all(known)
}

impl Target {
    fn name_and_value(&self) -> (&'static str, &str) {
        match self {
            Self::Condition(condition) => ("condition", condition),
            Self::Fid(fid) => ("fid", fid),
            Self::Token(token) => ("token", token),
            Self::Topic(topic) => ("topic", topic),
        }
    }
}

impl Message {
    /// A message for one target. `members` is what stands behind the target in the object.
    pub(super) fn new(
        target: Target,
        members: &Arc<str>,
        validate_only: bool,
        at_least_once: bool,
    ) -> Self {
        let content = Content::Parts { target, members: Arc::clone(members) };
        Self { content, validate_only, at_least_once }
    }

    /// A message that the caller wrote in the words of FCM v1.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence that starts with its name.
    pub fn whole(
        message: Object,
        validate_only: bool,
        at_least_once: bool,
    ) -> Result<Self, &'static str> {
        let token = check_whole(&message)?;
        let content = Content::Whole { message, token };
        Ok(Self { content, validate_only, at_least_once })
    }

    /// The device that it is for; `None` for topics and conditions.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        match &self.content {
            Content::Whole { token, .. } => token.as_deref(),
            Content::Parts { target: Target::Fid(token) | Target::Token(token), .. } => Some(token),
            Content::Parts { target: Target::Condition(_) | Target::Topic(_), .. } => None,
        }
    }

    /// What of it the whole message says about its own data, for the checks that Google's answer
    /// would not tell apart.
    pub(super) fn whole_data(&self) -> Option<Object> {
        let Content::Whole { message, .. } = &self.content else { return None };
        let members = message.members();
        let data = members.iter().rfind(|member| member.name() == "data")?;
        Object::from_checked(data.value.to_owned()).ok()
    }

    /// The body of `messages:send`.
    pub(super) fn body(&self) -> Bytes {
        let mut body = String::from("{\"message\":");
        match &self.content {
            Content::Whole { message, .. } => body.push_str(message.as_str()),
            Content::Parts { target, members } => {
                let (name, value) = target.name_and_value();
                body.push_str(&format!("{{\"{name}\":{}{members}}}", json::quoted(value)));
            }
        }
        body.push_str(if self.validate_only { ",\"validate_only\":true}" } else { "}" });
        Bytes::from(body)
    }
}

/// What Google would answer with a word that says nothing. Gives the device, if it is for one.
fn check_whole(message: &Object) -> Result<Option<String>, &'static str> {
    const TARGETS: &[&str] = &["fid", "token", "topic", "condition"];
    let members = message.members();
    let named = |names: &[&str]| {
        let is_named = |member: &&Member<'_>| names.contains(&member.name().as_ref());
        members.iter().filter(is_named).collect::<Vec<_>>()
    };
    let [target] = named(TARGETS)[..] else {
        return Err("must have exactly one of fid, token, topic and condition");
    };
    let Some(value) = text(target.value).filter(|value| !value.is_empty()) else {
        return Err("must have a target that is text and not empty");
    };
    let is_topic = target.name() == "topic";
    if is_topic && value.starts_with("/topics/") {
        return Err("must name its topic without /topics/");
    }
    if !named(&["android"]).is_empty() && !named(&["android_v2", "androidV2"]).is_empty() {
        return Err("must not have both android and android_v2");
    }
    for data in named(&["data"]) {
        let values = json::members(data.value);
        if !values.is_some_and(|values| values.iter().all(|m| text(m.value).is_some())) {
            return Err("must have data whose values are all text; write others as text");
        }
    }
    let is_device = matches!(&*target.name(), "fid" | "token");
    Ok(is_device.then_some(value))
}

fn text(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> Result<Message, &'static str> {
        let object = Object::parse(text).unwrap_or_else(|error| panic!("{error}"));
        Message::whole(object, true, false)
    }

    #[test]
    fn a_whole_message_keeps_its_bytes() {
        let text = r#"{ "token":"t","data":{"a":"1" },"android":{"ttl":"1.50s"},"new":[1.0] }"#;

        let message = whole(text);

        let body = message.as_ref().map(Message::body).unwrap_or_default();
        assert_eq!(body, format!("{{\"message\":{text},\"validate_only\":true}}"));
        assert_eq!(message.as_ref().map(Message::token), Ok(Some("t")));
    }

    #[test]
    fn a_whole_message_is_checked() {
        let one = "must have exactly one of fid, token, topic and condition";
        let data = "must have data whose values are all text; write others as text";
        for (text, problem) in [
            ("{}", one),
            (r#"{"token":"t","topic":"x"}"#, one),
            (r#"{"token":"t","token":"u"}"#, one),
            (r#"{"token":7}"#, "must have a target that is text and not empty"),
            (r#"{"token":""}"#, "must have a target that is text and not empty"),
            (r#"{"topic":"/topics/x"}"#, "must name its topic without /topics/"),
            (r#"{"fid":"f","data":{"a":1}}"#, data),
            (r#"{"fid":"f","data":[]}"#, data),
            (
                r#"{"condition":"c","android":{},"androidV2":{}}"#,
                "must not have both android and android_v2",
            ),
        ] {
            assert_eq!(whole(text), Err(problem), "{text}");
        }
        assert_eq!(whole(r#"{"topic":"x"}"#).map(|m| m.token().is_none()), Ok(true));
    }

    #[test]
    fn a_fid_is_told_by_its_looks() {
        let fid = "cA1_-567890123456789ab";
        let token = "cA1_-567890123456789ab:APA91bExample";

        assert_eq!(FcmTarget::Auto.of(fid.to_owned()), Target::Fid(fid.to_owned()));
        assert_eq!(FcmTarget::Auto.of(token.to_owned()), Target::Token(token.to_owned()));
        assert_eq!(FcmTarget::Token.of(fid.to_owned()), Target::Token(fid.to_owned()));
        assert_eq!(FcmTarget::Fid.of(token.to_owned()), Target::Fid(token.to_owned()));
        assert!(!is_fid("aA1_-567890123456789ab") && !is_fid("cA1+-567890123456789ab"));
    }
}
