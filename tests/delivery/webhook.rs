//! Dead tokens that are reported to a webhook.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use pushlet::apps::preload::{Preload, Source};
use pushlet::config::Config;
use pushlet::secret::Secret;
use pushlet::simulator::Options;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::support::google::Google;
use crate::support::keys::Authority;
use crate::support::receiver::{Posted, Receiver, Reply};
use crate::support::relay::{TOKEN, TOPIC};
use crate::support::tools::require;
use crate::support::wire::{Bench, FEEDBACK, Seen, ok, refusal, seen};

const SECRET: &str = "a long secret";

/// A token that the simulator calls dead; each number is another one.
fn dead(number: usize) -> String {
    format!("5e750410{number:056x}")
}

fn reporting_to(receiver: &Receiver) -> impl FnOnce(&mut Config) + use<> {
    let url = receiver.url.clone();
    move |config| {
        config.feedback.webhook_url = Some(url);
        config.feedback.webhook_secret = Some(Secret::new(SECRET.to_owned()));
    }
}

async fn bench(receiver: &Receiver) -> Bench {
    let bench = Bench::configured(reporting_to(receiver)).await;
    bench.relay.register("app").await;
    bench
}

async fn send_dead(bench: &Bench, number: usize) {
    let answer = bench.relay.send("app", &dead(number), "x").await;
    assert_eq!(answer.status, 410, "{}", answer.body);
}

/// The rows of the list of dead tokens, with the provider of each.
async fn listed(bench: &Bench, provider: &str) -> Vec<Value> {
    let list = bench.form(FEEDBACK, &[("application_id", "app"), ("keep", "true")]);
    let mut rows = seen(list).await.json()["response"].as_array().unwrap().clone();
    for row in &mut rows {
        row["provider"] = json!(provider);
    }
    rows
}

