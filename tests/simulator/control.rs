//! The control routes.

use serde_json::Value;

use pushlet::simulator::Options;
use pushlet::simulator::certificates::Subject;

use super::Bench;
use crate::support::tools::require_curl;

#[test]
fn an_ordered_answer_is_given_once() {
    if !require_curl() {
        return;
    }
    let bench = Bench::new(Options::default());
    let certificate = bench.client(Subject::of_app("com.example"));
    let push = || bench.push("/3/device/00ab", Some(&certificate), PUSH);
    let order = r#"{"device_token":"00AB","answer":"reject","reason":"Unregistered","timestamp":9,"retry_after":3}"#;

    let ordered = bench.http("/control/answers", &["--data", order]);

    assert_eq!(ordered.status, 204);
    let answer = push();
    assert_eq!(answer.status, 410);
    assert_eq!(answer.body, r#"{"reason":"Unregistered","timestamp":9}"#);
    assert_eq!(answer.header("retry-after"), Some("3"));
    assert_eq!(push().status, 200);
}

const PUSH: &[&str] = &["-H", "apns-topic: com.example", "--data", "{\"aps\":{}}"];

#[test]
fn orders_can_be_forgotten() {
    if !require_curl() {
        return;
    }
    let bench = Bench::new(Options::default());
    let certificate = bench.client(Subject::of_app("com.example"));
    bench.http("/control/answers", &["--data", r#"{"answer":"drop","times":0}"#]);

    let forgotten = bench.http("/control/answers", &["-X", "DELETE"]);

    assert_eq!(forgotten.status, 204);
    assert_eq!(bench.push("/3/device/00ab", Some(&certificate), PUSH).status, 200);
}

#[test]
fn messages_are_listed_and_forgotten() {
    if !require_curl() {
        return;
    }
    let bench = Bench::new(Options::default());
    let certificate = bench.client(Subject::of_app("com.example"));
    let id = "apns-id: 123e4567-e89b-12d3-a456-426655440000";
    bench.push("/3/device/00ab", Some(&certificate), &[&["-H", id], PUSH].concat());

    let listed = bench.http("/control/messages", &[]);

    let mut messages: Vec<Value> = serde_json::from_str(&listed.body).unwrap();
    let received_at_ms = messages[0].as_object_mut().unwrap().remove("received_at_ms");
    assert!(received_at_ms.unwrap().as_u64().unwrap() > 1_700_000_000_000);
    assert_eq!(
        messages,
        [serde_json::json!({
            "provider": "apns",
            "connection": 1,
            "device_token": "00ab",
            "topic": "com.example",
            "push_type": null,
            "priority": null,
            "expiration": null,
            "collapse_id": null,
            "apns_id": "123e4567-e89b-12d3-a456-426655440000",
            "authenticated_as": "certificate com.example",
            "payload": "{\"aps\":{}}",
            "verdict": "accepted",
        })]
    );
    assert_eq!(bench.http("/control/messages", &["-X", "DELETE"]).status, 204);
    assert_eq!(bench.http("/control/messages", &[]).body, "[]");
}

#[test]
fn an_order_that_makes_no_sense_is_explained() {
    if !require_curl() {
        return;
    }
    let bench = Bench::new(Options::default());

    let answer = bench.http("/control/answers", &["--data", r#"{"answer":"reject"}"#]);

    assert_eq!(answer.status, 400);
    assert_eq!(
        answer.body,
        r#"{"message":"the answer can't be scripted: answer=reject needs a reason"}"#
    );
    assert_eq!(bench.simulator.unused_rules(), []);
}

#[test]
fn web_pages_are_refused() {
    if !require_curl() {
        return;
    }
    let bench = Bench::new(Options::default());
    let status = |header| bench.http("/control/messages", &["-H", header]).status;

    assert_eq!(status("Host: localhost"), 200);
    assert_eq!(status("Host: example.com"), 403);
    assert_eq!(status("Origin: http://example.com"), 403);
    assert_eq!(bench.http("/elsewhere", &[]).status, 404);
}
