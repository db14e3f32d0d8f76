//! From the parameters of a send to the draft of a message for Apple.

use uuid::Uuid;

use super::error::ApiError;
use super::live_activity::live_activity;
use super::params::Params;
use crate::providers::apns::channels::ChannelId;
use crate::providers::apns::device_token::DeviceToken;
use crate::providers::apns::live_activity::Event;
use crate::providers::apns::message::{Draft, Expiration, MessageId, Priority, Target};
use crate::providers::apns::payload::{Content, InterruptionLevel, Parts};

/// What a whole `payload` excludes.
const PARTS: &[&str] = &[
    "alert",
    "title",
    "subtitle",
    "badge",
    "sound",
    "category",
    "thread_id",
    "content_available",
    "mutable_content",
    "interruption_level",
    "relevance_score",
    "target_content_id",
    "data",
    "event",
    "content_state",
    "attributes",
    "attributes_type",
    "dismissal_date",
    "input_push_channel",
    "input_push_token",
    "stale_date",
    "timestamp",
];

/// The parameters of a send that only Apple's service has; those that Google's has too are
/// `device_token`, `alert`, `title`, `badge`, `sound`, `data`, `at_least_once`,
/// `content_available`, `mutable_content` and `priority`.
pub const APNS_ONLY: &[&str] = &[
    "apns_id",
    "attributes",
    "attributes_type",
    "category",
    "channel_id",
    "collapse_id",
    "content_state",
    "dismissal_date",
    "event",
    "expiration",
    "identifier",
    "input_push_channel",
    "input_push_token",
    "interruption_level",
    "payload",
    "push_type",
    "relevance_score",
    "stale_date",
    "subtitle",
    "target_content_id",
    "thread_id",
    "timestamp",
    "topic",
    "ttl",
];

const MAX_INT: u64 = i32::MAX as u64;

/// Takes the values of a message for Apple out of the parameters. What is left is not Apple's.
///
/// # Errors
///
/// `conflicting_parameters`, `device_token_required`, `invalid_data_json`, `invalid_request` and
/// `invalid_<parameter>` of each.
pub fn apns_draft(params: &mut Params) -> Result<Draft, ApiError> {
    params.check_excluded("payload", PARTS)?;
    params.check_excluded("expiration", &["ttl"])?;
    // Apple has no such header for a channel.
    params.check_excluded("channel_id", &["device_token", "collapse_id"])?;
    let target = target(params)?;
    let content = content(params)?;
    if matches!(target, Target::Channel(_)) {
        refuse_start(&content)?;
    }
    Ok(Draft {
        target,
        content,
        topic: params.text("topic")?,
        push_type: params.text("push_type")?,
        priority: priority(params)?,
        expiration: expiration(params)?,
        collapse_id: params.text("collapse_id")?,
        id: message_id(params)?,
        at_least_once: params.boolean("at_least_once")?.unwrap_or(false),
    })
}

fn target(params: &mut Params) -> Result<Target, ApiError> {
    if let Some(id) = params.text("channel_id")? {
        let channel = ChannelId::parse(id);
        let problem = "must be the base64 that Apple gave when the channel was made";
        return channel
            .map(Target::Channel)
            .ok_or_else(|| ApiError::invalid("channel_id", problem));
    }
    let device_token = params.text("device_token")?.ok_or_else(ApiError::device_token_required)?;
    Ok(Target::Device(DeviceToken::parse(device_token)?))
}

/// "You can't use broadcast push notifications to start a Live Activity."
fn refuse_start(content: &Content) -> Result<(), ApiError> {
    let event = match content {
        Content::Whole(_) => return Ok(()),
        Content::Parts(parts) => parts.live_activity.as_ref().map(|activity| &activity.event),
    };
    match event {
        Some(Event::End { .. } | Event::Update) => Ok(()),
        Some(Event::Start(_)) | None => {
            Err(ApiError::invalid("event", "must be update or end for a channel"))
        }
    }
}

