//! How many messages a second a credential may send.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::JoinAll;
use pushlet::config::Config;
use pushlet::simulator::script::{Answer, Rule};
use serde_json::{Value, json};

use super::batch::{plain, results};
use crate::support::relay::{TOKEN, credential};
use crate::support::wire::{Bench, FORM, REGISTER, SEND, Seen, code, encoded, ok, seen};

/// One credential that may send two messages at once and then one a second, and one that is free.
fn limited(config: &mut Config) {
    let mut slow = credential("slow", "s", None);
    (slow.rate_limit, slow.rate_burst) = (Some(1), Some(2));
    config.auth.credentials = vec![slow, credential("free", "f", None)];
}

async fn call(bench: &Bench, user: &str, path: &str, kind: &str, body: String) -> Seen {
    let basic = format!("Basic {}", STANDARD.encode(user));
    let request = bench.post(path).header("authorization", basic);
    seen(request.header("content-type", kind).body(body)).await
}

async fn bench() -> Bench {
    let bench = Bench::configured(limited).await;
    let pem = crate::support::keys::Authority::new()
        .apple_certificate(crate::support::relay::TOPIC)
        .build()
        .pem();
    let pem = String::from_utf8(pem).unwrap();
    let fields = encoded(&[("application_id", "app"), ("apns_pem", &pem)]);
    assert_eq!(call(&bench, "free:f", REGISTER, FORM, fields).await.status, 200);
    bench
}

fn message(token: &str) -> Value {
    json!({ "application_id": "app", "device_token": token, "alert": "x" })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_too_many_is_429_and_others_notice_nothing() {
    let bench = bench().await;
    let send = |user: &'static str| {
        call(&bench, user, SEND, "application/json", message(TOKEN).to_string())
    };

    // However slow this machine is, five in a row are more than their time allows at some point.
    let mut refused = None;
    for _ in 0..50 {
        let answer = send("slow:s").await;
        if answer.status != 200 {
            refused = Some(answer);
            break;
        }
    }
    let free = send("free:f").await;

    let refused = refused.expect("there is a limit");
    let body = "{\"error\":\"rate_limited\",\"message\":\"this credential has sent as many messages as \
                it may; send it again later\",\"retry_after\":1}";
    assert_eq!(refused.told(), (429, body.to_owned()));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(free.told(), ok());
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_on_one_call_wait_for_their_turn_within_their_time() {
    let bench = bench().await;
    let tokens: Vec<_> = (0..40).map(|number| format!("{number:04x}")).collect();
    let body = json!({
        "application_id": "app", "alert": "x", "device_tokens": tokens, "timeout_ms": 2_500,
    });

    let answer = call(&bench, "slow:s", SEND, "application/json", body.to_string()).await;

    let rows = results(&answer);
    let refused = rows.iter().filter(|row| row["error"] == "rate_limited").collect::<Vec<_>>();
    assert_eq!((rows.len(), refused.len()), (40, 36), "two at once, and two while it lasts");
    for row in refused {
        let retry_after = row["retry_after"].as_u64().unwrap();
        let expected = json!({
            "device_token": row["device_token"], "status": 429, "error": "rate_limited",
            "retry_after": retry_after, "action": "retry",
        });
        assert_eq!(plain(row.clone()), expected);
        assert!(retry_after >= 3, "{row}");
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_read_no_faster_than_its_caller_may_send() {
    let bench = bench().await;
    let lines: String =
        (0..5).map(|number| format!("{}\n", message(&format!("{number:04x}")))).collect();
    let start = std::time::Instant::now();

    let answer = call(&bench, "slow:s", SEND, "application/x-ndjson", lines).await;

    let accepted = answer.body.lines().filter(|line| line.contains("\"response\":\"ok\"")).count();
    assert_eq!(accepted, 5, "{}", answer.body);
    assert!(start.elapsed().as_secs() >= 3, "{:?}", start.elapsed());
    bench.stop().await;
}

/// Apple answers nothing: one caller takes all the places that it may, and another one's are free.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_holds_all_it_may_leaves_places_to_others() {
    let bench = Bench::configured(|config| {
        config.auth.credentials =
            vec![credential("one", "1", None), credential("other", "2", None)];
        config.server.max_in_flight = 8;
    })
    .await;
    let pem = crate::support::keys::Authority::new()
        .apple_certificate(crate::support::relay::TOPIC)
        .build()
        .pem();
    for id in ["a", "b"] {
        let fields =
            encoded(&[("application_id", id), ("apns_pem", std::str::from_utf8(&pem).unwrap())]);
        assert_eq!(call(&bench, "one:1", REGISTER, FORM, fields).await.status, 200);
    }
    bench.peer.simulator.script(Rule::token(TOKEN, Answer::Never).forever());
    let send = |user: &'static str, id: &str, token: &str| {
        let message = json!({ "application_id": id, "device_token": token, "alert": "x" });
        call(&bench, user, SEND, "application/json", message.to_string())
    };
    let held = async { (0..7).map(|_| send("one:1", "a", TOKEN)).collect::<JoinAll<_>>().await };
    let others = async {
        while bench.peer.simulator.received().len() < 7 {
            tokio::task::yield_now().await;
        }
        (send("one:1", "b", "ab").await, send("other:2", "b", "ab").await)
    };

    let (refused, served) = tokio::select! {
        answers = others => answers,
        answers = held => panic!("they are held: {answers:?}"),
    };

    assert_eq!(refused.code(), code(503, "overloaded"));
    assert_eq!(served.told(), ok());
    bench.stop().await;
}
