//! `dry_run` and `preview`: what is shown, that nothing is sent, and that it is what would be.

use serde_json::{Value, json};

use crate::support::google::{Google, KEY, PROJECT};
use crate::support::keys::signing_key_p8;
use crate::support::relay::{TOKEN, TOPIC};
use crate::support::wire::{Bench, SEND, code, ok, seen};

const ID: &str = "123e4567-e89b-42d3-a456-426614174000";

async fn bench() -> Bench {
    let bench = Bench::start().await;
    let fields = [
        ("application_id", "app"),
        ("apns_key_id", "KEY1234567"),
        ("apns_team_id", "TEAM123456"),
        ("apns_mode", "sandbox"),
        ("apns_topic", TOPIC),
    ];
    let answer = seen(bench.upload("apns_p8", &signing_key_p8(), &fields)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    bench
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_shows_the_request_to_the_byte_and_sends_nothing() {
    let bench = bench().await;
    let body = format!(
        "{{\"application_id\":\"app\",\"device_token\":\"<{}>\",\"apns_id\":\"{ID}\",\
         \"priority\":5,\"collapse_id\":\"c\",\"ttl\":0,\
         \"payload\":{{\"z\" : 1.0, \"aps\":{{\"alert\":\"x\"}}}},\"dry_run\":true}}",
        TOKEN.to_uppercase()
    );

    let shown = bench.json(SEND, &body).await;

    let payload = r#"{"z" : 1.0, "aps":{"alert":"x"}}"#;
    let expected = format!(
        "{{\"dry_run\":true,\"request\":{{\"method\":\"POST\",\"url\":\"{}/3/device/{TOKEN}\",\
         \"headers\":{{\"apns-collapse-id\":\"c\",\"apns-expiration\":\"0\",\"apns-id\":\"{ID}\",\
         \"apns-priority\":\"5\",\"apns-push-type\":\"alert\",\"apns-topic\":\"{TOPIC}\",\
         \"authorization\":\"bearer ***\",\"content-length\":\"{size}\",\
         \"content-type\":\"application/json\"}},\"payload\":{payload},\"size\":{size},\
         \"limit\":4096,\"topic\":\"{TOPIC}\",\"environment\":\"development\"}}}}",
        bench.peer.simulator.apns_url(),
        size = payload.len(),
    );
    assert_eq!(shown.told(), (200, expected));
    assert_eq!(bench.count(), 0);
    let sent = bench.json(SEND, &body.replace("true}", "false}")).await;
    assert_eq!(sent.told(), ok());
    assert_eq!(bench.arrived().payload, payload);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_makes_every_check_and_no_connection() {
    let bench = Bench::configured(|config| {
        config.apns.production_url = "https://127.0.0.1:1".parse().unwrap();
    })
    .await;
    bench.relay.register("app").await;
    let call = [("application_id", "app"), ("device_token", TOKEN), ("dry_run", "1")];

    for (field, expected) in [
        (("alert", ""), code(200, "")),
        (("badge", "many"), code(400, "invalid_badge")),
        (("data", "[]"), code(400, "invalid_data_json")),
        (("preview", "perhaps"), code(400, "invalid_preview")),
        (("topic", "a b"), code(400, "invalid_topic")),
        (("alert", &*"x".repeat(4_096)), code(413, "payload_too_large")),
    ] {
        let with_alert =
            if ["preview", "topic"].contains(&field.0) { vec![("alert", "x")] } else { Vec::new() };
        let fields = [&call[..], &[field], &with_alert].concat();
        assert_eq!(bench.send(&fields).await.code(), expected, "{}", field.0);
    }
    let answer = bench.send(&[call[0], ("device_token", "xyz"), call[2], ("alert", "x")]).await;
    assert_eq!(answer.code(), code(400, "invalid_device_token"));
    let shown = bench.send(&[&call[..], &[("alert", "x")]].concat()).await;
    assert_eq!(shown.json()["request"]["headers"].get("authorization"), None, "a certificate");
    bench.stop().await;
}

/// Google's own dry run asks Google; a preview asks nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_preview_for_google_asks_nobody() {
    let google = Google::start().await;
    let call = [("gcm_api_key", KEY), ("device_token", "t"), ("data", "{\"n\":1}")];

    let base = google.bench.peer.config.fcm.url.as_str().trim_end_matches('/').to_owned();
    let url = format!("{base}/v1/projects/{PROJECT}/messages:send");
    let shown = google.bench.send(&[&call[..], &[("preview", "true")]].concat()).await;
    assert_eq!(
        shown.json(),
        json!({"dry_run": true, "request": {
            "method": "POST",
            "url": url,
            "headers": shown.json()["request"]["headers"],
            "payload": {"message": {"token": "t", "data": {"n": "1"}}},
            "size": 42,
        }})
    );
    assert_eq!(shown.json()["request"]["headers"]["authorization"], "Bearer ***");
    let several = [("gcm_api_key", KEY), ("registration_ids", "[\"a\",\"b\"]"), ("alert", "x")];
    let shown = google
        .bench
        .send(&[&several[..], &[("preview", "1"), ("dry_run", "1")]].concat())
        .await
        .json();
    let tokens: Vec<&Value> = shown["requests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|request| &request["payload"]["message"]["token"])
        .collect();
    assert_eq!(tokens, ["a", "b"]);
    assert_eq!(shown["requests"][0]["payload"]["validate_only"], true);
    assert_eq!((google.fcm().len(), google.token_requests()), (0, 0));

    let dry = google.bench.send(&[&call[..], &[("dry_run", "true")]].concat()).await;
    assert_eq!(dry.json()["success"], 1);
    assert_eq!(google.message()["validate_only"], true);
    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_for_the_legacy_endpoint_shows_no_key() {
    let bench = Bench::start().await;
    let call = [("gcm_api_key", "AIzaSecret"), ("device_token", "t"), ("alert", "x")];

    let shown = bench.send(&[&call[..], &[("preview", "true")]].concat()).await;

    assert_eq!(shown.status, 200);
    assert!(!shown.body.contains("AIzaSecret"), "{}", shown.body);
    let payload = &shown.json()["request"]["payload"];
    assert_eq!(*payload, json!({"registration_ids": ["t"], "notification": {"body": "x"}}));
    assert_eq!(bench.count(), 0);
    bench.stop().await;
}
