//! An answer of Google's, read as one of FCM v1, as one of the legacy endpoint, and as rows: it always
//! means something, and nothing but Google's own words costs anybody a token.
//!
//! The input is the status in two bytes, a byte for how many tokens it answers (0: another target), a
//! byte for `retry-after` in seconds (0: none), and the body.
#![no_main]

use std::time::{Duration, UNIX_EPOCH};

use libfuzzer_sys::fuzz_target;
use pushlet::outcome::{Cause, Delivery, Failure, Fault, Outcome, Receipt, Rejection, Retry};
use pushlet::providers::gcm::{self, Shape};
use pushlet::providers::{fcm, legacy};
use pushlet_fuzz::seeds;
use serde_json::Value;

/// The legacy protocol's words about a token.
const OF_TOKENS: [&str; 3] = ["InvalidRegistration", "MismatchSenderId", "NotRegistered"];

fuzz_target!(init: seeds::write("google_answer", seeds), |data: &[u8]| {
    let [high, low, tokens, secs, body @ ..] = data else { return };
    let status = u16::from_be_bytes([*high, *low]);
    if !(100..1_000).contains(&status) {
        return;
    }
    let retry_after = (*secs > 0).then(|| Duration::from_secs(u64::from(*secs)));
    let value: Value = serde_json::from_slice(body).unwrap_or_default();

    let outcome = fcm::response::read(status, retry_after, body, UNIX_EPOCH);
    of_fcm(&outcome, status, retry_after, body, &value);
    let shape = match tokens {
        0 => Shape::Single,
        rows => Shape::Rows(usize::from(*rows)),
    };
    let outcome = gcm::read(status, retry_after, body, shape);
    of_legacy(&outcome, status, retry_after, shape, body, &value);
    if let Ok(text) = str::from_utf8(body)
        && value.is_object()
    {
        of_rows(text, &value);
    }
});

fn of_fcm(
    outcome: &Outcome,
    status: u16,
    retry_after: Option<Duration>,
    body: &[u8],
    value: &Value,
) {
    match outcome {
        Outcome::Accepted(Receipt::Fcm { message_id }) => {
            assert_eq!(status, 200);
            let name = value["name"].as_str().expect("an accepted message has a name");
            assert!(!message_id.is_empty() && !message_id.contains('/'));
            assert!(name == message_id || name.ends_with(&format!("/{message_id}")), "{name}");
        }
        Outcome::Accepted(receipt) => panic!("{receipt:?} is another service's"),
        Outcome::Failed(failure) => {
            check_failure(failure, status, retry_after);
            let is_our_token = failure.retry == Retry::Renewed;
            let says_so = status == 401 || value["error"]["status"] == "UNAUTHENTICATED";
            assert!(!is_our_token || says_so, "{failure:?}");
        }
        Outcome::Rejected(rejection) => {
            assert_ne!(status, 200);
            assert_eq!(rejection.status, Some(status));
            let reason = rejection.reason.as_str();
            assert_eq!(rejection.fault == Fault::Token, OF_TOKENS.contains(&reason), "{reason}");
            assert_eq!(rejection.gone_since.is_some(), reason == "NotRegistered");
            if rejection.fault == Fault::Token {
                assert!(value["error"].is_object(), "{reason} of something else");
            }
            if reason == "NotRegistered" {
                assert_eq!(status, 404, "an address that is wrong says so too");
                let details = value["error"]["details"].as_array().expect("details");
                let mut codes = details.iter().map(|detail| &detail["errorCode"]);
                assert!(codes.any(|code| code == "UNREGISTERED"));
            }
            check_detail(rejection, body);
        }
    }
}

/// What is told and logged are words of the answer that cannot be anybody's text.
fn check_detail(rejection: &Rejection, body: &[u8]) {
    let detail = rejection.detail.as_deref().expect("google's words, or that there are none");
    if detail == "google gave no reason" {
        return;
    }
    let is_escaped = body.contains(&b'\\');
    for word in detail.split(' ') {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"_.[]".contains(&byte);
        assert!((1..=80).contains(&word.len()) && word.bytes().all(known), "{word}");
        let mut windows = body.windows(word.len());
        assert!(is_escaped || windows.any(|window| window == word.as_bytes()), "{word}");
    }
}

/// No answer but a 200 may have delivered anything.
fn check_failure(failure: &Failure, status: u16, retry_after: Option<Duration>) {
    let is_nonsense = matches!(failure.cause, Cause::Nonsense { .. });
    assert_eq!(status == 200, failure.delivery == Delivery::Unknown, "{failure:?}");
    assert!(status != 200 || is_nonsense, "{failure:?}");
    assert!(!matches!(failure.retry, Retry::Freely | Retry::IfAtLeastOnce | Retry::Seldom));
    assert!(is_nonsense || failure.retry_after == retry_after, "{failure:?}");
    match &failure.cause {
        Cause::Nonsense { status: told, .. }
        | Cause::Provider { status: told, .. }
        | Cause::Throttled { status: told, .. } => assert_eq!(*told, status),
        other => panic!("it was answered: {other:?}"),
    }
}

