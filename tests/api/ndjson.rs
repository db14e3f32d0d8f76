//! A message on each line, and a row for each as soon as it is known.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use pushlet::config::Config;
use pushlet::simulator::Options;
use pushlet::simulator::script::{Answer, Rule};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::google::{Google, KEY};
use crate::support::relay::{TOKEN, credential};
use crate::support::wire::{Bench, SEND, Seen, code, refusal, seen};

pub(super) const NDJSON: &str = "application/x-ndjson";

async fn call(bench: &Bench, lines: String) -> Seen {
    seen(bench.post(SEND).header("content-type", NDJSON).body(lines)).await
}

fn rows(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The rows in the order of their lines.
pub(super) fn sorted(answer: &Seen) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.header("content-type"), Some(NDJSON));
    let mut rows = rows(&answer.body);
    rows.sort_by_key(|row| row["index"].as_u64());
    rows
}

pub(super) fn message(token: &str) -> Value {
    json!({ "application_id": "app", "device_token": token, "alert": "x" })
}

pub(super) async fn bench(change: impl FnOnce(&mut Config)) -> Bench {
    let bench = Bench::configured(change).await;
    bench.relay.register("app").await;
    bench
}

#[tokio::test(flavor = "multi_thread")]
async fn each_line_has_its_row_and_a_bad_one_stops_no_other() {
    let google = Google::with(Options::default(), |config| {
        config.server.max_body_bytes = 8_192;
    })
    .await;
    google.register().await;
    google.bench.relay.register("apple").await;
    let apple = json!({ "application_id": "apple", "device_token": TOKEN, "alert": "a" });
    let dead = json!({ "application_id": "apple", "device_token": "5e750410", "alert": "a" });
    let silent = json!({ "application_id": "apple", "device_token": TOKEN });
    let fcm = json!({ "application_id": "app", "device_token": "G1", "alert": "b" });
    let bridged = json!({ "gcm_api_key": KEY, "device_token": "UNREGISTERED", "alert": "c" });
    let nobody = json!({ "application_id": "nobody", "device_token": "aa", "alert": "a" });
    let long =
        json!({ "application_id": "apple", "device_token": TOKEN, "alert": "x".repeat(10_000) });
    let mut body = format!("{apple}\r\n\n{dead}\n  \n{silent}\nhello\n[1]\n").into_bytes();
    body.extend_from_slice(b"{\"alert\":\"\xff\"}\n");
    body.extend_from_slice(format!("{fcm}\n{bridged}\n{nobody}\n{long}\n{apple}").as_bytes());

    let request = google.bench.post(SEND).header("content-type", NDJSON).body(body);
    let answer = seen(request).await;

    let told: Vec<_> = sorted(&answer)
        .iter()
        .map(|row| {
            let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
            (row["status"].as_u64().unwrap(), text("error"), text("device_token"), text("action"))
        })
        .collect();
    let row = |status: u64, error: &str, token: &str, action: &str| {
        (status, error.to_owned(), token.to_owned(), action.to_owned())
    };
    assert_eq!(
        told,
        [
            row(200, "", TOKEN, "none"),
            row(410, "device_token_unregistered", "5e750410", "delete_token"),
            row(400, "empty_notification", TOKEN, "fix_message"),
            row(400, "invalid_request", "", "fix_message"),
            row(400, "invalid_request", "", "fix_message"),
            row(400, "invalid_request", "", "fix_message"),
            row(200, "", "G1", "none"),
            row(410, "device_token_unregistered", "UNREGISTERED", "delete_token"),
            row(404, "application_not_found", "aa", "fix_credentials"),
            row(413, "request_too_large", "", "fix_message"),
            row(200, "", TOKEN, "none"),
        ]
    );
    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_call_is_answered_as_usual() {
    let bench = Bench::configured(|config| {
        config.auth.credentials = vec![credential("a", "b", None)];
    })
    .await;
    let call = |path: &str, header: (&str, &str)| {
        let request = bench.post(path).header("content-type", NDJSON).header(header.0, header.1);
        seen(request.basic_auth("a", Some("b")).body("{}"))
    };

    let stranger = seen(bench.post(SEND).header("content-type", NDJSON).body("{}")).await;
    let query = call("/send_notification?a=1", ("x-a", "1")).await;
    let encoded = call(SEND, ("content-encoding", "gzip")).await;
    let key = call(SEND, ("idempotency-key", "k")).await;

    assert_eq!(stranger.status, 401);
    assert_eq!(query.code(), code(400, "invalid_request"));
    assert_eq!(encoded.code(), code(415, "unsupported_media_type"));
    let message =
        "a stream has no Idempotency-Key, since it is not answered as a whole; leave it out";
    assert_eq!(key.told(), refusal(400, "conflicting_parameters", message));
    bench.stop().await;
}

/// A stream by hand: it is read while it is written.
pub(super) struct Stream {
    pub(super) writing: TcpStream,
    reading: BufReader<TcpStream>,
}

impl Stream {
    pub(super) fn open(bench: &Bench) -> Self {
        Self::to(bench.relay.address)
    }

    pub(super) fn to(address: SocketAddr) -> Self {
        let mut writing = TcpStream::connect(address).unwrap();
        writing.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        write!(
            writing,
            "POST {SEND} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {NDJSON}\r\n\
             Transfer-Encoding: chunked\r\n\r\n"
        )
        .unwrap();
        let reading = BufReader::new(writing.try_clone().unwrap());
        let mut stream = Self { writing, reading };
        assert_eq!(stream.line(), "HTTP/1.1 200 OK");
        while !stream.line().is_empty() {}
        stream
    }

    pub(super) fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.reading.read_line(&mut line).unwrap();
        assert!(read > 0, "the connection ended before the answer did");
        line.trim_end().to_owned()
    }

    pub(super) fn send(&mut self, text: &str) {
        write!(self.writing, "{:x}\r\n{text}\r\n", text.len()).unwrap();
    }

    pub(super) fn end(&mut self) {
        self.writing.write_all(b"0\r\n\r\n").unwrap();
    }

    /// The rows that still come, where the connection ends before the answer or with it.
    pub(super) fn until_cut(&mut self) -> Vec<Value> {
        let lines = self.reading.by_ref().lines().map_while(Result::ok);
        rows(&lines.filter(|line| line.starts_with('{')).collect::<Vec<_>>().join("\n"))
    }

    /// The next row. Rows and chunks are apart: a chunk holds whole rows.
    pub(super) fn row(&mut self) -> Option<Value> {
        loop {
            let line = self.line();
            if line.starts_with('{') {
                return Some(serde_json::from_str(&line).unwrap());
            }
            if line == "0" {
                return None;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_comes_before_the_next_line_is_written() {
    let bench = bench(|_| ()).await;
    let mut stream = Stream::open(&bench);

    for index in 0..3 {
        stream.send(&format!("{}\n", message(TOKEN)));
        let row = tokio::task::block_in_place(|| stream.row()).unwrap();
        assert_eq!((&row["index"], &row["response"]), (&json!(index), &json!("ok")));
    }
    stream.end();

    assert_eq!(tokio::task::block_in_place(|| stream.row()), None);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_come_as_messages_end_and_not_in_order() {
    let bench = bench(|_| ()).await;
    let mut stream = Stream::open(&bench);

    stream.send(&format!("{}\n{}\n", message("5e75de1a"), message(TOKEN)));
    stream.end();
    let indices: Vec<_> =
        tokio::task::block_in_place(|| std::iter::from_fn(|| stream.row()).collect::<Vec<_>>())
            .iter()
            .map(|row| row["index"].clone())
            .collect();

    assert_eq!(indices, [1, 0]);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_messages_are_each_answered_once() {
    let options = Options { messages_kept: 10_000, ..Options::default() };
    let bench = Bench::with(options, |_| ()).await;
    bench.relay.register("app").await;
    let token = |index: usize| match index % 3 {
        0 => format!("5e750410{index:08x}"),
        1 => format!("5e750400{index:08x}"),
        _ => format!("{index:016x}"),
    };
    let body: String = (0..5_000).map(|index| format!("{}\n", message(&token(index)))).collect();

    let answer = call(&bench, body).await;

    let rows = rows(&answer.body);
    let indices: BTreeSet<_> = rows.iter().map(|row| row["index"].as_u64().unwrap()).collect();
    assert_eq!((rows.len(), indices.len()), (5_000, 5_000));
    for row in &rows {
        let index = usize::try_from(row["index"].as_u64().unwrap()).unwrap();
        let status = [410, 400, 200][index % 3];
        assert_eq!(row["device_token"], token(index));
        assert_eq!(row["status"], status, "{row}");
    }
    let mut arrived = BTreeMap::<String, usize>::new();
    for received in bench.peer.simulator.received() {
        *arrived.entry(received.device_token).or_default() += 1;
    }
    assert_eq!(arrived.len(), 5_000);
    assert!(arrived.values().all(|times| *times == 1));
    bench.stop().await;
}

/// Apple takes one message at a time and its time for each, so the relay stops reading. A caller that
/// leaves is noticed when the next row is written, and takes with him what was not sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_read_no_further_than_it_is_sent_and_ends_with_its_caller() {
    let options = Options { max_concurrent_streams: 1, ..Options::default() };
    let bench = Bench::with(options, |config| {
        config.apns.timeout = Duration::from_secs(25);
        config.apns.connections_per_application = 1;
    })
    .await;
    bench.relay.register("app").await;
    let slow = Answer::Delay { by: Duration::from_millis(200), then: Box::new(Answer::Accept) };
    bench.peer.simulator.script(Rule::token("aa", slow).forever());
    let mut stream = Stream::open(&bench);
    stream.writing.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let line = json!({
        "application_id": "app", "device_token": "aa", "alert": "x",
        "data": { "more": "y".repeat(2_000) },
    });
    let chunk = format!("{:x}\r\n{line}\n\r\n", line.to_string().len() + 1);

    let taken = tokio::task::block_in_place(|| {
        (0..50_000).take_while(|_| stream.writing.write_all(chunk.as_bytes()).is_ok()).count()
    });
    assert!(taken < 20_000, "{taken} lines were taken");
    let before = bench.peer.simulator.received().len();
    drop(stream);
    // Hundreds were under way, and would take longer than this one waits.
    let answer = bench.relay.send("app", "bb", "x").await;

    assert_eq!(answer.status, 200, "{}", answer.body);
    let after = bench.peer.simulator.received().len();
    assert!(after < before + 50, "{before} and then {after} were sent");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_falls_silent_is_ended_and_one_that_makes_progress_is_not() {
    let bench = bench(|config| config.server.read_timeout = Duration::from_secs(1)).await;
    let mut stream = Stream::open(&bench);

    for index in 0..8 {
        stream.send(&format!("{}\n", message(TOKEN)));
        let row = tokio::task::block_in_place(|| stream.row()).unwrap();
        assert_eq!(row["index"], index);
        sleep(Duration::from_millis(250)).await;
    }
    let last = tokio::task::block_in_place(|| stream.row()).unwrap();

    assert_eq!(
        last,
        json!({
            "error": "invalid_request",
            "message": "nothing came for 1s; lines were read up to the one with index 8, which was \
                        not sent: send it and those after it again",
            "next_index": 8, "action": "retry",
        })
    );
    assert_eq!(tokio::task::block_in_place(|| stream.row()), None);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_stops_tells_what_it_read_and_where_it_stopped() {
    let bench = bench(|_| ()).await;
    let mut stream = Stream::open(&bench);
    stream.send(&format!("{}\n", message("5e75de1a")));
    while bench.peer.simulator.received().is_empty() {
        sleep(Duration::from_millis(10)).await;
    }

    let stopping = tokio::spawn(bench.relay.stop());
    let rows =
        tokio::task::block_in_place(|| std::iter::from_fn(|| stream.row()).collect::<Vec<_>>());

    assert_eq!((&rows[0]["index"], &rows[0]["response"]), (&json!(0), &json!("ok")));
    assert_eq!((&rows[1]["error"], &rows[1]["next_index"]), (&json!("stopping"), &json!(1)));
    assert_eq!(rows.len(), 2);
    stopping.await.unwrap();
    bench.peer.simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_can_be_shown_instead_of_sent() {
    let bench = bench(|_| {}).await;
    let mut shown = message("aa");
    shown["preview"] = json!(true);

    let rows = sorted(&call(&bench, format!("{shown}\n{}\n", message(TOKEN))).await);

    assert_eq!((&rows[0]["dry_run"], &rows[0]["request"]["size"]), (&json!(true), &json!(21)));
    assert_eq!((&rows[1]["response"], rows[1].get("dry_run")), (&json!("ok"), None));
    assert_eq!(bench.arrived().device_token, TOKEN);
    bench.stop().await;
}
