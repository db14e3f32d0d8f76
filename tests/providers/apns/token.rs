//! Provider tokens on the wire: a peer that knows the key verifies each, and allows one in twenty
//! minutes.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use pushlet::simulator::Options;
use pushlet::simulator::certificates::SigningKey;
use reqwest::multipart::Form;

use crate::support::process::Process;
use crate::support::relay::{Answer, Peer, Relay, TOKEN, TOPIC, answer};

#[tokio::test(flavor = "multi_thread")]
async fn all_applications_of_a_key_show_one_token_that_apple_can_verify() {
    let key = SigningKey::generate("KEY1234567", "TEAM123456").unwrap();
    let peer = Peer::with(Options {
        provider_keys: vec![key.public().unwrap()],
        limit_token_updates: true,
        ..Options::default()
    });
    let relay = Relay::start(peer.config.clone()).await;
    let p8 = String::from_utf8(key.p8().unwrap()).unwrap();
    for app in ["one", "two", "three"] {
        let form = Form::new()
            .text("application_id", app)
            .text("apns_p8", p8.clone())
            .text("apns_key_id", "KEY1234567")
            .text("apns_team_id", "TEAM123456")
            .text("apns_topic", TOPIC);
        let answer = relay.multipart("/register_application", form).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    let apps = ["one", "two", "three"].into_iter().cycle().take(60);
    let answers = join_all(apps.map(|app| relay.send(app, TOKEN, "hello"))).await;

    for answer in answers {
        assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"response":"ok"}"#));
    }
    assert!(peer.simulator.received().iter().all(|message| {
        message.authenticated_as.as_deref() == Some("key KEY1234567 of team TEAM123456")
    }));
    relay.stop().await;
}

/// Registers `app` with this key at a relay, whichever process it is in, and sends once.
async fn register_and_send(address: SocketAddr, key: &SigningKey) -> Answer {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let post = |path: &str, body: serde_json::Value| {
        let url = format!("http://{address}{path}");
        client.post(url).header("content-type", "application/json").body(body.to_string())
    };
    let p8 = String::from_utf8(key.p8().unwrap()).unwrap();
    let registered = answer(post(
        "/register_application",
        serde_json::json!({
            "application_id": "app", "apns_p8": p8, "apns_key_id": key.key_id,
            "apns_team_id": key.team_id, "apns_topic": TOPIC
        }),
    ));
    assert_eq!(registered.await.status, 200);
    let message =
        serde_json::json!({ "application_id": "app", "device_token": TOKEN, "alert": "hello" });
    answer(post("/send_notification", message)).await
}

/// Which of the times that provider tokens may say it is, for a clock that is right.
fn forty_minutes() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    (now.as_secs() - 600) / 2_400
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_and_restarts_show_apple_one_token() {
    loop {
        let before = forty_minutes();
        let key = SigningKey::generate("KEY1234567", "TEAM123456").unwrap();
        let peer = Peer::with(Options {
            provider_keys: vec![key.public().unwrap()],
            limit_token_updates: true,
            ..Options::default()
        });
        let process = Process::serve_before(&peer, &[]);
        let other_process = Process::serve_before(&peer, &[]);
        let relay = Relay::start(peer.config.clone()).await;

        let mut answers = Vec::new();
        for address in [process.address(), other_process.address(), relay.address] {
            answers.push(register_and_send(address, &key).await);
        }
        drop(process);
        let restarted = Process::serve_before(&peer, &[]);
        answers.push(register_and_send(restarted.address(), &key).await);
        relay.stop().await;

        // In between it may have become time for the next token.
        if before == forty_minutes() {
            for answer in answers {
                assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"response":"ok"}"#));
            }
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_far_off_is_made_up_for() {
    for minutes in [-25, -15, 15, 25] {
        let key = SigningKey::generate("KEY1234567", "TEAM123456").unwrap();
        let peer = Peer::with(Options { apple_ahead_secs: minutes * 60, ..Options::default() });
        let relay = Relay::start(peer.config.clone()).await;

        let answer = register_and_send(relay.address, &key).await;

        assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"response":"ok"}"#));
        relay.stop().await;
    }
}

/// What `/metrics` says of our clock when Apple's is so far ahead. Each of many sends has to be
/// accepted, and so has a later one.
async fn skew_under_load(apple_ahead_secs: i64) -> i64 {
    let key = SigningKey::generate("KEY1234567", "TEAM123456").unwrap();
    let peer = Peer::with(Options {
        provider_keys: vec![key.public().unwrap()],
        apple_ahead_secs,
        tells_time: true,
        ..Options::default()
    });
    let relay = Relay::start(peer.config.clone()).await;
    let before = forty_minutes();
    let mut answers = vec![register_and_send(relay.address, &key).await];

    answers.extend(join_all((0..200).map(|_| relay.send("app", TOKEN, "hello"))).await);
    answers.push(relay.send("app", TOKEN, "later").await);

    for answer in answers {
        assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"response":"ok"}"#));
    }
    let received = peer.simulator.received();
    assert_eq!(received.iter().filter(|message| message.accepted()).count(), 202);
    // Between two tokens a slow send may have carried the first one past Apple's hour.
    assert!(received.len() == 202 || before != forty_minutes(), "{received:?}");
    let page = relay.client.get(relay.url("/metrics")).send().await.unwrap().text().await.unwrap();
    let skew = page.lines().find_map(|line| line.strip_prefix("pushlet_clock_skew_seconds "));
    let skew = skew.expect("Apple said what time it is").parse().unwrap();
    relay.stop().await;
    skew
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_off_by_ten_minutes_costs_nothing_and_is_told() {
    for ahead in [-600, 600] {
        let skew = skew_under_load(ahead).await;

        // `Date` has no fractions, and an answer takes its time.
        assert!((-ahead..=-ahead + 2).contains(&skew), "Apple is {ahead} s ahead: {skew}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_not_apples_is_logged_once() {
    let peer =
        Peer::with(Options { apple_ahead_secs: 300, tells_time: true, ..Options::default() });
    let key = SigningKey::generate("KEY1234567", "TEAM123456").unwrap();
    let process = Process::serve_before(&peer, &[]);
    let address = process.address();

    for _ in 0..3 {
        assert_eq!(register_and_send(address, &key).await.status, 200);
    }

    let line = process.line("this machine's clock is not apple's; set the clock");
    assert!(line.contains("skew_secs=-300") || line.contains("skew_secs=-2"), "{line}");
    let lines = process.log();
    assert_eq!(lines.iter().filter(|line| line.contains("clock is not apple's")).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_apple_does_not_know_is_refused() {
    let known = SigningKey::generate("KEY1234567", "TEAM123456").unwrap();
    let peer =
        Peer::with(Options { provider_keys: vec![known.public().unwrap()], ..Options::default() });
    let relay = Relay::start(peer.config.clone()).await;
    let other = SigningKey::generate("KEY1234567", "TEAM123456").unwrap();
    let form = Form::new()
        .text("application_id", "app")
        .text("apns_p8", String::from_utf8(other.p8().unwrap()).unwrap())
        .text("apns_key_id", "KEY1234567")
        .text("apns_team_id", "TEAM123456")
        .text("apns_topic", TOPIC);
    relay.multipart("/register_application", form).await;

    let answer = relay.send("app", TOKEN, "hello").await;

    assert_eq!((answer.status, answer.error().as_str()), (502, "apns_credentials_rejected"));
    assert_eq!(answer.json()["reason"], "InvalidProviderToken");
    relay.stop().await;
}
