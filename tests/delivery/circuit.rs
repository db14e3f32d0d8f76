//! An application that cannot send answers at once, and finds out by itself when it can again.

use std::net::TcpListener;
use std::time::Duration;

use http::StatusCode;
use pushlet::simulator::script::{Answer, Rule};
use url::Url;

use crate::support::relay::{Peer, Relay, TOKEN};

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_credential_is_not_shown_again_until_a_new_one_is_registered() {
    let peer = Peer::start();
    let relay = Relay::start(peer.config.clone()).await;
    relay.register("app").await;
    relay.register("other").await;
    let refusal = Answer::reject(StatusCode::FORBIDDEN, "BadCertificate");
    peer.simulator.script(Rule::next(refusal));

    let first = relay.send("app", TOKEN, "hello").await;
    let second = relay.send("app", TOKEN, "hello").await;
    let other = relay.send("other", TOKEN, "hello").await;
    relay.register("app").await;
    let third = relay.send("app", TOKEN, "hello").await;

    assert_eq!((first.status, first.error().as_str()), (502, "apns_credentials_rejected"));
    assert_eq!((second.status, second.error().as_str()), (502, "apns_credentials_rejected"));
    assert_eq!(second.json()["reason"], "BadCertificate");
    assert_eq!(other.body, r#"{"response":"ok"}"#, "others notice nothing");
    assert_eq!(third.body, r#"{"response":"ok"}"#);
    assert_eq!(peer.simulator.received().len(), 3, "the second call was not sent");
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_refused_stops_no_other_message() {
    let peer = Peer::start();
    let relay = Relay::start(peer.config.clone()).await;
    relay.register("app").await;
    peer.simulator.script(Rule::next(Answer::reject(StatusCode::BAD_REQUEST, "TopicDisallowed")));

    let first = relay.send("app", TOKEN, "hello").await;
    let second = relay.send("app", TOKEN, "hello").await;

    assert_eq!((first.status, first.error().as_str()), (502, "apns_credentials_rejected"));
    assert_eq!(second.body, r#"{"response":"ok"}"#);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apple_that_is_not_there_is_noticed_again_when_it_is() {
    // A port that nobody listens on, until the simulator does.
    let reserved = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = reserved.local_addr().unwrap();
    drop(reserved);
    let mut peer = Peer::start();
    let url = Url::parse(&format!("https://localhost:{}", address.port())).unwrap();
    peer.config.apns.production_url = url;
    let relay = Relay::start(peer.config.clone()).await;
    relay.register("app").await;

    let first = relay.send("app", TOKEN, "hello").await;
    let second = relay.send("app", TOKEN, "hello").await;
    for answer in [&first, &second] {
        assert_eq!((answer.status, answer.error().as_str()), (503, "apns_unavailable"));
        assert_eq!(answer.json()["delivery"], "not_sent");
        assert!(answer.json()["retry_after"].is_u64(), "{}", answer.body);
    }

    let forwarder = tokio::net::TcpListener::bind(address).await.unwrap();
    let apns = peer.simulator.apns_address();
    let forwarding = tokio::spawn(async move {
        while let Ok((mut from, _)) = forwarder.accept().await {
            tokio::spawn(async move {
                let mut to = tokio::net::TcpStream::connect(apns).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
            });
        }
    });
    let mut last = second;
    for _ in 0..100 {
        last = relay.send("app", TOKEN, "hello").await;
        if last.status == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    assert_eq!(last.body, r#"{"response":"ok"}"#);
    forwarding.abort();
    relay.stop().await;
}
