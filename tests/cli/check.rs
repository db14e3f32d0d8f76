//! `pushlet check`: configurations good and bad, and peers that take credentials or do not.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use pushlet::simulator::Options;
use pushlet::simulator::record::{Provider, Received};
use pushlet::simulator::script::{Answer, Rejection, Rule};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{File, run};
use crate::support::credentials::{certificate, read_p12};
use crate::support::keys::{Authority, signing_key_p8};
use crate::support::relay::{Peer, TOPIC};

const NOBODY: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The simulator in the words of a configuration file.
fn peers(peer: &Peer) -> String {
    let apns = &peer.config.apns;
    format!(
        "[apns]\nproduction_url = {:?}\nsandbox_url = {:?}\nca_file = {:?}\n[fcm]\nurl = {:?}\n",
        apns.production_url.as_str(),
        apns.sandbox_url.as_str(),
        apns.ca_file.as_ref().unwrap(),
        peer.config.fcm.url.as_str(),
    )
}

/// What `--json` says of a configuration, and the exit code.
fn check(file: &File, more: &[&str]) -> (Option<i32>, Value) {
    let (code, output, errors) =
        run(&[&["check", "--json", "--config", &file.path], more].concat());
    assert_eq!(errors, "");
    (code, serde_json::from_str(&output).unwrap())
}

/// Three applications, with a certificate, a signing key and a service account.
struct Shop {
    file: File,
    not_after: String,
}

impl Shop {
    fn new(peer: &Peer) -> Self {
        let p12 = Authority::new().apple_certificate(TOPIC).build().p12("");
        let not_after = certificate("shop", read_p12(&p12, "")).not_after;
        let file = File::new("cert.p12", &p12);
        file.beside("key.p8", &signing_key_p8());
        let account = peer.simulator.service_account("shop-1").unwrap();
        file.beside("account.json", account.as_bytes());
        let config = peers(peer) + APPLICATIONS;
        let path = file.beside("pushlet.toml", config.as_bytes());
        let file = File { path, ..file };
        Self { file, not_after: not_after.format(&Rfc3339).unwrap() }
    }
}