fn of_legacy(
    outcome: &Outcome,
    status: u16,
    retry_after: Option<Duration>,
    shape: Shape,
    body: &[u8],
    value: &Value,
) {
    match outcome {
        Outcome::Accepted(Receipt::Gcm { answer, retry_after: told }) => {
            assert_eq!((status, *told), (200, retry_after));
            // Parts that mean nothing may be what the other reader takes for no JSON.
            let is_of_topic = value["message_id"].is_number() || value["error"].is_string();
            let may_differ = shape == Shape::Single && (is_of_topic || value.is_null());
            assert!(may_differ || answer.as_bytes() == body.trim_ascii(), "{answer}");
            let Ok(told) = serde_json::from_str::<Value>(answer) else { return };
            let is_counted = told["success"].is_u64() && told["failure"].is_u64();
            assert!(is_counted, "{answer}");
            match shape {
                Shape::Rows(rows) => {
                    assert_eq!(told["results"].as_array().map(Vec::len), Some(rows), "{answer}");
                }
                Shape::Single => {}
            }
        }
        Outcome::Accepted(receipt) => panic!("{receipt:?} is another service's"),
        Outcome::Failed(failure) => {
            check_failure(failure, status, retry_after);
            assert_eq!(failure.retry, Retry::Never);
        }
        Outcome::Rejected(rejection) => {
            let fault = if status == 400 { Fault::Message } else { Fault::Credentials };
            assert!(matches!(status, 400 | 401 | 403));
            assert_eq!((rejection.fault, rejection.status), (fault, Some(status)));
            assert_eq!(rejection.gone_since, None, "there are no rows");
            let reason = &rejection.reason;
            assert!(reason.chars().count() <= 200 && !reason.contains('\n'), "{reason}");
        }
    }
}

/// Each row is one message, and every one of its words has a meaning.
fn of_rows(text: &str, value: &Value) {
    let rows = legacy::rows(text);
    if rows == legacy::Rows::default() {
        return;
    }
    let Some(results) = value["results"].as_array() else {
        // A device group's: it says only how many.
        assert_eq!(rows.accepted, value["success"].as_u64().unwrap_or_default());
        let lost = value["failure"].as_u64().unwrap_or_default().min(1_000);
        assert_eq!(rows.others.len() as u64, lost);
        return;
    };
    // `serde` reads a list as the object whose members it holds, and nobody writes a row so.
    if results.iter().any(Value::is_array) {
        return;
    }
    let words: Vec<&str> = results.iter().filter_map(|row| row["error"].as_str()).collect();
    assert_eq!(rows.accepted, (results.len() - words.len()) as u64);
    assert_eq!(rows.others.len(), words.len());
    for (outcome, word) in rows.others.iter().zip(words) {
        match outcome {
            Outcome::Accepted(receipt) => panic!("{word} is {receipt:?}"),
            Outcome::Failed(failure) => assert_eq!(failure.delivery, Delivery::NotSent, "{word}"),
            Outcome::Rejected(rejection) => {
                assert_eq!(rejection.reason, word);
                assert_eq!(rejection.fault == Fault::Token, OF_TOKENS.contains(&word), "{word}");
                assert_eq!(rejection.gone_since.is_some(), word == "NotRegistered");
            }
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let answer = |status: u16, tokens: u8, secs: u8, body: &str| {
        [&status.to_be_bytes(), &[tokens, secs][..], body.as_bytes()].concat()
    };
    let error = |word: &str, details: &str| {
        format!(r#"{{"error":{{"code":0,"message":"m","status":"{word}","details":[{details}]}}}}"#)
    };
    let fcm = |code: &str| {
        let kind = "type.googleapis.com/google.firebase.fcm.v1.FcmError";
        format!(r#"{{"@type":"{kind}","errorCode":"{code}"}}"#)
    };
    let field = r#"{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"message.token","description":"d"}]}"#;
    let quota = r#"{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"subject":"device:1","description":"d"}]}"#;
    let rows = r#"{"multicast_id":1,"success":1,"failure":1,"canonical_ids":0,"results":[{"message_id":"1:2"},{"error":"NotRegistered"}]}"#;
    vec![
        answer(200, 0, 0, r#"{"name":"projects/p/messages/0:1%2"}"#),
        answer(404, 0, 0, &error("NOT_FOUND", &fcm("UNREGISTERED"))),
        answer(
            400,
            0,
            0,
            &error("INVALID_ARGUMENT", &format!("{field},{}", fcm("INVALID_ARGUMENT"))),
        ),
        answer(
            429,
            0,
            60,
            &error("RESOURCE_EXHAUSTED", &format!("{quota},{}", fcm("QUOTA_EXCEEDED"))),
        ),
        answer(401, 0, 0, &error("UNAUTHENTICATED", &fcm("THIRD_PARTY_AUTH_ERROR"))),
        answer(403, 0, 0, &error("PERMISSION_DENIED", &fcm("SENDER_ID_MISMATCH"))),
        answer(503, 0, 7, &error("UNAVAILABLE", "")),
        answer(200, 2, 9, rows),
        answer(200, 0, 0, r#"{"message_id":10}"#),
        answer(200, 0, 0, r#"{"error":"TopicsMessageRateExceeded"}"#),
        answer(200, 0, 0, r#"{"success":3,"failure":1,"failed_registration_ids":["a"]}"#),
        answer(200, 0, 0, r#"[1,1,0,0,[{"message_id":"1:2"}]]"#),
        answer(400, 1, 0, "JSON_PARSING_ERROR: no\nmore"),
        answer(502, 1, 0, "<html>"),
    ]
}
