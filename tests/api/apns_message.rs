//! What of a send arrives at Apple, byte by byte, and what is refused before.

use pushlet::simulator::record::Received;

use crate::support::keys::signing_key_p8;
use crate::support::relay::{TOKEN, TOPIC};
use crate::support::wire::{Bench, SEND, Seen, code, encoded, ok, refusal, seen};

/// An application with a signing key, which may use every topic.
async fn bench() -> Bench {
    let bench = Bench::start().await;
    for (id, topic) in [("app", TOPIC), ("bare", "")] {
        let mut fields = vec![
            ("application_id", id),
            ("apns_key_id", "KEY1234567"),
            ("apns_team_id", "TEAM123456"),
        ];
        if !topic.is_empty() {
            fields.push(("apns_topic", topic));
        }
        let answer = seen(bench.upload("apns_p8", &signing_key_p8(), &fields)).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    bench
}

async fn send(bench: &Bench, fields: &[(&str, &str)]) -> Seen {
    bench.send(&[&[("application_id", "app"), ("device_token", TOKEN)], fields].concat()).await
}

async fn accepted(bench: &Bench, fields: &[(&str, &str)]) -> Received {
    let answer = send(bench, fields).await;
    assert_eq!(answer.told(), ok(), "{fields:?}");
    bench.arrived()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_call_arrives_and_is_answered_to_the_byte() {
    let bench = bench().await;
    let body = format!("device_token={TOKEN}&alert=YOUR+TEXT+MESSAGE&application_id=app");

    let answer = bench.text(SEND, &body).await;

    assert_eq!(answer.told(), ok());
    let message = bench.arrived();
    assert_eq!(message.payload, r#"{"aps":{"alert":"YOUR TEXT MESSAGE"}}"#);
    assert_eq!(message.device_token, TOKEN);
    assert_eq!(message.apns_id.as_deref(), answer.header("apns-id"));
    assert_eq!(
        (message.topic.as_deref(), message.push_type.as_deref()),
        (Some(TOPIC), Some("alert"))
    );
    assert_eq!((message.priority, message.expiration, message.collapse_id), (None, None, None));
    bench.stop().await;
}

/// Parameters, and what they are inside `{"aps":…}` and beside it.
#[rustfmt::skip]
const PAYLOADS: &[(&[(&str, &str)], &str)] = &[
    (&[("alert", "Grüße 🎉 \"\\\n/")], r#"{"aps":{"alert":"Grüße 🎉 \"\\\n/"}}"#),
    (&[("alert", "")], r#"{"aps":{"alert":""}}"#),
    (&[("alert", r#"{"loc-key":"K","loc-args":["a"]}"#)], r#"{"aps":{"alert":{"loc-key":"K","loc-args":["a"]}}}"#),
    (&[("alert", "[1]")], r#"{"aps":{"alert":"[1]"}}"#),
    (&[("alert", "{not json")], r#"{"aps":{"alert":"{not json"}}"#),
    (&[("title", "t")], r#"{"aps":{"alert":{"title":"t"}}}"#),
    (&[("alert", "b"), ("title", "t")], r#"{"aps":{"alert":{"title":"t","body":"b"}}}"#),
    (&[("alert", "b"), ("subtitle", "s")], r#"{"aps":{"alert":{"subtitle":"s","body":"b"}}}"#),
    (&[("alert", r#"{"title":"old","body":"b"}"#), ("title", "t")], r#"{"aps":{"alert":{"title":"t","body":"b"}}}"#),
    (&[("badge", "0")], r#"{"aps":{"badge":0}}"#),
    (&[("badge", "2147483647")], r#"{"aps":{"badge":2147483647}}"#),
    (&[("sound", "default")], r#"{"aps":{"sound":"default"}}"#),
    (&[("sound", r#"{"critical":1,"name":"a","volume":0.50}"#)], r#"{"aps":{"sound":{"critical":1,"name":"a","volume":0.50}}}"#),
    (&[("alert", "x"), ("category", "c")], r#"{"aps":{"alert":"x","category":"c"}}"#),
    (&[("alert", "x"), ("thread_id", "t")], r#"{"aps":{"alert":"x","thread-id":"t"}}"#),
    (&[("alert", "x"), ("content_available", "1")], r#"{"aps":{"alert":"x","content-available":1}}"#),
    (&[("alert", "x"), ("content_available", "false")], r#"{"aps":{"alert":"x"}}"#),
    (&[("alert", "x"), ("mutable_content", "true")], r#"{"aps":{"alert":"x","mutable-content":1}}"#),
    (&[("alert", "x"), ("interruption_level", "time-sensitive")], r#"{"aps":{"alert":"x","interruption-level":"time-sensitive"}}"#),
    (&[("alert", "x"), ("relevance_score", "0.50")], r#"{"aps":{"alert":"x","relevance-score":0.50}}"#),
    (&[("alert", "x"), ("target_content_id", "w")], r#"{"aps":{"alert":"x","target-content-id":"w"}}"#),
    (&[("data", r#"{"text":"hello"}"#)], r#"{"aps":{},"text":"hello"}"#),
    (&[("data", "{}")], r#"{"aps":{}}"#),
    (&[("alert", "x"), ("data", r#"{"z":1.0,"a":[1, 2],"n":12345678901234567890,"e":"\u00e9"}"#)], r#"{"aps":{"alert":"x"},"z":1.0,"a":[1, 2],"n":12345678901234567890,"e":"\u00e9"}"#),
    (&[("badge", "2"), ("data", r#"{"k":1,"aps":{"badge":1,"sound":"s","mutable-content":1}}"#)], r#"{"aps":{"badge":2,"sound":"s","mutable-content":1},"k":1}"#),
    (&[("payload", r#" {"z": 1.0, "aps" : {"alert":"x"},"a":1e2} "#)], r#"{"z": 1.0, "aps" : {"alert":"x"},"a":1e2}"#),
    (&[("payload", "{}")], "{}"),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_part_of_a_message_arrives_as_it_was_given() {
    let bench = bench().await;

    for (fields, payload) in PAYLOADS {
        assert_eq!(accepted(&bench, fields).await.payload, *payload, "{fields:?}");
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_a_json_body_keep_their_bytes() {
    let bench = bench().await;
    let rest = format!("\"application_id\":\"app\",\"device_token\":\"{TOKEN}\"");

    for (members, payload) in [
        (r#""alert": {"body" : "b"} "#, r#"{"aps":{"alert":{"body" : "b"}}}"#),
        (r#""alert":"{\"body\":1}""#, r#"{"aps":{"alert":"{\"body\":1}"}}"#),
        (r#""sound":{"critical":1},"badge":"3""#, r#"{"aps":{"badge":3,"sound":{"critical":1}}}"#),
        (
            r#""data":{"b":1.0, "a":100000000000000000001}"#,
            r#"{"aps":{},"b":1.0,"a":100000000000000000001}"#,
        ),
        (r#""data":"{\"b\":1.0}""#, r#"{"aps":{},"b":1.0}"#),
        (r#""payload":{"b":1.0, "a":{"c" :[ ]}}"#, r#"{"b":1.0, "a":{"c" :[ ]}}"#),
    ] {
        let answer = bench.json(SEND, &format!("{{{rest},{members}}}")).await;

        assert_eq!(answer.told(), ok(), "{members}");
        assert_eq!(bench.arrived().payload, payload);
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_apple_reads_in_headers_arrives_there() {
    let bench = bench().await;
    let collapse_id = "é".repeat(32);

    for (field, push_type, priority, expiration, collapse) in [
        (("badge", "1"), "alert", None, None, None),
        (("priority", "10"), "alert", Some("10"), None, None),
        (("priority", "5"), "alert", Some("5"), None, None),
        (("priority", "1"), "alert", Some("1"), None, None),
        (("expiration", "2000000000"), "alert", None, Some("2000000000"), None),
        (("expiration", "0"), "alert", None, Some("0"), None),
        (("ttl", "0"), "alert", None, Some("0"), None),
        (("collapse_id", "news 7"), "alert", None, None, Some("news 7")),
        (("push_type", "mdm"), "mdm", None, None, None),
    ] {
        let message = accepted(&bench, &[("alert", "x"), field]).await;

        assert_eq!(message.push_type.as_deref(), Some(push_type), "{field:?}");
        assert_eq!(message.priority.as_deref(), priority, "{field:?}");
        assert_eq!(message.expiration.as_deref(), expiration, "{field:?}");
        assert_eq!(message.collapse_id.as_deref(), collapse, "{field:?}");
    }
    let answer = send(&bench, &[("alert", "x"), ("collapse_id", &collapse_id)]).await;
    assert_eq!(answer.told(), ok(), "64 bytes");
    let answer = send(&bench, &[("alert", "x"), ("collapse_id", &format!("{collapse_id}x"))]).await;
    assert_eq!(answer.code(), code(400, "invalid_collapse_id"), "65 bytes");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ttl_counts_from_now() {
    let bench = bench().await;
    let before = time::OffsetDateTime::now_utc().unix_timestamp();

    let message = accepted(&bench, &[("alert", "x"), ("ttl", "3600")]).await;

    let after = time::OffsetDateTime::now_utc().unix_timestamp();
    let expiration: i64 = message.expiration.unwrap().parse().unwrap();
    assert!((before + 3600..=after + 3600).contains(&expiration), "{before} {expiration}");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_push_type_follows_from_what_is_said() {
    let bench = bench().await;

    for (fields, push_type, priority) in [
        (&[("content_available", "1")][..], "background", Some("5")),
        (&[("content_available", "1"), ("data", "{\"a\":1}")], "background", Some("5")),
        (&[("content_available", "1"), ("priority", "1")], "background", Some("1")),
        (&[("content_available", "1"), ("priority", "5")], "background", Some("5")),
        (&[("content_available", "1"), ("alert", "x")], "alert", None),
        (&[("content_available", "1"), ("badge", "0")], "alert", None),
        (&[("content_available", "1"), ("sound", "s")], "alert", None),
        (&[("content_available", "1"), ("push_type", "alert")], "alert", None),
        (&[("data", "{}")], "alert", None),
        (&[("alert", "x"), ("push_type", "background")], "background", Some("5")),
    ] {
        let message = accepted(&bench, fields).await;

        assert_eq!(message.push_type.as_deref(), Some(push_type), "{fields:?}");
        assert_eq!(message.priority.as_deref(), priority, "{fields:?}");
    }
    bench.stop().await;
}

const PUSH_TYPES: [(&str, &str); 11] = [
    ("alert", ""),
    ("background", ""),
    ("complication", ".complication"),
    ("controls", ".push-type.controls"),
    ("fileprovider", ".pushkit.fileprovider"),
    ("liveactivity", ".push-type.liveactivity"),
    ("location", ".location-query"),
    ("mdm", ""),
    ("pushtotalk", ".voip-ptt"),
    ("voip", ".voip"),
    ("widgets", ".push-type.widgets"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_push_type_adds_its_suffix_to_a_default_topic_only() {
    let bench = bench().await;

    for (push_type, suffix) in PUSH_TYPES {
        let fields = [("alert", "x"), ("push_type", push_type)];
        let message = accepted(&bench, &fields).await;
        assert_eq!(message.topic, Some(format!("{TOPIC}{suffix}")));
        assert_eq!(message.push_type.as_deref(), Some(push_type));

        let given = format!("org.other{suffix}");
        let message = accepted(&bench, &[fields[0], fields[1], ("topic", &given)]).await;
        assert_eq!(message.topic, Some(given));
        if !suffix.is_empty() {
            let answer = send(&bench, &[fields[0], fields[1], ("topic", "org.other")]).await;
            let message = format!("topic must end in `{suffix}` for this push_type");
            assert_eq!(answer.told(), refusal(400, "invalid_topic", &message));
        }
    }
    assert_eq!(bench.count(), 0);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_topic_of_its_own_an_application_has_to_be_told_one() {
    let bench = bench().await;
    let fields = [("application_id", "bare"), ("device_token", TOKEN), ("alert", "x")];

    let answer = bench.send(&fields).await;
    let message =
        "the application has no topic of its own; give topic, or register it with apns_topic";
    assert_eq!(answer.told(), refusal(400, "missing_topic", message));
    let answer = bench.send(&[&fields[..], &[("topic", "a.b")]].concat()).await;
    assert_eq!(answer.told(), ok());
    assert_eq!(bench.arrived().topic.as_deref(), Some("a.b"));
    bench.stop().await;
}

/// The simulator knows no type but Apple's; that it sees the word is the point.
#[tokio::test(flavor = "multi_thread")]
async fn a_push_type_of_tomorrow_needs_a_payload() {
    let bench = bench().await;

    let answer = send(&bench, &[("payload", "{}"), ("push_type", "Hologram")]).await;
    assert_eq!(answer.code(), code(400, "apns_rejected"));
    assert_eq!(bench.arrived().push_type.as_deref(), Some("Hologram"));
    for fields in [
        [("alert", "x"), ("push_type", "hologram")],
        [("payload", "{}"), ("push_type", "holo gram")],
        [("payload", "{}"), ("push_type", "holo-2")],
        [("payload", "{}"), ("push_type", "")],
    ] {
        assert_eq!(
            send(&bench, &fields).await.code(),
            code(400, "invalid_push_type"),
            "{fields:?}"
        );
    }
    assert_eq!(bench.count(), 0);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apples_limit_on_size_is_met_to_the_byte() {
    let bench = bench().await;

    for (push_type, limit) in
        PUSH_TYPES.map(|(name, _)| (name, if name == "voip" { 5120 } else { 4096 }))
    {
        let shell = r#"{"aps":{"alert":""}}"#.len();
        for (size, fits) in [(limit, true), (limit + 1, false)] {
            let alert = "x".repeat(size - shell);
            let answer = send(&bench, &[("push_type", push_type), ("alert", &alert)]).await;

            if fits {
                assert_eq!(answer.told(), ok(), "{push_type}");
                assert_eq!(bench.arrived().payload.len(), limit);
            } else {
                let message = format!(
                    "the payload has {size} bytes and apple takes {limit} for this push_type; \
                     shorten it"
                );
                assert_eq!(answer.told(), refusal(413, "payload_too_large", &message));
            }
        }
    }
    let payload = format!("{{\"a\":\"{}\"}}", "é".repeat(2_045));
    let answer = send(&bench, &[("payload", &payload)]).await;
    assert_eq!(answer.code(), code(413, "payload_too_large"), "bytes and not characters");
    assert_eq!(bench.count(), 0);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_carries_an_id_that_the_caller_may_choose() {
    let bench = bench().await;
    let uuid = "123e4567-e89b-42d3-a456-426614174000";

    for (identifier, tail) in [("0", "00000000"), ("258", "00000102"), ("4294967295", "ffffffff")] {
        let answer = send(&bench, &[("alert", "x"), ("identifier", identifier)]).await;
        let id = bench.arrived().apns_id.unwrap();
        assert!(id.ends_with(tail), "{id}");
        assert_eq!(answer.header("apns-id"), Some(&*id));
        send(&bench, &[("alert", "x"), ("identifier", identifier)]).await;
        assert_ne!(bench.arrived().apns_id.unwrap(), id, "the rest is fresh");
    }
    for fields in [&[("apns_id", uuid)][..], &[("apns_id", uuid), ("identifier", "7")]] {
        let answer = send(&bench, &[&[("alert", "x")], fields].concat()).await;
        assert_eq!(answer.header("apns-id"), Some(uuid));
        assert_eq!(bench.arrived().apns_id.as_deref(), Some(uuid));
    }
    let first = accepted(&bench, &[("alert", "x")]).await.apns_id.unwrap();
    let second = accepted(&bench, &[("alert", "x")]).await.apns_id.unwrap();
    assert_ne!(first, second);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_token_is_sent_in_lower_case_without_its_old_dress() {
    let bench = bench().await;
    let hundred = "ab".repeat(100);

    for (given, sent) in [
        ("<740F4707 bebcf74f>", "740f4707bebcf74f"),
        (" 74 0F ", "740f"),
        ("AB", "ab"),
        (&hundred, &hundred),
    ] {
        let fields = [("application_id", "app"), ("device_token", given), ("alert", "x")];
        assert_eq!(bench.send(&fields).await.told(), ok());
        assert_eq!(bench.arrived().device_token, sent);
    }
    let message = "device_token must be 1 to 100 bytes in hexadecimal, an even number of digits; \
                   send the token that the phone registered";
    for given in ["abc", "xyz", "<>", " ", "a-b", "ab\n", &format!("{hundred}ab")] {
        let fields = [("application_id", "app"), ("device_token", given), ("alert", "x")];
        let answer = bench.text(SEND, &encoded(&fields)).await;
        assert_eq!(answer.told(), refusal(400, "invalid_device_token", message), "{given}");
    }
    assert_eq!(bench.count(), 0);
    bench.stop().await;
}
