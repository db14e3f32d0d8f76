//! Streams of messages that end badly, or last long.

use std::io::{ErrorKind, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use pushlet::simulator::Options;
use pushlet::simulator::script::{Answer, Rule};
use serde_json::{Value, json};

use super::ndjson::{Stream, bench, message};
use crate::support::process::Process;
use crate::support::relay::Peer;
use crate::support::wire::Bench;

/// A caller who is not cut off would be held for ever; a slow machine needs a tenth of this.
const PATIENCE: Duration = Duration::from_secs(30);

/// Everything else that a stream says.
fn rest(stream: &mut Stream) -> Vec<Value> {
    tokio::task::block_in_place(|| std::iter::from_fn(|| stream.row()).collect())
}

/// What stands after the last line break may say all that a message needs. Its end did not come, so
/// nobody knows what it would have been.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_is_told_with_the_line_that_was_not_sent() {
    let bench = bench(|_| ()).await;
    let mut stream = Stream::open(&bench);
    for index in 0..2 {
        stream.send(&format!("{}\n", message("aa")));
        let row = tokio::task::block_in_place(|| stream.row()).unwrap();
        assert_eq!((&row["index"], &row["response"]), (&json!(index), &json!("ok")));
    }

    stream.send(&message("bb").to_string());
    stream.writing.shutdown(Shutdown::Write).unwrap();
    let rows = tokio::task::block_in_place(|| stream.until_cut());

    assert_eq!(
        rows,
        [json!({
            "error": "invalid_request",
            "message": "the body ended before it was complete; lines were read up to the one with \
                        index 2, which was not sent: send it and those after it again",
            "next_index": 2, "action": "retry",
        })]
    );
    let arrived: Vec<_> =
        bench.peer.simulator.received().into_iter().map(|it| it.device_token).collect();
    assert_eq!(arrived, ["aa", "aa"]);
    bench.stop().await;
}

/// Apple takes one message at a time and its time for each, when the caller ends his side: he has left,
/// and nothing more is written.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_written_when_a_stream_breaks_off_is_never_sent() {
    let options = Options { max_concurrent_streams: 1, ..Options::default() };
    let bench = Bench::with(options, |config| config.apns.connections_per_application = 1).await;
    bench.relay.register("app").await;
    let slow = Answer::Delay { by: Duration::from_millis(300), then: Box::new(Answer::Accept) };
    bench.peer.simulator.script(Rule::next(slow).forever());
    let token = |index: u64| format!("{index:08x}");
    let mut stream = Stream::open(&bench);
    for index in 0..30 {
        stream.send(&format!("{}\n", message(&token(index))));
    }
    let first = tokio::task::block_in_place(|| stream.row()).unwrap();

    stream.writing.shutdown(Shutdown::Write).unwrap();
    let mut rows = tokio::task::block_in_place(|| stream.until_cut());
    rows.insert(0, first);
    // All that the relay still had in hand would go before this one.
    assert_eq!(bench.relay.send("app", "ffff", "x").await.status, 200);

    let arrived: Vec<_> =
        bench.peer.simulator.received().into_iter().map(|it| it.device_token).collect();
    for row in &rows {
        assert_eq!(row["response"], "ok", "{row}");
        assert!(arrived.contains(&token(row["index"].as_u64().unwrap())), "{row} is no lie");
    }
    // Those that were told, the one that was with Apple, the last one, and one that may have been
    // written before the end was read.
    assert!(arrived.len() <= rows.len() + 3, "{arrived:?} for {rows:?}");
    assert_eq!(arrived.last().map(String::as_str), Some("ffff"));
    bench.peer.simulator.clear_script();
    bench.stop().await;
}

/// Four seconds of messages that take a second each, where each may take three.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_outlives_the_time_of_a_message_and_each_has_its_own() {
    let time = Duration::from_secs(3);
    let bench = bench(|config| config.apns.timeout = time).await;
    let mut stream = Stream::open(&bench);
    let start = Instant::now();
    let mut send = |token: &str| {
        stream.send(&format!("{}\n", message(token)));
        tokio::task::block_in_place(|| stream.row()).unwrap()
    };

    for index in 0..4 {
        let row = send("5e75de1a");
        assert_eq!((&row["index"], &row["response"]), (&json!(index), &json!("ok")), "{row}");
    }
    assert!(start.elapsed() > time, "{:?}", start.elapsed());
    let start = Instant::now();
    let row = send("5e750ff0");

    assert!(start.elapsed() >= time, "{:?}", start.elapsed());
    assert_eq!(
        (&row["error"], &row["delivery"], &row["action"]),
        (&json!("apns_timeout"), &json!("unknown"), &json!("none"))
    );
    stream.end();
    assert_eq!(rest(&mut stream), [] as [Value; 0]);
    bench.stop().await;
}

/// The caller writes lines and reads no rows, until he is cut off.
///
/// How much he got rid of, in bytes.
fn write_until_cut(stream: &mut Stream) -> usize {
    let line = json!({ "application_id": "nobody", "device_token": "aa", "alert": "x" });
    let lines = format!("{line}\n").repeat(200);
    let chunk = format!("{:x}\r\n{lines}\r\n", lines.len());
    stream.writing.set_write_timeout(Some(PATIENCE)).unwrap();
    let mut taken = 0;
    loop {
        match stream.writing.write_all(chunk.as_bytes()) {
            Ok(()) => taken += chunk.len(),
            Err(error) => {
                let is_cut =
                    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset);
                assert!(is_cut, "it is held after {taken} bytes: {error}");
                return taken;
            }
        }
        // Far more than the buffers of the system hold.
        assert!(taken < 256 * 1024 * 1024, "it was read although nobody reads the rows");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_does_not_read_is_cut_off_in_time_and_costs_no_memory() {
    let peer = Peer::start();
    let process = Process::serve_before(&peer, &[("PUSHLET_SERVER__WRITE_TIMEOUT", "1s")]);
    let peak_kib = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap()
    };
    let before_kib = {
        let mut stream = Stream::to(process.address());
        stream.send(&format!("{}\n", message("aa")));
        stream.end();
        assert_eq!(rest(&mut stream).len(), 1);
        peak_kib()
    };
    let start = Instant::now();

    let mut streams: Vec<_> = (0..4).map(|_| Stream::to(process.address())).collect();
    let taken: usize = tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            let writers: Vec<_> =
                streams.iter_mut().map(|one| scope.spawn(|| write_until_cut(one))).collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).sum()
        })
    });

    let grown_kib = peak_kib() - before_kib;
    println!("{taken} bytes were taken in {:?}, and {grown_kib} KiB more used", start.elapsed());
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    assert!(grown_kib < 16 * 1024, "{grown_kib} KiB for {taken} bytes");
}
