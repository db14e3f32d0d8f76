//! The description of the relay. It is held against the source in `tests/docs/openapi.rs`, and
//! against every answer that a test sees in `tests/support/openapi.rs`.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use pushlet::api::openapi::DOCUMENT;
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::support::google::Google;
use crate::support::keys::{Authority, signing_key_p8};
use crate::support::openapi::{codes, operations};
use crate::support::relay::{TOKEN, TOPIC, credential};
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
        (SEND, apple(&[])),
        (SEND, apple(&[("type", "gcm")])),
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
