//! What the log of a running relay says, and what it never says.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use pushlet::simulator::script::{Answer, Rule};
use reqwest::{Client, RequestBuilder};

use crate::support::keys::Authority;
use crate::support::relay::{Peer, TOKEN, TOPIC};
use crate::support::wire::{FEEDBACK, FORM, REGISTER, SEND, encoded, seen};

/// A relay in a process of its own, which ends with the test.
struct Process {
    child: Child,
    log: BufReader<std::process::ChildStderr>,
    url: String,
    client: Client,
}

impl Process {
    /// Starts it; the log up to the line that says where it listens is read.
    fn start(environment: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_pushlet"))
            .arg("serve")
            .env_clear()
            .envs(environment.iter().copied())
            .env("PUSHLET_SERVER__BIND", "127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let url = loop {
            let mut line = String::new();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "it ended before it listened");
            if let Some((_, rest)) = line.split_once("http://") {
                let end = rest.find(|c: char| c != '.' && c != ':' && !c.is_ascii_digit());
                break format!("http://{}", &rest[..end.unwrap_or(rest.len())]);
            }
        };
        Self { child, log, url, client: Client::builder().no_proxy().build().unwrap() }
    }

    fn form(&self, path: &str, fields: &[(&str, &str)]) -> RequestBuilder {
        let request = self.client.post(format!("{}{path}", self.url)).body(encoded(fields));
        request.header("content-type", FORM).basic_auth("backend", Some("open-sesame"))
    }

    /// Ends it, and all that it said since it listens.
    fn stop(mut self) -> String {
        self.child.kill().unwrap();
        let mut log = String::new();
        self.log.read_to_string(&mut log).unwrap();
        log
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_the_log_or_in_an_answer() {
    let peer = Peer::start();
    let ca_file = peer.config.apns.ca_file.as_ref().unwrap().to_str().unwrap();
    let legacy_url = format!("{}/gcm/send", peer.simulator.http_url());
    let relay = Process::start(&[
        ("PUSHLET_LOG__LEVEL", "trace"),
        ("PUSHLET_USERNAME", "backend"),
        ("PUSHLET_PASSWORD", "open-sesame"),
        ("PUSHLET_APNS__PRODUCTION_URL", &peer.simulator.apns_url()),
        ("PUSHLET_APNS__CA_FILE", ca_file),
        ("PUSHLET_GCM__LEGACY_URL", &legacy_url),
    ]);
    let pem = Authority::new().apple_certificate(TOPIC).build();
    let pem = [pem.certificate_pem(), pem.encrypted_key_pem("pem-sesame")].concat();
    let pem = String::from_utf8(pem).unwrap();
    let app = ("application_id", "app");
    let key = ("gcm_api_key", "AIzaVerySecret");
    let phone = ("device_token", TOKEN);
    let alert = ("alert", "call me at noon");
    let data = ("data", r#"{"room":"confidential"}"#);

    let mut answers = Vec::new();
    for (path, fields) in [
        (REGISTER, &[app, ("apns_pem", &*pem), ("apns_pem_pass", "wrong-sesame")][..]),
        (REGISTER, &[app, ("apns_pem", &pem), ("apns_pem_pass", "pem-sesame")]),
        (SEND, &[app, phone, alert, data]),
        (SEND, &[app, phone, alert, ("badge", "-1")]),
        (SEND, &[key, ("device_token", "42-registration-token"), alert, data]),
        (SEND, &[("gcm_api_key", "badVerySecret"), ("device_token", "42-registration-token")]),
        (SEND, &[("gcm_api_key", "line\nVerySecret"), ("device_token", "42-registration-token")]),
        (FEEDBACK, &[app]),
    ] {
        answers.push(seen(relay.form(path, fields)).await.body);
    }
    for lost in [Answer::Drop, Answer::Reset { code: 2 }, Answer::GoAway { code: Some(2) }] {
        peer.simulator.script(Rule::token(TOKEN, lost.clone()));
        peer.simulator.script(Rule::token("42-registration-token", lost));
        answers.push(seen(relay.form(SEND, &[app, phone, alert, data])).await.body);
        let gcm = [key, ("device_token", "42-registration-token"), alert, data];
        answers.push(seen(relay.form(SEND, &gcm)).await.body);
    }
    let wrong = relay.client.post(format!("{}{FEEDBACK}", relay.url));
    let wrong = wrong.basic_auth("backend", Some("shut-sesame"));
    answers.push(seen(wrong).await.body);
    let log = relay.stop();

    assert!(log.contains("an application was registered"), "{log}");
    assert!(log.contains(&TOKEN[..8]), "the log names messages: {log}");
    for text in answers.iter().chain([&log]) {
        for secret in [
            "sesame",
            "VerySecret",
            "PRIVATE KEY",
            "call me",
            "confidential",
            &TOKEN[..16],
            "42-registration-token",
            "YmFja2VuZDpvcGVu",
        ] {
            assert!(!text.contains(secret), "`{secret}` is in: {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_id_of_a_call_is_on_the_lines_of_its_log() {
    let relay = Process::start(&[
        ("PUSHLET_LOG__LEVEL", "debug"),
        ("PUSHLET_LOG__FORMAT", "json"),
        ("PUSHLET_USERNAME", "backend"),
        ("PUSHLET_PASSWORD", "open-sesame"),
    ]);
    let p12 = Authority::new().apple_certificate(TOPIC).build().p12("");
    let p12 = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, p12);

    let fields = [("application_id", "app"), ("apns_p12", &*p12)];
    let call = relay.form(REGISTER, &fields).header("x-request-id", "call-7f3c");
    assert_eq!(seen(call).await.status, 200);

    let log = relay.stop();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("was registered")).collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(lines[0].contains("call-7f3c"), "{}", lines[0]);
}
