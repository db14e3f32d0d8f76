//! What a caller hears of a message that Apple did not answer: the rest of the contract's table.

use std::net::TcpListener;
use std::time::Duration;

use pushlet::config::Config;
use pushlet::simulator::Options;
use pushlet::simulator::script::{Answer, Rule};
use url::Url;

use super::outcome::{ID, answered, bench, members, send};
use crate::support::relay::{Peer, TOKEN};
use crate::support::wire::{Bench, ok};

/// A lost answer: `unknown`, no Retry-After; with `at_least_once` it goes out again by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_answer_was_lost_is_unknown_unless_twice_is_welcome() {
    let bench = bench(|_| ()).await;
    let unknown = format!("\"apns_id\":\"{ID}\",\"delivery\":\"unknown\"");

    for lost in [Answer::Drop, Answer::Reset { code: 2 }] {
        bench.peer.simulator.script(Rule::next(lost.clone()));
        let answer = send(&bench, &[]).await;
        assert_eq!(answer.status, 503);
        assert_eq!(members(&answer, "apns_unavailable"), unknown, "{lost:?}");
        assert_eq!(answer.header("retry-after"), None);
        assert_eq!(bench.count(), 1, "it is not sent twice unasked");

        bench.peer.simulator.script(Rule::next(lost));
        assert_eq!(send(&bench, &[("at_least_once", "true")]).await.told(), ok());
        let ids: Vec<_> =
            bench.peer.simulator.received().into_iter().map(|m| m.apns_id.unwrap()).collect();
        assert_eq!(ids, [ID, ID]);
        bench.peer.simulator.clear();
    }
    bench.stop().await;
}

/// `REFUSED_STREAM`: the message was not looked at (RFC 9113 §8.7).
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_not_processed_goes_out_again_unasked() {
    let bench = bench(|_| ()).await;
    bench.peer.simulator.script(Rule::next(Answer::Reset { code: 7 }).times(2));

    assert_eq!(send(&bench, &[]).await.told(), ok());

    assert_eq!(bench.count(), 3);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_in_time_is_504_and_unknown() {
    let bench = bench(|config| config.apns.timeout = Duration::from_millis(300)).await;

    let answer = answered(&bench, Answer::Never, &[]).await;

    assert_eq!(answer.status, 504);
    let unknown = format!("\"apns_id\":\"{ID}\",\"delivery\":\"unknown\"");
    assert_eq!(members(&answer, "apns_timeout"), unknown);
    assert_eq!(answer.header("retry-after"), None);
    bench.stop().await;
}

/// Somebody listens and says nothing: the deadline passes before anything could be written.
#[tokio::test(flavor = "multi_thread")]
async fn no_connection_in_time_is_504_and_not_sent() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}", silent.local_addr().unwrap().port());
    let bench = bench(|config| {
        config.apns.timeout = Duration::from_millis(300);
        config.apns.production_url = Url::parse(&url).unwrap();
    })
    .await;

    let answer = send(&bench, &[]).await;

    assert_eq!(answer.status, 504, "{}", answer.body);
    assert_eq!(
        members(&answer, "apns_timeout"),
        format!("\"retry_after\":1,\"apns_id\":\"{ID}\",\"delivery\":\"not_sent\"")
    );
    assert_eq!(answer.header("retry-after"), Some("1"));
    bench.stop().await;
}

fn not_sent() -> String {
    format!("\"retry_after\":1,\"apns_id\":\"{ID}\",\"delivery\":\"not_sent\"")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_connection_is_503_and_not_sent() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = Url::parse(&format!("https://localhost:{}", closed.port())).unwrap();
    let bench = bench(|config| config.apns.production_url = url).await;

    let answer = send(&bench, &[]).await;

    assert_eq!(answer.status, 503);
    assert_eq!(members(&answer, "apns_unavailable"), not_sent());
    assert_eq!(answer.header("retry-after"), Some("1"));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_trusted_gets_no_message() {
    let bench = bench(|config| config.apns.ca_file = None).await;

    let answer = send(&bench, &[]).await;

    assert_eq!(answer.status, 503);
    assert_eq!(members(&answer, "apns_unavailable"), not_sent());
    assert!(answer.body.contains("not trusted"), "{}", answer.body);
    assert_eq!(bench.count(), 0);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tls_alert_on_our_certificate_is_502() {
    let authorities = Some(Peer::start().simulator.ca_pem().to_vec());
    let options = Options { client_authorities: authorities, ..Options::default() };
    let bench = Bench::with(options, |_| ()).await;
    bench.relay.register("app").await;

    let answer = send(&bench, &[]).await;

    assert_eq!(answer.status, 502, "{}", answer.body);
    let members = members(&answer, "apns_credentials_rejected");
    assert!(members.ends_with(&format!("\"apns_id\":\"{ID}\"")), "{members}");
    bench.stop().await;
}

/// The only place is taken by a message that Apple never answers.
#[tokio::test(flavor = "multi_thread")]
async fn more_calls_than_may_be_held_are_503_at_once() {
    for change in [
        (|config| config.apns.max_in_flight_per_application = 1) as fn(&mut Config),
        |config| config.server.max_in_flight_per_caller = Some(1),
        |config| config.server.max_in_flight = 1,
    ] {
        let bench = bench(change).await;
        bench.peer.simulator.script(Rule::token(TOKEN, Answer::Never));
        let first = send(&bench, &[]);
        let second = async {
            while bench.peer.simulator.received().is_empty() {
                tokio::task::yield_now().await;
            }
            send(&bench, &[]).await
        };

        let answer = tokio::select! {
            answer = second => answer,
            answer = first => panic!("it is held: {}", answer.body),
        };

        assert_eq!(answer.status, 503);
        assert_eq!(members(&answer, "overloaded"), "\"retry_after\":1");
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert_eq!(bench.count(), 1, "the second was not sent");
        bench.stop().await;
    }
}
