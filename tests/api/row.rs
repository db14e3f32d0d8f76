//! Whole rows of messages that no service took: where it is not there, where it refuses who sends,
//! where the relay has no place or finds a mistake.

use std::net::TcpListener;
use std::time::Duration;

use http::StatusCode;
use pushlet::simulator::Options;
use pushlet::simulator::script::{Answer, Rejection, Rule, TOKEN_REQUEST};
use serde_json::{Value, json};
use url::Url;

use super::batch::{plain, results};
use super::ndjson::{NDJSON, sorted};
use super::outcome::{raw, reject};
use crate::support::google::{Google, KEY};
use crate::support::keys::signing_key_p8;
use crate::support::relay::{TOKEN, TOPIC, credential};
use crate::support::wire::{Bench, REGISTER, SEND, seen};

/// The row of one message, without its sentence and its id.
async fn row(bench: &Bench, message: &Value) -> Value {
    let answer = bench.json(SEND, &json!({ "messages": [message] }).to_string()).await;
    plain(results(&answer).remove(0))
}

fn to_apple() -> Value {
    json!({ "application_id": "app", "device_token": TOKEN, "alert": "x" })
}

fn to_google(key: &str) -> Value {
    json!({ "gcm_api_key": key, "device_token": "G1", "alert": "x" })
}

/// The message with more members, or with others.
fn with(mut message: Value, more: &Value) -> Value {
    message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    message
}

/// Where nobody listens.
fn nowhere(scheme: &str) -> Url {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    Url::parse(&format!("{scheme}://localhost:{}", address.port())).unwrap()
}

fn refused_with(status: StatusCode, reason: &str, retry_after_secs: u32) -> Answer {
    Answer::Reject(Rejection {
        status,
        reason: reason.to_owned(),
        timestamp_ms: None,
        retry_after_secs: Some(retry_after_secs),
    })
}