fn content(params: &mut Params) -> Result<Content, ApiError> {
    if let Some(payload) = params.object("payload")? {
        return Ok(Content::Whole(payload));
    }
    let live_activity = live_activity(params)?;
    Ok(Content::Parts(Box::new(Parts {
        alert: params.text_or_object("alert")?,
        badge: small(params, "badge")?,
        category: params.text("category")?,
        content_available: params.boolean("content_available")?,
        data: params.object("data")?,
        interruption_level: params.choice(
            "interruption_level",
            "passive, active, time-sensitive or critical",
            InterruptionLevel::parse,
        )?,
        live_activity,
        mutable_content: params.boolean("mutable_content")?,
        relevance_score: params.number("relevance_score")?,
        sound: params.text_or_object("sound")?,
        subtitle: params.text("subtitle")?,
        target_content_id: params.text("target_content_id")?,
        thread_id: params.text("thread_id")?,
        title: params.text("title")?,
    })))
}

/// A number from 0 to 2³¹−1.
fn small(params: &mut Params, name: &str) -> Result<Option<u32>, ApiError> {
    Ok(params.integer(name, 0..=MAX_INT)?.and_then(|number| u32::try_from(number).ok()))
}

fn priority(params: &mut Params) -> Result<Option<Priority>, ApiError> {
    let Some(number) = params.integer("priority", 1..=10)? else { return Ok(None) };
    match Priority::parse(number) {
        Some(priority) => Ok(Some(priority)),
        None => {
            let problem = format_args!("must be 10, 5 or 1, found `{number}`");
            Err(ApiError::invalid("priority", problem))
        }
    }
}

fn expiration(params: &mut Params) -> Result<Option<Expiration>, ApiError> {
    let at = params.integer("expiration", 0..=u64::MAX)?;
    let ttl_secs = small(params, "ttl")?;
    Ok(match (at, ttl_secs) {
        (Some(unix_secs), _) => Some(Expiration::At { unix_secs }),
        (None, Some(ttl_secs)) => Some(Expiration::After { ttl_secs }),
        (None, None) => None,
    })
}

/// An `apns_id` wins over an `identifier`; each must be right all the same.
fn message_id(params: &mut Params) -> Result<Option<MessageId>, ApiError> {
    let apns_id = params.choice(
        "apns_id",
        "a UUID such as 123e4567-e89b-42d3-a456-426614174000",
        hyphenated_uuid,
    )?;
    let identifier = params.integer("identifier", 0..=u64::from(u32::MAX))?;
    let identifier = identifier.and_then(|number| u32::try_from(number).ok());
    Ok(apns_id.map(MessageId::ApnsId).or(identifier.map(MessageId::Identifier)))
}

