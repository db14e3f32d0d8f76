//! Provider tokens on the wire: a peer that knows the key verifies each, and allows one in twenty
//! minutes.

use futures_util::future::join_all;
use pushlet::simulator::Options;
use pushlet::simulator::certificates::SigningKey;
use reqwest::multipart::Form;

use crate::support::relay::{Peer, Relay, TOKEN, TOPIC};

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
