//! A caller who leaves takes with him what was not written to Google. What is for Apple is told in
//! `deadline`.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use pushlet::simulator::Options;
use pushlet::simulator::script::{Answer, Rule};
use serde_json::json;
use url::Url;

use super::deadline::until;
use crate::support::gate::Gate;
use crate::support::google::{Google, KEY};
use crate::support::wire::{Bench, FORM, SEND, encoded, seen};

async fn in_flight(bench: &Bench) -> u64 {
    let status = seen(bench.relay.client.get(bench.relay.url("/status"))).await;
    status.json()["in_flight"].as_u64().unwrap()
}

/// A caller who has sent these fields.
fn caller(bench: &Bench, fields: &[(&str, &str)]) -> TcpStream {
    let body = encoded(fields);
    let mut caller = TcpStream::connect(bench.relay.address).unwrap();
    let head = format!("POST {SEND} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM}\r\n");
    write!(caller, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    caller
}

/// What arrived at Google, one token after the other.
fn arrived(google: &Google) -> Vec<String> {
    let all = google.bench.peer.simulator.received().into_iter();
    all.map(|it| it.device_token).filter(|token| !token.is_empty()).collect()
}

fn of(address: Option<String>) -> SocketAddr {
    let url = Url::parse(&address.unwrap()).unwrap();
    SocketAddr::from(([127, 0, 0, 1], url.port().unwrap()))
}

/// The connection to Google is being made when the caller leaves.
#[tokio::test(flavor = "multi_thread")]
async fn messages_that_wait_for_a_connection_to_google_are_never_sent() {
    let gate = Gate::shut();
    let url = format!("https://localhost:{}", gate.address.port());
    let google = Google::with(Options::default(), |config| {
        config.fcm.url = Url::parse(&url).unwrap();
    })
    .await;
    let bench = &google.bench;
    let tokens = ["a", "b", "c"].map(|token| ("device_token", token));
    let rest = [("gcm_api_key", KEY), ("alert", "x")];

    let caller = caller(bench, &[&rest[..], &tokens].concat());
    until(|| async { gate.waiting() == 1 }).await;
    drop(caller);
    until(|| async { in_flight(bench).await == 0 }).await;
    gate.open(of(bench.peer.simulator.https_url()));
    let last = google.rows(&["last"]).await;

    assert!(last[0]["message_id"].is_string(), "{last:?}");
    assert_eq!(arrived(&google), ["last"]);
    google.stop().await;
}

/// A call for many tokens has a hundred of them under way at a time.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_whose_turn_had_not_come_are_never_sent() {
    let google = Google::start().await;
    let (bench, simulator) = (&google.bench, &google.bench.peer.simulator);
    simulator.script(Rule::next(Answer::Never).forever());
    let tokens: Vec<_> = (0..150).map(|number| format!("t{number}")).collect();
    let list = json!(tokens).to_string();
    let fields = [("gcm_api_key", KEY), ("alert", "x"), ("registration_ids", &*list)];

    let caller = caller(bench, &fields);
    until(|| async { arrived(&google).len() == 100 }).await;
    drop(caller);
    until(|| async { in_flight(bench).await == 0 }).await;
    simulator.clear_script();
    let last = google.rows(&["last"]).await;

    assert!(last[0]["message_id"].is_string(), "{last:?}");
    let mut arrived = arrived(&google);
    assert_eq!(arrived.pop().as_deref(), Some("last"));
    let mut expected = tokens[..100].to_vec();
    arrived.sort();
    expected.sort();
    assert_eq!(arrived, expected);
    google.stop().await;
}

/// The same of an endpoint that speaks the legacy protocol. Whoever waits for a connection there would
/// take one that has become free.
#[tokio::test(flavor = "multi_thread")]
async fn messages_that_wait_for_a_connection_to_a_legacy_endpoint_are_never_sent() {
    let gate = Gate::crowded().await;
    let url = format!("http://{}/gcm/send", gate.address);
    let google = Google::with(Options::default(), |config| {
        config.gcm.legacy_url = Some(Url::parse(&url).unwrap());
    })
    .await;
    let bench = &google.bench;
    let send = |token| {
        let fields = [("gcm_api_key", "AIzaLegacy"), ("alert", "x"), ("device_token", token)];
        async move { bench.send(&fields).await.json()["success"].clone() }
    };
    let tokens = ["a", "b"].map(|token| ("device_token", token));
    let rest = [("gcm_api_key", "AIzaLegacy"), ("alert", "x")];

    let caller = caller(bench, &[&rest[..], &tokens].concat());
    until(|| async { in_flight(bench).await == 2 }).await;
    drop(caller);
    until(|| async { in_flight(bench).await == 0 }).await;
    gate.open(of(Some(bench.peer.simulator.http_url())));

    for token in ["one", "two", "three"] {
        assert_eq!(send(token).await, 1);
    }
    assert_eq!(arrived(&google), ["one", "two", "three"]);
    google.stop().await;
}
