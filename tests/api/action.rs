//! What a row tells a program to do, for every answer of both services.

use std::time::Duration;

use http::StatusCode;
use pushlet::simulator::script::{Answer, Rejection, Rule};
use serde_json::{Value, json};

use super::batch::results;
use super::outcome::reject;
use crate::support::google::Google;
use crate::support::relay::{TOKEN, TOPIC};
use crate::support::wire::{Bench, SEND};

/// Status, code, reason, delivery and action of a row.
type Told<'a> = (u16, &'a str, &'a str, &'a str, &'a str);

fn told(row: &Value) -> (u16, String, String, String, String) {
    let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
    let status = u16::try_from(row["status"].as_u64().unwrap()).unwrap();
    (status, text("error"), text("reason"), text("delivery"), text("action"))
}

fn owned(told: Told<'_>) -> (u16, String, String, String, String) {
    let (status, error, reason, delivery, action) = told;
    (status, error.to_owned(), reason.to_owned(), delivery.to_owned(), action.to_owned())
}

/// The row of a message that Apple answers so, each time that it is tried.
async fn apple(bench: &Bench, answer: Answer, more: Value) -> Value {
    bench.relay.register("app").await;
    bench.peer.simulator.clear_script();
    bench.peer.simulator.script(Rule::next(answer).forever());
    let mut message = json!({ "application_id": "app", "device_token": TOKEN, "alert": "x" });
    message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let answer = bench.json(SEND, &json!({ "messages": [message] }).to_string()).await;
    bench.peer.simulator.clear_script();
    results(&answer).remove(0)
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "most of it is a table")]
async fn every_answer_of_apple_has_its_action() {
    let bench = Bench::start().await;
    let (bad, credentials) = ("invalid_device_token", "apns_credentials_rejected");
    let given = json!({ "topic": TOPIC });

    for (answer, more, expected) in [
        (Answer::Accept, json!({}), (200, "", "", "", "none")),
        (
            reject(410, "Unregistered"),
            json!({}),
            (410, "device_token_unregistered", "Unregistered", "", "delete_token"),
        ),
        (
            reject(410, "ExpiredToken"),
            json!({}),
            (410, "device_token_unregistered", "ExpiredToken", "", "delete_token"),
        ),
        (reject(400, "BadDeviceToken"), json!({}), (400, bad, "BadDeviceToken", "", "fix_message")),
        (
            reject(400, "DeviceTokenNotForTopic"),
            json!({}),
            (400, bad, "DeviceTokenNotForTopic", "", "fix_message"),
        ),
        (
            reject(403, "BadCertificate"),
            json!({}),
            (502, credentials, "BadCertificate", "", "fix_credentials"),
        ),
        (
            reject(400, "TopicDisallowed"),
            json!({}),
            (502, credentials, "TopicDisallowed", "", "fix_credentials"),
        ),
        (
            reject(400, "TopicDisallowed"),
            given,
            (400, "apns_rejected", "TopicDisallowed", "", "fix_message"),
        ),
        (
            reject(400, "BadPriority"),
            json!({}),
            (400, "apns_rejected", "BadPriority", "", "fix_message"),
        ),
        (
            reject(413, "PayloadTooLarge"),
            json!({}),
            (400, "apns_rejected", "PayloadTooLarge", "", "fix_message"),
        ),
        (
            reject(429, "TooManyRequests"),
            json!({}),
            (429, "apns_throttled", "TooManyRequests", "", "retry"),
        ),
        (
            reject(503, "Shutdown"),
            json!({}),
            (503, "apns_unavailable", "Shutdown", "not_sent", "retry"),
        ),
        (
            reject(429, "TooManyProviderTokenUpdates"),
            json!({}),
            (503, "apns_unavailable", "TooManyProviderTokenUpdates", "not_sent", "retry"),
        ),
        (Answer::Drop, json!({}), (503, "apns_unavailable", "", "unknown", "none")),
        (
            Answer::Drop,
            json!({ "collapse_id": "c" }),
            (503, "apns_unavailable", "", "unknown", "retry"),
        ),
        (Answer::Never, json!({ "timeout_ms": 200 }), (504, "apns_timeout", "", "unknown", "none")),
        (
            Answer::Never,
            json!({ "timeout_ms": 200, "at_least_once": true }),
            (504, "apns_timeout", "", "unknown", "retry"),
        ),
        (
            reject(404, "BadPath"),
            json!({}),
            (502, "apns_protocol_error", "BadPath", "", "fix_credentials"),
        ),
    ] {
        let row = apple(&bench, answer.clone(), more).await;
        assert_eq!(told(&row), owned(expected), "{answer:?}: {row}");
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_row_says_when_to_come_back() {
    let bench = Bench::start().await;
    let answer = Answer::Reject(Rejection {
        status: StatusCode::TOO_MANY_REQUESTS,
        reason: "TooManyRequests".to_owned(),
        timestamp_ms: None,
        retry_after_secs: Some(7),
    });

    let row = apple(&bench, answer, json!({})).await;

    assert_eq!(row["retry_after"], 7);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_of_google_has_its_action() {
    let google =
        Google::with(Default::default(), |config| config.fcm.timeout = Duration::from_secs(2))
            .await;
    google.register().await;
    let (dead, bad) = ("device_token_unregistered", "invalid_device_token");
    let (down, protocol) = ("gcm_unavailable", "gcm_protocol_error");
    let credentials = "invalid_gcm_credentials";
    let table: &[(&str, Told<'_>)] = &[
        ("fine", (200, "", "", "", "none")),
        ("UNREGISTERED", (410, dead, "NotRegistered", "", "delete_token")),
        ("INVALID_ARGUMENT", (400, bad, "InvalidRegistration", "", "delete_token")),
        ("SENDER_ID_MISMATCH", (400, bad, "MismatchSenderId", "", "fix_message")),
        (
            "THIRD_PARTY_AUTH_ERROR",
            (400, "gcm_rejected", "InvalidApnsCredential", "", "fix_credentials"),
        ),
        ("MessageTooBig", (400, "gcm_rejected", "MessageTooBig", "", "fix_message")),
        ("bare-400", (400, "gcm_rejected", "InvalidParameters", "", "fix_message")),
        (
            "DeviceMessageRateExceeded",
            (429, "gcm_throttled", "DeviceMessageRateExceeded", "", "retry"),
        ),
        ("QUOTA_EXCEEDED", (429, "gcm_throttled", "Unavailable", "", "retry")),
        ("INTERNAL", (503, down, "InternalServerError", "not_sent", "retry")),
        ("UNAVAILABLE", (503, down, "Unavailable", "not_sent", "retry")),
        ("html-404", (502, protocol, "", "", "fix_credentials")),
        ("PERMISSION_DENIED", (502, credentials, "", "", "fix_credentials")),
        ("html-401", (502, credentials, "", "", "fix_credentials")),
    ];

    let tokens: Vec<_> = table.iter().map(|(token, _)| token).collect();
    let body = json!({ "application_id": "app", "alert": "x", "device_tokens": tokens });
    let rows = results(&google.bench.json(SEND, &body.to_string()).await);

    for (row, (token, expected)) in rows.iter().zip(table) {
        assert_eq!(told(row), owned(*expected), "{token}: {row}");
    }
    assert_eq!(rows.len(), table.len());
    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_google_may_have_got_goes_again_only_if_two_are_welcome() {
    let google = Google::start().await;
    google.register().await;
    let simulator = &google.bench.peer.simulator;

    for (answer, error) in [(Answer::Never, "gcm_timeout"), (Answer::Drop, "gcm_unavailable")] {
        for (welcome, action) in [(false, "none"), (true, "retry")] {
            simulator.clear_script();
            simulator.script(Rule::token("G1", answer.clone()).forever());
            let body = json!({ "messages": [{
                "application_id": "app", "device_token": "G1", "alert": "x", "timeout_ms": 1_000,
                "at_least_once": welcome,
            }] });
            let row = results(&google.bench.json(SEND, &body.to_string()).await).remove(0);
            let status = if error == "gcm_timeout" { 504 } else { 503 };
            assert_eq!(told(&row), owned((status, error, "", "unknown", action)), "{row}");
        }
    }
    simulator.clear_script();
    google.stop().await;
}

/// The words of Google's legacy protocol, from an endpoint that still speaks it.
#[tokio::test(flavor = "multi_thread")]
async fn every_word_of_a_legacy_endpoint_has_its_action() {
    let bench = Bench::start().await;
    let (dead, bad) = ("device_token_unregistered", "invalid_device_token");
    let table: &[(&str, Told<'_>)] = &[
        ("fine", (200, "", "", "", "none")),
        ("canonical:fine", (200, "", "", "", "none")),
        ("NotRegistered", (410, dead, "NotRegistered", "", "delete_token")),
        ("InvalidRegistration", (400, bad, "InvalidRegistration", "", "delete_token")),
        ("MismatchSenderId", (400, bad, "MismatchSenderId", "", "fix_message")),
        ("MessageTooBig", (400, "gcm_rejected", "MessageTooBig", "", "fix_message")),
        (
            "InvalidApnsCredential",
            (400, "gcm_rejected", "InvalidApnsCredential", "", "fix_credentials"),
        ),
        ("QuotaExceeded", (429, "gcm_throttled", "QuotaExceeded", "", "retry")),
        ("Unavailable", (503, "gcm_unavailable", "Unavailable", "not_sent", "retry")),
    ];

    let tokens: Vec<_> = table.iter().map(|(token, _)| token).collect();
    let body = json!({ "gcm_api_key": "AIzaLegacy", "alert": "x", "device_tokens": tokens });
    let rows = results(&bench.json(SEND, &body.to_string()).await);

    for (row, (token, expected)) in rows.iter().zip(table) {
        assert_eq!(told(row), owned(*expected), "{token}: {row}");
    }
    assert_eq!(rows.len(), table.len());
    bench.stop().await;
}
