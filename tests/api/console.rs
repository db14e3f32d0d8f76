//! The console: its files, and the page in a real browser. `console.mjs` is the person in front of
//! it: what it does and expects is there, what the relay and the simulator saw is here.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use http::Method;
use pushlet::config::Config;
use pushlet::simulator::script::{Answer, Rule};
use serde_json::{Value, json};

use crate::support::google::Google;
use crate::support::keys::{Authority, signing_key_p8};
use crate::support::relay::{Relay, TOKEN, credential};
use crate::support::tools::require;
use crate::support::wire::{Bench, Seen, code, seen};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/api/console");
const POLICY: &str = "default-src 'self'; frame-ancestors 'none'";
/// A token that the simulator calls dead.
const DEAD: &str = "5e7504107bebcf74f9b7c25d48e3358945f6aa01da5ddb387462c7eaf61bb78a";
/// One whose credential the simulator refuses.
const REFUSED: &str = "5e7504037bebcf74f9b7c25d48e3358945f6aa01da5ddb387462c7eaf61bb78a";

/// Path and content type of each file.
fn files() -> Vec<(String, &'static str, PathBuf)> {
    let mut files: Vec<_> = fs::read_dir(FOLDER)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|file| {
            let name = file.file_name().unwrap().to_str().unwrap();
            let (path, media_type) = match name.rsplit_once('.').unwrap().1 {
                "html" => ("/console".to_owned(), "text/html; charset=utf-8"),
                "css" => (format!("/console/{name}"), "text/css; charset=utf-8"),
                "js" => (format!("/console/{name}"), "text/javascript; charset=utf-8"),
                "svg" => (format!("/console/{name}"), "image/svg+xml"),
                other => panic!("what is a .{other}?"),
            };
            (path, media_type, file)
        })
        .collect();
    files.sort();
    files
}