/// What `/metrics` says of the webhooks, as soon as nothing is on its way.
async fn counted(bench: &Bench) -> [(&'static str, usize); 3] {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let page = seen(bench.relay.client.get(bench.relay.url("/metrics"))).await.body;
        let counts = ["given_up", "overflowed", "reported"].map(|outcome| {
            let start = format!("pushlet_webhook_tokens_total{{outcome=\"{outcome}\"}} ");
            let line = page.lines().find_map(|line| line.strip_prefix(start.as_str()));
            (outcome, line.unwrap().parse().unwrap())
        });
        if counts[2].1 > 0 {
            return counts;
        }
        assert!(Instant::now() < until, "{counts:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// The function that the README shows.
fn is_genuine(posted: &Posted, secret: &str) -> bool {
    let readme =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let (_, function) = readme.split_once("```python\n").unwrap();
    let (function, _) = function.split_once("```").unwrap();
    let script = format!(
        "{function}
import sys, time
headers = {{'Pushlet-Timestamp': sys.argv[1], 'Pushlet-Signature': sys.argv[2]}}
print(is_genuine(sys.argv[3], headers, sys.stdin.buffer.read(), time.time()))"
    );
    let mut python = Command::new("python3")
        .args(["-c", &script, &posted.headers["pushlet-timestamp"]])
        .args([&posted.headers["pushlet-signature"], secret])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(&posted.body).unwrap();
    let told = python.wait_with_output().unwrap();
    match String::from_utf8(told.stdout).unwrap().trim() {
        "True" => true,
        "False" => false,
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_reported_before_the_relay_ends() {
    let receiver = Receiver::start().await;
    let bench = bench(&receiver).await;
    let mut expected = Vec::new();

    for number in 0..3 {
        send_dead(&bench, number).await;
        expected.push(dead(number));
    }
    assert_eq!(bench.relay.send("app", TOKEN, "x").await.status, 200);
    bench.relay.stop().await;

    let posted = receiver.posted();
    assert_eq!(posted.iter().flat_map(Posted::tokens).collect::<Vec<_>>(), expected);
    for report in &posted {
        assert_eq!(report.line, "POST /hook?key=k");
        assert_eq!(report.headers["content-type"], "application/json");
    }
    bench.peer.simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_says_what_the_list_says() {
    let receiver = Receiver::start().await;
    let bench = bench(&receiver).await;

    send_dead(&bench, 7).await;

    let posted = receiver.wait_for(1).await;
    let tokens = listed(&bench, "apns").await;
    assert_eq!(tokens.len(), 1);
    assert_eq!(posted[0].json(), json!({ "application_id": "app", "tokens": tokens }));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_google_calls_unregistered_is_reported_but_for_a_bridged_key() {
    let receiver = Receiver::start().await;
    let google = Google::with(Options::default(), reporting_to(&receiver)).await;
    google.register().await;
    let to_dead = [("device_token", "NotRegistered"), ("alert", "x")];

    google.send(&to_dead).await;
    let fields = [&[("application_id", "app")], to_dead.as_slice()].concat();
    assert_eq!(google.bench.send(&fields).await.status, 200);

    let posted = receiver.wait_for(1).await;
    let tokens = listed(&google.bench, "fcm").await;
    assert_eq!(tokens.len(), 1);
    assert_eq!(posted[0].json(), json!({ "application_id": "app", "tokens": tokens }));
    google.stop().await;
    assert_eq!(receiver.posted().len(), 1, "nobody asked for the tokens of a key");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_signature_holds_as_the_readme_checks_it() {
    if !require("Python", &["python3", "--version"]) {
        return;
    }
    let receiver = Receiver::start().await;
    let bench = bench(&receiver).await;

    send_dead(&bench, 1).await;

    let posted = receiver.wait_for(1).await.remove(0);
    let forged = Posted { body: [posted.body.as_slice(), b" "].concat(), ..posted.clone() };
    let mut late = posted.clone();
    late.headers.insert("pushlet-timestamp".to_owned(), "1".to_owned());
    assert!(is_genuine(&posted, SECRET));
    assert!(!is_genuine(&posted, "another"));
    assert!(!is_genuine(&forged, SECRET));
    assert!(!is_genuine(&late, SECRET));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_in_trouble_is_tried_again_under_the_same_name() {
    let receiver = Receiver::start().await;
    let bench = bench(&receiver).await;
    receiver.reply(&[
        // Longer than the first pause.
        Reply::Answer(429, "retry-after: 3\r\n"),
        Reply::Answer(500, ""),
        Reply::Close,
        Reply::Answer(204, ""),
    ]);

    send_dead(&bench, 1).await;
    let first = receiver.wait_for(4).await;
    send_dead(&bench, 2).await;
    let second = receiver.wait_for(5).await.remove(4);

    for again in &first[1..] {
        assert_eq!((again.delivery(), &again.body), (first[0].delivery(), &first[0].body));
    }
    assert!(first[1].at - first[0].at >= Duration::from_secs(3), "as long as it asked for");
    assert_ne!(second.delivery(), first[0].delivery());
    assert_eq!(second.tokens(), [dead(2)]);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_given_up() {
    let receiver = Receiver::start().await;
    let bench = bench(&receiver).await;

    for (number, status) in [400, 404, 410, 302].into_iter().enumerate() {
        receiver.reply(&[Reply::Answer(status, "location: /elsewhere\r\n")]);
        send_dead(&bench, number).await;
        receiver.wait_for(number + 1).await;
    }
    send_dead(&bench, 9).await;

    let tokens: Vec<_> = receiver.wait_for(5).await.iter().flat_map(Posted::tokens).collect();
    assert_eq!(tokens, [0, 1, 2, 3, 9].map(dead));
    assert_eq!(counted(&bench).await, [("given_up", 4), ("overflowed", 0), ("reported", 1)]);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_is_not_tried_for_ever() {
    let receiver = Receiver::start().await;
    let configure = reporting_to(&receiver);
    let bench = Bench::configured(|config| {
        configure(config);
        // Shorter than the first pause.
        config.feedback.webhook_timeout = Duration::from_millis(100);
    })
    .await;
    bench.relay.register("app").await;
    receiver.reply(&[Reply::Answer(503, "")]);

    send_dead(&bench, 1).await;
    receiver.wait_for(1).await;
    send_dead(&bench, 2).await;

    let tokens: Vec<_> = receiver.wait_for(2).await.iter().flat_map(Posted::tokens).collect();
    assert_eq!(tokens, [dead(1), dead(2)]);
    bench.stop().await;
}

/// Nothing of it is on the way of a send: neither while it is silent nor at the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_receiver_holds_up_no_send() {
    let receiver = Receiver::start().await;
    let bench = bench(&receiver).await;
    receiver.reply(&[Reply::Silence; 10]);
    send_dead(&bench, 1).await;
    receiver.wait_for(1).await;

    let answer = bench.send(&[("application_id", "app"), ("device_token", TOKEN), ("alert", "x")]);

    assert_eq!(answer.await.told(), ok());
    send_dead(&bench, 2).await;
    assert_eq!(receiver.posted().len(), 1, "one report at a time");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_names_another_receiver() {
    let (first, second) = (Receiver::start().await, Receiver::start().await);
    let bench = bench(&first).await;
    send_dead(&bench, 1).await;
    first.wait_for(1).await;

    bench.relay.reload(reporting_to(&second)).unwrap();
    send_dead(&bench, 2).await;

    assert_eq!(second.wait_for(1).await[0].tokens(), [dead(2)]);
    assert_eq!(first.posted().len(), 1);
    bench.stop().await;
}

/// A relay with a receiver for all, where callers may name those of this machine.
async fn open_bench(receiver: &Receiver) -> Bench {
    let configure = reporting_to(receiver);
    Bench::configured(|config| {
        configure(config);
        config.feedback.webhook_hosts = vec!["127.0.0.1:*".to_owned()];
    })
    .await
}

/// Registers `app` with these fields beside.
async fn register(bench: &Bench, fields: &[(&str, &str)]) -> Seen {
    let p12 = Authority::new().apple_certificate(TOPIC).build().p12("");
    let fields = [&[("application_id", "app")], fields].concat();
    seen(bench.upload("apns_p12", &p12, &fields)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_receiver_holds_up_the_reports_of_its_application_alone() {
    let (of_all, own) = (Receiver::start().await, Receiver::start().await);
    let bench = open_bench(&of_all).await;
    let fields = [("webhook_url", own.url.as_str()), ("webhook_secret", "another")];
    assert_eq!(register(&bench, &fields).await.status, 200);
    bench.relay.register("other").await;
    own.reply(&[Reply::Silence; 10]);
    send_dead(&bench, 1).await;
    own.wait_for(1).await;

    send_dead(&bench, 2).await;
    bench.relay.send("other", &dead(3), "x").await;

    let reported = of_all.wait_for(1).await;
    assert_eq!(reported[0].json()["application_id"], "other");
    assert_eq!(reported[0].tokens(), [dead(3)]);
    assert_eq!(own.posted()[0].tokens(), [dead(1)]);
    if require("Python", &["python3", "--version"]) {
        assert!(is_genuine(&own.posted()[0], "another"));
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_outlives_a_new_credential_and_is_taken_back_by_an_empty_one() {
    let (of_all, own) = (Receiver::start().await, Receiver::start().await);
    let bench = open_bench(&of_all).await;
    let fields = [("webhook_url", own.url.as_str()), ("webhook_secret", "another")];

    for (number, fields) in [fields.as_slice(), &[], &[("webhook_url", "")]].iter().enumerate() {
        assert_eq!(register(&bench, fields).await.status, 200);
        send_dead(&bench, number).await;
        let waited = if number < 2 { own.wait_for(number + 1) } else { of_all.wait_for(1) };
        assert_eq!(waited.await.pop().unwrap().tokens(), [dead(number)]);
    }
    assert_eq!((own.posted().len(), of_all.posted().len()), (2, 1));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_names_only_receivers_that_are_allowed() {
    let own = Receiver::start().await;
    let url = own.url.as_str();
    let bench = open_bench(&own).await;
    let closed = Bench::start().await;
    let secret = ("webhook_secret", "s");

    for (bench, fields, wrong, message) in [
        (
            &closed,
            vec![("webhook_url", url), secret],
            "webhook_url",
            "webhook_url names a host that is not in feedback.webhook_hosts; who runs this relay \
             says which are",
        ),
        (
            &bench,
            vec![("webhook_url", "https://169.254.169.254/latest"), secret],
            "webhook_url",
            "webhook_url names a host that is not in feedback.webhook_hosts; who runs this relay \
             says which are",
        ),
        (
            &bench,
            vec![("webhook_url", "http://example.com/"), secret],
            "webhook_url",
            "webhook_url must be an https address without user name, password and fragment",
        ),
        (
            &bench,
            vec![("webhook_url", url)],
            "webhook_secret",
            "webhook_secret is needed with webhook_url; reports are signed",
        ),
        (
            &bench,
            vec![secret],
            "webhook_secret",
            "webhook_secret belongs to webhook_url; give both or none",
        ),
    ] {
        let answer = register(bench, &fields).await;

        assert_eq!(answer.told(), refusal(400, &format!("invalid_{wrong}"), message));
    }
    bench.stop().await;
    closed.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_names_the_receiver_of_an_application() {
    let (of_all, own) = (Receiver::start().await, Receiver::start().await);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.p12");
    let p12 = Authority::new().apple_certificate(TOPIC).build().p12("");
    std::fs::write(&file, p12).unwrap();
    let plain = Preload {
        application_id: "app".to_owned(),
        apns_p12: Some(Source::File(file)),
        ..Preload::default()
    };
    let with_own = Preload {
        webhook_url: Some(own.url.clone()),
        webhook_secret: Some(Source::Text(Secret::new("another".to_owned()))),
        ..plain.clone()
    };
    let configure = reporting_to(&of_all);
    let bench = Bench::configured(|config| {
        configure(config);
        config.applications = vec![with_own];
    })
    .await;

    send_dead(&bench, 1).await;
    assert_eq!(own.wait_for(1).await[0].tokens(), [dead(1)]);
    bench.relay.reload(|config| config.applications = vec![plain]).unwrap();
    send_dead(&bench, 2).await;

    assert_eq!(of_all.wait_for(1).await[0].tokens(), [dead(2)]);
    assert_eq!(own.posted().len(), 1);
    bench.stop().await;
}
