//! How long a message may take, and what becomes of it when its caller leaves.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use pushlet::config::Config;
use pushlet::simulator::Options;
use pushlet::simulator::script::{Answer, Rule};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::support::google::Google;
use crate::support::relay::TOKEN;
use crate::support::wire::{Bench, FORM, SEND, Seen, code, ok, refusal};

/// Far more than any call with a `timeout_ms` of these tests takes, and less than the 25 s of its
/// service.
const GENEROUS: Duration = Duration::from_secs(20);

fn patient(config: &mut Config) {
    config.apns.timeout = Duration::from_secs(25);
    config.fcm.timeout = Duration::from_secs(25);
    config.gcm.timeout = Duration::from_secs(25);
}

async fn soon(call: impl Future<Output = Seen>) -> Seen {
    timeout(GENEROUS, call).await.expect("the call's own time is over")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_takes_no_longer_than_its_caller_wants() {
    let google = Google::with(Options::default(), patient).await;
    google.register().await;
    google.bench.relay.register("apple").await;
    let simulator = &google.bench.peer.simulator;
    let limit = ("timeout_ms", "1000");
    // The connections are there already, and the access token: what follows is written in time.
    for (id, key) in
        [("application_id", "apple"), ("application_id", "app"), ("gcm_api_key", "AIza")]
    {
        let fields = [(id, key), ("device_token", TOKEN), ("alert", "x")];
        assert_eq!(google.bench.send(&fields).await.status, 200);
    }

    simulator.script(Rule::next(Answer::Never));
    let apple = [("application_id", "apple"), ("device_token", TOKEN), ("alert", "x"), limit];
    let apple = soon(google.bench.send(&apple)).await;
    simulator.script(Rule::token("G1", Answer::Never).times(2));
    let fcm = [("application_id", "app"), ("device_token", "G1"), ("alert", "x"), limit];
    let fcm = soon(google.bench.send(&fcm)).await;
    let legacy = [("gcm_api_key", "AIza"), ("device_token", "G1"), ("alert", "x"), limit];
    let legacy = soon(google.bench.send(&legacy)).await;

    assert_eq!(apple.code(), code(504, "apns_timeout"));
    assert_eq!(apple.json()["delivery"], "unknown");
    let row = json!({ "error": "Unavailable", "delivery": "unknown" });
    assert_eq!(fcm.json()["results"], json!([row]));
    assert_eq!(legacy.code(), code(504, "gcm_timeout"));
    assert_eq!(legacy.json()["delivery"], "unknown");
    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_is_none_is_refused() {
    let bench = Bench::start().await;
    bench.relay.register("app").await;

    for (value, found) in [("0", "0"), ("25001", "25001"), ("-1", "-1"), ("soon", "soon"), ("", "")]
    {
        let fields = [("application_id", "app"), ("device_token", TOKEN), ("alert", "x")];
        let answer = bench.send(&[&fields[..], &[("timeout_ms", value)]].concat()).await;

        let message = format!("timeout_ms must be a whole number from 1 to 25000, found `{found}`");
        assert_eq!(answer.told(), refusal(400, "invalid_timeout_ms", &message));
    }
    assert_eq!(bench.count(), 0);
    bench.stop().await;
}

/// A relay whose Apple takes one message at a time.
async fn narrow() -> Bench {
    let options = Options { max_concurrent_streams: 1, ..Options::default() };
    let bench = Bench::with(options, |config| {
        patient(config);
        config.apns.connections_per_application = 1;
        config.apns.max_in_flight_per_application = 2;
    })
    .await;
    bench.relay.register("app").await;
    bench
}

fn fields<'a>(token: &'a str, timeout_ms: &'a str) -> [(&'a str, &'a str); 4] {
    let rest = [("application_id", "app"), ("alert", "x")];
    [rest[0], rest[1], ("device_token", token), ("timeout_ms", timeout_ms)]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_of_a_batch_says_which_messages_were_not_sent() {
    let bench = narrow().await;
    bench.peer.simulator.script(Rule::next(Answer::Never));
    let body = json!({
        "application_id": "app", "alert": "x", "device_tokens": ["aa", "bb", "cc"],
        "timeout_ms": 1_000,
    });

    let answer = soon(bench.json(SEND, &body.to_string())).await;

    let arrived = bench.arrived().device_token;
    for row in answer.json()["results"].as_array().unwrap() {
        let (delivery, action) = if row["device_token"] == arrived {
            ("unknown", "none")
        } else {
            ("not_sent", "retry")
        };
        assert_eq!((&row["status"], &row["error"]), (&json!(504), &json!("apns_timeout")));
        assert_eq!((&row["delivery"], &row["action"]), (&json!(delivery), &json!(action)), "{row}");
    }
    bench.stop().await;
}

/// One message is with Apple, which takes no second one meanwhile; so a batch waits, and its caller
/// leaves.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_written_when_the_caller_leaves_is_never_sent() {
    let bench = narrow().await;
    let slow = Answer::Delay { by: Duration::from_secs(5), then: Box::new(Answer::Accept) };
    bench.peer.simulator.script(Rule::token("aa", slow));
    let first = bench.form(SEND, &fields("aa", "25000"));
    let first = tokio::spawn(crate::support::wire::seen(first));
    until(|| async { bench.peer.simulator.received().len() == 1 }).await;

    let body = "application_id=app&alert=x&device_token=b1&device_token=b2&timeout_ms=25000";
    let mut leaving = TcpStream::connect(bench.relay.address).unwrap();
    let head = format!("POST {SEND} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM}\r\n");
    write!(leaving, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    // One of them takes the last place; the other one waits for a turn.
    until(|| async { probe(&bench).await.status == 503 }).await;
    drop(leaving);
    until(|| async { probe(&bench).await.status == 504 }).await;

    assert_eq!(first.await.unwrap().told(), ok());
    assert_eq!(bench.send(&fields("dd", "25000")).await.told(), ok());
    let arrived: Vec<_> =
        bench.peer.simulator.received().into_iter().map(|message| message.device_token).collect();
    assert_eq!(arrived, ["aa", "dd"]);
    bench.stop().await;
}

/// A message that is let in if there is a place, and not sent before its time is over.
async fn probe(bench: &Bench) -> Seen {
    bench.send(&fields("cc", "50")).await
}

/// Waits until something holds.
pub(super) async fn until<F: Future<Output = bool>>(holds: impl Fn() -> F) {
    for _ in 0..200 {
        if holds().await {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("it never held");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_larger_than_the_relay_holds_waits_for_its_turns() {
    let bench = Bench::configured(|config| {
        config.apns.max_in_flight_per_application = 4;
        config.server.max_in_flight = 8;
    })
    .await;
    bench.relay.register("app").await;
    let tokens: Vec<_> = (0..200).map(|number| format!("{number:08x}")).collect();
    let body = json!({ "application_id": "app", "alert": "x", "device_tokens": tokens });

    let answer = bench.json(SEND, &body.to_string()).await;

    let rows = answer.json()["results"].as_array().unwrap().clone();
    let accepted = rows.iter().filter(|row| row["response"] == "ok").count();
    assert_eq!((rows.len(), accepted), (200, 200), "{}", answer.body);
    let told: Vec<_> = rows.iter().map(|row| row["device_token"].clone()).collect();
    assert_eq!(told, tokens, "in the caller's order");
    bench.stop().await;
}

/// An application whose peer never answers holds its places until its time is over.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_nobody_answers_leaves_room_for_another_application() {
    let bench = Bench::configured(|config| {
        patient(config);
        config.apns.max_in_flight_per_application = 16;
        config.server.max_in_flight = 16;
    })
    .await;
    bench.relay.register("dead").await;
    bench.relay.register("alive").await;
    let batch = |id: &str, token: &str, count: usize, timeout_ms: u64| {
        let tokens: Vec<_> = (0..count).map(|number| format!("{token}{number:08x}")).collect();
        json!({
            "application_id": id, "alert": "x", "device_tokens": tokens, "timeout_ms": timeout_ms,
        })
        .to_string()
    };
    let all = |answer: &Seen, member: &str, value: Value| {
        let rows = answer.json()["results"].as_array().unwrap().clone();
        rows.iter().filter(|row| row[member] == value).count()
    };

    let stuck = batch("dead", "5e750ff0", 100, 8_000);
    let mut stuck = Box::pin(bench.json(SEND, &stuck));
    let alive = async {
        until(|| async { bench.peer.simulator.received().len() >= 8 }).await;
        bench.json(SEND, &batch("alive", "", 300, 8_000)).await
    };
    let alive = tokio::select! {
        answer = alive => answer,
        answer = &mut stuck => panic!("it is stuck: {}", answer.body),
    };

    assert_eq!(all(&alive, "response", json!("ok")), 300);
    let stuck = stuck.await;
    assert_eq!(all(&stuck, "delivery", json!("unknown")), 8);
    assert_eq!(all(&stuck, "delivery", json!("not_sent")), 92);
    bench.stop().await;
}