const APPLICATIONS: &str = r#"
[[applications]]
application_id = "shop"
apns_p12_file = "cert.p12"
fcm_service_account_file = "account.json"
[[applications]]
application_id = "news"
apns_p8_file = "key.p8"
apns_key_id = "KEY1234567"
apns_team_id = "TEAM123456"
apns_topic = "com.example.news"
apns_mode = "sandbox"
[[gcm.bridge]]
api_key = "old"
service_account = "account.json"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn right_configuration_is_summed_up() {
    let peer = Peer::start();
    let shop = Shop::new(&peer);

    assert_eq!(
        check(&shop.file, &[]),
        (
            Some(0),
            json!({
                "ok": true,
                "problems": [],
                "warnings": [],
                "applications": [
                    {
                        "application_id": "shop",
                        "apns": {
                            "credential": "certificate",
                            "topics": [TOPIC],
                            "environment": "production",
                            "not_after": shop.not_after,
                            "days_left": 364,
                        },
                        "fcm": {"project": "shop-1"},
                    },
                    {
                        "application_id": "news",
                        "apns": {
                            "credential": "token",
                            "key_id": "KEY1234567",
                            "team_id": "TEAM123456",
                            "topics": ["com.example.news"],
                            "environment": "development",
                        },
                    },
                    {"application_id": "gcm.bridge[0]", "fcm": {"project": "shop-1"}},
                ],
            })
        )
    );
    assert_eq!(peer.simulator.received(), [], "nobody is asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_are_asked_without_a_phone() {
    let peer = Peer::start();
    let shop = Shop::new(&peer);
    let known = Rejection {
        status: StatusCode::BAD_REQUEST,
        reason: "BadDeviceToken".to_owned(),
        timestamp_ms: None,
        retry_after_secs: None,
    };
    peer.simulator.script(Rule::token(NOBODY, Answer::Reject(known)).forever());

    let (code, found) = check(&shop.file, &["--connect"]);

    assert_eq!((code, &found["problems"]), (Some(0), &json!([])));
    let apple = json!({
        "url": peer.config.apns.production_url.as_str(),
        "ok": true,
        "answer": "takes the credential",
        "tls": "TLSv1.3",
        "max_concurrent_streams": 1000,
    });
    let url = peer.config.fcm.url.as_str();
    let google = json!({"url": url, "ok": true, "answer": "takes the credential"});
    let rows = &found["applications"];
    assert_eq!([&rows[0]["apns"]["peer"], &rows[1]["apns"]["peer"]], [&apple, &apple], "{found}");
    assert_eq!([&rows[0]["fcm"]["peer"], &rows[2]["fcm"]["peer"]], [&google, &google]);
    assert_eq!(found["endpoints"], json!([{"url": url, "ok": true, "answer": "reached"}]));
    assert_eq!(found["clock"]["url"], json!(url));
    assert!(found["clock"]["ahead_seconds"].as_i64().unwrap().abs() < 60, "{found}");
    assert_asked(&peer.simulator.received());
}

/// What the peers got: one message to nobody from each application, and messages to check.
fn assert_asked(received: &[Received]) {
    let of = |provider| received.iter().filter(move |message| message.provider == provider);
    let mut apple: Vec<_> = of(Provider::Apns)
        .map(|m| (m.topic.as_deref(), m.device_token.as_str(), m.push_type.as_deref()))
        .collect();
    apple.sort_unstable();
    assert_eq!(
        apple,
        [
            (Some(TOPIC), NOBODY, Some("background")),
            (Some("com.example.news"), NOBODY, Some("background")),
        ]
    );
    let google: Vec<Value> =
        of(Provider::Fcm).map(|m| serde_json::from_slice(&m.payload).unwrap()).collect();
    let checked = json!({"message": {"topic": "pushlet-check"}, "validate_only": true});
    assert_eq!(google, [checked.clone(), checked]);
}

#[tokio::test(flavor = "multi_thread")]
async fn people_read_it_line_by_line() {
    let peer = Peer::start();
    let shop = Shop::new(&peer);
    let (apns, fcm) = (peer.config.apns.production_url.as_str(), peer.config.fcm.url.as_str());

    let (code, output, errors) = run(&["check", "--connect", "--config", &shop.file.path]);

    let without_clock: Vec<_> =
        output.lines().filter(|line| !line.starts_with("clock   ")).collect();
    let until = &shop.not_after;
    assert_eq!((code, errors.as_str()), (Some(0), ""), "{output}");
    assert_eq!(
        without_clock,
        [
            "shop",
            &format!(
                "  apple   certificate for com.example.app, production, until {until} (364 days \
                 left)"
            ),
            &format!("          {apns} takes the credential (TLSv1.3, 1000 streams)"),
            "  google  project shop-1",
            &format!("          {fcm} takes the credential"),
            "news",
            "  apple   signing key KEY1234567 of team TEAM123456 for com.example.news, development",
            &format!("          {apns} takes the credential (TLSv1.3, 1000 streams)"),
            "gcm.bridge[0]",
            "  google  project shop-1",
            &format!("          {fcm} takes the credential"),
            &format!("{fcm} reached"),
            "no problem; 3 applications",
        ]
    );
    assert!(output.lines().any(|line| line.ends_with(&format!(" s from that of {fcm}"))));
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_problems() {
    let peer = Peer::start();
    let shop = Shop::new(&peer);
    let refuse = |reason: &str| Answer::reject(StatusCode::FORBIDDEN, reason);
    peer.simulator.script(Rule::token(NOBODY, refuse("InvalidProviderToken")).forever());
    let url = peer.config.apns.production_url.as_str();

    let (code, output, errors) = run(&["check", "--connect", "--config", &shop.file.path]);

    assert_eq!((code, errors.as_str()), (Some(1), "pushlet: 2 problems\n"), "{output}");
    for name in ["shop", "news"] {
        let line = format!(
            "problem: {name}: {url} refuses the credential or its topic: InvalidProviderToken"
        );
        assert!(output.lines().any(|found| found == line), "{output}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_that_tls_refuses_is_a_problem() {
    // Of the same name as the certificate's own, so that its signature is what does not fit.
    let stranger = Authority::new().pem();
    let options = Options { client_authorities: Some(stranger), ..Options::default() };
    let peer = Peer::with(options);
    let shop = Shop::new(&peer);

    let (code, found) = check(&shop.file, &["--connect"]);

    let row = &found["applications"][0]["apns"]["peer"];
    assert_eq!((code, &row["ok"]), (Some(1), &json!(false)), "{found}");
    let answer = row["answer"].as_str().unwrap();
    assert!(
        answer.starts_with("refuses the credential or its topic: decrypt_error (no connection: "),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn google_account_that_is_refused_is_a_problem() {
    let peer = Peer::start();
    let shop = Shop::new(&peer);
    let elsewhere = Peer::start();
    let account = elsewhere.simulator.service_account("shop-1").unwrap();
    let account = account.replace(&elsewhere.simulator.token_uri(), &peer.simulator.token_uri());
    shop.file.beside("account.json", account.replace("shop-1", "shop-2").as_bytes());
    peer.simulator.service_account("shop-2").unwrap();

    let (code, found) = check(&shop.file, &["--connect"]);

    let peer = &found["applications"][0]["fcm"]["peer"];
    assert_eq!((code, &peer["ok"]), (Some(1), &json!(false)), "{found}");
    assert_eq!(
        peer["answer"],
        "refuses the service account: the token endpoint refused the service account: \
         invalid_grant; was its key deleted, or is the clock of this machine wrong?"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_applications_the_endpoints_are_reached() {
    let peer = Peer::start();
    let file = File::new("pushlet.toml", peers(&peer).as_bytes());
    let (apns, fcm) = (peer.config.apns.production_url.as_str(), peer.config.fcm.url.as_str());
    let apple = json!({
        "url": apns, "ok": true, "answer": "reached",
        "tls": "TLSv1.3", "max_concurrent_streams": 1000,
    });

    let (code, found) = check(&file, &["--connect"]);

    assert_eq!((code, &found["ok"]), (Some(0), &json!(true)), "{found}");
    assert_eq!(
        found["endpoints"],
        json!([apple, apple, {"url": fcm, "ok": true, "answer": "reached"}])
    );
    assert_eq!(
        found["warnings"],
        json!(["no application is configured: all have to be registered by calls, after each \
                start"])
    );
}

#[test]
fn peers_that_are_not_there_are_problems() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = format!(
        "[apns]\nproduction_url = \"https://{closed}\"\nsandbox_url = \"https://{closed}\"\n\
         [fcm]\nurl = \"http://{closed}\"\n[gcm]\nlegacy_url = \"http://{closed}/gcm/send\"\n"
    );
    let file = File::new("pushlet.toml", config.as_bytes());

    let (code, found) = check(&file, &["--connect"]);

    let starts: Vec<String> = found["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| problem.as_str().unwrap().split(": ").next().unwrap().to_owned())
        .collect();
    let apple = format!("https://{closed}/ could not be reached");
    assert_eq!(
        (code, starts),
        (
            Some(1),
            vec![
                apple.clone(),
                apple,
                format!("http://{closed}/ could not be reached"),
                "gcm.legacy_url could not be reached".to_owned(),
            ]
        )
    );
}

#[test]
fn every_mistake_is_told_at_once() {
    let file = File::new("pushlet.toml", b"[server]\nbind = 1\n[apns]\ntimout = \"1s\"\n");

    let (code, found) = check(&file, &[]);

    assert_eq!((code, &found["ok"]), (Some(1), &json!(false)));
    assert_eq!(found["problems"].as_array().unwrap().len(), 2, "{found}");
    let (code, output, errors) = run(&["check", "--config", &file.path]);
    assert_eq!((code, errors.as_str()), (Some(1), "pushlet: 2 problems\n"));
    assert_eq!(output.lines().filter(|line| line.starts_with("problem: ")).count(), 2);
}

#[test]
fn more_applications_than_may_be_are_a_problem() {
    let pem = Authority::new().apple_certificate(TOPIC).build().pem();
    let file = File::new("a.pem", &pem);
    let entry = |id: &str| {
        format!("[[applications]]\napplication_id = {id:?}\napns_pem_file = \"a.pem\"\n")
    };
    let config = format!("[server]\nmax_applications = 1\n{}{}", entry("a"), entry("b"));
    let path = file.beside("pushlet.toml", config.as_bytes());

    let (code, found) = check(&File { path, ..file }, &[]);

    assert_eq!(
        (code, &found["problems"]),
        (
            Some(1),
            &json!([
                "`[[applications]]` has 2 entries, more than `server.max_applications` allows; \
                     raise it"
            ])
        )
    );
}

#[test]
fn certificate_of_the_listener_is_looked_at() {
    let key = Authority::new().server_certificate(&["localhost"]).key_pem();
    let shown = Authority::new().server_certificate(&["localhost"]).certificate_pem();
    let file = File::new("cert.pem", &shown);
    file.beside("key.pem", &key);
    let config = "[server]\ntls_cert = \"cert.pem\"\ntls_key = \"key.pem\"\n";
    let path = file.beside("pushlet.toml", config.as_bytes());

    let (code, found) = check(&File { path, ..file }, &[]);

    let problems = found["problems"].as_array().unwrap();
    assert_eq!((code, problems.len()), (Some(1), 1), "{found}");
    assert!(problems[0].as_str().unwrap().contains("`server.tls_key`"), "{found}");
}

#[test]
fn credentials_of_no_use_are_problems() {
    let expired = Authority::new().apple_certificate(TOPIC).valid(-9, -2).build().p12("");
    let soon = Authority::new()
        .apple_certificate(TOPIC)
        .without_topic()
        .production_only()
        .valid(-9, 3)
        .build();
    let file = File::new("expired.p12", &expired);
    file.beside("soon.pem", &soon.pem());
    file.beside("account.json", b"{}");
    let config = r#"
[[applications]]
application_id = "expired"
apns_p12_file = "expired.p12"
fcm_service_account_file = "account.json"
[[applications]]
application_id = "gone"
apns_p12_env = "NOWHERE"
[[applications]]
application_id = "soon"
apns_pem_file = "soon.pem"
apns_mode = "sandbox"
[[gcm.bridge]]
api_key = "old"
service_account = "/nowhere/account.json"
"#;
    let path = file.beside("pushlet.toml", config.as_bytes());
    let day = (OffsetDateTime::now_utc() - time::Duration::days(2)).date();

    let (code, found) = check(&File { path, ..file }, &[]);

    assert_eq!(code, Some(1));
    assert_eq!(
        found["problems"],
        json!([
            format!(
                "expired: cannot use apns_p12: the certificate expired on {day}; register a new one"
            ),
            "expired: cannot use fcm_service_account: it has no `project_id`; give the file that google made",
            "gone: the environment variable NOWHERE is not set",
            "gcm.bridge[0]: /nowhere/account.json could not be read: No such file or directory (os error 2)",
        ])
    );
    assert_eq!(
        found["warnings"],
        json!([
            "soon: the certificate runs out in 2 days; renew it",
            "soon: the certificate is not for development; give it the other apns_mode",
            "soon: it has no topic of its own; give it apns_topic, or topic with each message",
        ])
    );
}

/// Answers one request at a time, at a clock that is off.
fn clock_off_by(seconds: i64) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        while let Ok((mut socket, _)) = listener.accept() {
            let apart = Duration::from_secs(seconds.unsigned_abs());
            let now = SystemTime::now();
            let date = if seconds < 0 { now - apart } else { now + apart };
            let date = httpdate::fmt_http_date(date);
            let _ = socket.read(&mut [0; 4096]);
            let head =
                format!("HTTP/1.1 404 Not Found\r\nDate: {date}\r\nConnection: close\r\n\r\n");
            let _ = socket.write_all(head.as_bytes());
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_are_compared() {
    let peer = Peer::start();
    for (off, place, is_problem) in [
        (-300, Some("ahead of"), false),
        (300, Some("behind"), false),
        (-3_000, Some("ahead of"), true),
        (30, None, false),
    ] {
        let url = clock_off_by(off);
        let config = peers(&peer).replace(peer.config.fcm.url.as_str(), &url);
        let file = File::new("pushlet.toml", config.as_bytes());

        let (code, found) = check(&file, &["--connect"]);

        let list = if is_problem { &found["problems"] } else { &found["warnings"] };
        let said: Vec<_> = list
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|sentence| {
                sentence.as_str().unwrap().strip_prefix("the clock of this machine is ")
            })
            .collect();
        assert_eq!(code, Some(i32::from(is_problem)), "{found}");
        let ahead = found["clock"]["ahead_seconds"].as_i64().unwrap();
        assert!((ahead + off).abs() < 25, "{off}: {ahead}");
        match place {
            None => assert_eq!(said, [""; 0]),
            Some(place) => assert_eq!(
                said,
                [format!(
                    "{} s {place} that of {url}/; set it, tokens with a wrong time are refused",
                    ahead.abs()
                )]
            ),
        }
    }
}
