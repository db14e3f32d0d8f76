//! TLS that fails: whom we do not trust, and who does not trust us.

use reqwest::multipart::{Form, Part};

use super::{Bench, Told, assert_all, assert_true, healthy, word};
use crate::support::chaos_proxy::ChaosProxy;
use crate::support::keys::Authority;
use crate::support::relay::TOPIC;
use crate::support::scripted_peer::{ScriptedPeer, Tls};

/// What a hundred callers are told by a peer with this TLS side; nothing may reach it. When the peer
/// at this address is right again, so are the sends.
async fn told(authority: &Authority, tls: Tls) -> Vec<Told> {
    let wrong = ScriptedPeer::start(&tls, healthy).await;
    let right = ScriptedPeer::start(&Tls::new(authority), healthy).await;
    let proxy = ChaosProxy::start(wrong.address).await;
    let bench = Bench::start(authority, proxy.address, |_| ()).await;

    let told = bench.load(100).await;

    assert_eq!(wrong.record.arrived(), Vec::<String>::new());
    proxy.lead_to(right.address);
    if word(&told[0]) == "apns_credentials_rejected" {
        // Otherwise a refused credential is not shown again for a minute.
        bench.relay.register("app").await;
    }
    let mut later = bench.recovers().await;
    later.extend(bench.load(50).await);
    assert_all(&later[later.len() - 50..], "ok");
    assert_true(&[told.clone(), later].concat(), &right.record);
    bench.relay.stop().await;
    told
}

fn assert_untrusted(told: &[Told], word: &str) {
    assert_all(told, "not_sent");
    for (_, answer) in told {
        assert_eq!((answer.status, answer.error().as_str()), (503, "apns_unavailable"));
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains(word), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_an_unknown_authority_gets_nothing() {
    let told = told(&Authority::new(), Tls::new(&Authority::new())).await;

    assert_untrusted(&told, "not trusted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_another_name_gets_nothing() {
    let authority = Authority::new();
    let identity = authority.server_certificate(&["other.example", "127.0.0.2"]);
    let tls = Tls { identity, ..Tls::new(&authority) };

    assert_untrusted(&told(&authority, tls).await, "IP address mismatch");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_an_expired_certificate_gets_nothing() {
    let authority = Authority::new();
    let identity = authority.server_certificate_valid(&["127.0.0.1"], (-9, -1));
    let tls = Tls { identity, ..Tls::new(&authority) };

    assert_untrusted(&told(&authority, tls).await, "expired");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_speak_http2_gets_nothing() {
    let authority = Authority::new();
    let tls = Tls { protocols: b"\x08http/1.1", ..Tls::new(&authority) };

    assert_untrusted(&told(&authority, tls).await, "HTTP/2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_client_certificate_is_said_to_be_refused() {
    let authority = Authority::new();
    let client_authority = Some(Authority::new().certificate);
    let tls = Tls { client_authority, ..Tls::new(&authority) };

    let told = told(&authority, tls).await;

    for (_, answer) in &told {
        assert_eq!(
            (answer.status, answer.error().as_str()),
            (502, "apns_credentials_rejected"),
            "{}",
            answer.body
        );
        // OpenSSL's word for an issuer of the right name with another key.
        assert_eq!(answer.json()["reason"], "decrypt_error");
    }
}

/// OpenSSL would add what it trusts and what has the right name.
#[tokio::test(flavor = "multi_thread")]
async fn with_the_certificate_goes_the_chain_that_was_registered_and_no_other() {
    let (bench, peer) = super::meet(|_| (), healthy).await;

    assert_all(&bench.load(10).await, "ok");

    assert_eq!(peer.record.chain(), 0);

    let p12 = Authority::new().apple_certificate(TOPIC).with_chain().build().p12("");
    let form = Form::new()
        .text("application_id", "app")
        .part("apns_p12", Part::bytes(p12).file_name("cert.p12"));
    let registered = bench.relay.multipart("/register_application", form).await;
    assert_eq!(registered.status, 200, "{}", registered.body);
    assert_all(&bench.load(10).await, "ok");
    assert_eq!(peer.record.chain(), 1);
    bench.relay.stop().await;
}
