//! What stands in the log, and what never does.

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::support::keys::{Authority, signing_key_p8};
use crate::support::process::Process;
use crate::support::relay::{Peer, TOKEN, TOPIC};

const USERNAME: &str = "backend";
const PASSWORD: &str = "password-of-the-relay";
const P12_PASSWORD: &str = "password-of-the-p12";
const GCM_KEY: &str = "AIzaKeyOfGoogle";
const REGISTRATION_TOKEN: &str = "registration-token-of-a-phone";
const ALERT: &str = "words-for-one-person";

/// A call with a form body, as user and password; the request id of the call is `id`.
async fn call(
    address: SocketAddr,
    password: &str,
    id: &str,
    path: &str,
    fields: &[(&str, &str)],
) -> u16 {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let request = client
        .post(format!("http://{address}{path}"))
        .basic_auth(USERNAME, Some(password))
        .header("x-request-id", id)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body);
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_is_logged_even_at_trace() {
    let files = Files {
        p12: STANDARD.encode(Authority::new().apple_certificate(TOPIC).build().p12(P12_PASSWORD)),
        p8: STANDARD.encode(signing_key_p8()),
        dead_token: format!("5e750410{}", &TOKEN[8..]),
    };
    let basic = STANDARD.encode(format!("{USERNAME}:{PASSWORD}"));
    let secrets = [
        [PASSWORD, P12_PASSWORD, GCM_KEY, REGISTRATION_TOKEN, ALERT, TOKEN, "bearer eyJ"]
            .as_slice(),
        &[&files.p12, &files.p8, &files.dead_token, &basic],
    ]
    .concat();
    for format in ["text", "json"] {
        let peer = Peer::start();
        let process = Process::serve_before(
            &peer,
            &[
                ("PUSHLET_USERNAME", USERNAME),
                ("PUSHLET_PASSWORD", PASSWORD),
                ("PUSHLET_LOG__LEVEL", "trace"),
                ("PUSHLET_LOG__FORMAT", format),
            ],
        );

        for (path, fields, status) in calls(&files) {
            let answered = call(process.address(), PASSWORD, "1", path, &fields).await;
            assert_eq!(answered, status, "{path} {fields:?}");
        }
        assert_eq!(call(process.address(), "wrong", "1", "/send_notification", &[]).await, 401);
        process.signal("TERM");
        process.line("stopping");

        let log = process.log().join("\n");
        assert!(log.contains("DEBUG") && log.contains("h2::"), "no library is heard:\n{log}");
        for secret in &secrets {
            assert!(!log.contains(secret), "{format}: {secret:?} stands in the log:\n{log}");
        }
    }
}

struct Files {
    p12: String,
    p8: String,
    dead_token: String,
}

type Fields<'a> = Vec<(&'a str, &'a str)>;

/// Calls that succeed and fail in every part of the relay, and their statuses.
fn calls(files: &Files) -> Vec<(&'static str, Fields<'_>, u16)> {
    let (register, send) = ("/register_application", "/send_notification");
    let p12 = |password| {
        vec![("application_id", "a"), ("apns_p12", files.p12.as_str()), ("apns_p12_pass", password)]
    };
    let p8 = vec![
        ("application_id", "b"),
        ("apns_p8", &files.p8),
        ("apns_key_id", "KEY1234567"),
        ("apns_team_id", "TEAM123456"),
        ("apns_topic", TOPIC),
    ];
    let mut calls = vec![
        (register, p12(P12_PASSWORD), 200),
        (register, p12(GCM_KEY), 400),
        (register, p8, 200),
        (register, vec![("apns_pem", files.p8.as_str())], 400),
    ];
    for id in ["a", "b"] {
        let message =
            |token| vec![("application_id", id), ("device_token", token), ("alert", ALERT)];
        calls.push((send, message(TOKEN), 200));
        calls.push((send, message(&files.dead_token), 410));
        calls.push((send, message(REGISTRATION_TOKEN), 400));
        calls.push((send, [message(TOKEN), vec![("badge", ALERT)]].concat(), 400));
        calls.push(("/application_feedback", vec![("application_id", id)], 200));
    }
    let google =
        vec![("gcm_api_key", GCM_KEY), ("device_token", REGISTRATION_TOKEN), ("alert", ALERT)];
    calls.push((send, [google.clone(), vec![("data", ALERT)]].concat(), 400));
    calls.push((send, google, 200));
    calls
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_a_call_carry_its_request_id() {
    let peer = Peer::start();
    let process = Process::serve_before(
        &peer,
        &[("PUSHLET_LOG__LEVEL", "debug"), ("PUSHLET_LOG__FORMAT", "json")],
    );
    let p12 = STANDARD.encode(Authority::new().apple_certificate(TOPIC).build().p12(""));
    let address = process.address();

    let fields = [("application_id", "a"), ("apns_p12", p12.as_str())];
    assert_eq!(call(address, "", "of-the-first", "/register_application", &fields).await, 200);
    let fields = [("application_id", "a"), ("device_token", TOKEN), ("alert", ALERT)];
    assert_eq!(call(address, "", "of-the-second", "/send_notification", &fields).await, 200);

    for (message, id) in
        [("an application was registered", "of-the-first"), ("\"accepted\"", "of-the-second")]
    {
        let line: serde_json::Value = serde_json::from_str(&process.line(message)).unwrap();
        assert_eq!(line["spans"][0]["request.id"], id, "{line}");
        assert_eq!(line["app.id"], "a", "{line}");
    }
    let accepted: serde_json::Value = serde_json::from_str(&process.line("\"accepted\"")).unwrap();
    assert_eq!(accepted["token"], &TOKEN[..8]);
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_a_call_carry_the_trace_of_its_caller() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";
    let peer = Peer::start();
    let environment = [("PUSHLET_LOG__LEVEL", "debug"), ("PUSHLET_LOG__FORMAT", "json")];
    let process = Process::serve_before(&peer, &environment);
    let send = async |id: &str, traceparent: &str| {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client
            .post(format!("http://{}/send_notification", process.address()))
            .header("x-request-id", id)
            .header("traceparent", traceparent)
            .header("tracestate", "vendor=1")
            .header("content-type", "application/x-www-form-urlencoded")
            .body("gcm_api_key=KEY&device_token=phone&alert=x");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(!answer.headers().contains_key("traceparent"));
    };

    send("traced", &format!("00-{TRACE}-{SPAN}-01")).await;
    send("wrong", &format!("00-{TRACE}-{SPAN}-zz")).await;

    let span = |id: &str| -> serde_json::Value {
        let line = process.line(&format!("\"request.id\":\"{id}\""));
        serde_json::from_str::<serde_json::Value>(&line).unwrap()["spans"][0].clone()
    };
    let traced = span("traced");
    assert_eq!((&traced["trace.id"], &traced["parent.id"]), (&TRACE.into(), &SPAN.into()));
    let own = traced["span.id"].as_str().unwrap();
    assert!(own.len() == 16 && u64::from_str_radix(own, 16).is_ok() && own != SPAN, "{own}");
    let expected = serde_json::json!({"name": "call", "request.id": "wrong"});
    assert_eq!(span("wrong"), expected);
}
