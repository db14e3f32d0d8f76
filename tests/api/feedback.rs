//! The list of dead tokens.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use http::StatusCode;
use pushlet::simulator::script::{Answer, Rejection, Rule};
use tokio::net::TcpSocket;

use crate::support::relay::TOKEN;
use crate::support::wire::{Bench, FEEDBACK, FORM, encoded, refusal, seen};

const APP: (&str, &str) = ("application_id", "app");
const EMPTY: &str = r#"{"response":[]}"#;

async fn bench() -> Bench {
    let bench = Bench::start().await;
    bench.relay.register("app").await;
    bench
}

/// Apple says of the next message to this token that it is dead since then.
async fn die(bench: &Bench, token: &str, timestamp_ms: u64) {
    bench.peer.simulator.script(Rule::next(Answer::Reject(Rejection {
        status: StatusCode::GONE,
        reason: "Unregistered".to_owned(),
        timestamp_ms: Some(timestamp_ms),
        retry_after_secs: None,
    })));
    let answer = bench.relay.send("app", token, "x").await;
    assert_eq!(answer.status, 410, "{}", answer.body);
}

async fn read(bench: &Bench, keep: &str) -> String {
    let answer = seen(bench.form(FEEDBACK, &[APP, ("keep", keep)])).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

fn row(token: &str, timestamp: &str) -> String {
    format!("{{\"device_token\":\"{token}\",\"timestamp\":\"{timestamp}\"}}")
}

fn list(rows: &[String]) -> String {
    format!("{{\"response\":[{}]}}", rows.join(","))
}

#[tokio::test(flavor = "multi_thread")]
async fn documented_errors_are_answered_to_the_byte() {
    let bench = bench().await;

    for (fields, status, body) in [
        (
            &[][..],
            400,
            r#"{"error":"missing_application_id","message":"an application_id is required for this call"}"#,
        ),
        (
            &[("application_id", "")],
            400,
            r#"{"error":"missing_application_id","message":"an application_id is required for this call"}"#,
        ),
        (
            &[("application_id", "nobody")],
            404,
            r#"{"error":"application_not_found","message":"no application found for the provided application_id"}"#,
        ),
        (
            &[("application_id", "a b")],
            404,
            r#"{"error":"application_not_found","message":"no application found for the provided application_id"}"#,
        ),
        (
            &[("application_id", "nobody"), ("keep", "perhaps")],
            404,
            r#"{"error":"application_not_found","message":"no application found for the provided application_id"}"#,
        ),
    ] {
        let answer = seen(bench.form(FEEDBACK, fields)).await;

        assert_eq!(answer.told(), (status, body.to_owned()), "{fields:?}");
    }
    let answer = seen(bench.form(FEEDBACK, &[APP, ("keep", "perhaps")])).await;
    let message = "keep must be true, false, 1 or 0, found `perhaps`";
    assert_eq!(answer.told(), refusal(400, "invalid_keep", message));
    let none = seen(bench.post(FEEDBACK)).await;
    assert_eq!(none.code().1, "missing_application_id", "no body, no type");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_has_the_documented_shape_with_the_oldest_first() {
    let bench = bench().await;
    assert_eq!(read(&bench, "false").await, EMPTY);

    die(&bench, "efef", 1_354_055_048_000).await;
    die(&bench, "abcd", 1_354_055_047_999).await;
    die(&bench, "0123", 1_354_055_048_001).await;

    let rows = [
        row("abcd", "2012-11-27T22:24:07Z"),
        row("efef", "2012-11-27T22:24:08Z"),
        row("0123", "2012-11-27T22:24:08Z"),
    ];
    assert_eq!(read(&bench, "false").await, list(&rows));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_empties_the_list_unless_it_is_kept() {
    let bench = bench().await;
    die(&bench, "ab", 1_354_055_047_000).await;
    let full = list(&[row("ab", "2012-11-27T22:24:07Z")]);

    for keep in ["true", "1", "true"] {
        assert_eq!(read(&bench, keep).await, full);
    }
    assert_eq!(seen(bench.form(FEEDBACK, &[APP])).await.body, full);
    assert_eq!(read(&bench, "true").await, EMPTY);
    die(&bench, "ab", 1_354_055_047_000).await;
    assert_eq!(read(&bench, "0").await, full);
    assert_eq!(read(&bench, "0").await, EMPTY);
    bench.stop().await;
}

/// One phone, spelt in different ways: one entry, the newest time, the last spelling.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_has_one_entry_as_it_was_last_spelt() {
    let bench = bench().await;

    for (spelling, at, told) in [
        ("abcdef01", 1_000, "1970-01-01T00:00:01Z"),
        ("<ABCD EF01>", 5_000, "1970-01-01T00:00:05Z"),
        ("ABCDEF01", 3_000, "1970-01-01T00:00:05Z"),
    ] {
        die(&bench, spelling, at).await;
        assert_eq!(read(&bench, "true").await, list(&[row(spelling, told)]));
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_accepted_later_leaves_the_list() {
    let bench = bench().await;
    die(&bench, "ab01", 1_000).await;
    die(&bench, "ab02", 2_000).await;

    assert_eq!(bench.relay.send("app", "<AB 01>", "x").await.status, 200);

    assert_eq!(read(&bench, "1").await, list(&[row("ab02", "1970-01-01T00:00:02Z")]));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_dead_are_listed() {
    let bench = bench().await;

    for (status, reason) in [
        (400, "BadDeviceToken"),
        (400, "DeviceTokenNotForTopic"),
        (404, "BadPath"),
        (429, "TooManyRequests"),
        // Last: after it, nothing is sent for a while.
        (403, "BadCertificate"),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        bench.peer.simulator.script(Rule::next(Answer::reject(status, reason)));
        assert_ne!(bench.relay.send("app", TOKEN, "x").await.status, 200);
    }

    assert_eq!(read(&bench, "1").await, EMPTY);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_application_has_its_own_list() {
    let bench = bench().await;
    bench.relay.register("other").await;

    die(&bench, "ab", 1_000).await;

    assert_eq!(seen(bench.form(FEEDBACK, &[("application_id", "other")])).await.body, EMPTY);
    assert_eq!(read(&bench, "1").await, list(&[row("ab", "1970-01-01T00:00:01Z")]));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn past_max_tokens_the_oldest_are_dropped() {
    let bench = Bench::configured(|config| config.feedback.max_tokens = 2).await;
    bench.relay.register("app").await;

    for (token, at) in [("ab02", 2_000), ("ab01", 1_000), ("ab03", 3_000), ("ab00", 500)] {
        die(&bench, token, at).await;
    }

    let rows = [row("ab02", "1970-01-01T00:00:02Z"), row("ab03", "1970-01-01T00:00:03Z")];
    assert_eq!(read(&bench, "1").await, list(&rows));
    bench.stop().await;
}

/// A caller that asks for a long list and is gone before it has it all: nothing is lost, and the
/// next one gets every entry, in order.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_could_not_be_written_is_there_again() {
    const TOKENS: u32 = 600;
    let bench = bench().await;
    // The kernel takes some megabytes of an answer that nobody reads. Spaces are part of a
    // spelling, and make few entries long.
    let spaces = " ".repeat(15_000);
    let tokens: Vec<_> =
        (0..TOKENS).map(|number| format!("5e750410{spaces}{number:08x}")).collect();
    for some in tokens.chunks(100) {
        let sends = some.iter().map(|token| bench.relay.send("app", token, "x"));
        let answers = futures_util::future::join_all(sends).await;
        assert!(answers.iter().all(|answer| answer.status == 410));
    }
    let before = read(&bench, "true").await;
    assert!(before.len() > 9_000_000, "more than the buffers of a connection hold");

    for part in [0, 1, 50_000] {
        let body = encoded(&[APP]);
        let head = format!(
            "POST {FEEDBACK} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        let stream = socket.connect(bench.relay.address).await.unwrap();
        let mut stream = stream.into_std().unwrap();
        stream.set_nonblocking(false).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let mut beginning = vec![0; part];
        stream.read_exact(&mut beginning).unwrap();
        while part == 0 && !read(&bench, "true").await.eq(EMPTY) {
            tokio::task::yield_now().await;
        }
        // What was not read makes this an RST and not a FIN.
        drop(stream);

        let limit = Instant::now() + Duration::from_secs(60);
        while read(&bench, "true").await != before {
            assert!(Instant::now() < limit, "the entries did not come back");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    assert_eq!(read(&bench, "false").await, before);
    assert_eq!(read(&bench, "false").await, EMPTY, "delivered whole, it is gone");
    bench.stop().await;
}
