//! The description of the relay. It is held against the source in `tests/docs/openapi.rs`, and
//! against every answer that a test sees in `tests/support/openapi.rs`.

use std::collections::BTreeSet;
use std::process::Command;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use pushlet::api::openapi::DOCUMENT;
use pushlet::simulator::Options;
use reqwest::Method;
use serde_json::{Map, Value, json};
use tokio::task::spawn_blocking;

use crate::support::google::{Google, KEY};
use crate::support::keys::{Authority, signing_key_p8};
use crate::support::openapi::{codes, operations};
use crate::support::relay::{TOKEN, TOPIC, credential};
use crate::support::tools::require;
use crate::support::wire::{Bench, FEEDBACK, REGISTER, SEND, code, seen};

#[tokio::test(flavor = "multi_thread")]
async fn anybody_may_read_the_description() {
    let bench = Bench::configured(|config| {
        config.auth.credentials = vec![credential("backend", "secret", None)];
    })
    .await;
    let call =
        |method: Method| seen(bench.relay.client.request(method, bench.relay.url("/openapi.json")));

    let answer = call(Method::GET).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, DOCUMENT));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.json()["info"]["version"], env!("CARGO_PKG_VERSION"));

    let length = DOCUMENT.len().to_string();
    let head = call(Method::HEAD).await;
    assert_eq!((head.status, head.header("content-length")), (200, Some(length.as_str())));
    let post = call(Method::POST).await;
    assert_eq!(post.code(), code(405, "method_not_allowed"));
    assert_eq!(post.header("allow"), Some("GET, HEAD"));
    bench.stop().await;
}

/// Each parameter of each call, as what it cannot be.
#[tokio::test(flavor = "multi_thread")]
async fn every_parameter_has_the_code_that_is_described() {
    let google = Google::start().await;
    google.register().await;
    google.bench.relay.register("app").await;
    let apple = |more: &[(&str, &str)]| {
        let mut body =
            members(&[("application_id", "app"), ("device_token", TOKEN), ("type", "apns")]);
        body.extend(members(more));
        body
    };
    let p8 = BASE64_STANDARD.encode(signing_key_p8());
    let p12 = BASE64_STANDARD.encode(Authority::new().apple_certificate(TOPIC).build().p12(""));
    let bodies = [
        (FEEDBACK, members(&[("application_id", "app")])),
        (REGISTER, members(&[("apns_p12", &p12)])),
        (REGISTER, members(&[("apns_pem", "-----BEGIN")])),
        (
            REGISTER,
            members(&[
                ("apns_p8", &p8),
                ("apns_key_id", "ABCDE12345"),
                ("apns_team_id", "TEAM123456"),
            ]),
        ),
        (SEND, members(&[])),
        (SEND, apple(&[])),
        (SEND, apple(&[("type", "gcm")])),
        (SEND, members(&[("application_id", "app"), ("type", "apns")])),
        ("/channels", members(&[("application_id", "app")])),
        (SEND, members(&[("application_id", "app"), ("type", "gcm")])),
        (SEND, members(&[("gcm_api_key", "k"), ("device_token", "42")])),
    ];

    for operation in operations() {
        let described = operation.responses();
        let Some(described) = described.get(&400).map(|response| codes(response)) else { continue };
        for parameter in operation.parameters() {
            let wrong = match parameter.as_str() {
                "data" => "invalid_data_json".to_owned(),
                other => format!("invalid_{other}"),
            };
            let mut heard = Vec::new();
            for (_, body) in bodies.iter().filter(|(path, _)| *path == operation.path) {
                let mut body = body.clone();
                body.insert(parameter.clone(), json!([[1]]));
                let answer =
                    google.bench.json(&operation.path, &Value::from(body).to_string()).await;
                heard.push(answer.code());
            }
            let is_described = heard.is_empty() || described.contains(&wrong.as_str());
            assert!(is_described, "{wrong}");
            assert!(
                heard.is_empty() || heard.contains(&code(400, &wrong)),
                "{parameter}: {heard:?}"
            );
        }
    }
    google.stop().await;
}

fn members(pairs: &[(&str, &str)]) -> Map<String, Value> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect()
}

/// A judge that knows the specification.
#[test]
fn the_description_is_openapi() {
    if !require("openapi-spec-validator", &["openapi-spec-validator", "--version"]) {
        return;
    }
    let output = Command::new("openapi-spec-validator")
        .args(["--schema", "3.1", "--errors", "all"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/", "src/api/openapi.json"))
        .output()
        .unwrap();

    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// A judge that makes up calls from the description, good and bad ones, and holds every answer
/// against it. Nothing is left to chance: what fails here fails again. A server error is a failure even
/// where it is described, since nothing behind this relay is out of order; but a caller may give a call
/// a millisecond.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_made_from_the_description_hears_what_it_says() {
    if !require("schemathesis", &["schemathesis", "--version"]) {
        return;
    }
    let google = Google::with(Options::default(), |config| {
        config.auth.credentials = vec![credential("backend", "secret", None)];
    })
    .await;
    let bench = &google.bench;
    // The name and the token of the examples.
    let p12 = Authority::new().apple_certificate(TOPIC).build().p12("");
    let shop = bench.upload("apns_p12", &p12, &[("application_id", "shop")]);
    assert_eq!(seen(shop.basic_auth("backend", Some("secret"))).await.status, 200);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("schemathesis.toml"), schemathesis()).unwrap();
    let mut command = Command::new("timeout");
    command.current_dir(folder.path()).args(["180", "schemathesis", "--no-color", "run"]);
    command.arg(bench.relay.url("/openapi.json"));

    let output = spawn_blocking(move || command.output()).await.unwrap().unwrap();

    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}");
    // It leaves out where it got the description from.
    let tested = format!("{0} selected / {0} total", operations().len() - 1);
    assert!(told.contains(&tested), "{told}");
    let arrived: BTreeSet<_> =
        bench.peer.simulator.received().iter().map(|one| format!("{:?}", one.provider)).collect();
    let everywhere = ["Apns", "Fcm", "Gcm", "Oauth"].map(str::to_owned);
    assert_eq!(arrived, BTreeSet::from(everywhere), "the examples are to be sent\n{told}");
    google.bench.stop().await;
}

/// What is checked, and how much is made up: some thousand calls.
fn schemathesis() -> String {
    let checks = [
        "allow_header_conformance",
        "content_type_conformance",
        "not_a_server_error",
        "response_headers_conformance",
        "response_schema_conformance",
        "status_code_conformance",
        "unsupported_method",
    ];
    let enabled: String =
        checks.iter().map(|check| format!("[checks.{check}]\nenabled = true\n")).collect();
    let basic = BASE64_STANDARD.encode("backend:secret");
    format!(
        "warnings = false
         generation.deterministic = true
         generation.max-examples = 40
         generation.no-shrink = true
         phases.stateful.enabled = false
         generation.with-security-parameters = false
         headers = {{ Authorization = \"Basic {basic}\" }}
         [[operations]]
         include-tag = \"legacy\"
         headers = {{ Authorization = \"key={KEY}\" }}
         [[operations]]
         include-path = [\"/channels\", \"/channels/{{channel_id}}\", \"/send_notification\"]
         [operations.checks.not_a_server_error]
         expected-statuses = [\"2xx\", \"4xx\", \"504\"]
         [checks]
         enabled = false
         {enabled}"
    )
}
