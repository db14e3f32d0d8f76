//! Certificates that run out: who is told, and how often.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pushlet::apps::expiry::{Nearness, Watch};
use pushlet::apps::feedback;
use pushlet::apps::preload::{Preload, Source};
use pushlet::apps::preloaded::Preloaded;
use pushlet::apps::registry::Registry;
use pushlet::config::Config;
use pushlet::providers::{apns, fcm};
use pushlet::secret::Secret;
use pushlet::transport::Homes;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::runtime::Handle;

use crate::support::keys::{Authority, Identity};
use crate::support::process::Process;
use crate::support::relay::TOPIC;

fn identity(days: i64) -> Identity {
    Authority::new().apple_certificate(TOPIC).valid(-9, days).build()
}

async fn register(process: &Process, id: &str, identity: &Identity) {
    let p12 = STANDARD.encode(identity.p12(""));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}/register_application", process.address());
    let body = json!({"application_id": id, "apns_p12": p12}).to_string();
    let call = client.post(url).header("content-type", "application/json").body(body);
    assert_eq!(call.send().await.unwrap().status().as_u16(), 200);
}

/// Level, days left and message of each line about the end of an application's certificate.
fn lines(process: &Process, id: &str) -> Vec<(String, i64, String)> {
    let log = process.log();
    let lines = log.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let about = lines.filter(|line| line["app.id"] == id && line["days_left"].is_i64());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    about
        .map(|line| {
            assert_eq!(line["topic"], TOPIC);
            (text(&line["level"]), line["days_left"].as_i64().unwrap(), text(&line["message"]))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_of_a_certificate_that_runs_out_is_logged_once() {
    let process = Process::serve(&[("PUSHLET_LOG__FORMAT", "json")]);
    let (week, day) = (identity(6), identity(1));

    register(&process, "long", &identity(40)).await;
    register(&process, "month", &identity(30)).await;
    register(&process, "shop", &week).await;
    register(&process, "shop", &week).await;
    register(&process, "shop", &day).await;
    process.line("within two days");

    let soon = |days| {
        let message = "a certificate runs out soon; register a new one".to_owned();
        ("WARN".to_owned(), days, message)
    };
    assert_eq!(lines(&process, "long"), []);
    assert_eq!(lines(&process, "month"), [soon(29)]);
    let now = "a certificate runs out within two days; register a new one now".to_owned();
    assert_eq!(lines(&process, "shop"), [soon(5), ("ERROR".to_owned(), 0, now)]);
}

#[test]
fn an_application_of_the_configuration_is_logged_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("shop.p12"), identity(20).p12("")).unwrap();
    let file = folder.path().join("pushlet.toml");
    let entry = "[[applications]]\napplication_id = \"shop\"\napns_p12_file = \"shop.p12\"\n";
    std::fs::write(&file, entry).unwrap();

    let process = Process::serve(&[
        ("PUSHLET_LOG__FORMAT", "json"),
        ("PUSHLET_CONFIG", file.to_str().unwrap()),
    ]);
    process.line("listening");

    let message = "a certificate runs out soon; register a new one".to_owned();
    assert_eq!(lines(&process, "shop"), [("WARN".to_owned(), 19, message)]);
}

/// The relay looks on while it runs: here in a world that is a year ahead.
#[tokio::test(flavor = "multi_thread")]
async fn time_that_passes_is_noticed_until_the_relay_ends() {
    let config = Config::default();
    let apns = Arc::new(apns::Context::new(config.apns, Homes::new(Handle::current())).unwrap());
    let fcm = Arc::new(fcm::Context::new(config.fcm, Homes::new(Handle::current())).unwrap());
    let registry = Arc::new(Registry::new(10, &feedback::Settings::default()));
    let p12 = STANDARD.encode(identity(300).p12(""));
    let entry = Preload {
        application_id: "shop".to_owned(),
        apns_p12: Some(Source::Text(Secret::new(p12))),
        ..Preload::default()
    };
    Preloaded::default().apply(&[entry], &registry, &apns, &fcm);
    let said = || registry.find("shop").unwrap().record.said();
    assert_eq!(said(), None);

    let clock = || OffsetDateTime::now_utc() + Duration::from_secs(365 * 24 * 60 * 60);
    let every = Duration::from_millis(20);
    let watch = Watch::start(Arc::clone(&registry), every, clock, &Handle::current());
    for _ in 0..3_000 {
        if said().is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    assert_eq!(said(), Some(Nearness::Past));
    drop(watch);
    for _ in 0..3_000 {
        if Arc::strong_count(&registry) == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the watch goes on");
}
