//! The documented GCM call, forwarded to an endpoint that speaks Google's legacy protocol.

use std::net::TcpListener;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use pushlet::config::Config;
use pushlet::simulator::script::{Answer, Raw, Rejection, Rule};
use url::Url;

use crate::support::wire::{Bench, SEND, Seen, refusal};

const KEY: (&str, &str) = ("gcm_api_key", "AIzaSample");
const PHONE: (&str, &str) = ("device_token", "42");
const SIX: &str = r#"["4","8","15","16","23","42"]"#;

fn raw(status: u16, headers: &[(&'static str, &'static str)], body: &'static str) -> Answer {
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
        .collect();
    let status = StatusCode::from_u16(status).unwrap();
    Answer::Raw(Raw { status, headers, body: Bytes::from_static(body.as_bytes()) })
}

/// Sends one message that the endpoint answers so.
async fn answered(bench: &Bench, answer: Answer) -> Seen {
    bench.peer.simulator.script(Rule::next(answer));
    bench.send(&[KEY, PHONE]).await
}

fn members(answer: &Seen, error: &str) -> String {
    let message = answer.json()["message"].to_string();
    let start = format!("{{\"error\":\"{error}\",\"message\":{message}");
    let rest = answer.body.strip_prefix(&start);
    let rest = rest.unwrap_or_else(|| panic!("not {error}: {} {}", answer.status, answer.body));
    rest.trim_start_matches(',').trim_end_matches('}').to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_call_is_answered_to_the_byte() {
    let bench = Bench::start().await;
    let body = "device_token=YOUR_GCM_DEVICE_KEY&gcm_api_key=YOUR_GCM_API_KEY&\
                data=%7B%22text%22%3A%22hello%22%7D";

    let answer = bench.text(SEND, body).await;

    let documented = r#"{"multicast_id":108,"success":1,"failure":0,"canonical_ids":0,"results":[{"message_id":"1:08"}]}"#;
    assert_eq!(answer.told(), (200, documented.to_owned()));
    assert_eq!(
        bench.arrived().payload,
        r#"{"registration_ids":["YOUR_GCM_DEVICE_KEY"],"data":{"text":"hello"}}"#
    );
    bench.stop().await;
}

/// Google's own example: three delivered, one of them renamed, three errors, in order.
#[tokio::test(flavor = "multi_thread")]
async fn six_recipients_have_the_rows_of_googles_example() {
    const EXAMPLE: &str = concat!(
        r#"{"multicast_id":216,"success":3,"failure":3,"canonical_ids":1,"results":["#,
        r#"{"message_id":"1:0408"},{"error":"Unavailable"},{"error":"InvalidRegistration"},"#,
        r#"{"message_id":"1:1516"},{"message_id":"1:2342","registration_id":"32"},"#,
        r#"{"error":"NotRegistered"}]}"#
    );
    let bench = Bench::start().await;

    for is_form in [true, false] {
        bench.peer.simulator.script(Rule::token("4", raw(200, &[("retry-after", "9")], EXAMPLE)));
        let answer = if is_form {
            bench.send(&[KEY, ("registration_ids", SIX)]).await
        } else {
            let body = format!("{{\"gcm_api_key\":\"AIza\",\"registration_ids\":{SIX}}}");
            bench.json(SEND, &body).await
        };
        assert_eq!(answer.told(), (200, EXAMPLE.to_owned()));
        assert_eq!(answer.header("retry-after"), Some("9"));
        let arrived = bench.peer.simulator.received();
        assert_eq!(arrived.len(), 6);
        assert_eq!(arrived[0].payload, format!("{{\"registration_ids\":{SIX}}}"));
        bench.peer.simulator.clear();
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_part_of_a_message_arrives_as_it_was_given() {
    let bench = Bench::start().await;

    for (fields, rest) in [
        (&[][..], ""),
        (&[("alert", "b")], r#","notification":{"body":"b"}"#),
        (&[("title", "t")], r#","notification":{"title":"t"}"#),
        (&[("sound", "s"), ("badge", "0")], r#","notification":{"sound":"s","badge":0}"#),
        (
            &[("badge", "7"), ("sound", "s"), ("alert", "é\""), ("title", "t")],
            r#","notification":{"title":"t","body":"é\"","sound":"s","badge":7}"#,
        ),
        (
            &[("data", r#"{"z": 1.0,"a":12345678901234567890,"e":"\u00e9"}"#)],
            r#","data":{"z": 1.0,"a":12345678901234567890,"e":"\u00e9"}"#,
        ),
        (&[("data", "{}"), ("alert", "b")], r#","data":{},"notification":{"body":"b"}"#),
    ] {
        let answer = bench.send(&[&[KEY, PHONE], fields].concat()).await;

        assert_eq!(answer.status, 200, "{}", answer.body);
        let payload = format!("{{\"registration_ids\":[\"42\"]{rest}}}");
        assert_eq!(bench.arrived().payload, payload);
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_cannot_be_is_refused_before_anything_is_sent() {
    let bench = Bench::start().await;
    let thousand_one = serde_json::json!(vec!["x"; 1_001]).to_string();
    let list = "registration_ids must be a json array of 1 to 1000 texts, none of them empty";

    for (name, value, message) in [
        ("registration_ids", "[]", list),
        ("registration_ids", "[\"\"]", list),
        ("registration_ids", "[1]", list),
        ("registration_ids", "{}", list),
        (
            "registration_ids",
            &thousand_one,
            "registration_ids must be at most 1000 texts, found 1001",
        ),
        ("badge", "-1", "badge must be a whole number from 0 to 2147483647, found `-1`"),
        ("alert", "{}", "alert must be text, found object"),
        ("title", "1", "title must be text, found number"),
        ("sound", "[]", "sound must be text, found array"),
        ("gcm_api_key", "7", "gcm_api_key must be text, found number"),
    ] {
        let phone = if name == "registration_ids" { "" } else { ",\"device_token\":\"42\"" };
        let key = if name == "gcm_api_key" { "" } else { ",\"gcm_api_key\":\"AIza\"" };
        let answer = bench.json(SEND, &format!("{{\"{name}\":{value}{phone}{key}}}")).await;

        assert_eq!(answer.told(), refusal(400, &format!("invalid_{name}"), message));
    }
    let thousand = serde_json::json!(vec!["x"; 1_000]).to_string();
    let answer = bench.send(&[KEY, ("registration_ids", &thousand)]).await;
    assert_eq!(answer.json()["success"], 1_000);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_endpoint_the_sentence_says_what_to_configure() {
    let bench = Bench::configured(|config| config.gcm.legacy_url = None).await;

    let answer = bench.send(&[KEY, PHONE]).await;

    let message = "the provided credentials were rejected by google servers: google switched this \
                   api off in 2024 and was not asked; give the key a service account in \
                   [[gcm.bridge]], or set gcm.legacy_url to an endpoint that still speaks it";
    assert_eq!(answer.told(), refusal(403, "invalid_gcm_credentials", message));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_google_does_not_know_is_403() {
    let bench = Bench::start().await;
    let body = |status| {
        format!(
            "{{\"error\":\"invalid_gcm_credentials\",\"message\":\"the provided credentials were \
             rejected by google servers\",\"status\":{status}}}"
        )
    };

    let answer = bench.send(&[("gcm_api_key", "badKey"), PHONE]).await;
    assert_eq!(answer.told(), (403, body(401)));
    let answer = answered(&bench, raw(403, &[], "")).await;
    assert_eq!(answer.told(), (403, body(403)));
    let answer = bench.send(&[("gcm_api_key", "line\nbreak"), PHONE]).await;
    let start = "the provided credentials were rejected by google servers: ";
    assert_eq!(answer.code().1, "invalid_gcm_credentials");
    assert!(answer.json()["message"].as_str().unwrap().starts_with(start), "{}", answer.body);
    assert!(!answer.body.contains("break"), "{}", answer.body);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_the_call_as_a_whole_have_their_rows() {
    let bench = Bench::start().await;
    let not_sent = "\"delivery\":\"not_sent\"";

    let answer = answered(&bench, raw(400, &[], "JSON_PARSING_ERROR: no\n\nmore")).await;
    assert_eq!(answer.status, 400);
    let reason = "\"status\":400,\"reason\":\"JSON_PARSING_ERROR: no\"";
    assert_eq!(members(&answer, "gcm_rejected"), reason);
    for (given, told) in [(&[("retry-after", "17")][..], "17"), (&[], "10")] {
        let answer = answered(&bench, raw(429, given, "")).await;
        assert_eq!((answer.status, answer.header("retry-after")), (429, Some(told)));
        let expected = format!("\"status\":429,\"retry_after\":{told}");
        assert_eq!(members(&answer, "gcm_throttled"), expected);
    }
    for (status, given, told) in
        [(500, &[][..], "1"), (503, &[("retry-after", "17")], "17"), (599, &[], "1")]
    {
        let answer = answered(&bench, raw(status, given, "Error")).await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some(told)));
        let expected = format!("\"status\":{status},\"retry_after\":{told},{not_sent}");
        assert_eq!(members(&answer, "gcm_unavailable"), expected);
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_answer_of_the_protocol_is_502() {
    let bench = Bench::start().await;
    let shape = r#"{"multicast_id":1,"success":1,"failure":0,"canonical_ids":0,"results":[]}"#;
    let html = "<html>hello</html>";

    for (status, headers, body) in [
        (200, &[][..], html),
        (200, &[], ""),
        (200, &[], "[]"),
        (200, &[], r#"[108,1,0,0,[{"message_id":"1:08"}]]"#),
        (200, &[], r#"{"name":"projects/x/messages/1"}"#),
        (200, &[], shape),
        (204, &[], ""),
        (302, &[("location", "/gcm/send")], ""),
        (404, &[], html),
    ] {
        let answer = answered(&bench, raw(status, headers, body)).await;

        assert_eq!(answer.status, 502, "{body}: {}", answer.body);
        assert_eq!(members(&answer, "gcm_protocol_error"), format!("\"status\":{status}"));
        assert_eq!(bench.count(), 1, "a redirect is not followed");
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_unknown_and_a_refused_connection_not_sent() {
    let bench = Bench::start().await;
    let answer = answered(&bench, Answer::Drop).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, None));
    assert_eq!(members(&answer, "gcm_unavailable"), "\"delivery\":\"unknown\"");
    assert_eq!(bench.count(), 1, "it is not sent twice");
    bench.stop().await;

    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = Url::parse(&format!("http://{closed}/gcm/send")).unwrap();
    let bench = Bench::configured(|config| config.gcm.legacy_url = Some(url)).await;
    let answer = bench.send(&[KEY, PHONE]).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    let not_sent = "\"retry_after\":1,\"delivery\":\"not_sent\"";
    assert_eq!(members(&answer, "gcm_unavailable"), not_sent);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_in_time_is_504() {
    let bench = Bench::configured(|config| config.gcm.timeout = Duration::from_millis(300)).await;

    let answer = answered(&bench, Answer::Never).await;

    assert_eq!((answer.status, answer.header("retry-after")), (504, None));
    assert_eq!(members(&answer, "gcm_timeout"), "\"delivery\":\"unknown\"");
    bench.stop().await;
}

/// A dead token of a key's owner is in the answer, and in nobody's list; a Retry-After for some
/// rows is handed on.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_failed_is_an_answer_and_no_error() {
    let bench = Bench::start().await;
    bench.peer.simulator.script(Rule::token(
        "42",
        Answer::Reject(Rejection {
            status: StatusCode::OK,
            reason: "Unavailable".to_owned(),
            timestamp_ms: None,
            retry_after_secs: Some(30),
        }),
    ));

    let answer = bench.send(&[KEY, PHONE]).await;

    let body = r#"{"multicast_id":108,"success":0,"failure":1,"canonical_ids":0,"results":[{"error":"Unavailable"}]}"#;
    assert_eq!(answer.told(), (200, body.to_owned()));
    assert_eq!(answer.header("retry-after"), Some("30"));
    bench.stop().await;
}

#[test]
fn plain_http_is_for_loopback_only() {
    let load = |url: &str| {
        let variable = ("PUSHLET_GCM__LEGACY_URL".to_owned(), url.to_owned());
        Config::load(None, [variable].into_iter())
    };

    for url in [
        "http://127.0.0.1:1/gcm/send",
        "http://localhost/x",
        "http://[::1]/",
        "https://a.example/x",
    ] {
        assert!(load(url).is_ok(), "{url}");
    }
    for url in [
        "http://a.example/",
        "http://10.0.0.1/",
        "http://localhost.example/",
        "ftp://localhost/",
        "x",
    ] {
        let mistakes = load(url).unwrap_err();
        assert!(mistakes.to_string().contains("PUSHLET_GCM__LEGACY_URL"), "{mistakes}");
    }
}
