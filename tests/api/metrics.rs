//! `GET /metrics`: every number, to whom it may be told.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use http::StatusCode;
use pushlet::simulator::script::{Answer, Rule};
use serde_json::{Value, json};

use crate::support::google::Google;
use crate::support::keys::{Authority, signing_key_p8};
use crate::support::relay::{TOKEN, TOPIC, credential};
use crate::support::tools::require;
use crate::support::wire::{Bench, SEND, Seen, code, seen};

async fn ask(bench: &Bench, user: Option<(&str, &str)>) -> Seen {
    let request = bench.relay.client.get(bench.relay.url("/metrics"));
    seen(match user {
        Some((name, password)) => request.basic_auth(name, Some(password)),
        None => request,
    })
    .await
}

/// Each series and its value.
async fn series(bench: &Bench) -> BTreeMap<String, f64> {
    let answer = ask(bench, None).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    parsed(&answer.body)
}

fn parsed(page: &str) -> BTreeMap<String, f64> {
    let mut all = BTreeMap::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        let before = all.insert(name.to_owned(), value.parse().unwrap());
        assert_eq!(before, None, "{name} stands twice");
    }
    all
}

/// The series that begin so, without their name.
fn of<'a>(series: &'a BTreeMap<String, f64>, name: &str) -> Vec<(&'a str, f64)> {
    series.iter().filter_map(|(key, value)| Some((key.strip_prefix(name)?, *value))).collect()
}

fn sends(series: &BTreeMap<String, f64>) -> Vec<(&str, f64)> {
    of(series, "pushlet_sends_total")
}

async fn send(bench: &Bench, id: &str, answer: Option<Answer>) -> u16 {
    answer.into_iter().for_each(|answer| bench.peer.simulator.script(Rule::next(answer)));
    bench.relay.send(id, TOKEN, "x").await.status
}

