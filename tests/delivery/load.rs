//! Many callers at once: each gets the answer to its own message.

use pushlet::simulator::Options;

use crate::support::relay::{Answer, Peer, Relay};

/// A token whose prefix tells the simulator what to answer, and the status that follows from it.
fn told(number: usize) -> (String, u16) {
    let (prefix, status) = match number % 4 {
        0 => ("5e750410", 410),
        1 => ("5e750400", 400),
        2 => ("5e750429", 429),
        _ => ("aaaaaaaa", 200),
    };
    (format!("{prefix}{number:056x}"), status)
}

/// A thousand at once: with more a slow machine needs so long to write that the relay stops waiting
/// for what its callers ask, and closes connections.
async fn send_all(relay: &Relay, calls: Vec<(String, String)>) -> Vec<Answer> {
    let mut answers = Vec::new();
    for some in calls.chunks(1_000) {
        let sends = some.iter().map(|(app, token)| relay.send(app, token, "hello"));
        answers.extend(futures_util::future::join_all(sends).await);
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_calls_at_once_each_get_their_own_tokens_answer() {
    let peer = Peer::start();
    let relay = Relay::start(peer.config.clone()).await;
    relay.register("app").await;

    let calls = (0..1_000).map(|number| ("app".to_owned(), told(number).0)).collect();
    let answers = send_all(&relay, calls).await;

    for (number, answer) in answers.iter().enumerate() {
        assert_eq!(answer.status, told(number).1, "{number}: {}", answer.body);
    }
    let arrived = peer.simulator.received();
    assert_eq!(arrived.len(), 1_000, "none is lost, none is doubled");
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_applications_with_a_hundred_calls_each_do_not_mix() {
    let peer = Peer::with(Options { messages_kept: 5_000, ..Options::default() });
    let relay = Relay::start(peer.config.clone()).await;
    for app in 0..50 {
        relay.register(&format!("app{app}")).await;
    }

    let calls =
        (0..5_000).map(|number| (format!("app{}", number % 50), told(number / 50).0)).collect();
    let answers = send_all(&relay, calls).await;

    for (number, answer) in answers.iter().enumerate() {
        assert_eq!(answer.status, told(number / 50).1, "{number}: {}", answer.body);
    }
    assert_eq!(peer.simulator.received().len(), 5_000);
    relay.stop().await;
}
