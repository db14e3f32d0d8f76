//! From the answers of FCM v1 to the rows that callers hear.

use std::time::Duration;

use http::StatusCode;
use pushlet::simulator::script::{Answer, Rejection, Rule};
use serde_json::json;

use super::messages::raw;
use crate::support::google::{Google, KEY, rows, words};
use crate::support::wire::{FEEDBACK, SEND, code};

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_its_word() {
    let google = Google::start().await;

    for (token, word) in [
        ("UNREGISTERED", "NotRegistered"),
        ("INVALID_ARGUMENT", "InvalidRegistration"),
        ("field-token", "InvalidRegistration"),
        ("SENDER_ID_MISMATCH", "MismatchSenderId"),
        ("THIRD_PARTY_AUTH_ERROR", "InvalidApnsCredential"),
        ("DeviceMessageRateExceeded", "DeviceMessageRateExceeded"),
        ("TopicsMessageRateExceeded", "TopicsMessageRateExceeded"),
        ("QUOTA_EXCEEDED", "Unavailable"),
        ("INTERNAL", "InternalServerError"),
        ("UNAVAILABLE", "Unavailable"),
        ("MessageTooBig", "MessageTooBig"),
        ("InvalidPackageName", "InvalidPackageName"),
        ("bare-400", "InvalidParameters"),
        ("html-404", "Unavailable"),
        ("html-502", "Unavailable"),
        // Refused credentials beside messages that were accepted are no refusal of the call.
        ("html-401", "Unavailable"),
        ("PERMISSION_DENIED", "Unavailable"),
    ] {
        assert_eq!(words(&google.rows(&["fine", token]).await), ["ok", word], "{token}");
    }
    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_credentials_of_all_messages_are_an_error_of_the_call() {
    let google = Google::start().await;
    google.register().await;

    for token in ["PERMISSION_DENIED", "html-401"] {
        let both = json!([token, token]).to_string();
        let bridged = google.send(&[("registration_ids", &both)]).await;
        let registered =
            google.bench.send(&[("application_id", "app"), ("registration_ids", &both)]).await;

        assert_eq!(bridged.code(), code(403, "invalid_gcm_credentials"), "{token}");
        assert_eq!(registered.code(), code(502, "invalid_gcm_credentials"), "{token}");
    }
    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_tokens_of_a_registered_account_reach_the_feedback() {
    let google = Google::start().await;
    google.register().await;
    let feedback = async || {
        let answer = google.bench.text(FEEDBACK, "application_id=app&keep=true").await;
        let list = answer.json()["response"].as_array().unwrap().clone();
        list.iter().map(|row| row["device_token"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let dead = Rule::token("phone", Answer::reject(StatusCode::NOT_FOUND, "UNREGISTERED"));
    google.bench.peer.simulator.script(dead);

    let tokens = r#"["phone","html-404","fine","InvalidRegistration","UNREGISTERED"]"#;
    let fields = [("application_id", "app"), ("registration_ids", tokens), ("alert", "x")];
    let answer = google.bench.send(&fields).await;
    assert_eq!(
        words(&rows(&answer)),
        ["NotRegistered", "Unavailable", "ok", "InvalidRegistration", "NotRegistered"]
    );
    let mut listed = feedback().await;
    listed.sort();
    assert_eq!(listed, ["UNREGISTERED", "phone"]);

    google.bench.send(&[("application_id", "app"), ("device_token", "phone")]).await;
    assert_eq!(feedback().await, ["UNREGISTERED"], "it lives again");
    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_500_and_a_503_get_one_more_try_and_others_none() {
    let google = Google::start().await;

    for (status, tries, word) in [
        (500, 2, "InternalServerError"),
        (503, 2, "Unavailable"),
        (502, 1, "Unavailable"),
        (429, 1, "Unavailable"),
        (400, 1, "InvalidParameters"),
    ] {
        google.bench.peer.simulator.clear();
        google.bench.peer.simulator.script(Rule::token("t", raw(status, "")).times(tries));

        assert_eq!(words(&google.rows(&["t"]).await), [word], "{status}");
        assert_eq!(google.fcm().len(), tries as usize, "{status}");
    }
    google.bench.peer.simulator.script(Rule::token("t", raw(503, "")));
    assert_eq!(words(&google.rows(&["t"]).await), ["ok"]);
    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_passed_on() {
    let google = Google::start().await;
    let busy = |secs| {
        Answer::Reject(Rejection {
            status: StatusCode::SERVICE_UNAVAILABLE,
            reason: "UNAVAILABLE".to_owned(),
            timestamp_ms: None,
            retry_after_secs: Some(secs),
        })
    };
    google.bench.peer.simulator.script(Rule::token("a", busy(30)));
    google.bench.peer.simulator.script(Rule::token("b", busy(70)));

    let answer = google.send(&[("registration_ids", "[\"a\",\"b\",\"c\"]")]).await;

    assert_eq!(words(&rows(&answer)), ["Unavailable", "Unavailable", "ok"]);
    assert_eq!(answer.header("retry-after"), Some("70"));
    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_said_and_repeated_only_if_wished() {
    // Where each message has a connection of its own, one that is cut is one that is lost.
    let google = Google::plain().await;
    let simulator = &google.bench.peer.simulator;
    // A first message, so that the access token is there.
    assert_eq!(words(&google.rows(&["fine"]).await), ["ok"]);

    simulator.script(Rule::token("t", Answer::Drop));
    let answer = google.send(&[("registration_ids", "[\"t\",\"fine\"]")]).await;
    assert_eq!(rows(&answer)[0], json!({"error": "Unavailable", "delivery": "unknown"}));
    assert_eq!(words(&rows(&answer)), ["Unavailable", "ok"]);

    simulator.script(Rule::token("t", Answer::Drop));
    let answer = google.send(&[("to", "t"), ("at_least_once", "true")]).await;
    assert_eq!(words(&rows(&answer)), ["ok"]);
    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_nobody_answers_ends_with_its_deadline() {
    let google = Google::with(pushlet::simulator::Options::default(), |config| {
        config.fcm.timeout = Duration::from_millis(800);
    })
    .await;
    assert_eq!(words(&google.rows(&["fine"]).await), ["ok"]);
    google.bench.peer.simulator.script(Rule::token("t", Answer::Never));

    let answer = google.send(&[("registration_ids", "[\"t\",\"fine\"]")]).await;

    assert_eq!(rows(&answer)[0], json!({"error": "Unavailable", "delivery": "unknown"}));
    assert_eq!(words(&rows(&answer)), ["Unavailable", "ok"]);
    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_no_refusal() {
    let google = Google::with(pushlet::simulator::Options::default(), |config| {
        config.fcm.url = url::Url::parse("http://127.0.0.1:9").unwrap();
    })
    .await;

    let answer = google.send(&[("to", "t")]).await;

    assert_eq!(rows(&answer), [json!({"error": "Unavailable"})]);
    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_too_long_or_lead_elsewhere_are_none() {
    let google = Google::start().await;
    let simulator = &google.bench.peer.simulator;
    let mut elsewhere = raw(302, "");
    if let Answer::Raw(raw) = &mut elsewhere {
        let location = format!("{}/control/messages", simulator.http_url());
        raw.headers.insert("location", location.parse().unwrap());
    }
    simulator.script(Rule::token("far", elsewhere));
    simulator.script(Rule::token("long", raw(200, &" ".repeat(65 * 1_024))));
    simulator.script(Rule::token("odd", raw(200, "{}")));

    let body = json!({"gcm_api_key": KEY, "registration_ids": ["far", "long", "odd"]});
    let answer = google.bench.json(SEND, &body.to_string()).await;

    let lost = json!({"error": "Unavailable", "delivery": "unknown"});
    assert_eq!(rows(&answer), [json!({"error": "Unavailable"}), lost.clone(), lost]);
    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_connection_is_unknown_and_the_next_message_has_another() {
    let google = Google::start().await;
    let simulator = &google.bench.peer.simulator;
    assert_eq!(words(&google.rows(&["fine"]).await), ["ok"]);

    simulator.script(Rule::token("t", Answer::Drop));
    let answer = google.send(&[("to", "t")]).await;
    assert_eq!(rows(&answer), [json!({"error": "Unavailable", "delivery": "unknown"})]);
    assert_eq!(words(&google.rows(&["fine"]).await), ["ok"]);

    simulator.script(Rule::token("t", Answer::Drop));
    let answer = google.send(&[("to", "t"), ("at_least_once", "true")]).await;
    assert_eq!(words(&rows(&answer)), ["ok"]);
    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_trusted_gets_nothing() {
    let google = Google::with(pushlet::simulator::Options::default(), |config| {
        config.fcm.ca_file = None;
    })
    .await;

    let answer = google.send(&[("to", "t")]).await;

    assert_eq!(rows(&answer), [json!({"error": "Unavailable"})]);
    assert_eq!(google.fcm().len(), 0);
    google.stop().await;
}