async fn get(bench: &Bench, method: Method, path: &str, headers: &[(&str, &str)]) -> Seen {
    let request = bench.relay.client.request(method, bench.relay.url(path));
    seen(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_of_the_console_is_served_and_fenced_in() {
    let bench = Bench::start().await;

    assert!(files().len() > 3);
    for (path, media_type, file) in files() {
        let text = fs::read_to_string(file).unwrap();
        let answer = get(&bench, Method::GET, &path, &[]).await;
        assert_eq!(answer.told(), (200, text.clone()), "{path}");
        for (name, value) in [
            ("content-type", media_type),
            ("content-security-policy", POLICY),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "private, no-cache"),
            ("content-length", &text.len().to_string()),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path}: {name}");
        }

        let head = get(&bench, Method::HEAD, &path, &[]).await;
        assert_eq!(head.told(), (200, String::new()), "{path}");
        for name in ["content-type", "content-length", "etag"] {
            assert_eq!(head.header(name), answer.header(name), "{path}: {name}");
        }
    }
    for path in ["/console/", "/console/index.html", "/console/../console.rs", "/console/none.js"] {
        assert_eq!(get(&bench, Method::GET, path, &[]).await.code(), code(404, "not_found"));
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_known_is_not_sent_again() {
    let bench = Bench::start().await;

    for (path, _, _) in files() {
        let tag = get(&bench, Method::GET, &path, &[]).await.header("etag").unwrap().to_owned();
        for known in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
            let answer = get(&bench, Method::GET, &path, &[("if-none-match", &known)]).await;
            assert_eq!(answer.told(), (304, String::new()), "{path} {known}");
            assert_eq!(answer.header("etag"), Some(&*tag));
            assert_eq!(answer.header("content-security-policy"), Some(POLICY));
        }
        let answer = get(&bench, Method::GET, &path, &[("if-none-match", "\"x\"")]).await;
        assert_eq!(answer.status, 200, "{path}");
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_is_only_read() {
    let bench = Bench::start().await;

    for (path, _, _) in files() {
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            let answer = get(&bench, method, &path, &[]).await;
            assert_eq!(answer.code(), code(405, "method_not_allowed"), "{path}");
            assert_eq!(answer.header("allow"), Some("GET, HEAD"), "{path}");
        }
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_and_all_its_files_want_credentials() {
    let bench = Bench::configured(credentials).await;

    for (path, _, _) in files() {
        let answer = get(&bench, Method::GET, &path, &[]).await;
        assert_eq!(answer.code(), code(401, "unauthorized"), "{path}");
        assert_eq!(answer.header("www-authenticate"), Some("Basic realm=\"pushlet\""), "{path}");

        // A link on another page may lead here; what it leads to, that page does not see.
        let linked = [("authorization", BASIC), ("sec-fetch-site", "cross-site")];
        assert_eq!(get(&bench, Method::GET, &path, &linked).await.status, 200, "{path}");
    }
    bench.stop().await;
}

/// `operator:s3cret`
const BASIC: &str = "Basic b3BlcmF0b3I6czNjcmV0";

fn credentials(config: &mut Config) {
    config.auth.credentials = vec![credential("operator", "s3cret", None)];
}

#[test]
fn there_is_advice_for_every_reason_that_is_counted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let advice = fs::read_to_string(root.join("src/api/console/advice.js")).unwrap();
    let mut reasons = Vec::new();
    for (file, list) in [
        ("src/metrics/reason.rs", "const REASONS"),
        ("src/simulator/magic.rs", "const GCM_ERRORS"),
        ("src/simulator/reasons.rs", "const REASONS"),
    ] {
        let source = fs::read_to_string(root.join(file)).unwrap();
        let (_, list) = source.split_once(list).unwrap();
        let (list, _) = list.split_once("\n];").unwrap();
        let before = reasons.len();
        reasons.extend(list.split('"').skip(1).step_by(2).map(str::to_owned));
        assert!(reasons.len() > before + 10, "{file}");
    }
    for reason in reasons {
        assert!(advice.contains(&format!("\n  {reason}:")), "no advice for {reason}");
    }
}

/// What the relay says of a failure without a reason of the provider's, it says by its code.
#[test]
fn there_is_advice_for_every_code_of_a_failed_send() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let advice = fs::read_to_string(root.join("src/api/console/advice.js")).unwrap();
    let source = fs::read_to_string(root.join("src/api/outcome.rs")).unwrap();
    let is_code = |text: &&str| {
        let starts = ["apns_", "gcm_", "invalid_", "device_"];
        let is_word = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        is_word && starts.iter().any(|start| text.starts_with(start))
    };
    let codes: Vec<_> = source.split('"').skip(1).step_by(2).filter(is_code).collect();
    assert!(codes.len() > 10, "{codes:?}");
    for code in codes {
        assert!(advice.contains(&format!("\n  {code}:")), "no advice for {code}");
    }
}

/// Whether there is a browser, and what drives it.
fn require_browser() -> bool {
    let packages = "require('playwright-core'); require('axe-core')";
    require("chromium", &["/usr/bin/chromium", "--version"])
        && require("npm's playwright-core or axe-core", &["node", "-e", packages])
}

/// The person in front of the console.
struct Person {
    node: Child,
    input: ChildStdin,
    output: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Person {
    /// Lets somebody do one of the things that `console.mjs` can do.
    fn sent_to(relay: &Relay, does: &str, more: Value) -> Self {
        let mut given = json!({"address": relay.address.to_string(), "token": TOKEN, "dead": DEAD});
        given.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/api/console.mjs");
        let mut node = Command::new("node")
            .args([script, does, &given.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = node.stdin.take().unwrap();
        let output = BufReader::new(node.stdout.take().unwrap()).lines();
        Self { node, input, output }
    }

    /// The next line that it says.
    fn says(&mut self) -> String {
        self.output.next().expect("it has more to say").unwrap()
    }

    fn tell(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }

    /// It has found everything as it should be.
    fn finds_all_well(mut self) {
        let rest: Vec<_> = self.output.by_ref().map(Result::unwrap).collect();
        assert!(self.node.wait().unwrap().success(), "{rest:?}");
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.node.kill();
        let _ = self.node.wait();
    }
}

/// Registers with a certificate for `com.example.<id>` that has so many whole days left.
async fn register(bench: &Bench, id: &str, days: i64) {
    let topic = format!("com.example.{id}");
    let identity = Authority::new().apple_certificate(&topic).valid(-30, days + 1).build();
    let request = bench.upload("apns_p12", &identity.p12(""), &[("application_id", id)]);
    let answer = seen(request.header("authorization", BASIC)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// Registers with a signing key, for the sandbox.
async fn register_key(bench: &Bench, id: &str) {
    let topic = format!("com.example.{id}");
    let fields = [
        ("application_id", id),
        ("apns_key_id", "KEY1234567"),
        ("apns_team_id", "TEAM123456"),
        ("apns_topic", &topic),
        ("apns_mode", "sandbox"),
    ];
    assert_eq!(seen(bench.upload("apns_p8", &signing_key_p8(), &fields)).await.status, 200);
}

/// Four applications: one that runs out, one that Apple refuses, a healthy one, one of Google's.
async fn four_applications() -> Google {
    let google = Google::start().await;
    let bench = &google.bench;
    register(bench, "shop", 5).await;
    register(bench, "news", 199).await;
    register_key(bench, "chat").await;
    let account = [("application_id", "android"), ("fcm_service_account", &*google.account)];
    assert_eq!(seen(bench.form("/register_application", &account)).await.status, 200);

    let odd = Answer::reject(http::StatusCode::BAD_REQUEST, "<img src=x onerror=alert(1)>");
    for (id, token, status) in [
        ("shop", TOKEN, 200),
        ("shop", DEAD, 410),
        ("shop", "0dd0", 400),
        ("chat", TOKEN, 200),
        ("chat", "abcd", 200),
        ("android", "phone", 200),
        ("android", "NotRegistered", 200),
        ("news", TOKEN, 200),
        ("news", REFUSED, 502),
    ] {
        if token == "0dd0" {
            bench.peer.simulator.script(Rule::token(token, odd.clone()));
        }
        let fields = [("application_id", id), ("device_token", token), ("alert", "x")];
        let answer = bench.send(&fields).await;
        assert_eq!(answer.status, status, "{id} {token}: {}", answer.body);
        // The times in the status are whole seconds: what comes later has to look so.
        if id == "shop" && token == "0dd0" || id == "news" && token == TOKEN {
            tokio::time::sleep(Duration::from_millis(1_100)).await;
        }
    }
    google
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_has_never_seen_it_reads_everything_from_the_page() {
    if !require_browser() {
        return;
    }
    let google = four_applications().await;

    let numbers = [
        r#"pushlet_sends_total{outcome="accepted"}"#,
        r#"pushlet_sends_total{outcome="rejected"}"#,
        r#"pushlet_sends_total{outcome!~"accepted|rejected"}"#,
        r#"pushlet_sends_total{application="shop",outcome="accepted"}"#,
        r#"pushlet_certificate_expiry_days{application="shop"}"#,
        r#"pushlet_sends_total{outcome="rejected",provider="apns",reason="Unregistered"}"#,
    ];
    Person::sent_to(&google.bench.relay, "sight", json!({"numbers": numbers})).finds_all_well();

    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_fits_a_phone_and_the_dark_and_satisfies_axe() {
    if !require_browser() {
        return;
    }
    let google = four_applications().await;
    register_key(&google.bench, &"a".repeat(128)).await;
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("console");
    fs::create_dir_all(&pictures).unwrap();

    Person::sent_to(&google.bench.relay, "looks", json!({"pictures": pictures})).finds_all_well();

    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_sent_with_the_keyboard_alone_and_its_true_answer_shown() {
    if !require_browser() {
        return;
    }
    let bench = Bench::configured(credentials).await;
    register(&bench, "shop", 199).await;

    // The name in the address too, which a page may not call with.
    let url = format!("http://operator:s3cret@{}", bench.relay.address);
    let more = json!({"username": "operator", "password": "s3cret", "url": url});
    let mut person = Person::sent_to(&bench.relay, "keyboard", more);
    let shown: Value = serde_json::from_str(&person.says()).unwrap();
    person.finds_all_well();

    let received = bench.peer.simulator.received();
    let [good, dead] = received.as_slice() else { panic!("{received:?}") };
    let payload: Value = serde_json::from_slice(&good.payload).unwrap();
    let expected = json!({
        "aps": {"alert": {"title": "Greetings", "body": "Hëllo & <b>"}},
        "order": 17
    });
    assert_eq!(payload, expected);
    let ids = [good, dead].map(|message| message.apns_id.clone());
    assert_eq!(ids, ["accepted", "dead"].map(|which| shown[which].as_str().map(str::to_owned)));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_gone_is_said_to_be_gone() {
    if !require_browser() {
        return;
    }
    let of_drain = |config: &mut Config| config.server.drain_delay = Duration::from_secs(20);
    let Bench { peer, relay } = Bench::configured(of_drain).await;
    let mut config = peer.config.clone();
    config.server.bind = relay.address;

    let mut person = Person::sent_to(&relay, "gone", json!({}));
    assert_eq!(person.says(), "stop");
    let ready = relay.url("/readyz");
    let stopping = tokio::spawn(relay.stop());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    while client.get(&ready).send().await.unwrap().status() != 503 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    person.tell("draining");
    stopping.await.unwrap();
    assert_eq!(person.says(), "start");
    let relay = Relay::start(config).await;
    person.tell("started");
    person.finds_all_well();

    relay.stop().await;
    peer.simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_does_not_answer_is_told_from_one_that_refuses() {
    if !require_browser() {
        return;
    }
    let Bench { peer, relay } = Bench::start().await;
    relay.register("shop").await;
    peer.simulator.stop().await;
    assert_eq!(relay.send("shop", TOKEN, "x").await.error(), "apns_unavailable");
    let by_key = [("gcm_api_key", "AIza"), ("device_token", "4"), ("alert", "x")];
    assert_eq!(relay.form("/send_notification", &by_key).await.error(), "gcm_unavailable");

    Person::sent_to(&relay, "silence", json!({})).finds_all_well();

    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_applications_are_found_and_do_not_choke_it() {
    if !require_browser() {
        return;
    }
    let google = Google::start().await;
    for number in 0..1_000 {
        let id = format!("app-{number:03}");
        let fields = [("application_id", &*id), ("fcm_service_account", &*google.account)];
        assert_eq!(seen(google.bench.form("/register_application", &fields)).await.status, 200);
    }

    Person::sent_to(&google.bench.relay, "many", json!({})).finds_all_well();

    google.stop().await;
}