/// Waits until a series has this value.
async fn until(bench: &Bench, name: &str, value: f64) {
    for _ in 0..600 {
        if series(bench).await.get(name) == Some(&value) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{name} did not become {value}: {:#?}", series(bench).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_end_of_a_message_is_a_series() {
    let bench = Bench::start().await;
    bench.relay.register("shop").await;
    bench.relay.register("new").await;
    let reject = |status, reason| Some(Answer::reject(status, reason));

    assert_eq!(send(&bench, "shop", None).await, 200);
    assert_eq!(send(&bench, "shop", None).await, 200);
    assert_eq!(send(&bench, "shop", reject(StatusCode::GONE, "Unregistered")).await, 410);
    assert_eq!(send(&bench, "shop", reject(StatusCode::BAD_REQUEST, "Invented")).await, 400);
    assert_eq!(
        send(&bench, "shop", reject(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests")).await,
        429
    );
    assert_eq!(send(&bench, "shop", Some(Answer::Drop)).await, 503);
    assert_eq!(send(&bench, "shop", reject(StatusCode::FORBIDDEN, "BadCertificate")).await, 502);
    assert_eq!(send(&bench, "shop", None).await, 502, "the circuit is open");
    let many = json!({"application_id": "shop", "device_tokens": [TOKEN, TOKEN], "alert": "x"});
    assert_eq!(bench.json(SEND, &many.to_string()).await.status, 200);

    let all = series(&bench).await;
    let row = |id: &str, outcome: &str, reason: &str| {
        format!(
            "{{application=\"{id}\",provider=\"apns\",outcome=\"{outcome}\",reason=\"{reason}\"}}"
        )
    };
    let mut expected = [
        (row("new", "accepted", ""), 0.0),
        (row("shop", "accepted", ""), 2.0),
        (row("shop", "failed_not_sent", "TooManyRequests"), 1.0),
        (row("shop", "rejected", "BadCertificate"), 4.0),
        (row("shop", "rejected", "Unregistered"), 1.0),
        (row("shop", "rejected", "other"), 1.0),
        (row("shop", "unknown", "unanswered"), 1.0),
    ];
    expected.sort_by(|one, other| one.0.cmp(&other.0));
    let expected: Vec<_> = expected.iter().map(|(row, count)| (row.as_str(), *count)).collect();
    assert_eq!(sends(&all), expected);
    let shop = |name: &str| all[&format!("{name}{{application=\"shop\"}}")];
    assert_eq!(shop("pushlet_circuit_answers_total"), 3.0);
    assert_eq!(shop("pushlet_circuit_open"), 1.0);
    assert_eq!(all["pushlet_circuit_open{application=\"new\"}"], 0.0);
    assert_eq!(shop("pushlet_feedback_tokens"), 1.0);
    assert_eq!(shop("pushlet_feedback_dropped_total"), 0.0);
    assert_eq!(shop("pushlet_in_flight"), 0.0);
    assert_eq!(all["pushlet_applications"], 2.0);
    assert_eq!(all["pushlet_ready"], 1.0);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(all[&format!("pushlet_build_info{{version=\"{version}\"}}")], 1.0);
    let calls = |status| {
        all[&format!("pushlet_calls_total{{route=\"/send_notification\",status=\"{status}\"}}")]
    };
    assert_eq!([200, 400, 410, 429, 502, 503].map(calls), [3.0, 1.0, 1.0, 1.0, 2.0, 1.0]);
    assert_eq!(all["pushlet_call_seconds_count{route=\"/send_notification\"}"], 9.0);
    // Of seven that were asked, one got no answer; the last two calls were not asked.
    assert_eq!(all["pushlet_answer_seconds_count{provider=\"apns\"}"], 6.0);
    assert_eq!(all["pushlet_queue_wait_seconds_count{provider=\"apns\"}"], 7.0);
    assert_eq!(all["pushlet_send_seconds_count{provider=\"apns\"}"], 7.0);
    bench.stop().await;
}

/// Of the same moment, while nothing is sent.
#[tokio::test(flavor = "multi_thread")]
async fn the_numbers_are_those_of_the_status() {
    let google = Google::start().await;
    google.register().await;
    let bench = &google.bench;
    bench.relay.register("app").await;
    assert_eq!(send(bench, "app", None).await, 400, "the service has to be said");
    let both = |service| {
        [("application_id", "app"), ("device_token", TOKEN), ("alert", "x"), ("type", service)]
    };
    assert_eq!(bench.send(&both("apns")).await.status, 200);
    assert_eq!(bench.send(&both("gcm")).await.status, 200);
    bench.peer.simulator.script(Rule::next(Answer::Drop));
    assert_eq!(bench.send(&both("apns")).await.status, 503);
    google.rows(&["a", "b"]).await;

    let status = seen(bench.relay.client.get(bench.relay.url("/status"))).await.json();
    let all = series(bench).await;

    let sum = |application: &str, outcomes: &[&str]| -> f64 {
        let start = format!("pushlet_sends_total{{application=\"{application}\"");
        let is_meant = |key: &str| {
            outcomes.iter().any(|outcome| key.contains(&format!("outcome=\"{outcome}\"")))
        };
        of(&all, &start).into_iter().filter(|(key, _)| is_meant(key)).map(|(_, value)| value).sum()
    };
    let failed = ["abandoned", "failed_not_sent", "unknown"];
    let numbers =
        |of: &Value| ["accepted", "rejected", "failed"].map(|name| of[name].as_f64().unwrap());
    let app = &status["applications"][0];
    let counted = |id| [sum(id, &["accepted"]), sum(id, &["rejected"]), sum(id, &failed)];
    assert_eq!(numbers(app), counted("app"));
    assert_eq!(numbers(app), [2.0, 0.0, 1.0]);
    assert_eq!(numbers(&status["gcm_api_key"]), counted("(gcm_api_key)"));
    assert_eq!(numbers(&status["gcm_api_key"]), [2.0, 0.0, 0.0]);
    for (member, name) in [
        ("connections", "pushlet_connections_open"),
        ("in_flight", "pushlet_in_flight"),
        ("dead_tokens", "pushlet_feedback_tokens"),
        ("days_left", "pushlet_certificate_expiry_days"),
    ] {
        let value = all[&format!("{name}{{application=\"app\"}}")];
        assert_eq!(app[member].as_f64(), Some(value), "{member}");
    }
    let in_flight: f64 = of(&all, "pushlet_in_flight").into_iter().map(|(_, value)| value).sum();
    assert_eq!(status["in_flight"].as_f64(), Some(in_flight));
    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limited_credential_sees_the_series_of_its_applications_and_no_other() {
    let bench = Bench::configured(|config| {
        config.auth.credentials = vec![
            credential("all", "a", None),
            credential("shop", "s", Some(&["shop"])),
            credential("gcm", "g", Some(&["gcm", "none-*"])),
        ];
    })
    .await;
    for id in ["shop", "news"] {
        let p12 = Authority::new().apple_certificate(TOPIC).build().p12("");
        let upload = bench.upload("apns_p12", &p12, &[("application_id", id)]);
        assert_eq!(seen(upload.basic_auth("all", Some("a"))).await.status, 200);
    }

    let all = ask(&bench, Some(("all", "a"))).await.body;
    let shop = ask(&bench, Some(("shop", "s"))).await.body;
    let gcm = ask(&bench, Some(("gcm", "g"))).await.body;

    assert!(all.contains("application=\"news\"") && all.contains("process_open_fds "), "{all}");
    let ids = |page: &str| -> Vec<String> {
        let labels = page.split("application=\"").skip(1);
        let mut ids: Vec<_> =
            labels.map(|rest| rest.split('"').next().unwrap().to_owned()).collect();
        ids.sort();
        ids.dedup();
        ids
    };
    assert_eq!(ids(&all), ["(gcm_api_key)", "news", "shop"]);
    assert_eq!(ids(&shop), ["shop"]);
    assert_eq!(ids(&gcm), ["(gcm_api_key)"]);
    for name in parsed(&shop).keys() {
        let is_plain = ["pushlet_applications", "pushlet_ready", "pushlet_build_info{"]
            .iter()
            .any(|plain| name.starts_with(plain));
        assert!(is_plain || name.contains("application=\"shop\""), "{name}");
    }
    assert_eq!(parsed(&shop)["pushlet_applications"], 1.0);
    let stranger = ask(&bench, None).await;
    assert_eq!(stranger.code(), code(401, "unauthorized"));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn open_metrics_are_for_everybody() {
    let bench = Bench::configured(|config| {
        config.auth.credentials = vec![credential("all", "a", None)];
        config.ops.open_metrics = true;
    })
    .await;

    let request = bench.relay.client.get(bench.relay.url("/metrics")).header("host", "10.1.2.3");
    let answer = seen(request).await;

    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!(answer.body.contains("\npushlet_applications 0\n"), "{}", answer.body);
    let status = seen(bench.relay.client.get(bench.relay.url("/status"))).await;
    assert_eq!(status.code(), code(401, "unauthorized"), "the status is not");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_registration_goes_on_counting_and_closes_the_old_connections() {
    let bench = Bench::start().await;
    bench.relay.register("shop").await;
    assert_eq!(send(&bench, "shop", None).await, 200);
    assert_eq!(series(&bench).await["pushlet_connections_open{application=\"shop\"}"], 1.0);

    bench.relay.register("shop").await;
    let accepted = "{application=\"shop\",provider=\"apns\",outcome=\"accepted\",reason=\"\"}";
    assert_eq!(sends(&series(&bench).await), [(accepted, 1.0)]);
    assert_eq!(send(&bench, "shop", None).await, 200);

    let replaced = "pushlet_connections_closed_total{provider=\"apns\",cause=\"replaced\"}";
    until(&bench, replaced, 1.0).await;
    let all = series(&bench).await;
    assert_eq!(sends(&all), [(accepted, 2.0)]);
    assert_eq!(all["pushlet_connections_opened_total{provider=\"apns\"}"], 2.0);
    assert_eq!(all["pushlet_connections_open{application=\"shop\"}"], 1.0);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_and_lost_connections_have_their_causes() {
    let bench = Bench::start().await;
    bench.relay.register("shop").await;
    let busy = Answer::reject(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable");

    assert_eq!(send(&bench, "shop", Some(Answer::Reset { code: 7 })).await, 200);
    assert_eq!(send(&bench, "shop", Some(busy)).await, 200);
    assert_eq!(send(&bench, "shop", Some(Answer::GoAway { code: None })).await, 200);
    until(&bench, "pushlet_connections_open{application=\"shop\"}", 0.0).await;
    bench.peer.simulator.script(Rule::next(Answer::Drop));
    let wanted = [
        ("application_id", "shop"),
        ("device_token", TOKEN),
        ("alert", "x"),
        ("at_least_once", "true"),
    ];
    assert_eq!(bench.send(&wanted).await.status, 200);

    let all = series(&bench).await;
    let row = |cause| format!("{{application=\"shop\",provider=\"apns\",cause=\"{cause}\"}}");
    let expected = ["answered", "not_processed", "unanswered"].map(row);
    let expected: Vec<_> = expected.iter().map(|row| (row.as_str(), 1.0)).collect();
    assert_eq!(of(&all, "pushlet_retries_total"), expected);
    let closed = |cause| {
        all[&format!("pushlet_connections_closed_total{{provider=\"apns\",cause=\"{cause}\"}}")]
    };
    assert_eq!((closed("goaway"), closed("broken")), (1.0, 1.0));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_connection_is_told_from_a_peer_that_is_not_there() {
    let bench = Bench::configured(|config| {
        let reserved = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = reserved.local_addr().unwrap().port();
        config.apns.production_url = url::Url::parse(&format!("https://localhost:{port}")).unwrap();
    })
    .await;
    bench.relay.register("shop").await;

    assert_eq!(send(&bench, "shop", None).await, 503);

    let all = series(&bench).await;
    let failed = |cause| {
        all[&format!("pushlet_connections_failed_total{{provider=\"apns\",cause=\"{cause}\"}}")]
    };
    assert!(failed("unreachable") >= 1.0);
    assert_eq!(failed("refused"), 0.0);
    let lost = "{application=\"shop\",provider=\"apns\",outcome=\"failed_not_sent\",reason=\"unreachable\"}";
    assert_eq!(all[&format!("pushlet_sends_total{lost}")], 1.0);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_too_late_is_counted() {
    let bench = Bench::configured(|config| config.apns.timeout = Duration::from_millis(300)).await;
    bench.relay.register("shop").await;
    let then = Box::new(Answer::Accept);
    let late = Answer::Delay { by: Duration::from_millis(900), then };

    assert_eq!(send(&bench, "shop", Some(late)).await, 504);

    let name = "pushlet_late_answers_total{provider=\"apns\",outcome=\"accepted\"}";
    until(&bench, name, 1.0).await;
    let unknown = "{application=\"shop\",provider=\"apns\",outcome=\"unknown\",reason=\"timeout\"}";
    assert_eq!(series(&bench).await[&format!("pushlet_sends_total{unknown}")], 1.0);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expiry_and_usability_are_numbers() {
    let bench = Bench::start().await;
    for (id, days) in [("long", 300), ("short", 3)] {
        let p12 = Authority::new().apple_certificate(TOPIC).valid(-1, days).build().p12("");
        let upload = bench.upload("apns_p12", &p12, &[("application_id", id)]);
        assert_eq!(seen(upload).await.status, 200);
    }
    let fields =
        [("application_id", "key"), ("apns_key_id", "KEY1234567"), ("apns_team_id", "TEAM123456")];
    assert_eq!(seen(bench.upload("apns_p8", &signing_key_p8(), &fields)).await.status, 200);

    let all = series(&bench).await;

    assert_eq!(
        of(&all, "pushlet_certificate_expiry_days"),
        [("{application=\"long\"}", 299.0), ("{application=\"short\"}", 2.0)]
    );
    assert_eq!(all["pushlet_credential_usable{application=\"key\",provider=\"apns\"}"], 1.0);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_process_tells_of_itself() {
    let bench = Bench::start().await;

    let all = series(&bench).await;

    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let start = all["process_start_time_seconds"];
    assert!((now.as_secs_f64() - 86_400.0..=now.as_secs_f64() + 2.0).contains(&start), "{start}");
    for name in [
        "process_cpu_seconds_total",
        "process_max_fds",
        "process_open_fds",
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
    ] {
        assert!(all[name] > 0.0, "{name}: {}", all[name]);
    }
    bench.stop().await;
}

/// The parser of the Prometheus project, for a page with everything on it.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_read_by_prometheus_own_parser() {
    if !require("prometheus_client", &["python3", "-c", "import prometheus_client"]) {
        return;
    }
    let bench = Bench::start().await;
    bench.relay.register("shop").await;
    assert_eq!(send(&bench, "shop", None).await, 200);
    assert_eq!(send(&bench, "shop", Some(Answer::Reset { code: 7 })).await, 200);
    assert_eq!(bench.send(&[("gcm_api_key", "k"), ("device_token", "1")]).await.status, 200);
    let page = ask(&bench, None).await.body;
    let script = "import sys, json\n\
                  from prometheus_client.parser import text_string_to_metric_families as read\n\
                  print(json.dumps([[f.name, f.type, len(f.samples), f.documentation != '']\n\
                  for f in read(sys.stdin.read())]))";

    let mut python = Command::new("python3")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();

    assert!(output.status.success());
    let families: Vec<(String, String, usize, bool)> =
        serde_json::from_slice(&output.stdout).unwrap();
    let samples: usize = families.iter().map(|(_, _, samples, _)| samples).sum();
    assert_eq!(samples, parsed(&page).len(), "every series was read");
    for (name, kind, _, is_documented) in &families {
        assert!(*is_documented && kind != "unknown", "{name} is {kind}");
    }
    let kinds: BTreeMap<_, _> =
        families.iter().map(|(name, kind, ..)| (name.as_str(), kind.as_str())).collect();
    assert_eq!(
        (kinds["pushlet_sends"], kinds["pushlet_in_flight"], kinds["pushlet_call_seconds"]),
        ("counter", "gauge", "histogram")
    );
    assert_eq!(json!(kinds["process_open_fds"]), "gauge");
    bench.stop().await;
}

/// What the dashboard draws is there once it has happened.
#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_draws_series_that_there_are() {
    let text = include_str!("../../src/metrics/grafana.json");
    let dashboard: Value = serde_json::from_str(text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let expressions: Vec<_> =
        targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect();
    assert!(expressions.len() > 20, "{}", expressions.len());

    let bench = Bench::start().await;
    bench.relay.register("shop").await;
    assert_eq!(send(&bench, "shop", Some(Answer::Reset { code: 7 })).await, 200);
    let page = ask(&bench, None).await.body;

    let known: Vec<_> = page.lines().filter(|line| !line.starts_with('#')).map(name_of).collect();
    let is_name = |sign: char| sign.is_ascii_alphanumeric() || sign == '_';
    for expression in &expressions {
        let words = expression.split(|sign| !is_name(sign));
        let mut drawn = words
            .filter(|word| ["pushlet_", "process_"].iter().any(|start| word.starts_with(start)));
        let first = drawn.next().unwrap_or_else(|| panic!("{expression} draws nothing"));
        for name in [first].into_iter().chain(drawn) {
            assert!(known.contains(&name), "{name} is not on the page: {expression}");
        }
    }
    bench.stop().await;
}

fn name_of(line: &str) -> &str {
    line.split(['{', ' ']).next().unwrap()
}
