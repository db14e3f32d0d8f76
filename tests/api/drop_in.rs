//! Google's own routes: what a program that was written for them hears.

use std::process::Command;

use pushlet::simulator::Options;
use serde_json::{Value, json};

use crate::support::google::{Google, KEY, rows, words};
use crate::support::tools::require;
use crate::support::wire::{FORM, Seen, code, seen};

const JSON: &str = "application/json";

async fn call(google: &Google, path: &str, content_type: &str, body: &str) -> Seen {
    let request = google
        .bench
        .post(path)
        .header("authorization", format!("key={KEY}"))
        .header("content-type", content_type)
        .body(body.to_owned());
    seen(request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn json_is_answered_as_google_did() {
    let google = Google::start().await;

    for path in ["/fcm/send", "/gcm/send"] {
        let body = r#"{"registration_ids":["4","NotRegistered"],"data":{"score":"5x1"},"x":1}"#;
        let answer = call(&google, path, "application/json; charset=utf-8", body).await;
        assert_eq!(words(&rows(&answer)), ["ok", "NotRegistered"], "{path}");
    }
    for (body, word) in [
        (r#"{"to":"4","delay_while_idle":true,"collapse_key":null}"#, "ok"),
        (r#"{"notification_key":"4","priority":"HIGH"}"#, "ok"),
        (r#"{"data":{}}"#, "MissingRegistration"),
        (r#"{"to":"4","time_to_live":2419201}"#, "InvalidTtl"),
        (r#"{"to":"4","time_to_live":-1}"#, "InvalidTtl"),
        (r#"{"to":"4","data":{"from":"x"}}"#, "InvalidDataKey"),
    ] {
        let answer = call(&google, "/fcm/send", JSON, body).await;
        assert_eq!(words(&rows(&answer)), [word], "{body}");
    }
    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_have_an_answer_of_their_own() {
    let google = Google::start().await;

    let answer = call(&google, "/fcm/send", JSON, r#"{"to":"/topics/news"}"#).await;
    assert_eq!(answer.status, 200);
    let body = answer.json();
    assert!(body["message_id"].is_u64() && body.as_object().unwrap().len() == 1, "{body}");

    let answer =
        call(&google, "/fcm/send", JSON, r#"{"condition":"TopicsMessageRateExceeded"}"#).await;
    assert_eq!(answer.told(), (200, r#"{"error":"TopicsMessageRateExceeded"}"#.to_owned()));
    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_text_is_answered_in_plain_text() {
    let google = Google::start().await;

    let form = "registration_id=4&data.a=1&data.b=%C3%A9&collapse_key=c&time_to_live=9&dry_run=1";
    let answer = call(&google, "/gcm/send", FORM, form).await;
    assert_eq!(answer.told(), (200, "id=fake_message_id\n".to_owned()));
    assert_eq!(google.message()["message"]["data"], json!({"a": "1", "b": "é"}));
    let without_type = google.bench.post("/gcm/send").header("authorization", format!("key={KEY}"));
    let answer = seen(without_type.body("registration_id=NotRegistered")).await;
    assert_eq!(answer.told(), (200, "Error=NotRegistered\n".to_owned()));

    for (form, status, text) in [
        ("data.a=1", 200, "Error=MissingRegistration\n"),
        ("registration_id=4&time_to_live=2419201", 200, "Error=InvalidTtl\n"),
        ("registration_id=UNAVAILABLE", 503, "Error=Unavailable\n"),
        ("registration_id=INTERNAL", 500, "Error=InternalServerError\n"),
        ("registration_id=4&time_to_live=x", 400, "time_to_live must be a number\n"),
    ] {
        let answer = call(&google, "/gcm/send", FORM, form).await;
        assert_eq!(answer.told(), (status, text.to_owned()), "{form}");
    }
    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_nobody_knows_is_a_401_without_json() {
    let google = Google::start().await;

    for authorization in [None, Some("key=wrong"), Some("key="), Some("Basic a2V5"), Some(KEY)] {
        let request = google.bench.post("/fcm/send").header("content-type", JSON).body("{");
        let request = match authorization {
            Some(value) => request.header("authorization", value),
            None => request,
        };
        let answer = seen(request).await;

        assert_eq!(answer.status, 401, "{authorization:?}");
        assert_eq!(answer.header("content-type"), Some("text/html; charset=UTF-8"));
        assert!(serde_json::from_str::<Value>(&answer.body).is_err(), "{}", answer.body);
    }
    let refused = call(&google, "/fcm/send", JSON, r#"{"to":"PERMISSION_DENIED"}"#).await;
    assert_eq!(refused.status, 401, "its account is refused");
    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_a_400_in_plain_text() {
    let google = Google::start().await;
    let many = json!({"registration_ids": vec!["a"; 1_001]}).to_string();

    for (body, start) in [
        ("{", "JSON_PARSING_ERROR: "),
        ("[]", "JSON_PARSING_ERROR: "),
        (r#"{"to":5}"#, "Field \"to\" must be a JSON string\n"),
        (r#"{"to":"a","data":"x"}"#, "Field \"data\" must be a JSON object\n"),
        (r#"{"to":"a","time_to_live":"5"}"#, "Field \"time_to_live\" must be a JSON number\n"),
        (r#"{"to":"a","dry_run":1}"#, "Field \"dry_run\" must be a JSON boolean\n"),
        (r#"{"to":"a","priority":"urgent"}"#, "Field \"priority\" must be normal or high\n"),
        (r#"{"to":"a","notification":{"body":[]}}"#, "Field \"notification\" must have text as "),
        (r#"{"registration_ids":[]}"#, "\"registration_ids\" field cannot be empty\n"),
        (r#"{"to":"a","condition":"b"}"#, "Must use one of "),
        (&many, "Number of messages on bulk (1001) exceeds maximum allowed (1000)\n"),
    ] {
        let answer = call(&google, "/fcm/send", JSON, body).await;

        assert_eq!(answer.status, 400, "{body}");
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=UTF-8"), "{body}");
        assert!(answer.body.starts_with(start), "{body}: {}", answer.body);
    }
    assert_eq!(google.fcm(), []);
    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_routes_are_there_only_if_configured() {
    let off = Google::with(Options::default(), |config| config.gcm.drop_in_routes = false).await;
    let answer = call(&off, "/fcm/send", JSON, r#"{"to":"4"}"#).await;
    assert_eq!(answer.code(), code(404, "not_found"));
    off.stop().await;

    let on = Google::start().await;
    let get = on.bench.relay.client.get(on.bench.relay.url("/gcm/send"));
    assert_eq!(seen(get).await.code(), code(405, "method_not_allowed"));
    on.stop().await;
}

/// The key is the credential; a user name is neither needed nor enough.
#[tokio::test(flavor = "multi_thread")]
async fn the_key_opens_a_relay_that_asks_for_passwords() {
    let google = Google::with(Options::default(), |config| {
        config.auth.credentials = vec![crate::support::relay::credential("me", "secret", None)];
    })
    .await;

    let answer = call(&google, "/fcm/send", JSON, r#"{"to":"4"}"#).await;
    assert_eq!(words(&rows(&answer)), ["ok"]);
    let basic = google.bench.post("/fcm/send").basic_auth("me", Some("secret"));
    assert_eq!(seen(basic.header("content-type", JSON).body("{}")).await.status, 401);
    let page = google.bench.post("/fcm/send").header("sec-fetch-site", "cross-site");
    assert_eq!(seen(page).await.code(), code(403, "forbidden"));
    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_gcm_sends_unmodified() {
    if !require("npm's node-gcm", &["node", "-e", "require('node-gcm')"]) {
        return;
    }
    let google = Google::start().await;
    let node = |key: &str, message: &Value, recipients: &Value| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/api/legacy_client.js");
        let uri = google.bench.relay.url("/gcm/send");
        let output = tokio::task::block_in_place(|| {
            Command::new("node")
                .args([script, &uri, key, &message.to_string(), &recipients.to_string()])
                .output()
                .unwrap()
        });
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        serde_json::from_slice::<Value>(&output.stdout).unwrap_or_else(|_| panic!("{errors}"))
    };
    let message = json!({
        "collapseKey": "demo", "priority": "high", "contentAvailable": true, "timeToLive": 3,
        "restrictedPackageName": "com.example", "dryRun": true,
        "data": {"key1": "message1", "number": 5},
        "notification": {"title": "Hello", "icon": "ic", "body": "World"},
    });

    let tokens = json!({"registrationTokens": ["4", "NotRegistered", "InvalidRegistration"]});
    let answer = node(KEY, &message, &tokens);
    assert_eq!(answer["error"], Value::Null, "{answer}");
    let results = answer["body"]["results"].as_array().unwrap();
    assert_eq!(words(results), ["ok", "NotRegistered", "InvalidRegistration"]);
    assert_eq!((&answer["body"]["success"], &answer["body"]["failure"]), (&json!(1), &json!(2)));
    let first = google.fcm().remove(0);
    let sent: Value = serde_json::from_slice(&first.payload).unwrap();
    assert_eq!(sent["message"]["android"]["ttl"], "3s");
    assert_eq!(sent["message"]["data"], json!({"key1": "message1", "number": "5"}));
    assert_eq!(sent["validate_only"], true);

    let topic = node(KEY, &json!({}), &json!({"topic": "/topics/news"}));
    assert!(topic["body"]["message_id"].is_u64(), "{topic}");
    let refused = node("wrong", &json!({}), &json!({"to": "4"}));
    assert_eq!((&refused["error"], &refused["body"]), (&json!("401"), &Value::Null));
    google.stop().await;
}
