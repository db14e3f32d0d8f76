//! The legacy GCM endpoint, seen by curl.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use pushlet::simulator::Options;
use pushlet::simulator::script::{Answer, Raw, Rejection, Rule};

use super::{Answer as Seen, Bench};
use crate::support::tools::require_curl;

const KEY: &str = "Authorization: key=AIzaSample";

fn json(bench: &Bench, body: &str) -> Seen {
    let json = "Content-Type: application/json";
    bench.http("/gcm/send", &["-H", KEY, "-H", json, "--data", body])
}

fn form(bench: &Bench, body: &str) -> Seen {
    bench.http("/fcm/send", &["-H", KEY, "--data", body])
}

#[test]
fn the_first_answer_is_the_documented_one() {
    if !require_curl() {
        return;
    }
    let bench = Bench::new(Options::default());

    let answer = json(&bench, r#"{"registration_ids":["42"],"data":{"text":"hello"}}"#);

    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.body,
        r#"{"multicast_id":108,"success":1,"failure":0,"canonical_ids":0,"results":[{"message_id":"1:08"}]}"#
    );
    let lines: Vec<_> = bench.simulator.received().iter().map(ToString::to_string).collect();
    assert_eq!(lines, [r#"gcm 42…: accepted {"registration_ids":["42"],"data":{"text":"hello"}}"#]);
}

/// Google's example of six recipients: three delivered, one of them renamed, three errors.
#[test]
fn six_recipients_have_six_rows_in_order() {
    if !require_curl() {
        return;
    }
    let bench = Bench::new(Options::default());
    bench.simulator.script(Rule::token("8", Answer::reject(StatusCode::OK, "Unavailable")));
    bench
        .simulator
        .script(Rule::token("15", Answer::reject(StatusCode::OK, "InvalidRegistration")));

    let answer =
        json(&bench, r#"{"registration_ids":["4","8","15","16","canonical:32","NotRegistered"]}"#);

    assert_eq!(
        answer.body,
        concat!(
            r#"{"multicast_id":108,"success":3,"failure":3,"canonical_ids":1,"results":["#,
            r#"{"message_id":"1:08"},{"error":"Unavailable"},{"error":"InvalidRegistration"},"#,
            r#"{"message_id":"1:09"},{"message_id":"1:10","registration_id":"32"},"#,
            r#"{"error":"NotRegistered"}]}"#
        )
    );
    assert_eq!(bench.simulator.unused_rules(), []);
}

#[test]
fn every_error_of_the_reference_has_its_token() {
    if !require_curl() {
        return;
    }
    let bench = Bench::new(Options::default());

    for error in [
        "DeprecatedApi",
        "DeviceMessageRateExceeded",
        "InternalServerError",
        "InvalidApnsCredential",
        "InvalidDataKey",
        "InvalidPackageName",
        "InvalidParameters",
        "InvalidRegistration",
        "InvalidTtl",
        "MessageTooBig",
        "MismatchSenderId",
        "MissingRegistration",
        "NotRegistered",
        "TopicsMessageRateExceeded",
        "Unavailable",
    ] {
        let answer = json(&bench, &format!(r#"{{"to":"{error}"}}"#));

        let row = format!(r#""results":[{{"error":"{error}"}}]}}"#);
        assert!(answer.body.ends_with(&row), "{}", answer.body);
    }
}

#[test]
fn unknown_keys_get_html() {
    if !require_curl() {
        return;
    }
    let bench = Bench::new(Options::default());
    let html = Some("text/html; charset=UTF-8");

    for arguments in [
        &["-d", "{}"][..],
        &["-H", "Authorization: key=", "-d", "{}"],
        &["-H", "Authorization: key=badAIza", "-d", "{}"],
        &["-H", "Authorization: Bearer AIza", "-d", "{}"],
    ] {
        let answer = bench.http("/gcm/send", arguments);

        assert_eq!((answer.status, answer.header("content-type")), (401, html), "{arguments:?}");
    }
    assert_eq!(bench.simulator.received(), []);
}

#[test]
fn what_does_not_parse_is_explained_in_plain_text() {
    if !require_curl() {
        return;
    }
    let bench = Bench::new(Options::default());

    for body in ["{", r#"{"registration_ids":"42"}"#, r#"{"to":"a","time_to_live":"x"}"#] {
        let answer = json(&bench, body);

        assert_eq!((answer.status, answer.header("content-type")), (400, Some("text/plain")));
        assert!(answer.body.starts_with("JSON_PARSING_ERROR: "), "{}", answer.body);
    }
}

#[test]
fn topics_have_a_numeric_id_and_no_results() {
    if !require_curl() {
        return;
    }
    let bench = Bench::new(Options::default());
    let rate = "TopicsMessageRateExceeded";
    bench.simulator.script(Rule::token("/topics/busy", Answer::reject(StatusCode::OK, rate)));

    assert_eq!(json(&bench, r#"{"to":"/topics/news"}"#).body, r#"{"message_id":108}"#);
    assert_eq!(json(&bench, r#"{"condition":"'a' in topics"}"#).body, r#"{"message_id":109}"#);
    assert_eq!(
        json(&bench, r#"{"to":"/topics/busy"}"#).body,
        r#"{"error":"TopicsMessageRateExceeded"}"#
    );
}

#[test]
fn forms_are_answered_in_plain_text() {
    if !require_curl() {
        return;
    }
    let bench = Bench::new(Options::default());
    let body = |answer: Seen| (answer.status, answer.body);

    assert_eq!(body(form(&bench, "registration_id=42&data.a=b")), (200, "id=1:08".to_owned()));
    assert_eq!(
        body(form(&bench, "registration_id=canonical:32")),
        (200, "id=1:09\nregistration_id=32".to_owned())
    );
    assert_eq!(
        body(form(&bench, "registration_id=NotRegistered")),
        (200, "Error=NotRegistered".to_owned())
    );
    assert_eq!(body(form(&bench, "a=b")), (200, "Error=MissingRegistration".to_owned()));
    assert_eq!(body(form(&bench, "registration_id=Unavailable")), (503, "Unavailable".to_owned()));
}

#[test]
fn a_dry_run_has_a_fake_id() {
    if !require_curl() {
        return;
    }
    let bench = Bench::new(Options::default());

    let answer = json(&bench, r#"{"to":"42","dry_run":true}"#);

    assert!(answer.body.ends_with(r#""results":[{"message_id":"fake_message_id"}]}"#));
}

#[test]
fn a_whole_call_can_fail() {
    if !require_curl() {
        return;
    }
    let bench = Bench::new(Options::default());
    let rejection = Rejection {
        status: StatusCode::SERVICE_UNAVAILABLE,
        reason: "Unavailable".to_owned(),
        timestamp_ms: None,
        retry_after_secs: Some(30),
    };
    bench.simulator.script(Rule::next(Answer::Reject(rejection)));

    let answer = json(&bench, r#"{"to":"42"}"#);

    assert_eq!((answer.status, answer.body.as_str()), (503, "Unavailable"));
    assert_eq!(answer.header("retry-after"), Some("30"));
}

#[test]
fn google_may_ask_for_patience_beside_a_200() {
    if !require_curl() {
        return;
    }
    let bench = Bench::new(Options::default());
    let rejection = Rejection {
        status: StatusCode::OK,
        reason: "Unavailable".to_owned(),
        timestamp_ms: None,
        retry_after_secs: Some(9),
    };
    bench.simulator.script(Rule::token("42", Answer::Reject(rejection)));

    let answer = json(&bench, r#"{"to":"42"}"#);

    assert_eq!((answer.status, answer.header("retry-after")), (200, Some("9")));
    assert!(answer.body.ends_with(r#""results":[{"error":"Unavailable"}]}"#));
}

#[test]
fn golden_bytes_are_given_as_they_are() {
    if !require_curl() {
        return;
    }
    let bench = Bench::new(Options::default());
    let golden = concat!(
        r#"{"multicast_id":216,"success":3,"failure":3,"canonical_ids":1,"results":["#,
        r#"{"message_id":"1:0408"},{"error":"Unavailable"},{"error":"InvalidRegistration"},"#,
        r#"{"message_id":"1:1516"},{"message_id":"1:2342","registration_id":"32"},"#,
        r#"{"error":"NotRegistered"}]}"#
    );
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    let body = Bytes::from_static(golden.as_bytes());
    bench.simulator.script(Rule::next(Answer::Raw(Raw { status: StatusCode::OK, headers, body })));

    let answer = json(&bench, r#"{"to":"42"}"#);

    assert_eq!(answer.body, golden);
    assert_eq!(answer.header("content-type"), Some("application/json"));
}

#[test]
fn the_connection_can_be_cut_or_left_hanging() {
    if !require_curl() {
        return;
    }
    let bench = Bench::new(Options::default());
    let send = |arguments: &[&str]| {
        let call = ["-H", KEY, "-d", "registration_id=42"];
        let answer = bench.http("/gcm/send", &[&call, arguments].concat());
        (answer.status, answer.exit)
    };

    // 52: nothing came. 28: curl's patience ended.
    bench.simulator.script(Rule::next(Answer::Drop));
    assert_eq!(send(&[]), (0, 52));
    bench.simulator.script(Rule::next(Answer::Never));
    assert_eq!(send(&["--max-time", "0.5"]), (0, 28));
}
