//! Health and readiness.

use reqwest::Method;

use crate::support::relay::credential;
use crate::support::wire::{Bench, Seen, refusal, seen};

const OK: &str = r#"{"status":"ok"}"#;
const READY: &str = r#"{"status":"ready"}"#;

async fn ask(bench: &Bench, method: Method, path: &str) -> Seen {
    seen(bench.relay.client.request(method, bench.relay.url(path))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_readiness_are_open_to_everybody() {
    let bench = Bench::configured(|config| {
        config.auth.credentials = vec![credential("all", "secret", None)];
    })
    .await;

    for (path, body) in [("/healthz", OK), ("/readyz", READY)] {
        let get = ask(&bench, Method::GET, path).await;
        let head = ask(&bench, Method::HEAD, path).await;

        assert_eq!(get.told(), (200, body.to_owned()));
        assert_eq!(get.header("content-type"), Some("application/json"));
        assert_eq!(get.header("cache-control"), Some("no-store"));
        assert_eq!(head.told(), (200, String::new()));
        assert_eq!(head.header("content-length"), Some(body.len().to_string().as_str()));
    }
    bench.stop().await;
}

/// A probe comes through a proxy, by address, and from nowhere in particular.
#[tokio::test(flavor = "multi_thread")]
async fn a_probe_needs_no_name_of_this_machine() {
    let bench = Bench::start().await;

    for (name, value) in [("host", "10.1.2.3"), ("x-forwarded-for", "10.1.2.3")] {
        let probe = bench.relay.client.get(bench.relay.url("/readyz")).header(name, value);

        assert_eq!(seen(probe).await.told(), (200, READY.to_owned()), "{name}");
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_methods_are_told_which_ones_there_are() {
    let bench = Bench::start().await;
    let message = "this path takes GET, HEAD only; repeat the call with that method";

    for path in ["/healthz", "/readyz", "/status", "/metrics"] {
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            let answer = ask(&bench, method.clone(), path).await;

            let expected = refusal(405, "method_not_allowed", message);
            assert_eq!(answer.told(), expected, "{method} {path}");
            assert_eq!(answer.header("allow"), Some("GET, HEAD"));
        }
    }
    bench.stop().await;
}
