//! `pushlet send`: one message without a relay, and what its exit code tells.

use http::StatusCode;
use pushlet::simulator::Options;
use pushlet::simulator::record::Provider;
use pushlet::simulator::script::{Answer, Rule};
use serde_json::{Value, json};

use super::{Ended, File, run_with};
use crate::support::keys::{Authority, signing_key_p8};
use crate::support::relay::{Peer, TOKEN, TOPIC};

/// A peer, and a certificate to show it.
struct Bench {
    peer: Peer,
    file: File,
}

impl Bench {
    fn start() -> Self {
        let p12 = Authority::new().apple_certificate(TOPIC).build().p12("se cret");
        Self { peer: Peer::with(Options::default()), file: File::new("cert.p12", &p12) }
    }

    /// The environment that leads to the peer.
    fn environment(&self) -> Vec<(&'static str, String)> {
        let config = &self.peer.config;
        let apns = config.apns.production_url.to_string();
        let ca_file = config.apns.ca_file.as_ref().unwrap().display().to_string();
        vec![
            ("PUSHLET_APNS__PRODUCTION_URL", apns.clone()),
            ("PUSHLET_APNS__SANDBOX_URL", apns),
            ("PUSHLET_APNS__CA_FILE", ca_file),
            ("PUSHLET_FCM__URL", config.fcm.url.to_string()),
            ("PUSHLET_GCM__LEGACY_URL", config.gcm.legacy_url.as_ref().unwrap().to_string()),
            // Nobody is listened to, so nobody has to be kept out.
            ("PORT", "1".to_owned()),
        ]
    }

    fn run(&self, arguments: &[&str], more: &[(&str, &str)], input: &[u8]) -> Ended {
        let environment = self.environment();
        let environment = environment.iter().map(|(name, value)| (*name, value.as_str()));
        let environment: Vec<_> = environment.chain(more.iter().copied()).collect();
        run_with(&[&["send"], arguments].concat(), &environment, input)
    }

    /// Sends with the certificate.
    fn apple(&self, arguments: &[&str]) -> Ended {
        self.apple_with(arguments, &[])
    }

    fn apple_with(&self, arguments: &[&str], more: &[(&str, &str)]) -> Ended {
        let p12 = format!("apns_p12=@{}", self.file.path);
        let credential = [p12.as_str(), "apns_p12_pass_env=SECRET"];
        let more = [&[("SECRET", "se cret")], more].concat();
        self.run(&[&credential, arguments].concat(), &more, b"")
    }

    /// Payload and apns-id of the last message that Apple got.
    fn last(&self) -> (Value, String) {
        let last = self.peer.simulator.received().pop().expect("a message");
        (serde_json::from_slice(&last.payload).unwrap(), last.apns_id.unwrap())
    }
}

