//! Live Activities: what arrives at Apple for a start, an update and an end.

use crate::support::keys::signing_key_p8;
use crate::support::relay::{TOKEN, TOPIC};
use crate::support::wire::{Bench, SEND, Seen, code, ok, refusal, seen};

async fn bench() -> Bench {
    let bench = Bench::start().await;
    let fields = [
        ("application_id", "app"),
        ("apns_key_id", "KEY1234567"),
        ("apns_team_id", "TEAM123456"),
        ("apns_topic", TOPIC),
    ];
    let answer = seen(bench.upload("apns_p8", &signing_key_p8(), &fields)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    bench
}

async fn send(bench: &Bench, fields: &[(&str, &str)]) -> Seen {
    bench.send(&[&[("application_id", "app"), ("device_token", TOKEN)], fields].concat()).await
}

/// Parameters, and the payload that they make.
#[rustfmt::skip]
const EVENTS: &[(&[(&str, &str)], &str)] = &[
    (
        &[("event", "update"), ("content_state", r#"{"health":0.0, "n":1e2}"#), ("timestamp", "1685952000"), ("stale_date", "1685955600"), ("relevance_score", "75")],
        r#"{"aps":{"timestamp":1685952000,"event":"update","content-state":{"health":0.0, "n":1e2},"stale-date":1685955600,"relevance-score":75}}"#,
    ),
    (
        &[("event", "start"), ("content_state", r#"{"health":100}"#), ("timestamp", "1685952000"), ("attributes_type", "Hero"), ("attributes", r#"{"name":"Panda"}"#), ("alert", "On an adventure"), ("title", "Panda"), ("sound", "chime.aiff")],
        r#"{"aps":{"timestamp":1685952000,"event":"start","content-state":{"health":100},"attributes-type":"Hero","attributes":{"name":"Panda"},"alert":{"title":"Panda","body":"On an adventure","sound":"chime.aiff"}}}"#,
    ),
    (
        &[("event", "start"), ("content_state", "{}"), ("timestamp", "1685952000"), ("attributes_type", "Hero"), ("attributes", "{}"), ("alert", r#"{"title":{"loc-key":"K"}}"#), ("input_push_channel", "dHN0LXNyY2gtY2hubA==")],
        r#"{"aps":{"timestamp":1685952000,"event":"start","content-state":{},"attributes-type":"Hero","attributes":{},"input-push-channel":"dHN0LXNyY2gtY2hubA==","alert":{"title":{"loc-key":"K"}}}}"#,
    ),
    (
        &[("event", "start"), ("content_state", "{}"), ("timestamp", "1685952000"), ("attributes_type", "Hero"), ("attributes", "{}"), ("alert", "Go"), ("input_push_token", "true")],
        r#"{"aps":{"timestamp":1685952000,"event":"start","content-state":{},"attributes-type":"Hero","attributes":{},"input-push-token":1,"alert":{"body":"Go"}}}"#,
    ),
    (
        &[("event", "end"), ("content_state", r#"{"health":1}"#), ("timestamp", "1685952000"), ("dismissal_date", "1663177260"), ("data", r#"{"k":1}"#)],
        r#"{"aps":{"timestamp":1685952000,"event":"end","content-state":{"health":1},"dismissal-date":1663177260},"k":1}"#,
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_live_activity_is_started_updated_and_ended_by_parameters() {
    let bench = bench().await;

    for (fields, payload) in EVENTS {
        assert_eq!(send(&bench, fields).await.told(), ok(), "{fields:?}");
        let message = bench.arrived();
        assert_eq!(message.payload, *payload, "{fields:?}");
        assert_eq!(message.push_type.as_deref(), Some("liveactivity"));
        assert_eq!(message.topic, Some(format!("{TOPIC}.push-type.liveactivity")));
        assert_eq!(message.device_token, TOKEN);
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_json_keeps_its_bytes_and_its_time_is_now() {
    let bench = bench().await;
    let body = format!(
        "{{\"application_id\":\"app\",\"device_token\":\"{TOKEN}\",\"event\":\"update\",\
         \"content_state\":{{\"z\" : 1.0, \"a\":10000000000000000001}},\"priority\":5}}"
    );
    let before = time::OffsetDateTime::now_utc().unix_timestamp();

    let answer = bench.json(SEND, &body).await;

    let after = time::OffsetDateTime::now_utc().unix_timestamp();
    assert_eq!(answer.told(), ok());
    let message = bench.arrived();
    assert_eq!(message.priority.as_deref(), Some("5"));
    let payload: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
    let timestamp = payload["aps"]["timestamp"].as_i64().unwrap();
    assert!((before..=after).contains(&timestamp), "{timestamp}");
    let expected = format!(
        "{{\"aps\":{{\"timestamp\":{timestamp},\"event\":\"update\",\
         \"content-state\":{{\"z\" : 1.0, \"a\":10000000000000000001}}}}}}"
    );
    assert_eq!(message.payload, expected);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_apple_would_not_take_is_refused_before() {
    let bench = bench().await;
    let update = [("event", "update"), ("content_state", "{}")];

    for (fields, expected) in [
        (vec![("event", "begin")], "invalid_event"),
        (vec![("event", "update")], "invalid_event"),
        (vec![("event", "start"), ("content_state", "{}"), ("alert", "x")], "invalid_event"),
        (vec![("content_state", "{}"), ("alert", "x")], "invalid_content_state"),
        ([&update[..], &[("priority", "1")]].concat(), "invalid_priority"),
        ([&update[..], &[("push_type", "alert")]].concat(), "invalid_push_type"),
        ([&update[..], &[("attributes_type", "T")]].concat(), "invalid_attributes_type"),
        ([&update[..], &[("topic", TOPIC)]].concat(), "invalid_topic"),
        ([&update[..], &[("payload", "{}")]].concat(), "conflicting_parameters"),
    ] {
        assert_eq!(send(&bench, &fields).await.code(), code(400, expected), "{fields:?}");
    }
    let state = format!("{{\"a\":\"{}\"}}", "x".repeat(4_096));
    let answer = send(&bench, &[("event", "update"), ("content_state", &state)]).await;
    assert_eq!(answer.code(), code(413, "payload_too_large"));
    let gcm = [("type", "gcm"), ("gcm_api_key", "k"), ("device_token", "t"), ("event", "end")];
    assert_eq!(
        bench.send(&gcm).await.told(),
        refusal(
            400,
            "unknown_parameter",
            "event is a parameter of apns, and this message goes to gcm; leave it out"
        )
    );
    assert_eq!(bench.count(), 0);
    bench.stop().await;
}
