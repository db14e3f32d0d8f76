//! `GET /status`: what it says of applications, and to whom.

use std::time::Duration;

use http::StatusCode;
use pushlet::apps::preload::{Preload, Source};
use pushlet::config::Config;
use pushlet::providers::apns::Mode;
use pushlet::secret::Secret;
use pushlet::simulator::script::{Answer, Rejection, Rule};
use reqwest::Method;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use url::Url;

use crate::support::google::{Google, PROJECT};
use crate::support::keys::{Authority, Identity, signing_key_p8};
use crate::support::relay::{TOKEN, TOPIC, credential};
use crate::support::wire::{Bench, SEND, Seen, code, seen};

/// A dead token's time.
const GONE_MS: u64 = 1_454_948_015_990;
const GONE: &str = "2016-02-08T16:13:35Z";

async fn ask(bench: &Bench, user: Option<(&str, &str)>) -> Seen {
    let request = bench.relay.client.get(bench.relay.url("/status"));
    seen(match user {
        Some((name, password)) => request.basic_auth(name, Some(password)),
        None => request,
    })
    .await
}

async fn status(bench: &Bench) -> Value {
    let answer = ask(bench, None).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    answer.json()
}

/// The only application, as it is now.
async fn application(bench: &Bench) -> Value {
    let mut status = status(bench).await;
    assert_eq!(status["applications"].as_array().unwrap().len(), 1, "{status}");
    status["applications"][0].take()
}

/// A time of the recent past is taken out; the rest can be compared whole.
fn take_time(value: &mut Value, name: &str) {
    let time = value.as_object_mut().unwrap().remove(name);
    let time = time.unwrap_or_else(|| panic!("{name} is missing in {value}"));
    let time = OffsetDateTime::parse(time.as_str().unwrap(), &Rfc3339).unwrap();
    let age = OffsetDateTime::now_utc() - time;
    assert!((-1..600).contains(&age.whole_seconds()), "{name}: {time}");
}

fn not_after(identity: &Identity) -> String {
    let der = identity.certificate.to_der().unwrap();
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).unwrap();
    certificate.validity().not_after.to_datetime().format(&Rfc3339).unwrap()
}

