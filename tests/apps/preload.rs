//! `[[applications]]`: every way to bring a credential, and what becomes of those that are no good.

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use tempfile::TempDir;

use crate::support::keys::{Authority, Identity, signing_key_p8};
use crate::support::process::Process;
use crate::support::relay::{Answer, Peer, TOKEN, TOPIC, answer};

/// A configuration file, and files beside it.
struct Folder(TempDir);

impl Folder {
    fn new(files: &[(&str, &[u8])], applications: &[String]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, contents) in files {
            fs::write(folder.path().join(name), contents).unwrap();
        }
        let entries: String =
            applications.iter().map(|entry| format!("[[applications]]\n{entry}\n")).collect();
        fs::write(folder.path().join("pushlet.toml"), entries).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> String {
        Path::new(self.0.path()).join(name).display().to_string()
    }

    /// A relay that reads it.
    fn serve(&self, peer: &Peer, environment: &[(&str, &str)]) -> Process {
        let config = self.path("pushlet.toml");
        let named = [("PUSHLET_CONFIG", config.as_str())];
        Process::serve_before(peer, &[&named, environment].concat())
    }
}

async fn post(process: &Process, path: &str, body: String) -> Answer {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}{path}", process.address());
    answer(client.post(url).header("content-type", "application/json").body(body)).await
}

async fn send(process: &Process, id: &str) -> Answer {
    let body = format!(r#"{{"application_id":"{id}","device_token":"{TOKEN}","alert":"hello"}}"#);
    post(process, "/send_notification", body).await
}

fn accepted() -> Answer {
    Answer { status: 200, body: r#"{"response":"ok"}"#.to_owned() }
}

/// What a send hears whose application has a credential that cannot be used.
fn rejected(reason: &str) -> Answer {
    let body = format!(
        r#"{{"error":"apns_credentials_rejected","message":"the credential of this application cannot be used; register another one: {reason}"}}"#
    );
    Answer { status: 502, body }
}

/// What a caller is told who should not know the files and variables of the relay.
const UNREAD: &str = "it could not be read by the relay, whose log says why";

/// The last day of a certificate.
fn last_day(identity: &Identity) -> String {
    let der = identity.certificate.to_der().unwrap();
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).unwrap();
    certificate.validity().not_after.to_datetime().date().to_string()
}

fn identity() -> Identity {
    Authority::new().apple_certificate(TOPIC).build()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_bring_a_credential_works() {
    let (p12, pem, p8) = (identity().p12("secret"), identity().pem(), signing_key_p8());
    let (in_text, in_variable) = (STANDARD.encode(&p12), URL_SAFE_NO_PAD.encode(&p12));
    let pem_text = String::from_utf8(pem.clone()).unwrap();
    let p8_names = "apns_key_id = \"KEY1234567\"\napns_team_id = \"TEAM123456\"\n\
                    apns_topic = \"com.example.app\"";
    let ways = [
        ("p12-file", "apns_p12_file = \"app.p12\"\napns_p12_pass = \"secret\"".to_owned()),
        ("p12-text", format!("apns_p12 = \"{in_text}\"\napns_p12_pass_env = \"P12_PASSWORD\"")),
        ("p12-env", "apns_p12_env = \"P12\"\napns_p12_pass = \"secret\"".to_owned()),
        ("pem-file", "apns_pem_file = \"app.pem\"".to_owned()),
        ("pem-text", format!("apns_pem = '''\n{pem_text}'''")),
        ("pem-env", "apns_pem_env = \"PEM\"".to_owned()),
        ("pem-env-base64", "apns_pem_env = \"PEM_BASE64\"".to_owned()),
        ("p8-file", format!("apns_p8_file = \"key.p8\"\n{p8_names}")),
        ("p8-env", format!("apns_p8_env = \"P8\"\n{p8_names}\napns_mode = \"sandbox\"")),
    ];
    let entry = |(id, way): &(&str, String)| format!("application_id = \"{id}\"\n{way}");
    let folder = Folder::new(
        &[("app.p12", &p12), ("app.pem", &pem), ("key.p8", &p8)],
        &ways.iter().map(entry).collect::<Vec<_>>(),
    );
    let peer = Peer::start();
    let process = folder.serve(
        &peer,
        &[
            ("P12", &in_variable),
            ("P12_PASSWORD", "secret"),
            ("PEM", &pem_text),
            ("PEM_BASE64", &STANDARD.encode(&pem)),
            ("P8", std::str::from_utf8(&p8).unwrap()),
        ],
    );

    for (id, _) in &ways {
        assert_eq!(send(&process, id).await, accepted(), "{id}");
    }

    assert!(process.line("listening").ends_with("applications=9"));
    let topics: Vec<_> = peer.simulator.received().into_iter().map(|got| got.topic).collect();
    assert_eq!(topics, vec![Some(TOPIC.to_owned()); ways.len()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn credential_that_is_no_good_costs_its_own_application_only() {
    let expired = Authority::new().apple_certificate(TOPIC).valid(-9, -1).build();
    let end = last_day(&expired);
    let entry = |id: &str, way: &str| format!("application_id = \"{id}\"\n{way}");
    let folder = Folder::new(
        &[("fine.p12", &identity().p12("")), ("old.p12", &expired.p12("")), ("broken.p12", b"?")],
        &[
            entry("fine", "apns_p12_file = \"fine.p12\""),
            entry("expired", "apns_p12_file = \"old.p12\""),
            entry("unreadable", "apns_p12_file = \"broken.p12\""),
            entry("missing", "apns_p12_file = \"gone.p12\"\napns_topic = \"com.example.app\""),
            entry("unset", "apns_pem_env = \"NOT_SET\""),
        ],
    );
    let peer = Peer::start();

    let process = folder.serve(&peer, &[("PUSHLET_LOG__FORMAT", "json")]);

    let reasons = [
        (
            "expired",
            format!("cannot use apns_p12: the certificate expired on {end}; register a new one"),
        ),
        ("unreadable", "the credential is neither DER nor PEM nor base64".to_owned()),
        (
            "missing",
            format!(
                "{} could not be read: No such file or directory (os error 2)",
                folder.path("gone.p12")
            ),
        ),
        ("unset", "the environment variable NOT_SET is not set".to_owned()),
    ];
    assert!(process.line("listening").contains("\"applications\":5"));
    for (id, reason) in reasons {
        let line: serde_json::Value =
            serde_json::from_str(&process.line(&format!("\"app.id\":\"{id}\""))).unwrap();
        assert_eq!((&line["level"], &line["reason"]), (&"ERROR".into(), &reason.as_str().into()));
        let told = if id == "expired" { reason.as_str() } else { UNREAD };
        assert_eq!(send(&process, id).await, rejected(told), "{id}");
        let p12 = STANDARD.encode(identity().p12(""));
        let body = format!(r#"{{"application_id":"{id}","apns_p12":"{p12}"}}"#);
        assert_eq!(post(&process, "/register_application", body).await.status, 200);
        assert_eq!(send(&process, id).await, accepted(), "{id}, registered anew");
    }
    assert_eq!(send(&process, "fine").await, accepted());
}
