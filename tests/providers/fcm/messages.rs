//! From the words of the legacy protocol to those of FCM v1.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::support::google::{Google, KEY, rows, words};
use crate::support::wire::{SEND, code, encoded, refusal};

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_line_goes_on_working() {
    let google = Google::start().await;

    let body =
        encoded(&[("device_token", "42"), ("gcm_api_key", KEY), ("data", "{\"text\":\"hello\"}")]);
    let answer = google.bench.text(SEND, &body).await;

    let rows = rows(&answer);
    assert_eq!(words(&rows), ["ok"]);
    assert!(rows[0]["message_id"].as_str().unwrap().starts_with("0:"));
    let received = google.fcm();
    assert_eq!(received.len(), 1);
    assert_eq!(&received[0].payload[..], br#"{"message":{"token":"42","data":{"text":"hello"}}}"#);
    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_word_has_its_place() {
    let google = Google::start().await;
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();

    let body = json!({
        "gcm_api_key": KEY, "to": "/topics/news", "collapse_key": "c", "priority": "high",
        "time_to_live": 60, "restricted_package_name": "com.example", "dry_run": true,
        "content_available": true, "mutable_content": true,
        "data": {"text": "t", "number": 5.0, "flag": true, "nothing": null, "list": [1, {"a": "b c"}]},
        "notification": {
            "title": "T", "body": "B", "image": "https://example.com/i.png", "icon": "i",
            "color": "#112233", "tag": "g", "sound": "s", "click_action": "ca",
            "body_loc_key": "bk", "body_loc_args": "[\"1\",2]", "title_loc_key": "tk",
            "title_loc_args": ["3"], "android_channel_id": "ch", "badge": "7", "subtitle": "S",
            "unknown": "x", "nothing": null,
        },
    });
    let answer = google.bench.json(SEND, &body.to_string()).await;

    assert_eq!(rows(&answer), [json!({"message_id": "fake_message_id"})]);
    let mut sent = google.message();
    let expiration = sent["message"]["apns"]["headers"]["apns-expiration"].take();
    let expiration: u64 = expiration.as_str().unwrap().parse().unwrap();
    assert!((before + 60..before + 120).contains(&expiration), "{expiration}");
    assert_eq!(
        sent,
        json!({"message": {
            "topic": "news",
            "data": {"text": "t", "number": "5.0", "flag": "true", "nothing": "null",
                "list": "[1,{\"a\":\"b c\"}]"},
            "notification": {"title": "T", "body": "B", "image": "https://example.com/i.png"},
            "android": {
                "collapse_key": "c", "priority": "HIGH", "ttl": "60s",
                "restricted_package_name": "com.example",
                "notification": {
                    "icon": "i", "color": "#112233", "tag": "g", "sound": "s",
                    "click_action": "ca", "body_loc_key": "bk", "body_loc_args": ["1", "2"],
                    "title_loc_key": "tk", "title_loc_args": ["3"], "channel_id": "ch",
                    "notification_count": 7,
                },
            },
            "apns": {
                "headers": {"apns-priority": "10", "apns-expiration": null},
                "payload": {"aps": {
                    "alert": {"title": "T", "subtitle": "S", "body": "B", "loc-key": "bk",
                        "loc-args": ["1", "2"], "title-loc-key": "tk", "title-loc-args": ["3"]},
                    "badge": 7, "sound": "s", "category": "ca", "content-available": 1,
                    "mutable-content": 1,
                }},
            },
            "webpush": {"headers": {"TTL": "60"}},
        }, "validate_only": true})
    );
    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn small_messages_stay_small() {
    let google = Google::start().await;

    for (fields, message) in [
        (
            &[
                ("device_token", "t"),
                ("alert", "a"),
                ("title", "b"),
                ("badge", "3"),
                ("sound", "s"),
            ][..],
            json!({"token": "t", "notification": {"title": "b", "body": "a"},
                "android": {"notification": {"sound": "s", "notification_count": 3}},
                "apns": {"payload": {"aps": {"sound": "s", "badge": 3}}}}),
        ),
        (
            &[("to", "t"), ("content_available", "1"), ("priority", "high")],
            json!({"token": "t", "android": {"priority": "HIGH"},
                "apns": {"headers": {"apns-priority": "5"},
                    "payload": {"aps": {"content-available": 1}}}}),
        ),
        (
            &[("to", "t"), ("priority", "normal"), ("time_to_live", "0")],
            json!({"token": "t", "android": {"priority": "NORMAL", "ttl": "0s"},
                "apns": {"headers": {"apns-priority": "5", "apns-expiration": "0"}},
                "webpush": {"headers": {"TTL": "0"}}}),
        ),
        (&[("condition", "'a' in topics")], json!({"condition": "'a' in topics"})),
        (
            &[("to", "cA1_-567890123456789ab"), ("fcm_target", "auto")],
            json!({"fid": "cA1_-567890123456789ab"}),
        ),
        (&[("to", "long:APA91b"), ("fcm_target", "auto")], json!({"token": "long:APA91b"})),
        (&[("device_token", "t"), ("fcm_target", "fid")], json!({"fid": "t"})),
        (
            &[("device_token", "t"), ("data", "{\"a\":1,\"a\": 2}")],
            json!({"token": "t", "data": {"a": "2"}}),
        ),
        (
            &[("message", "{\"fid\":\"f\",\"android\":{\"ttl\":\"3.5s\"}}")],
            json!({"fid": "f", "android": {"ttl": "3.5s"}}),
        ),
    ] {
        let answer = google.send(fields).await;

        assert_eq!(words(&rows(&answer)), ["ok"], "{fields:?}");
        assert_eq!(google.message(), json!({ "message": message }), "{fields:?}");
    }
    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_google_would_not_tell_apart_is_refused_before_anything_is_sent() {
    let google = Google::start().await;
    let data = |size: usize| format!("{{\"k\":\"{}\"}}", "x".repeat(size - 1));
    let (fits, over, topic, over_topic) = (data(4_096), data(4_097), data(2_048), data(2_049));

    for (target, data, word) in [
        (("to", "t"), &*fits, "ok"),
        (("to", "t"), &over, "MessageTooBig"),
        (("to", "/topics/a"), &topic, "ok"),
        (("to", "/topics/a"), &over_topic, "MessageTooBig"),
        (("condition", "c"), &over_topic, "MessageTooBig"),
        (("to", "t"), "{\"from\":1}", "InvalidDataKey"),
        (("to", "t"), "{\"google.a\":1}", "InvalidDataKey"),
        (("to", "t"), "{\"gcm\":1}", "InvalidDataKey"),
        (("to", "t"), "{\"gcm.notification.a\":1}", "InvalidDataKey"),
        (("to", "t"), "{\"message_type\":1}", "InvalidDataKey"),
        (("to", "t"), "{\"collapse_key\":1}", "ok"),
        (("registration_ids", "[\"a\",\"b\"]"), "{\"from\":1}", "InvalidDataKey"),
    ] {
        google.bench.peer.simulator.clear();
        let answer = google.send(&[target, ("data", data)]).await;

        let words = words(&rows(&answer));
        assert!(words.iter().all(|found| found == word), "{target:?} {words:?}");
        assert_eq!(google.fcm().len(), usize::from(word == "ok"), "{target:?}");
    }
    let whole = "{\"token\":\"t\",\"data\":{\"from\":\"1\"}}";
    let answer = google.send(&[("message", whole)]).await;
    assert_eq!(words(&rows(&answer)), ["InvalidDataKey"]);
    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_cannot_be_are_named() {
    let google = Google::start().await;
    let t = ("to", "t");
    let conflict = |one: &str, other: &str| {
        let message = format!("{one} and {other} exclude each other; give one of them");
        refusal(400, "conflicting_parameters", &message)
    };

    for (fields, expected) in [
        (&[t, ("priority", "10")][..], code(400, "invalid_priority")),
        (&[t, ("time_to_live", "2419201")], code(400, "invalid_time_to_live")),
        (&[t, ("time_to_live", "-1")], code(400, "invalid_time_to_live")),
        (&[t, ("dry_run", "yes")], code(400, "invalid_dry_run")),
        (&[t, ("fcm_target", "both")], code(400, "invalid_fcm_target")),
        (&[t, ("notification", "[]")], code(400, "invalid_notification")),
        (&[t, ("notification", "{\"title\":{}}")], code(400, "invalid_notification")),
        (&[t, ("notification", "{\"badge\":-1}")], code(400, "invalid_notification")),
        (&[t, ("notification", "{\"body_loc_args\":\"x\"}")], code(400, "invalid_notification")),
        (&[t, ("data", "[1]")], code(400, "invalid_data_json")),
        (&[("to", "/topics/a b")], code(400, "invalid_to")),
        (&[("message", "{}")], code(400, "invalid_message")),
        (&[("message", "{\"token\":\"t\",\"data\":{\"a\":1}}")], code(400, "invalid_message")),
        (&[("alert", "x")], code(400, "device_token_required")),
        (&[t, ("ttl", "5")], code(400, "unknown_parameter")),
    ] {
        assert_eq!(google.send(fields).await.code(), expected, "{fields:?}");
    }
    for (fields, expected) in [
        (&[t, ("device_token", "x")][..], conflict("device_token", "to")),
        (&[t, ("condition", "x")], conflict("condition", "to")),
        (&[("message", "{\"token\":\"t\"}"), ("alert", "x")], conflict("message", "alert")),
        (&[t, ("notification", "{}"), ("title", "x")], conflict("notification", "title")),
    ] {
        assert_eq!(google.send(fields).await.told(), expected, "{fields:?}");
    }
    assert_eq!(google.fcm(), []);
    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_tokens_have_a_thousand_rows_in_order() {
    let google = Google::start().await;
    let tokens: Vec<_> = (0..1_000)
        .map(|n| if n % 7 == 0 { "NotRegistered".to_owned() } else { format!("token-{n}") })
        .collect();
    let list = serde_json::to_string(&tokens).unwrap();
    let body = json!({"gcm_api_key": KEY, "registration_ids": tokens, "alert": "x"});

    let answer = google.bench.json(SEND, &body.to_string()).await;

    let expected: Vec<_> =
        (0..1_000).map(|n| if n % 7 == 0 { "NotRegistered" } else { "ok" }).collect();
    assert_eq!(words(&rows(&answer)), expected);
    let mut sent: Vec<_> = google.fcm().into_iter().map(|received| received.device_token).collect();
    let mut wanted = tokens.clone();
    sent.sort();
    wanted.sort();
    assert_eq!(sent, wanted, "each once");
    assert_eq!(google.token_requests(), 1);

    let more = list.replacen('[', "[\"one more\",", 1);
    let refused = google.send(&[("registration_ids", &more)]).await;
    assert_eq!(refused.code(), code(400, "invalid_registration_ids"));
    google.stop().await;
}

/// Google's documented example: what v1 can say of it comes through the bridge.
#[tokio::test(flavor = "multi_thread")]
async fn six_recipients_are_told_apart() {
    let google = Google::start().await;

    let rows = google
        .rows(&["4", "Unavailable", "InvalidRegistration", "16", "32", "NotRegistered"])
        .await;

    let expected = ["ok", "Unavailable", "InvalidRegistration", "ok", "ok", "NotRegistered"];
    assert_eq!(words(&rows), expected);
    google.stop().await;
}

/// The same through a legacy endpoint comes back byte for byte.
#[tokio::test(flavor = "multi_thread")]
async fn the_legacy_endpoint_gets_the_call_as_it_was() {
    let google = Google::start().await;
    let key = ("gcm_api_key", "AIzaElsewhere");
    let simulator = &google.bench.peer.simulator;
    let verbatim = concat!(
        r#"{"multicast_id":216,"success":3,"failure":3,"canonical_ids":1,"results":["#,
        r#"{"message_id":"1:0408"},{"error":"Unavailable"},{"error":"InvalidRegistration"},"#,
        r#"{"message_id":"1:1516"},{"message_id":"1:2342","registration_id":"32"},"#,
        r#"{"error":"NotRegistered"}]}"#
    );
    simulator.script(pushlet::simulator::script::Rule::token("4", raw(200, verbatim)));
    let six = "[\"4\",\"8\",\"15\",\"16\",\"23\",\"42\"]";
    let answer = google.bench.send(&[key, ("registration_ids", six), ("dry_run", "1")]).await;
    assert_eq!(answer.told(), (200, verbatim.to_owned()));

    simulator.clear();
    let answer = google
        .bench
        .send(&[
            key,
            ("to", "/topics/news"),
            ("time_to_live", "5"),
            ("priority", "high"),
            ("notification", "{\"title\": 1.0}"),
            ("content_available", "0"),
        ])
        .await;
    let rows = rows(&answer);
    assert!(rows[0]["message_id"].is_string(), "{rows:?}");
    let sent = simulator.received().pop().unwrap();
    let expected = concat!(
        r#"{"to":"/topics/news","priority":"high","time_to_live":5,"#,
        r#""notification":{"title": 1.0}}"#
    );
    assert_eq!(&sent.payload[..], expected.as_bytes());

    let of_v1 = google.bench.send(&[key, ("message", "{\"token\":\"t\"}")]).await;
    assert_eq!(of_v1.code(), code(400, "unknown_parameter"));
    google.stop().await;
}

pub(super) fn raw(status: u16, body: &str) -> pushlet::simulator::script::Answer {
    pushlet::simulator::script::Answer::Raw(pushlet::simulator::script::Raw {
        status: http::StatusCode::from_u16(status).unwrap(),
        headers: http::HeaderMap::new(),
        body: bytes::Bytes::copy_from_slice(body.as_bytes()),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_key_without_legacy_endpoint_is_told_what_to_do() {
    let google = Google::with(pushlet::simulator::Options::default(), |config| {
        config.gcm.legacy_url = None;
    })
    .await;

    let answer = google.bench.send(&[("gcm_api_key", "wrong"), ("to", "t")]).await;

    assert_eq!(answer.code(), code(403, "invalid_gcm_credentials"));
    let message = answer.json()["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("the provided credentials were rejected by google servers: "));
    assert!(message.contains("[[gcm.bridge]]"), "{message}");
    assert_eq!(google.bench.peer.simulator.received(), []);
    let _: Value = answer.json();
    google.stop().await;
}
