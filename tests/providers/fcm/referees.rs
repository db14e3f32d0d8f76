//! Programs of others: Google's own document, and Google's own client.

use std::io::Write as _;
use std::process::Command;

use crate::support::google::{Google, judge};
use crate::support::tools::require;

/// The judge is no yes-man.
#[test]
fn the_document_refuses_what_v1_does_not_know() {
    if !require(
        "google-api-python-client",
        &["python3", "-c", "import googleapiclient, jsonschema"],
    ) {
        return;
    }
    let refuses = |message: &str| {
        let body = format!("{{\"message\":{message}}}");
        std::panic::catch_unwind(|| judge(&[body])).is_err()
    };

    assert!(!refuses(r#"{"token":"t","data":{"a":"1"},"android":{"ttl":"1s"}}"#));
    for message in [
        "{}",
        r#"{"token":"t","topic":"x"}"#,
        r#"{"token":"t","data":{"a":1}}"#,
        r#"{"token":"t","time_to_live":1}"#,
        r#"{"token":"t","android":{"ttl":1}}"#,
        r#"{"token":"t","android":{"priority":"urgent"}}"#,
        r#"{"token":"t","android":{},"android_v2":{}}"#,
    ] {
        assert!(refuses(message), "{message}");
    }
}

/// Google's client takes the simulator for Google.
#[tokio::test(flavor = "multi_thread")]
async fn firebase_admin_raises_the_exception_of_each_error() {
    if !require("firebase-admin", &["python3", "-c", "import firebase_admin"]) {
        return;
    }
    let google = Google::plain().await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(google.account.as_bytes()).unwrap();
    let cases = [
        ("fine", "ok"),
        ("UNREGISTERED", "UnregisteredError"),
        ("SENDER_ID_MISMATCH", "SenderIdMismatchError"),
        ("QUOTA_EXCEEDED", "QuotaExceededError"),
        ("INVALID_ARGUMENT", "InvalidArgumentError"),
        ("bare-400", "InvalidArgumentError"),
        ("PERMISSION_DENIED", "PermissionDeniedError"),
        ("INTERNAL", "InternalError"),
        ("UNAVAILABLE", "UnavailableError"),
        ("html-404", "NotFoundError"),
    ];

    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/providers/fcm/admin.py");
    let output = tokio::task::block_in_place(|| {
        Command::new("python3")
            .args(["-W", "ignore", script, &google.bench.peer.simulator.http_url()])
            .arg(file.path())
            .args(cases.map(|(token, _)| token))
            .output()
            .unwrap()
    });

    let errors = String::from_utf8_lossy(&output.stderr);
    let seen: Vec<_> = std::str::from_utf8(&output.stdout).unwrap().lines().collect();
    assert_eq!(seen, cases.map(|(_, exception)| exception), "{errors}");
    google.stop().await;
}
