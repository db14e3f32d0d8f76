//! `Idempotency-Key`: what a caller hears who repeats a call, and what the phone gets.

use std::time::Duration;

use http::StatusCode;
use pushlet::simulator::Options;
use pushlet::simulator::script::{Answer, Rejection, Rule};
use reqwest::RequestBuilder;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};

use super::outcome::bench;
use crate::support::google::{Google, KEY, rows, words};
use crate::support::relay::{Peer, Relay, TOKEN, credential};
use crate::support::wire::{Bench, FORM, SEND, Seen, code, encoded, ok, refusal, seen};

const NAME: &str = "idempotency-key";
const CALL: [(&str, &str); 3] =
    [("application_id", "app"), ("device_token", TOKEN), ("alert", "x")];

fn keyed(bench: &Bench, key: &str, fields: &[(&str, &str)]) -> RequestBuilder {
    bench.form(SEND, fields).header(NAME, key)
}

async fn call(bench: &Bench, key: &str, fields: &[(&str, &str)]) -> Seen {
    seen(keyed(bench, key, fields)).await
}

/// Whether the answer was given before.
fn is_replayed(answer: &Seen) -> bool {
    match answer.header("idempotency-replayed") {
        Some(word) => word == "true",
        None => false,
    }
}

/// Waits until the simulator has seen so many messages.
async fn until_arrived(bench: &Bench, count: usize) {
    for _ in 0..1_000 {
        if bench.peer.simulator.received().len() == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{count} messages did not arrive");
}

fn reject(status: u16, reason: &str) -> Answer {
    Answer::reject(StatusCode::from_u16(status).unwrap(), reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_repeated_is_sent_once_and_answered_alike() {
    let bench = bench(|_| ()).await;

    let first = call(&bench, "k", &CALL).await;
    let [one, two, three] = CALL;
    let others = [
        call(&bench, "k", &CALL).await,
        call(&bench, "k", &[three, two, one]).await,
        seen(
            bench.post(SEND).header(NAME, "k").header("content-type", "application/json").body(
                serde_json::json!({"alert": "x", "device_token": TOKEN, "application_id": "app"})
                    .to_string(),
            ),
        )
        .await,
    ];

    assert_eq!((first.told(), is_replayed(&first)), (ok(), false));
    let id = bench.arrived().apns_id;
    assert_eq!(first.header("apns-id"), id.as_deref());
    for again in others {
        assert_eq!((again.told(), is_replayed(&again)), (ok(), true));
        assert_eq!(again.header("apns-id"), id.as_deref());
        assert_eq!(again.header("content-type"), first.header("content-type"));
    }
    assert_eq!(call(&bench, "another", &CALL).await.told(), ok());
    assert_eq!(bench.send(&CALL).await.told(), ok(), "no key");
    assert_eq!(bench.send(&CALL).await.told(), ok(), "no key");
    assert_eq!(bench.count(), 3);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_not_for_another_call() {
    let bench = bench(|_| ()).await;
    assert_eq!(call(&bench, "k", &CALL).await.told(), ok());

    let answer = call(&bench, "k", &[CALL[0], CALL[1], ("alert", "y")]).await;

    assert_eq!(
        answer.told(),
        refusal(
            409,
            "idempotency_key_reused",
            "another call with other parameters had this Idempotency-Key; give each call its own"
        )
    );
    assert_eq!(bench.count(), 1);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_repeats_a_call_under_way_waits_for_its_answer() {
    let bench = bench(|_| ()).await;
    let then = Box::new(Answer::Accept);
    bench.peer.simulator.script(Rule::next(Answer::Delay { by: Duration::from_millis(700), then }));

    let first = tokio::spawn(seen(keyed(&bench, "k", &CALL)));
    until_arrived(&bench, 1).await;
    let (second, third) = tokio::join!(call(&bench, "k", &CALL), call(&bench, "k", &CALL));
    let changed = call(&bench, "k", &[CALL[0], CALL[1], ("badge", "1")]).await;

    let first = first.await.unwrap();
    assert_eq!((first.told(), is_replayed(&first)), (ok(), false));
    for other in [second, third] {
        assert_eq!((other.told(), is_replayed(&other)), (ok(), true));
        assert_eq!(other.header("apns-id"), first.header("apns-id"));
    }
    assert_eq!(changed.code(), code(409, "idempotency_key_reused"));
    assert_eq!(bench.count(), 1);
    bench.stop().await;
}

/// A call whose connection is reset as soon as it is dropped.
async fn cut_off(bench: &Bench, body: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_zero_linger().unwrap();
    let mut stream = socket.connect(bench.relay.address).await.unwrap();
    let head = format!(
        "POST {SEND} HTTP/1.1\r\nhost: localhost\r\n{NAME}: k\r\ncontent-type: {FORM}\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes()).await.unwrap();
    stream
}

/// The case that the key is for: the caller's connection breaks, and it asks again.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_hung_up_hears_what_became_of_its_call() {
    let bench = bench(|_| ()).await;
    let then = Box::new(reject(410, "Unregistered"));
    bench.peer.simulator.script(Rule::next(Answer::Delay { by: Duration::from_millis(700), then }));

    let first = cut_off(&bench, &encoded(&CALL)).await;
    until_arrived(&bench, 1).await;
    drop(first);
    let meanwhile = call(&bench, "k", &CALL).await;
    let afterwards = call(&bench, "k", &CALL).await;

    for answer in [&meanwhile, &afterwards] {
        assert_eq!(answer.code(), code(410, "device_token_unregistered"));
        assert!(is_replayed(answer));
    }
    assert_eq!(meanwhile.told(), afterwards.told());
    assert_eq!(bench.count(), 1);
    bench.stop().await;
}

/// What Apple refused stays refused, whatever it would say now.
#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_is_replayed() {
    let bench = bench(|_| ()).await;

    for (key, status, reason, told) in [
        ("a", 410, "Unregistered", "device_token_unregistered"),
        ("b", 400, "BadDeviceToken", "invalid_device_token"),
        ("c", 400, "BadPriority", "apns_rejected"),
    ] {
        bench.peer.simulator.script(Rule::next(reject(status, reason)));
        let first = call(&bench, key, &CALL).await;
        let again = call(&bench, key, &CALL).await;

        assert_eq!(first.code(), code(status, told));
        assert_eq!((again.told(), is_replayed(&again)), (first.told(), true));
        assert_eq!(bench.count(), 1);
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_sent_frees_its_key() {
    let bench = bench(|_| ()).await;

    for (key, status, reason, tries, told) in [
        ("a", 503, "ServiceUnavailable", 2, code(503, "apns_unavailable")),
        ("b", 500, "InternalServerError", 2, code(503, "apns_unavailable")),
        ("c", 429, "TooManyRequests", 1, code(429, "apns_throttled")),
        ("d", 400, "TopicDisallowed", 1, code(502, "apns_credentials_rejected")),
    ] {
        bench.peer.simulator.script(Rule::next(reject(status, reason)).times(tries));
        let refused = call(&bench, key, &CALL).await;
        assert_eq!(refused.code(), told);
        bench.peer.simulator.clear();

        let again = call(&bench, key, &CALL).await;

        assert_eq!((again.told(), is_replayed(&again)), (ok(), false), "{reason}");
        assert_eq!(bench.count(), 1);
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_replayed_unless_twice_is_welcome() {
    let bench = bench(|_| ()).await;
    bench.peer.simulator.script(Rule::next(Answer::Drop));

    let lost = call(&bench, "a", &CALL).await;
    let again = call(&bench, "a", &CALL).await;

    assert_eq!(lost.code(), code(503, "apns_unavailable"));
    assert_eq!(lost.json()["delivery"], "unknown");
    assert_eq!((again.told(), is_replayed(&again)), (lost.told(), true));
    assert_eq!(bench.count(), 1);

    let twice = [CALL[0], CALL[1], CALL[2], ("at_least_once", "true")];
    bench.peer.simulator.script(Rule::next(Answer::Drop).times(2));
    let lost = call(&bench, "b", &twice).await;
    assert_eq!(lost.json()["delivery"], "unknown");
    assert_eq!(bench.count(), 2);
    let again = call(&bench, "b", &twice).await;
    assert_eq!((again.told(), is_replayed(&again)), (ok(), false));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_fails_its_checks_has_used_no_key() {
    let bench = bench(|_| ()).await;

    let wrong = [CALL[0], CALL[1], ("badge", "many")];
    assert_eq!(call(&bench, "k", &wrong).await.code(), code(400, "invalid_badge"));
    let unknown = [("application_id", "nobody"), CALL[1], CALL[2]];
    assert_eq!(call(&bench, "k", &unknown).await.code(), code(404, "application_not_found"));

    let right = call(&bench, "k", &CALL).await;
    assert_eq!((right.told(), is_replayed(&right)), (ok(), false));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_visible_ascii_and_comes_once() {
    let bench = bench(|_| ()).await;
    let message = "Idempotency-Key must be 1 to 255 visible ASCII characters, and come once";
    let refused = refusal(400, "invalid_idempotency_key", message);

    for key in ["", "a b", "é", &"x".repeat(256)] {
        assert_eq!(call(&bench, key, &CALL).await.told(), refused, "{key}");
    }
    let twice = keyed(&bench, "a", &CALL).header(NAME, "a");
    assert_eq!(seen(twice).await.told(), refused);
    assert_eq!(bench.count(), 0);
    assert_eq!(call(&bench, &"x".repeat(255), &CALL).await.told(), ok());
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_belongs_to_its_caller_and_application() {
    let bench = Bench::configured(|config| {
        config.auth.credentials = vec![credential("a", "1", None), credential("b", "2", None)];
    })
    .await;
    let p12 = crate::support::keys::Authority::new()
        .apple_certificate(crate::support::relay::TOPIC)
        .build()
        .p12("");
    for id in ["app", "other"] {
        let upload = bench.upload("apns_p12", &p12, &[("application_id", id)]);
        assert_eq!(seen(upload.basic_auth("a", Some("1"))).await.status, 200);
    }
    let send = |name: &'static str, password: &'static str, id: &'static str| {
        let fields = [("application_id", id), CALL[1], CALL[2]];
        seen(keyed(&bench, "k", &fields).basic_auth(name, Some(password)))
    };

    for (name, password, id) in [("a", "1", "app"), ("b", "2", "app"), ("a", "1", "other")] {
        let answer = send(name, password, id).await;
        assert_eq!((answer.told(), is_replayed(&answer)), (ok(), false), "{name} {id}");
    }
    assert!(is_replayed(&send("b", "2", "app").await));
    assert_eq!(send("b", "1", "app").await.status, 401);
    assert_eq!(bench.count(), 3);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_originals_200_is_replayed_as_200() {
    let bench = bench(|config| config.compat.always_200 = true).await;
    bench.peer.simulator.script(Rule::next(reject(410, "Unregistered")));

    let first = call(&bench, "k", &CALL).await;
    let again = call(&bench, "k", &CALL).await;

    assert_eq!(first.code(), code(200, "device_token_unregistered"));
    assert_eq!((again.told(), is_replayed(&again)), (first.told(), true));
    bench.stop().await;
}

/// Google: rows under 200, of which one that arrived keeps all.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_for_google_goes_out_once() {
    let google = Google::start().await;
    let send = |key: &'static str, tokens: &'static str| {
        let fields = [("gcm_api_key", KEY), ("registration_ids", tokens), ("alert", "x")];
        seen(keyed(&google.bench, key, &fields))
    };
    let then = |status| {
        Answer::Reject(Rejection {
            status: StatusCode::from_u16(status).unwrap(),
            reason: "UNAVAILABLE".to_owned(),
            timestamp_ms: None,
            retry_after_secs: Some(20),
        })
    };

    for (key, tokens, first, second, sent) in [
        (
            "a",
            r#"["t1","NotRegistered"]"#,
            vec!["ok", "NotRegistered"],
            vec!["ok", "NotRegistered"],
            2,
        ),
        ("b", r#"["t2"]"#, vec!["Unavailable"], vec!["ok"], 2),
        ("c", r#"["t3","t2"]"#, vec!["ok", "Unavailable"], vec!["ok", "Unavailable"], 2),
    ] {
        let before = google.fcm().len();
        if key != "a" {
            // Longer than the call may take, so that the relay does not ask again by itself.
            google.bench.peer.simulator.script(Rule::token("t2", then(503)));
        }
        let told = send(key, tokens).await;
        assert_eq!(words(&rows(&told)), first, "{key}");
        let again = send(key, tokens).await;
        assert_eq!(words(&rows(&again)), second, "{key}");
        assert_eq!(is_replayed(&again), key != "b");
        if key != "b" {
            assert_eq!(again.told(), told.told());
            assert_eq!(again.header("retry-after"), told.header("retry-after"));
        }
        assert_eq!(google.fcm().len() - before, sent, "{key}");
    }
    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn googles_own_routes_know_keys_as_well() {
    let google = Google::start().await;
    let send = |body: &'static str| {
        let request = google.bench.post("/fcm/send").header("authorization", format!("key={KEY}"));
        let request = request.header("content-type", "application/json").header(NAME, "k");
        seen(request.body(body))
    };

    let first = send(r#"{"to":"4"}"#).await;
    let again = send(r#"{"to":"4"}"#).await;

    assert_eq!(words(&rows(&first)), ["ok"]);
    assert_eq!((again.told(), is_replayed(&again)), (first.told(), true));
    assert_eq!(send(r#"{"to":"5"}"#).await.code(), code(409, "idempotency_key_reused"));
    assert_eq!(google.fcm().len(), 1);
    google.stop().await;
}

/// A bound of one: the second call's answer makes the first one's go.
#[tokio::test(flavor = "multi_thread")]
async fn keys_are_bounded() {
    let bench = bench(|config| config.idempotency.max_entries = 1).await;
    for key in ["a", "b"] {
        assert_eq!(call(&bench, key, &CALL).await.told(), ok());
    }

    assert!(is_replayed(&call(&bench, "b", &CALL).await));
    assert!(!is_replayed(&call(&bench, "a", &CALL).await));
    assert_eq!(bench.count(), 3);

    let then = Box::new(Answer::Accept);
    bench.peer.simulator.script(Rule::next(Answer::Delay { by: Duration::from_millis(700), then }));
    let first = tokio::spawn(seen(keyed(&bench, "c", &CALL)));
    until_arrived(&bench, 1).await;
    let full = call(&bench, "d", &CALL).await;
    assert_eq!((full.code(), full.header("retry-after")), (code(503, "overloaded"), Some("1")));
    assert_eq!(first.await.unwrap().told(), ok());
    bench.stop().await;
}

/// The process that knows a key is the one that was asked first.
#[tokio::test(flavor = "multi_thread")]
async fn another_process_knows_no_key() {
    let peer = Peer::with(Options::default());
    let (one, two) =
        (Relay::start(peer.config.clone()).await, Relay::start(peer.config.clone()).await);
    for relay in [&one, &two] {
        relay.register("app").await;
        let request = relay.client.post(relay.url(SEND)).header(NAME, "k");
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let answer = seen(request.body(encoded(&CALL))).await;
        assert_eq!((answer.told(), is_replayed(&answer)), (ok(), false));
    }
    assert_eq!(peer.simulator.received().len(), 2);
    peer.simulator.stop().await;
    one.stop().await;
    two.stop().await;
}
