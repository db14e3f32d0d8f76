//! Streams, settings and the end of connections, seen frame by frame by Python's `h2`.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use pushlet::simulator::Options;
use pushlet::simulator::certificates::Subject;
use pushlet::simulator::record::Verdict;
use pushlet::simulator::script::{Answer, Raw, Rejection, Rule};
use serde_json::{Value, json};

use super::{Bench, Seen};
use crate::support::tools::require_python_h2;

fn requests(count: usize) -> Vec<Value> {
    (0..count)
        .map(|index| {
            let path = format!("/3/device/{index:08x}");
            json!({ "path": path, "headers": [["apns-topic", "com.example"]] })
        })
        .collect()
}

/// Sends that many messages, to the tokens `00000000`, `00000001` and so on.
fn send(bench: &Bench, count: usize, patience: f32) -> Seen {
    let certificate = bench.client(Subject::of_app("com.example"));
    bench.h2(Some(&certificate), requests(count), patience)
}

#[test]
fn settings_are_apples() {
    if !require_python_h2() {
        return;
    }
    let bench = Bench::new(Options::default());

    let seen = send(&bench, 1, 5.0);

    // RFC 9113 §6.5.2: 3 is MAX_CONCURRENT_STREAMS, 4 INITIAL_WINDOW_SIZE, 6 MAX_HEADER_LIST_SIZE.
    assert_eq!(seen.settings.get(&3), Some(&1_000));
    assert_eq!(seen.settings.get(&4), Some(&65_535));
    assert_eq!(seen.settings.get(&6), Some(&8_000));
}

#[test]
fn a_thousand_streams_each_get_their_own_answer() {
    if !require_python_h2() {
        return;
    }
    let bench = Bench::new(Options::default());
    for index in 0..1_000_u64 {
        let rejection = Rejection {
            status: StatusCode::GONE,
            reason: "Unregistered".to_owned(),
            timestamp_ms: Some(index),
            retry_after_secs: None,
        };
        // The answers wait until all are open, and come in another order.
        let by = Duration::from_millis(1_500 - index / 2);
        let then = Box::new(Answer::Reject(rejection));
        bench.simulator.script(Rule::token(&format!("{index:08x}"), Answer::Delay { by, then }));
    }

    let seen = send(&bench, 1_000, 20.0);

    assert_eq!(seen.answers.len(), 1_000);
    for (index, answer) in &seen.answers {
        let body = format!(r#"{{"reason":"Unregistered","timestamp":{index}}}"#);
        assert_eq!((answer.status, &answer.body), (Some(410), &body));
    }
    assert_eq!(bench.simulator.unused_rules(), []);
    let received = bench.simulator.received();
    assert_eq!(received.len(), 1_000);
    assert!(received.iter().all(|received| received.connection == Some(1)));
}

#[test]
fn a_reset_stream_has_its_code_and_harms_no_other() {
    if !require_python_h2() {
        return;
    }
    let bench = Bench::new(Options::default());
    bench.simulator.script(Rule::token("00000001", Answer::Reset { code: 7 }));

    let seen = send(&bench, 3, 5.0);

    assert_eq!(seen.resets.into_iter().collect::<Vec<_>>(), [(1, 7)]);
    let statuses: Vec<_> = seen.answers.values().map(|answer| answer.status).collect();
    assert_eq!(statuses, [Some(200), None, Some(200)]);
}

#[test]
fn a_graceful_goaway_answers_what_is_open() {
    if !require_python_h2() {
        return;
    }
    let bench = Bench::new(Options::default());
    let by = Duration::from_millis(300);
    let late = Answer::Delay { by, then: Box::new(Answer::Accept) };
    bench.simulator.script(Rule::token("00000000", late));
    bench.simulator.script(Rule::token("00000001", Answer::GoAway { code: None }));

    let seen = send(&bench, 3, 5.0);

    assert_eq!(seen.goaway.first().map(|(code, _)| *code), Some(0));
    assert!(seen.answers.values().all(|answer| answer.status == Some(200)), "{seen:?}");
}

#[test]
fn a_goaway_with_a_code_answers_nothing_more() {
    if !require_python_h2() {
        return;
    }
    let bench = Bench::new(Options::default());
    bench.simulator.script(Rule::next(Answer::Never).times(2));
    bench.simulator.script(Rule::next(Answer::GoAway { code: Some(2) }));

    let seen = send(&bench, 3, 5.0);

    assert_eq!(seen.goaway, [(2, 5)]);
    assert!(seen.closed);
    assert!(seen.answers.values().all(|answer| answer.status.is_none()), "{seen:?}");
    let verdicts: Vec<_> =
        bench.simulator.received().into_iter().map(|received| received.verdict).collect();
    let by = |by| Verdict::Unanswered { by };
    assert_eq!(verdicts, [by("never"), by("never"), by("goaway")]);
}

#[test]
fn a_cut_connection_says_nothing() {
    if !require_python_h2() {
        return;
    }
    let bench = Bench::new(Options::default());
    bench.simulator.script(Rule::next(Answer::Drop));

    let seen = send(&bench, 1, 5.0);

    assert!(seen.closed);
    assert_eq!((seen.goaway, seen.resets.len()), (vec![], 0));
}

#[test]
fn a_stream_that_is_never_answered_stays_open() {
    if !require_python_h2() {
        return;
    }
    let bench = Bench::new(Options::default());
    bench.simulator.script(Rule::token("00000000", Answer::Never));

    let seen = send(&bench, 2, 0.5);

    assert!(!seen.closed);
    let statuses: Vec<_> = seen.answers.values().map(|answer| answer.status).collect();
    assert_eq!(statuses, [None, Some(200)]);
}

#[test]
fn raw_answers_are_given_as_they_are() {
    if !require_python_h2() {
        return;
    }
    let bench = Bench::new(Options::default());
    let mut headers = HeaderMap::new();
    headers.insert("x-odd", HeaderValue::from_static("yes"));
    let raw = Raw { status: StatusCode::OK, headers, body: Bytes::from_static(b"<html>") };
    bench.simulator.script(Rule::next(Answer::Raw(raw)));

    let seen = send(&bench, 1, 5.0);

    let answer = &seen.answers[&0];
    assert_eq!((answer.status, answer.body.as_str()), (Some(200), "<html>"));
    assert_eq!(answer.headers.get("x-odd").map(String::as_str), Some("yes"));
    assert_eq!(answer.headers.get("apns-id"), None);
}