/// The one spelling that Apple takes; the `uuid` crate reads others as well.
fn hyphenated_uuid(text: &str) -> Option<Uuid> {
    const LENGTH: usize = 36;
    Uuid::try_parse(text).ok().filter(|_| text.len() == LENGTH)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use bytes::Bytes;

    use super::*;
    use crate::api::body;
    use crate::providers::apns::message::Message;

    fn drafted(params: Result<Params, ApiError>) -> Result<Message, ApiError> {
        let draft = apns_draft(&mut params?)?;
        Ok(draft.into_message(Some("com.example.app"), UNIX_EPOCH)?)
    }

    fn form(text: &str) -> Result<Message, ApiError> {
        let text = format!("device_token=ab01&{text}");
        drafted(body::form(&Bytes::from(text)))
    }

    fn json(members: &str) -> Result<Message, ApiError> {
        drafted(body::json(format!("{{\"device_token\":\"ab01\",{members}}}").as_bytes()))
    }

    fn payload(message: Result<Message, ApiError>) -> String {
        match message {
            Ok(message) => String::from_utf8_lossy(&message.payload).into_owned(),
            Err(error) => panic!("{error}"),
        }
    }

    fn refused(message: Result<Message, ApiError>) -> (String, String) {
        message.err().map(|error| (error.code().to_owned(), error.to_string())).unwrap_or_default()
    }

    #[test]
    fn form_and_json_make_the_same_message() {
        let of_form = form(concat!(
            "alert=%7B%22body%22%3A%22b%22%7D&title=t&subtitle=s&badge=007&sound=default&category=c",
            "&thread_id=th&content_available=1&mutable_content=true&interruption_level=active",
            "&relevance_score=0.50&target_content_id=w&data=%7B%22n%22%3A1.0%7D&topic=a.b",
            "&push_type=alert&priority=5&expiration=1000000000&collapse_id=col&at_least_once=true",
            "&apns_id=123E4567-E89B-42D3-A456-426614174000&identifier=7"
        ));
        let of_json = json(
            r#""alert":{"body":"b"},"title":"t","subtitle":"s","badge":7,"sound":"default",
            "category":"c","thread_id":"th","content_available":true,"mutable_content":1,
            "interruption_level":"active","relevance_score":0.50,"target_content_id":"w",
            "data":{"n":1.0},"topic":"a.b","push_type":"alert","priority":"5",
            "expiration":1000000000,"collapse_id":"col","at_least_once":"1","identifier":"7",
            "apns_id":"123e4567-e89b-42d3-a456-426614174000""#,
        );

        assert_eq!(
            payload(of_form.clone()),
            concat!(
                r#"{"aps":{"alert":{"title":"t","subtitle":"s","body":"b"},"badge":7,"#,
                r#""sound":"default","category":"c","thread-id":"th","target-content-id":"w","#,
                r#""interruption-level":"active","content-available":1,"mutable-content":1,"#,
                r#""relevance-score":0.50},"n":1.0}"#
            )
        );
        let message = of_form.clone().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(message.apns_id.to_string(), "123e4567-e89b-42d3-a456-426614174000");
        assert_eq!((message.topic.as_str(), message.is_topic_given), ("a.b", true));
        assert_eq!(message.priority, Some(Priority::PowerAware));
        assert_eq!(message.expiration_unix_secs, Some(1_000_000_000));
        assert_eq!(message.collapse_id.as_deref(), Some("col"));
        assert!(message.at_least_once);
        assert_eq!(of_form, of_json);
    }

    #[test]
    fn nulls_and_empty_ids_are_left_out() {
        let message = json(
            r#""alert":"x","badge":null,"apns_id":"","collapse_id":"","thread_id":"",
            "target_content_id":"","data":null,"payload":null,"expiration":null,"ttl":0"#,
        );

        assert_eq!(payload(message.clone()), r#"{"aps":{"alert":"x"}}"#);
        let message = message.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((message.collapse_id, message.expiration_unix_secs), (None, Some(0)));
        assert_eq!(
            payload(form("alert=&sound=&category=")),
            r#"{"aps":{"alert":"","sound":"","category":""}}"#
        );
    }

    #[test]
    fn data_and_payload_keep_their_bytes() {
        let text = r#"{"b":1.0e2,"a":[1, 2],"n":12345678901234567890}"#;
        let expected = r#"{"aps":{},"b":1.0e2,"a":[1, 2],"n":12345678901234567890}"#;
        let quoted = text.replace('"', "\\\"");

        assert_eq!(payload(form(&format!("data={text}"))), expected);
        assert_eq!(payload(json(&format!("\"data\":{text}"))), expected);
        assert_eq!(payload(json(&format!("\"data\":\"{quoted}\""))), expected);
        assert_eq!(payload(form(&format!("payload={text}"))), text);
        assert_eq!(payload(json(&format!("\"payload\": {text}"))), text);
    }

    #[test]
    fn alert_is_text_unless_it_reads_as_an_object() {
        assert_eq!(payload(form("alert={not json}")), r#"{"aps":{"alert":"{not json}"}}"#);
        assert_eq!(payload(form("alert=[1]")), r#"{"aps":{"alert":"[1]"}}"#);
        assert_eq!(payload(form("sound= {\"critical\":1}")), r#"{"aps":{"sound":{"critical":1}}}"#);
        assert_eq!(payload(json(r#""alert":"{}""#)), r#"{"aps":{"alert":"{}"}}"#);
    }

    #[test]
    fn a_token_is_required() {
        let required = refused(Err(ApiError::device_token_required()));

        assert_eq!(refused(drafted(body::json(b"{}"))), required);
        assert_eq!(refused(drafted(body::json(b"{\"device_token\":\"\"}"))), required);
    }

    #[test]
    fn a_bad_token_is_not_repeated() {
        let message = "device_token must be 1 to 100 bytes in hexadecimal, an even number of \
                       digits; send the token that the phone registered";

        for body in ["device_token=xyz", "device_token=abc", "device_token=<>"] {
            assert_eq!(
                refused(drafted(body::form(&Bytes::from(body)))),
                ("invalid_device_token".to_owned(), message.to_owned())
            );
        }
    }

    #[test]
    fn every_parameter_refuses_what_it_is_not() {
        for (parameter, bad, problem) in BAD_VALUES {
            let rest =
                if matches!(*parameter, "alert" | "payload") { "" } else { ",\"alert\":\"x\"" };

            // It takes the place of the token.
            let message = match *parameter {
                "channel_id" => drafted(body::json(format!("{{\"channel_id\":{bad}}}").as_bytes())),
                _ => json(&format!("\"{parameter}\":{bad}{rest}")),
            };
            assert_eq!(
                refused(message),
                (format!("invalid_{parameter}"), format!("{parameter} {problem}"))
            );
        }
    }

    #[test]
    fn every_parameter_has_a_bad_value() {
        let parts = PARTS.iter().filter(|name| **name != "data");
        let shared = ["at_least_once", "content_available", "mutable_content", "priority"];
        for name in parts.chain(APNS_ONLY).chain(&shared) {
            assert!(BAD_VALUES.iter().any(|(parameter, ..)| parameter == name), "{name}");
        }
    }

    #[test]
    fn bad_data_is_told_in_the_parsers_words() {
        let of = |data: &str| {
            let (code, message) = refused(form(&format!("data={data}")));
            assert_eq!(code, "invalid_data_json");
            message
        };
        let start = "data could not be converted to json: ";

        assert_eq!(of("hello"), format!("{start}expected value at line 1 column 1"));
        assert_eq!(of(""), format!("{start}EOF while parsing a value at line 1 column 0"));
        assert_eq!(of("[1]"), format!("{start}expected an object, found array"));
        assert_eq!(of("{\"aps\":1}"), format!("{start}expected an object as `aps`, found number"));
        assert_eq!(
            refused(json(r#""data":"[1]""#)).1,
            format!("{start}expected an object, found array")
        );
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        for parameter in ["alert", "title", "badge", "data", "payload", "topic", "relevance_score"]
        {
            assert_eq!(
                refused(form(&format!("{parameter}=%ff"))),
                (
                    "invalid_request".to_owned(),
                    format!("{parameter} is not utf-8; send it as utf-8")
                )
            );
        }
    }

    #[test]
    fn what_excludes_each_other_is_refused() {
        let conflict = |message: &str| ("conflicting_parameters".to_owned(), message.to_owned());

        for part in PARTS {
            assert_eq!(
                refused(form(&format!("payload={{}}&{part}=1"))),
                conflict(&format!("payload and {part} exclude each other; give one of them"))
            );
        }
        assert_eq!(
            refused(form("alert=x&ttl=0&expiration=0")),
            conflict("expiration and ttl exclude each other; give one of them")
        );
    }

    /// Parameter, a value in JSON that it is not, and the sentence after its name.
    #[rustfmt::skip]
    const BAD_VALUES: &[(&str, &str, &str)] = &[
        ("alert", "[1]", "must be text or an object, found array"),
        ("apns_id", "\"{x\"", "must be a UUID such as 123e4567-e89b-42d3-a456-426614174000, found `{x`"),
        ("apns_id", "\"123e4567e89b42d3a456426614174000\"", "must be a UUID such as 123e4567-e89b-42d3-a456-426614174000, found `123e4567e89b42d3a456426614174000`"),
        ("attributes", "{}", "belongs to a live activity; give event as well"),
        ("attributes_type", "\"T\"", "belongs to a live activity; give event as well"),
        ("at_least_once", "\"yes\"", "must be true, false, 1 or 0, found `yes`"),
        ("badge", "-1", "must be a whole number from 0 to 2147483647, found `-1`"),
        ("badge", "2147483648", "must be a whole number from 0 to 2147483647, found `2147483648`"),
        ("badge", "1.0", "must be a whole number from 0 to 2147483647, found `1.0`"),
        ("badge", "1e3", "must be a whole number from 0 to 2147483647, found `1e3`"),
        ("badge", "\" 1\"", "must be a whole number from 0 to 2147483647, found ` 1`"),
        ("badge", "\"+1\"", "must be a whole number from 0 to 2147483647, found `+1`"),
        ("badge", "\"\"", "must be a whole number from 0 to 2147483647, found ``"),
        ("badge", "true", "must be a whole number from 0 to 2147483647, found `true`"),
        ("category", "1", "must be text, found number"),
        ("channel_id", "\"a b\"", "must be the base64 that Apple gave when the channel was made"),
        ("collapse_id", "{}", "must be text, found object"),
        ("collapse_id", "\"a\\n\"", "must be at most 64 bytes, without control characters and without spaces at its ends"),
        ("content_available", "2", "must be true, false, 1 or 0, found `2`"),
        ("content_state", "{}", "belongs to a live activity; give event as well"),
        ("dismissal_date", "0", "belongs to a live activity; give event as well"),
        ("event", "\"begin\"", "must be start, update or end, found `begin`"),
        ("expiration", "\"soon\"", "must be a whole number from 0 to 18446744073709551615, found `soon`"),
        ("expiration", "60", "must be 0 or a time in Unix seconds, found `60`, which looks like seconds from now; give those as ttl"),
        ("expiration", "1800000000000", "must be 0 or a time in Unix seconds, found `1800000000000`, which looks like milliseconds; divide by 1000"),
        ("identifier", "4294967296", "must be a whole number from 0 to 4294967295, found `4294967296`"),
        ("input_push_channel", "\"dA==\"", "belongs to a live activity; give event as well"),
        ("input_push_token", "true", "belongs to a live activity; give event as well"),
        ("interruption_level", "\"loud\"", "must be passive, active, time-sensitive or critical, found `loud`"),
        ("mutable_content", "\"TRUE\"", "must be true, false, 1 or 0, found `TRUE`"),
        ("payload", "[1]", "could not be converted to json: expected an object, found array"),
        ("priority", "\"high\"", "must be a whole number from 1 to 10, found `high`"),
        ("priority", "7", "must be 10, 5 or 1, found `7`"),
        ("push_type", "\"holo\"", "must be alert, background, complication, controls, fileprovider, liveactivity, location, mdm, pushtotalk, voip or widgets; another word, of letters only, needs a payload"),
        ("relevance_score", "\"high\"", "must be a number, such as 0.5, found `high`"),
        ("relevance_score", "2", "must be from 0 to 1; only a liveactivity takes other numbers"),
        ("sound", "true", "must be text or an object, found boolean"),
        ("stale_date", "0", "belongs to a live activity; give event as well"),
        ("subtitle", "0", "must be text, found number"),
        ("target_content_id", "[]", "must be text, found array"),
        ("thread_id", "false", "must be text, found boolean"),
        ("timestamp", "0", "belongs to a live activity; give event as well"),
        ("title", "{}", "must be text, found object"),
        ("topic", "\"\"", "must be 1 to 255 visible ASCII characters, such as a bundle id"),
        ("ttl", "-5", "must be a whole number from 0 to 2147483647, found `-5`"),
    ];
}
