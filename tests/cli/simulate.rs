//! `pushlet simulate` and `pushlet serve` as two processes, put together as a person would.

use std::fs;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::support::keys::Authority;
use crate::support::process::{Process, until};
use crate::support::relay::{Answer, TOKEN, TOPIC, answer};

const FREE_PORTS: [&str; 5] = ["simulate", "--apns", "127.0.0.1:0", "--http", "127.0.0.1:0"];

async fn post(process: &Process, path: &str, body: String) -> Answer {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}{path}", process.address());
    answer(client.post(url).header("content-type", "application/json").body(body)).await
}

/// A simulator with these arguments beside, and a relay that reads what it printed.
async fn pair(folder: &tempfile::TempDir, more: &[&str]) -> (Process, Process) {
    let ca_file = folder.path().join("a \"quoted\" ca.pem").display().to_string();
    let simulator =
        Process::start(&[&FREE_PORTS, ["--ca-file", &ca_file].as_slice(), more].concat(), &[]);
    simulator.printed("says what to answer next");
    let config = folder.path().join("pushlet.toml");
    fs::write(&config, simulator.output().join("\n")).unwrap();
    let relay = Process::start(
        &["serve", "--config", config.to_str().unwrap()],
        &[("PUSHLET_SERVER__BIND", "127.0.0.1:0")],
    );
    let p12 = STANDARD.encode(Authority::new().apple_certificate(TOPIC).build().p12(""));
    let body = format!(r#"{{"application_id":"app","apns_p12":"{p12}"}}"#);
    assert_eq!(post(&relay, "/register_application", body).await.status, 200);
    (simulator, relay)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_prints_is_a_configuration_that_works() {
    let folder = tempfile::tempdir().unwrap();
    let (mut simulator, relay) = pair(&folder, &[]).await;

    let apple = format!(r#"{{"application_id":"app","device_token":"{TOKEN}","alert":"hello"}}"#);
    let google = r#"{"gcm_api_key":"KEY","device_token":"phone","data":{"text":"hello"}}"#;
    let apple = post(&relay, "/send_notification", apple).await;
    let google = post(&relay, "/send_notification", google.to_owned()).await;

    assert_eq!((apple.status, apple.body.as_str()), (200, r#"{"response":"ok"}"#));
    assert_eq!((google.status, google.json()["success"].as_u64()), (200, Some(1)));
    simulator
        .printed(r#"apns 740f4707… com.example.app alert: accepted {"aps":{"alert":"hello"}}"#);
    simulator.printed("gcm phone…: accepted ");
    simulator.signal("TERM");
    assert_eq!(simulator.exit_code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn accept_all_takes_everything_and_shows_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (simulator, relay) = pair(&folder, &["--accept-all"]).await;
    let printed = simulator.output();

    let wrong_topic = format!(
        r#"{{"application_id":"app","device_token":"{TOKEN}","alert":"hello","topic":"com.other"}}"#
    );
    let answer = post(&relay, "/send_notification", wrong_topic).await;

    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"response":"ok"}"#));
    assert_eq!(simulator.output(), printed);
}

#[test]
fn address_in_use_is_told() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();

    let mut simulator = Process::start(&["simulate", "--apns", &address], &[]);

    assert_eq!(simulator.exit_code(), Some(1));
    let sentence = format!(
        "pushlet: the simulator could not start: can't listen on {address}: Address already in \
         use (os error 98); choose another address"
    );
    until("the sentence is there", || simulator.log() == [sentence.as_str()]);
}