/// A message that nothing was written of, in the row of each service.
fn not_sent(device_token: &str, status: u16, error: &str, retry_after: u64) -> Value {
    json!({
        "device_token": device_token, "status": status, "error": error,
        "retry_after": retry_after, "delivery": "not_sent", "action": "retry",
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apple_that_is_not_there_is_tried_again_later() {
    let bench = Bench::configured(|config| config.apns.production_url = nowhere("https")).await;
    bench.relay.register("app").await;

    // The first one finds it out; the second one is answered from what is known.
    for _ in 0..2 {
        assert_eq!(row(&bench, &to_apple()).await, not_sent(TOKEN, 503, "apns_unavailable", 1));
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_google_that_is_not_there_is_tried_again_later() {
    let google = Google::with(Options::default(), |config| {
        config.fcm.url = nowhere("https");
        config.gcm.legacy_url = Some(nowhere("http"));
    })
    .await;

    for key in [KEY, "AIzaLegacy"] {
        let told = row(&google.bench, &to_google(key)).await;
        assert_eq!(told, not_sent("G1", 503, "gcm_unavailable", 1), "{key}");
    }
    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_endpoint_in_trouble_is_tried_again_when_it_says() {
    let google = Google::start().await;
    google.register().await;
    let simulator = &google.bench.peer.simulator;
    let message = json!({ "application_id": "app", "device_token": "G1", "alert": "x" });
    let down = reject(503, "unavailable");
    let busy = refused_with(StatusCode::TOO_MANY_REQUESTS, "slow_down", 33);

    // It is asked a second time by the relay itself, unless that is too soon.
    for (answer, times, retry_after) in [(down, 2, 1), (busy, 1, 33)] {
        simulator.script(Rule::token(TOKEN_REQUEST, answer).times(times));
        let told = row(&google.bench, &message).await;
        assert_eq!(told, not_sent("G1", 503, "gcm_unavailable", retry_after));
    }
    assert_eq!(google.fcm(), []);
    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_google_refuses_is_for_its_owner_to_mend() {
    let google = Google::start().await;
    google.register().await;
    let refused = reject(400, "invalid_grant");
    google.bench.peer.simulator.script(Rule::token(TOKEN_REQUEST, refused));
    let registered = json!({ "application_id": "app", "device_token": "G1", "alert": "x" });

    for (message, status) in [(registered, 502), (to_google(KEY), 403)] {
        let expected = json!({
            "device_token": "G1", "status": status, "error": "invalid_gcm_credentials",
            "action": "fix_credentials",
        });
        assert_eq!(row(&google.bench, &message).await, expected);
    }
    assert_eq!(google.fcm(), []);
    google.stop().await;
}

async fn register_key(bench: &Bench) {
    let fields = [
        ("application_id", "app"),
        ("apns_key_id", "KEY1234567"),
        ("apns_team_id", "TEAM123456"),
        ("apns_topic", TOPIC),
    ];
    let upload = bench.upload("apns_p8", &signing_key_p8(), &fields);
    assert_eq!(seen(upload).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_token_that_is_expired_is_signed_anew_once() {
    // The simulator's clock is right, and it would find the token that is shown next as wrong as
    // Apple does whenever ours is.
    let bench = Bench::with(Options { checks: false, ..Options::default() }, |_| ()).await;
    register_key(&bench).await;
    let simulator = &bench.peer.simulator;
    let accepted =
        json!({ "device_token": TOKEN, "status": 200, "response": "ok", "action": "none" });
    let refused = json!({
        "device_token": TOKEN, "status": 502, "error": "apns_credentials_rejected",
        "reason": "ExpiredProviderToken", "action": "fix_credentials",
    });

    simulator.script(Rule::next(reject(403, "ExpiredProviderToken")));
    assert_eq!(row(&bench, &to_apple()).await, accepted);
    assert_eq!(bench.count(), 2);

    simulator.script(Rule::next(reject(403, "ExpiredProviderToken")));
    assert_eq!(row(&bench, &to_apple()).await, refused);
    assert_eq!(bench.count(), 1);
    // From here on it is known, and Apple is not asked.
    assert_eq!(row(&bench, &to_apple()).await, refused);
    assert_eq!(bench.count(), 0);
    bench.stop().await;
}

/// The answer of a legacy endpoint to the whole call, what the message says beside, and its row.
#[tokio::test(flavor = "multi_thread")]
async fn every_answer_of_a_legacy_endpoint_has_its_row() {
    let bench = Bench::start().await;
    let plain = json!({});
    let hasty = json!({ "timeout_ms": 1_000 });
    let hasty_twice = json!({ "timeout_ms": 1_000, "at_least_once": true });
    let twice = json!({ "at_least_once": true });
    let unknown = |status, error, action| json!({ "status": status, "error": error, "delivery": "unknown", "action": action });
    let down = |retry_after| {
        json!({
            "status": 503, "error": "gcm_unavailable", "retry_after": retry_after,
            "delivery": "not_sent", "action": "retry",
        })
    };
    let ended =
        |status, error, action| json!({ "status": status, "error": error, "action": action });
    let credentials = "invalid_gcm_credentials";

    for (answer, more, expected) in [
        (Answer::Never, &hasty, unknown(504, "gcm_timeout", "none")),
        (Answer::Never, &hasty_twice, unknown(504, "gcm_timeout", "retry")),
        (Answer::Drop, &plain, unknown(503, "gcm_unavailable", "none")),
        (Answer::Drop, &twice, unknown(503, "gcm_unavailable", "retry")),
        (raw(401, &[], ""), &plain, ended(403, credentials, "fix_credentials")),
        (raw(403, &[], ""), &plain, ended(403, credentials, "fix_credentials")),
        (raw(500, &[], "Error"), &plain, down(1)),
        (raw(503, &[("retry-after", "17")], ""), &plain, down(17)),
        (raw(599, &[], ""), &plain, down(1)),
        (
            raw(429, &[], ""),
            &plain,
            json!({ "status": 429, "error": "gcm_throttled", "retry_after": 10, "action": "retry" }),
        ),
        (
            raw(400, &[], "JSON_PARSING_ERROR: no\nmore"),
            &plain,
            with(
                ended(400, "gcm_rejected", "fix_message"),
                &json!({ "reason": "JSON_PARSING_ERROR: no" }),
            ),
        ),
        (raw(404, &[], "<html>"), &plain, ended(502, "gcm_protocol_error", "fix_credentials")),
        (raw(200, &[], "<html>"), &plain, unknown(502, "gcm_protocol_error", "fix_credentials")),
        (
            refused_with(StatusCode::OK, "Unavailable", 30),
            &plain,
            with(down(30), &json!({ "reason": "Unavailable" })),
        ),
    ] {
        bench.peer.simulator.clear_script();
        bench.peer.simulator.script(Rule::token("G1", answer.clone()).forever());
        let told = row(&bench, &with(to_google("AIzaLegacy"), more)).await;
        assert_eq!(told, with(expected, &json!({ "device_token": "G1" })), "{answer:?} {more}");
    }
    bench.peer.simulator.clear_script();
    bench.stop().await;
}

/// The application's only place is taken by a message that is never answered. One of many waits for
/// its turn instead of being refused, and its time ends before.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_turn_does_not_come_was_not_sent() {
    let google = Google::with(Options::default(), |config| {
        config.apns.max_in_flight_per_application = 1;
        config.fcm.timeout = Duration::from_secs(25);
        config.gcm.timeout = Duration::from_secs(25);
        config.apns.timeout = Duration::from_secs(25);
    })
    .await;
    google.register().await;
    google.bench.relay.register("apple").await;
    let simulator = &google.bench.peer.simulator;

    for (message, token, error) in [
        (json!({ "application_id": "apple" }), "aa", "apns_timeout"),
        (json!({ "application_id": "app" }), "G1", "gcm_timeout"),
        (json!({ "gcm_api_key": "AIzaLegacy" }), "L1", "gcm_timeout"),
    ] {
        let to =
            |token: &str| with(message.clone(), &json!({ "device_token": token, "alert": "x" }));
        simulator.script(Rule::token("5e750ff0", Answer::Never));
        let first = to("5e750ff0").to_string();
        let second = async {
            while !simulator.received().iter().any(|it| it.device_token == "5e750ff0") {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            row(&google.bench, &with(to(token), &json!({ "timeout_ms": 300 }))).await
        };

        let told = tokio::select! {
            told = second => told,
            answer = google.bench.json(SEND, &first) => panic!("it is held: {}", answer.body),
        };

        assert_eq!(told, not_sent(token, 504, error, 1), "{message}");
        let sent = simulator.received();
        assert!(sent.iter().all(|it| it.device_token != token), "{message} was sent");
        simulator.clear();
    }
    google.stop().await;
}

/// A relay with applications of each kind, for a caller who may use some of them.
async fn with_applications() -> Google {
    let google = Google::with(Options::default(), |config| {
        config.auth.credentials =
            vec![credential("all", "a", None), credential("some", "s", Some(&["a*", "gcm"]))];
        config.server.max_body_bytes = 8_192;
        config.gcm.legacy_url = None;
    })
    .await;
    let p8 = String::from_utf8(signing_key_p8()).unwrap();
    let key = [("apns_p8", &*p8), ("apns_key_id", "KEY1234567"), ("apns_team_id", "TEAM123456")];
    let topic = [("apns_topic", TOPIC)];
    let account = [("fcm_service_account", &*google.account)];
    for (id, fields) in [
        ("apple", [&key[..], &topic].concat()),
        ("all", [&key[..], &topic, &account].concat()),
        ("anywhere", key.to_vec()),
        ("android", account.to_vec()),
    ] {
        let fields = [&[("application_id", id)], &fields[..]].concat();
        let answer = seen(google.bench.form(REGISTER, &fields).basic_auth("all", Some("a"))).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    google
}

/// Every mistake that is found before anything is sent is a row of its line, and stops no other one.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "most of it is a table")]
async fn every_line_that_is_refused_has_its_row() {
    let google = with_applications().await;
    let apple = json!({ "application_id": "apple", "device_token": TOKEN, "alert": "x" });
    let line = |more: Value| with(apple.clone(), &more).to_string();
    let of = |id: &str| line(json!({ "application_id": id }));
    let less = |name: &str| {
        let mut message = apple.clone();
        message.as_object_mut().unwrap().remove(name);
        message.to_string()
    };
    let android = |more: Value| {
        let message = json!({ "application_id": "android", "device_token": TOKEN });
        with(message, &more).to_string()
    };
    let (message, credentials) = ("fix_message", "fix_credentials");

    let table = [
        // The line, and whether its token is told.
        ("{".to_owned(), false, 400, "invalid_request", message),
        ("[1]".to_owned(), false, 400, "invalid_request", message),
        (line(json!({ "alert": "x".repeat(9_000) })), false, 413, "request_too_large", message),
        (line(json!({ "colour": 1 })), true, 400, "unknown_parameter", message),
        (line(json!({ "to": "G1" })), true, 400, "conflicting_parameters", message),
        (line(json!({ "device_tokens": ["aa"] })), true, 400, "conflicting_parameters", message),
        (
            line(json!({ "registration_ids": [TOKEN] })),
            true,
            400,
            "conflicting_parameters",
            message,
        ),
        (less("application_id"), true, 400, "missing_identifier", message),
        (less("device_token"), false, 400, "device_token_required", message),
        (of("foreign"), true, 403, "forbidden", credentials),
        (of("absent"), true, 404, "application_not_found", credentials),
        (of("all"), true, 400, "missing_type", message),
        (line(json!({ "type": "sms" })), true, 400, "invalid_type", message),
        (line(json!({ "type": "gcm" })), true, 400, "missing_credentials", credentials),
        (line(json!({ "timeout_ms": 0 })), true, 400, "invalid_timeout_ms", message),
        (line(json!({ "badge": -1 })), true, 400, "invalid_badge", message),
        (line(json!({ "device_token": "abc" })), true, 400, "invalid_device_token", message),
        (line(json!({ "topic": "" })), true, 400, "invalid_topic", message),
        (of("anywhere"), true, 400, "missing_topic", message),
        (line(json!({ "data": [1] })), true, 400, "invalid_data_json", message),
        (less("alert"), true, 400, "empty_notification", message),
        (line(json!({ "alert": "x".repeat(4_096) })), true, 413, "payload_too_large", message),
        (android(json!({ "badge": -1 })), true, 400, "invalid_badge", message),
        (android(json!({ "data": { "gcm": "x" } })), true, 400, "gcm_rejected", message),
        (android(json!({ "apns_id": "x" })), true, 400, "unknown_parameter", message),
        (to_google("AIzaLegacy").to_string(), true, 403, "invalid_gcm_credentials", credentials),
    ];
    let lines: String = table.iter().map(|(line, ..)| format!("{line}\n")).collect();
    let request = google.bench.post(SEND).header("content-type", NDJSON).body(lines);
    let rows = sorted(&seen(request.basic_auth("some", Some("s"))).await);

    for (index, (line, tells_token, status, error, action)) in table.iter().enumerate() {
        let mut expected =
            json!({ "index": index, "status": status, "error": error, "action": action });
        if *tells_token {
            let line: Value = serde_json::from_str(line).unwrap();
            expected["device_token"] = line["device_token"].clone();
        }
        if *error == "gcm_rejected" {
            expected["reason"] = json!("InvalidDataKey");
        }
        assert_eq!(plain(rows[index].clone()), expected, "{line}");
    }
    assert_eq!(rows.len(), table.len());
    assert_eq!(google.bench.count(), 0);
    google.stop().await;
}