fn to(token: &str) -> String {
    format!("device_token={token}")
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_comes_along_and_the_message_is_accepted() {
    let bench = Bench::start();

    let ended = bench.apple(&[&to(TOKEN), "alert=Grüße & mehr", "badge=3"]);

    let (payload, id) = bench.last();
    let sentence = format!("accepted by Apple, apns-id {id}\n");
    assert_eq!(ended, (Some(0), sentence, String::new()));
    assert_eq!(payload, json!({"aps": {"alert": "Grüße & mehr", "badge": 3}}));

    let (code, output, _) = bench.apple(&[&to(TOKEN), "alert=x", "--json"]);
    assert_eq!((code, output.as_str()), (Some(0), "{\"response\":\"ok\"}\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn values_come_from_files_and_standard_input() {
    let bench = Bench::start();
    let text = bench.file.beside("text", "from a file\r\n".as_bytes());
    let key = bench.file.beside("key.p8", &signing_key_p8());
    let credential = [
        format!("apns_p8=@{key}"),
        "apns_key_id=KEY1234567".to_owned(),
        "apns_team_id=TEAM123456".to_owned(),
        format!("apns_topic={TOPIC}"),
        to(TOKEN),
    ];
    let credential: Vec<&str> = credential.iter().map(String::as_str).collect();
    for (argument, alert) in [
        (format!("alert=@{text}"), "from a file"),
        ("alert=@-".to_owned(), "typed\n"),
        ("alert=@@home".to_owned(), "@home"),
        ("alert=a=b".to_owned(), "a=b"),
    ] {
        let arguments = [&credential[..], &[&argument]].concat();

        let (code, _, errors) = bench.run(&arguments, &[], b"typed\n\n");

        assert_eq!((code, errors.as_str()), (Some(0), ""), "{argument}");
        assert_eq!(bench.last().0, json!({"aps": {"alert": alert}}));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_code_tells_what_became_of_it() {
    let bench = Bench::start();
    let reject = |status, reason| Answer::reject(status, reason);
    let script = |token: &str, answer| {
        bench.peer.simulator.script(Rule::token(token, answer).forever());
    };
    script("01", reject(StatusCode::BAD_REQUEST, "BadDeviceToken"));
    script("02", reject(StatusCode::GONE, "Unregistered"));
    script("03", reject(StatusCode::BAD_REQUEST, "BadPriority"));
    script("04", reject(StatusCode::FORBIDDEN, "BadCertificate"));
    script("05", reject(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests"));
    script("06", reject(StatusCode::SERVICE_UNAVAILABLE, "Shutdown"));
    script("07", Answer::Never);
    script("08", reject(StatusCode::NOT_FOUND, ""));
    for (token, code, error) in [
        ("01", 2, "invalid_device_token"),
        ("02", 2, "device_token_unregistered"),
        ("03", 2, "apns_rejected"),
        ("04", 3, "apns_credentials_rejected"),
        ("05", 4, "apns_throttled"),
        ("06", 4, "apns_unavailable"),
        ("07", 5, "apns_timeout"),
        ("08", 5, "apns_protocol_error"),
    ] {
        let timeout = [("PUSHLET_APNS__TIMEOUT", "3s")];

        let (found, output, errors) =
            bench.apple_with(&[&to(token), "alert=x", "--json"], &timeout);

        let body: Value = serde_json::from_str(&output).unwrap();
        assert_eq!((found, body["error"].as_str()), (Some(code), Some(error)), "{output}{errors}");
    }
}

#[test]
fn message_to_nobody_who_is_there_was_not_sent() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("https://{closed}");
    let pem = Authority::new().apple_certificate(TOPIC).build().pem();
    let file = File::new("cert.pem", &pem);
    let environment = [("PUSHLET_APNS__PRODUCTION_URL", url.as_str())];
    let pem = format!("apns_pem=@{}", file.path);

    let (code, output, errors) =
        run_with(&["send", &pem, &to(TOKEN), "alert=x"], &environment, b"");

    assert_eq!((code, output.as_str()), (Some(4), ""));
    let start = format!("pushlet: apple could not be reached: {closed}: ");
    assert!(errors.starts_with(&start), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_list_of_authorities_is_named_and_nothing_is_sent() {
    let bench = Bench::start();
    let list = bench.file.beside("list.pem", b"no certificate at all");

    let (code, output, errors) =
        bench.apple_with(&[&to(TOKEN), "alert=x"], &[("SSL_CERT_FILE", &list)]);

    assert_eq!((code, output.as_str()), (Some(4), ""));
    let sentence = format!("the system's list of authorities, {list}, is bad: ");
    assert!(errors.contains(&sentence), "{errors}");
    assert_eq!(bench.peer.simulator.received().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_before_anything_is_sent_has_its_code() {
    let bench = Bench::start();
    let expired = Authority::new().apple_certificate(TOPIC).valid(-9, -2).build().pem();
    let expired = format!("apns_pem=@{}", bench.file.beside("old.pem", &expired));
    let p12 = format!("apns_p12=@{}", bench.file.path);
    let token = to(TOKEN);
    let cases: [(&[&str], i32, &str); 11] = [
        (&["frobnicate=1", &token], 1, "unknown_parameter"),
        (&["alert=x"], 1, "device_token_required"),
        (&[&token, "priority=10", "content_available=1"], 2, "invalid_priority"),
        (&[&token], 2, "empty_notification"),
        (&[&token, "badge=many"], 2, "invalid_badge"),
        (&["device_token=phone", "alert=x"], 2, "invalid_device_token"),
        (&[&token, "alert=x", "apns_mode=both"], 1, "invalid_apns_mode"),
        (&[&token, "alert=x", "gcm_api_key=KEY"], 1, "missing_type"),
        (&[&token, "alert=x", "application_id=a b"], 1, "invalid_application_id"),
        (&[&token, "alert=x", "type=gcm"], 1, "missing_credentials"),
        (&[&token, "alert=x", "apns_key_id=KEY1234567"], 1, "conflicting_parameters"),
    ];

    for (arguments, code, error) in cases {
        let (found, output, _) = bench.apple(&[arguments, &["--json"]].concat());

        let body: Value = serde_json::from_str(&output).unwrap();
        assert_eq!((found, body["error"].as_str()), (Some(code), Some(error)), "{arguments:?}");
    }
    for (arguments, code, error) in [
        ([expired.as_str(), &token, "alert=x", "--json"], 3, "invalid_apns_pem"),
        ([&p12, &token, "alert=x", "--json"], 3, "invalid_apns_p12"),
        (["application_id=nobody", &token, "alert=x", "--json"], 1, "application_not_found"),
    ] {
        let (found, output, _) = bench.run(&arguments, &[], b"");

        let body: Value = serde_json::from_str(&output).unwrap();
        assert_eq!((found, body["error"].as_str()), (Some(code), Some(error)), "{arguments:?}");
    }
    assert_eq!(bench.peer.simulator.received(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_told_in_a_sentence() {
    let bench = Bench::start();
    let nothing = String::new;
    let ended = |sentence: &str| (Some(1), nothing(), format!("pushlet: {sentence}\n"));

    let (code, output, errors) = bench.apple(&["device_token=5e750400", "alert=x"]);
    assert_eq!((code, output), (Some(2), nothing()));
    assert_eq!(
        errors,
        "pushlet: apple does not know this device token here; usual causes: a token of the sandbox \
         sent to production or the other way round (apns_mode), or a token of an app with another \
         topic\n"
    );
    assert_eq!(bench.apple(&["alert"]), ended("`alert` is no NAME=VALUE; write it so"));
    assert_eq!(
        bench.apple(&["alert=@/nowhere/x"]),
        ended("/nowhere/x could not be read for alert: No such file or directory (os error 2)")
    );
    assert_eq!(
        bench.apple(&["gcm_api_key_env=NOWHERE"]),
        ended("the environment variable NOWHERE is not set; set it")
    );
    let (code, _, errors) = bench.apple_with(&["alert=x"], &[("PUSHLET_APNS__TIMEOUT", "long")]);
    assert_eq!(code, Some(1));
    assert!(errors.starts_with("pushlet: the configuration is wrong\n"), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_that_runs_out_is_warned_of_beside_the_answer() {
    let bench = Bench::start();
    let soon = Authority::new().apple_certificate(TOPIC).valid(-9, 3).build().pem();
    let soon = format!("apns_pem=@{}", bench.file.beside("soon.pem", &soon));

    let (code, output, errors) = bench.run(&[&soon, &to(TOKEN), "alert=x", "--json"], &[], b"");

    assert_eq!((code, output.as_str()), (Some(0), "{\"response\":\"ok\"}\n"));
    assert_eq!(
        errors,
        "pushlet: warning: the certificate runs out in 2 days; register a new one\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn applications_of_a_configuration_can_be_used() {
    let bench = Bench::start();
    let config = r#"
[compat]
always_200 = true
[[applications]]
application_id = "shop"
apns_p12_file = "cert.p12"
apns_p12_pass_env = "SECRET"
[[applications]]
application_id = "news"
apns_pem_file = "nowhere.pem"
"#;
    let config = bench.file.beside("pushlet.toml", config.as_bytes());
    let send = |id: &str, token: &str| {
        let id = format!("application_id={id}");
        let arguments = ["--config", &config, &id, &to(token), "alert=x"];
        bench.run(&arguments, &[("SECRET", "se cret")], b"")
    };

    let (code, output, errors) = send("shop", TOKEN);
    assert_eq!((code, errors.as_str()), (Some(0), ""), "{output}");
    let (code, _, _) = send("shop", "5e750410");
    assert_eq!(code, Some(2), "whatever status the relay would give");
    let (code, _, errors) = send("news", TOKEN);
    assert_eq!(code, Some(3), "{errors}");
    assert!(errors.contains("nowhere.pem"), "the log says which file: {errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn google_is_reached_by_account_and_by_key() {
    let bench = Bench::start();
    let account = bench.peer.simulator.service_account("shop-1").unwrap();
    let account = bench.file.beside("account.json", account.as_bytes());
    let account = format!("fcm_service_account=@{account}");
    let simulator = &bench.peer.simulator;
    simulator.script(Rule::token("lost", Answer::Drop).forever());
    let unavailable = Answer::reject(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE");
    simulator.script(Rule::token("later", unavailable).forever());
    let gone = Answer::reject(StatusCode::NOT_FOUND, "UNREGISTERED");
    simulator.script(Rule::token("gone", gone).forever());

    let (code, output, errors) = bench.run(&[&account, &to("phone"), "alert=x"], &[], b"");
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    assert!(output.starts_with("accepted, message id 0:"), "{output}");
    assert_eq!(simulator.received().pop().unwrap().provider, Provider::Fcm);

    for (tokens, code, lines) in [
        (r#"["gone"]"#, 2, "refused: NotRegistered"),
        (r#"["gone","later"]"#, 4, "refused: NotRegistered\nrefused: Unavailable"),
        (
            r#"["later","lost"]"#,
            5,
            "refused: Unavailable\nno answer (Unavailable); it may have arrived, sending it again \
             may notify twice",
        ),
    ] {
        let tokens = format!("registration_ids={tokens}");
        let (found, output, _) = bench.run(&[&account, &tokens, "alert=x"], &[], b"");
        assert_eq!((found, output), (Some(code), format!("{lines}\n")));
    }

    let key = [("KEY", "AIza")];
    let (code, output, _) = bench.run(&["gcm_api_key_env=KEY", &to("phone"), "alert=x"], &key, b"");
    assert_eq!(code, Some(0));
    assert!(output.starts_with("accepted, message id "), "{output}");
    assert_eq!(simulator.received().pop().unwrap().provider, Provider::Gcm);
}