async fn register(bench: &Bench, id: &str, identity: &Identity) {
    let fields = [("application_id", id)];
    let answer = seen(bench.upload("apns_p12", &identity.p12(""), &fields)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// What is said of an application with a certificate of 300 days that nobody has used.
fn unused(id: &str, identity: &Identity) -> Value {
    json!({
        "application_id": id,
        "state": "ready",
        "providers": ["apns"],
        "topics": [TOPIC],
        "environment": "production",
        "credential": "certificate",
        "not_after": not_after(identity),
        "days_left": 299,
        "connections": 0,
        "in_flight": 0,
        "dead_tokens": 0,
        "circuit": "closed",
        "accepted": 0,
        "rejected": 0,
        "failed": 0,
        "warnings": [],
    })
}

fn identity() -> Identity {
    Authority::new().apple_certificate(TOPIC).valid(-1, 300).build()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_member_of_a_fresh_relay_is_told() {
    let bench = Bench::start().await;
    let identity = identity();
    register(&bench, "shop", &identity).await;

    let mut status = status(&bench).await;

    take_time(&mut status, "started_at");
    assert!(status["uptime_seconds"].as_u64().is_some_and(|secs| secs < 600), "{status}");
    status["uptime_seconds"] = 0.into();
    assert_eq!(
        status,
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "state": "ready",
            "uptime_seconds": 0,
            "in_flight": 0,
            "applications": [unused("shop", &identity)],
        })
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_of_messages_is_counted_and_the_last_failure_kept() {
    let bench = Bench::start().await;
    let identity = identity();
    register(&bench, "shop", &identity).await;
    let gone = Answer::Reject(Rejection {
        status: StatusCode::GONE,
        reason: "Unregistered".to_owned(),
        timestamp_ms: Some(GONE_MS),
        retry_after_secs: None,
    });
    let send = async |answer: Option<Answer>| {
        answer.into_iter().for_each(|answer| bench.peer.simulator.script(Rule::next(answer)));
        seen(
            bench
                .form(SEND, &[("application_id", "shop"), ("device_token", TOKEN), ("badge", "1")]),
        )
        .await
    };

    assert_eq!(send(None).await.status, 200);
    assert_eq!(send(None).await.status, 200);
    assert_eq!(send(Some(Answer::Drop)).await.status, 503);
    let dead = send(Some(gone)).await;
    assert_eq!(dead.code(), code(410, "device_token_unregistered"));

    let mut told = application(&bench).await;
    take_time(&mut told, "last_success");
    take_time(&mut told["last_failure"], "at");
    let connections = told["connections"].take();
    assert!(connections.as_u64().is_some_and(|count| count >= 1), "{connections}");
    let mut expected = unused("shop", &identity);
    expected["connections"] = Value::Null;
    expected["dead_tokens"] = 1.into();
    expected["accepted"] = 2.into();
    expected["rejected"] = 1.into();
    expected["failed"] = 1.into();
    expected["last_failure"] = json!({
        "provider": "apns",
        "outcome": "rejected",
        "error": "device_token_unregistered",
        "message": dead.json()["message"],
        "status": 410,
        "reason": "Unregistered",
        "apns_id": dead.json()["apns_id"],
        "timestamp": GONE,
    });
    assert_eq!(told, expected);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_registration_goes_on_counting() {
    let bench = Bench::start().await;
    register(&bench, "shop", &identity()).await;
    assert_eq!(bench.relay.send("shop", TOKEN, "x").await.status, 200);

    register(&bench, "shop", &identity()).await;
    assert_eq!(application(&bench).await["accepted"], 1);
    assert_eq!(bench.relay.send("shop", TOKEN, "x").await.status, 200);

    assert_eq!(application(&bench).await["accepted"], 2);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_caller_sees_its_own() {
    let bench = Bench::configured(|config| {
        config.auth.credentials = vec![
            credential("all", "a", None),
            credential("shop", "s", Some(&["shop", "gcm"])),
            credential("news", "n", Some(&["news-*"])),
        ];
    })
    .await;
    for id in ["shop", "news-us", "news-eu"] {
        let upload = bench.upload("apns_p12", &identity().p12(""), &[("application_id", id)]);
        assert_eq!(seen(upload.basic_auth("all", Some("a"))).await.status, 200);
    }
    let key = [("gcm_api_key", "KEY"), ("device_token", "42")];
    let sent = seen(bench.form(SEND, &key).basic_auth("all", Some("a"))).await;
    assert_eq!(sent.status, 200);

    let ids = async |user| {
        let status = ask(&bench, Some(user)).await.json();
        let ids: Vec<_> = status["applications"]
            .as_array()
            .unwrap()
            .iter()
            .map(|app| app["application_id"].as_str().unwrap().to_owned())
            .collect();
        (ids.join(" "), status["gcm_api_key"]["accepted"].as_u64())
    };
    assert_eq!(ids(("all", "a")).await, ("news-eu news-us shop".to_owned(), Some(1)));
    assert_eq!(ids(("shop", "s")).await, ("shop".to_owned(), Some(1)));
    assert_eq!(ids(("news", "n")).await, ("news-eu news-us".to_owned(), None));
    for stranger in [None, Some(("all", "wrong"))] {
        let answer = ask(&bench, stranger).await;
        assert_eq!(answer.code(), code(401, "unauthorized"));
        assert_eq!(answer.header("www-authenticate"), Some("Basic realm=\"pushlet\""));
    }
    let head = bench.relay.client.request(Method::HEAD, bench.relay.url("/status"));
    let head = seen(head.basic_auth("all", Some("a"))).await;
    assert_eq!(head.told(), (200, String::new()));
    bench.stop().await;
}

/// A link on a page of another site may lead here; its scripts cannot read the answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_from_elsewhere_leads_here_and_a_foreign_name_does_not() {
    let bench = Bench::start().await;
    let get = || bench.relay.client.get(bench.relay.url("/status"));

    let linked = seen(get().header("sec-fetch-site", "cross-site")).await;
    let rebound = seen(get().header("host", "evil.example")).await;

    assert_eq!(linked.status, 200);
    assert_eq!(rebound.code(), code(403, "forbidden"));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_cannot_be_used_stands_there_with_its_problem() {
    let expired = Authority::new().apple_certificate(TOPIC).valid(-9, -1).build();
    let file = |bytes: &[u8]| {
        use base64::Engine;
        Source::Text(Secret::new(base64::engine::general_purpose::STANDARD.encode(bytes)))
    };
    let bench = Bench::configured(|config: &mut Config| {
        config.applications = vec![
            Preload {
                application_id: "old".to_owned(),
                apns_p12: Some(file(&expired.p12(""))),
                apns_mode: Mode::Development,
                ..Preload::default()
            },
            Preload {
                application_id: "google".to_owned(),
                fcm_service_account: Some(file(b"no account")),
                ..Preload::default()
            },
        ];
    })
    .await;
    let problem = seen(
        bench.form(SEND, &[("application_id", "old"), ("device_token", TOKEN), ("alert", "x")]),
    )
    .await;
    let message = problem.json()["message"].as_str().unwrap().to_owned();
    let (_, problem) = message.split_once("register another one: ").unwrap();

    let mut told = status(&bench).await["applications"].take();

    take_time(&mut told[1]["last_failure"], "at");
    assert_eq!(
        told[1],
        json!({
            "application_id": "old",
            "state": "unusable",
            "providers": ["apns"],
            "environment": "development",
            "connections": 0,
            "in_flight": 0,
            "dead_tokens": 0,
            "circuit": "closed",
            "accepted": 0,
            "rejected": 1,
            "failed": 0,
            "last_failure": {
                "provider": "apns",
                "outcome": "rejected",
                "error": "apns_credentials_rejected",
                "message": message,
            },
            "warnings": [
                format!("the credential for apple cannot be used; register another one: {problem}")
            ],
        })
    );
    assert_eq!((&told[0]["state"], &told[0]["providers"]), (&json!("unusable"), &json!(["fcm"])));
    let warning = told[0]["warnings"][0].as_str().unwrap();
    let start = "the credential for google cannot be used; register another one: ";
    assert!(warning.starts_with(start), "{warning}");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signing_key_has_no_end_and_its_application_perhaps_no_topic() {
    let bench = Bench::start().await;
    let fields =
        [("application_id", "app"), ("apns_key_id", "KEY1234567"), ("apns_team_id", "TEAM123456")];
    let answer = seen(bench.upload("apns_p8", &signing_key_p8(), &fields)).await;
    assert_eq!(answer.status, 200);

    let told = application(&bench).await;

    assert_eq!((&told["credential"], &told["topics"]), (&json!("token"), &json!([])));
    assert_eq!((told.get("not_after"), told.get("days_left")), (None, None));
    assert_eq!(told["warnings"], answer.json()["warnings"]);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn google_is_told_of_beside_apple() {
    let google = Google::start().await;
    google.register().await;
    let bench = &google.bench;
    let reject = Answer::reject(StatusCode::NOT_FOUND, "UNREGISTERED");
    bench.peer.simulator.script(Rule::token("dead", reject));

    let fields =
        [("application_id", "app"), ("registration_ids", r#"["a","dead"]"#), ("alert", "x")];
    assert_eq!(bench.send(&fields).await.status, 200);
    google.rows(&["c"]).await;

    let mut told = application(bench).await;
    take_time(&mut told, "last_success");
    take_time(&mut told["last_failure"], "at");
    let since = told["last_failure"]["timestamp"].as_str().unwrap().to_owned();
    assert_eq!(
        told,
        json!({
            "application_id": "app",
            "state": "ready",
            "providers": ["fcm"],
            "fcm_project": PROJECT,
            "in_flight": 0,
            "dead_tokens": 1,
            "accepted": 1,
            "rejected": 1,
            "failed": 0,
            "last_failure": {
                "provider": "fcm",
                "outcome": "rejected",
                "error": "device_token_unregistered",
                "message": format!(
                    "google does not know the device token any more since {since}: the app was removed \
                     or the token replaced; delete it"
                ),
                "status": 404,
                "reason": "NotRegistered",
                "timestamp": since,
            },
            "warnings": [],
        })
    );
    let mut keys = status(bench).await["gcm_api_key"].take();
    take_time(&mut keys, "last_success");
    assert_eq!(keys, json!({"in_flight": 0, "accepted": 1, "rejected": 0, "failed": 0}));
    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_circuit_says_why() {
    let bench = Bench::start().await;
    register(&bench, "shop", &identity()).await;
    let refusal = Answer::reject(StatusCode::FORBIDDEN, "BadCertificate");
    bench.peer.simulator.script(Rule::next(refusal));

    for _ in 0..2 {
        assert_eq!(bench.relay.send("shop", TOKEN, "x").await.status, 502);
    }

    let told = application(&bench).await;
    assert_eq!((&told["circuit"], &told["rejected"]), (&json!("credentials"), &json!(2)));
    assert_eq!(told["last_failure"]["reason"], "BadCertificate");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apple_that_is_not_there_is_told() {
    let reserved = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = reserved.local_addr().unwrap().port();
    drop(reserved);
    let bench = Bench::configured(|config| {
        config.apns.production_url = Url::parse(&format!("https://localhost:{port}")).unwrap();
    })
    .await;
    register(&bench, "shop", &identity()).await;

    let answer = bench.relay.send("shop", TOKEN, "x").await;

    let told = application(&bench).await;
    assert_eq!((&told["circuit"], &told["failed"]), (&json!("unreachable"), &json!(1)));
    let last = &told["last_failure"];
    assert_eq!(
        (&last["outcome"], &last["error"], &last["delivery"], &last["message"]),
        (
            &json!("failed_not_sent"),
            &json!("apns_unavailable"),
            &json!("not_sent"),
            &answer.json()["message"]
        )
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_is_in_flight() {
    let bench = Bench::start().await;
    register(&bench, "shop", &identity()).await;
    bench.peer.simulator.script(Rule::next(Answer::Never));
    let fields = [("application_id", "shop"), ("device_token", TOKEN), ("alert", "x")];
    let sending = tokio::spawn(bench.form(SEND, &fields).send());

    let mut told = Value::Null;
    for _ in 0..300 {
        told = status(&bench).await;
        if told["in_flight"] == 1 && !bench.peer.simulator.received().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    assert_eq!((&told["in_flight"], &told["applications"][0]["in_flight"]), (&json!(1), &json!(1)));
    sending.abort();
    bench.stop().await;
}
