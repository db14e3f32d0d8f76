//! A message for Apple, from the parameters of a call: what comes of it can be sent, and what the
//! caller wrote as JSON keeps its bytes.
//!
//! The input is a byte that says whether the application has a topic, and a JSON body.
#![no_main]

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use http::HeaderValue;
use libfuzzer_sys::fuzz_target;
use pushlet::api::apns_message::apns_draft;
use pushlet::api::body;
use pushlet::providers::apns::message::{Message, Priority};
use pushlet::providers::apns::payload::Content;
use pushlet::providers::apns::push_type::PushType;
use pushlet_fuzz::seeds;
use serde_json::value::RawValue;

const NOW: Duration = Duration::from_secs(1_700_000_000);

fuzz_target!(init: seeds::write("message", seeds), |data: &[u8]| {
    let [first, body @ ..] = data else { return };
    let Ok(mut params) = body::json(body) else { return };
    let Ok(draft) = apns_draft(&mut params) else { return };
    let (whole, beside) = match &draft.content {
        Content::Parts(parts) => (None, parts.data.as_ref().map(|data| data.as_str().to_owned())),
        Content::Whole(object) => (Some(object.as_str().to_owned()), None),
    };
    let topic = (first & 1 == 1).then_some("com.example.app");
    let Ok(message) = draft.into_message(topic, UNIX_EPOCH + NOW) else { return };

    let payload = str::from_utf8(&message.payload).unwrap();
    let members = members(payload);
    if let Some(whole) = whole {
        assert_eq!(payload, whole);
    } else {
        assert!(members["aps"].get().starts_with('{'), "{payload}");
        let given = beside.as_deref().map(self::members).unwrap_or_default();
        let names = |members: &BTreeMap<String, Box<RawValue>>| {
            members.keys().filter(|name| *name != "aps").cloned().collect::<Vec<_>>()
        };
        assert_eq!(names(&members), names(&given));
        for (name, value) in given.iter().filter(|(name, _)| *name != "aps") {
            assert_eq!(members[name].get(), value.get());
        }
    }
    can_be_sent(&message);
});

/// The members of an object, the last of each name, as they are written.
fn members(object: &str) -> BTreeMap<String, Box<RawValue>> {
    serde_json::from_str(object).unwrap()
}

/// What the request relies on.
fn can_be_sent(message: &Message) {
    let push_type = message.push_type.as_str();
    for header in [Some(message.topic.as_str()), Some(push_type), message.collapse_id.as_deref()] {
        let header = header.unwrap_or("-");
        HeaderValue::from_bytes(header.as_bytes()).unwrap();
        assert!(!header.is_empty() && header.trim() == header, "{header:?}");
    }
    assert!(
        message.device_token().is_none()
            || message.topic.ends_with(message.push_type.topic_suffix())
    );
    assert!(message.payload.len() <= message.payload_limit_bytes());
    if message.push_type == PushType::Background {
        assert!(matches!(message.priority, Some(Priority::PowerAware | Priority::PowerFirst)));
    }
    assert!(message.expiration_unix_secs.is_none_or(|at| at <= u64::from(u32::MAX)));
}

fn seeds() -> Vec<Vec<u8>> {
    [
        r#"{"device_token":"ab01","alert":"hello","badge":1,"sound":"default"}"#,
        r#"{"device_token":"<AB 01>","alert":{"body":"b"},"title":"t","subtitle":"s","badge":"7",
            "sound":{"critical":1},"category":"c","thread_id":"th","content_available":true,
            "mutable_content":1,"interruption_level":"time-sensitive","relevance_score":0.50,
            "target_content_id":"w","data":{"n":1.0e2,"aps":{"alert":"x","badge":9},"\u0061":[1, 2]},
            "topic":"com.example.app","push_type":"alert","priority":"5","expiration":1800000000,
            "collapse_id":"col","at_least_once":"1","identifier":7,
            "apns_id":"123e4567-e89b-42d3-a456-426614174000"}"#,
        r#"{"device_token":"ab01","payload":{"aps":{"content-available":1}, "x" : 1.00}}"#,
        r#"{"device_token":"ab01","data":"{\"aps\":{\"alert\":{\"title\":\"o\"}}}","title":"t"}"#,
        r#"{"device_token":"ab01","push_type":"liveactivity","relevance_score":75,"ttl":0,
            "topic":"com.example.app.push-type.liveactivity","data":{"event":"update"}}"#,
        r#"{"device_token":"ab01","content_available":true,"push_type":"voip","priority":1}"#,
        r#"{"channel_id":"dHN0LXNyY2gtY2hubA==","event":"end","content_state":{"n" : 1.0}}"#,
        r#"{"device_token":"ab01","event":"start","content_state":{"n" : 1.0},"attributes_type":"T",
            "attributes":{},"alert":"x","sound":"s","input_push_token":1,"timestamp":1700000000,
            "stale_date":"1700000001"}"#,
    ]
    .map(|seed| [b"1", seed.as_bytes()].concat())
    .into()
}
