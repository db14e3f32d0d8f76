//! `pushlet inspect`: files as people have them, good and bad.

use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use pushlet::simulator::service_account::ServiceAccount;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use super::{Ended, File, run, run_with};
use crate::support::credentials::{certificate, read_p12};
use crate::support::keys::{Authority, Identity, P12, ec_key, signing_key_p8};
use crate::support::tools::require;

const TOPIC: &str = "com.example.app";

fn identity() -> Identity {
    Authority::new().apple_certificate(TOPIC).topic("com.example.app.voip", "voip").build()
}

/// What `--json` says of a file, and the exit code.
fn report(file: &File, more: &[&str]) -> (Option<i32>, Value) {
    let (code, output, errors) = run(&[&["inspect", "--json", &file.path], more].concat());
    assert_eq!(errors, "");
    (code, serde_json::from_str(&output).unwrap())
}

/// The certificate of an identity, as the report has it.
fn expected_certificate(identity: &Identity) -> Value {
    let read = certificate("expected", read_p12(&identity.p12(""), ""));
    let time = |time: time::OffsetDateTime| time.format(&Rfc3339).unwrap();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let certificate = &identity.certificate;
    json!({
        "subject": "CN=Apple Push Services: com.example.app, UID=com.example.app",
        "issuer": "CN=Test Authority",
        "serial": hex(&certificate.serial_number().to_bn().unwrap().to_vec()),
        "sha256": hex(&openssl::sha::sha256(&certificate.to_der().unwrap())),
        "topics": [TOPIC, "com.example.app.voip"],
        "environments": ["production", "development"],
        "not_before": time(read.not_before),
        "not_after": time(read.not_after),
        "days_left": 364,
    })
}

#[test]
fn p12_of_each_writer_is_reported_whole() {
    let identity = Authority::new()
        .apple_certificate(TOPIC)
        .topic("com.example.app.voip", "voip")
        .rsa()
        .with_chain()
        .build();
    let expected = json!({
        "kind": "apns_p12",
        "usable": true,
        "certificate": expected_certificate(&identity),
        "chain": ["CN=Test Authority"],
        "key": {"kind": "RSA", "bits": 2048},
    });

    for style in [P12::Aes256, P12::Keychain, P12::Plain] {
        let file = File::new("cert.p12", &identity.p12_of(style, "secret"));
        assert_eq!(
            report(&file, &["--password", "secret"]),
            (Some(0), expected.clone()),
            "{style:?}"
        );
    }
}

#[test]
fn pem_in_base64_on_standard_input_is_reported_for_people() {
    let identity = identity();
    let encrypted = [identity.certificate_pem(), identity.encrypted_key_pem("secret")].concat();
    let expected = expected_certificate(&identity);
    let word = |name: &str| expected[name].as_str().unwrap().to_owned();

    let (code, output, errors) = run_with(
        &["inspect", "--password-env", "SECRET", "-"],
        &[("SECRET", "secret")],
        STANDARD.encode(encrypted).as_bytes(),
    );

    let lines = [
        "-: Apple certificate and key in PEM (apns_pem)".to_owned(),
        "  subject       CN=Apple Push Services: com.example.app, UID=com.example.app".to_owned(),
        "  issuer        CN=Test Authority".to_owned(),
        format!("  serial        {}", word("serial")),
        format!("  sha-256       {}", word("sha256")),
        "  topics        com.example.app, com.example.app.voip".to_owned(),
        "  environments  production, development".to_owned(),
        format!("  valid         {} to {}, 364 days left", word("not_before"), word("not_after")),
        "  key           EC P-256, 256 bits".to_owned(),
        String::new(),
    ];
    assert_eq!((code, output, errors), (Some(0), lines.join("\n"), String::new()));
}

#[test]
fn signing_key_and_its_id_are_reported() {
    let file = File::new("AuthKey_ABC123DEFG.p8", &signing_key_p8());

    assert_eq!(
        report(&file, &[]),
        (
            Some(0),
            json!({
                "kind": "apns_p8",
                "usable": true,
                "key": {"kind": "EC P-256", "bits": 256, "id": "ABC123DEFG"},
            })
        )
    );
}

#[test]
fn service_account_is_reported_without_its_key() {
    let account = ServiceAccount::generate("shop-1").unwrap();
    let file = account.json("https://oauth2.googleapis.com/token");
    let id = serde_json::from_str::<Value>(&file).unwrap()["private_key_id"].clone();

    let (code, found) = report(&File::new("account.json", file.as_bytes()), &[]);

    assert_eq!(
        (code, found),
        (
            Some(0),
            json!({
                "kind": "fcm_service_account",
                "usable": true,
                "key": {"kind": "RSA", "bits": 2048, "id": id},
                "service_account": {
                    "project_id": "shop-1",
                    "client_email": "firebase-adminsdk@shop-1.iam.gserviceaccount.com",
                    "token_uri": "https://oauth2.googleapis.com/token",
                },
            })
        )
    );
    let strange = account.json("https://example.com/token");
    let (code, found) = report(&File::new("account.json", strange.as_bytes()), &[]);
    assert_eq!(
        (code, &found["warnings"]),
        (
            Some(0),
            &json!(["its token_uri is not Google's: the relay takes such a file from its \
                     configuration alone, not from register_application"])
        )
    );
}

/// What is wrong, in the words after the file's name; exit code 1.
fn problem(name: &str, contents: &[u8], more: &[&str]) -> String {
    let file = File::new(name, contents);
    let (code, output, errors) = run(&[&["inspect", &file.path], more].concat());
    assert_eq!(code, Some(1), "{output}{errors}");
    assert!(output.starts_with(&format!("{}: ", file.path)), "{output}");
    let (code, found) = report(&file, more);
    assert_eq!((code, &found["usable"]), (Some(1), &json!(false)));
    let problem = found["problem"].as_str().unwrap();
    assert_eq!(errors, format!("pushlet: {} cannot be used: {problem}\n", file.path));
    problem.to_owned()
}

const MISMATCH: &str = "key and certificate do not match; export the certificate with the key that \
                        it was issued for";
const NO_CERTIFICATE: &str = "no certificate in it; export the certificate together with its key";
const NO_KEY: &str = "no private key in it; export the certificate together with its key";
const NO_PASSWORD: &str = "wrong password: it is encrypted and none was given";
const NO_PROJECT: &str = "it has no `project_id`; give the file that google made";
const UNKNOWN: &str = "it looks like no certificate or key: send the file as it was saved";
const WEAK_KEY: &str = "the key is RSA of 1024 bits, 2048 to 8192 are usable; request a \
                        certificate with a new key";
const WRONG_PASSWORD: &str = "wrong password; give the one that was set on export";

#[test]
fn what_is_wrong_is_said() {
    let good = identity();
    let other = Identity { certificate: good.certificate.clone(), key: ec_key(), chain: vec![] };
    let weak = PKey::from_rsa(Rsa::generate(1024).unwrap()).unwrap();
    let weak = Authority::new().apple_certificate(TOPIC).key(weak).build();
    let p12 = good.p12("secret");
    let none: &[&str] = &[];
    let cases = [
        ("a.p12", p12.clone(), ["--password", "no"].as_slice(), WRONG_PASSWORD),
        ("a.p12", p12.clone(), none, NO_PASSWORD),
        ("a.p12", p12[..p12.len() / 2].to_vec(), none, UNKNOWN),
        ("a.pem", good.certificate_pem(), none, NO_KEY),
        ("a.cer", good.certificate.to_der().unwrap(), none, NO_KEY),
        ("a.pem", other.pem(), none, MISMATCH),
        ("a.pem", good.older_key_pem(None), none, NO_CERTIFICATE),
        ("a.pem", weak.pem(), none, WEAK_KEY),
        ("a", b"hello, world".to_vec(), none, UNKNOWN),
        ("a", Vec::new(), none, "it is empty"),
        ("a.json", b"{\"type\":\"service_account\"}".to_vec(), none, NO_PROJECT),
    ];

    for (name, contents, more, sentence) in cases {
        assert_eq!(problem(name, &contents, more), sentence);
    }
}

#[test]
fn certificate_out_of_time_is_reported_all_the_same() {
    let day = |days: i64| (time::OffsetDateTime::now_utc() + time::Duration::days(days)).date();
    let authority = Authority::new();
    let expired = authority.apple_certificate(TOPIC).production_only().valid(-30, -3).build();
    let early = authority.apple_certificate(TOPIC).development_only().valid(3, 30).build();

    let file = File::new("a.p12", &expired.p12(""));
    let (code, found) = report(&file, &[]);
    assert_eq!(code, Some(1));
    assert_eq!(
        (&found["problem"], &found["certificate"]["topics"], &found["certificate"]["environments"]),
        (
            &json!(format!("the certificate expired on {}; register a new one", day(-3))),
            &json!([TOPIC]),
            &json!(["production"]),
        )
    );
    let days_left = found["certificate"]["days_left"].as_i64();
    assert!(days_left.is_some_and(|days| (-4..=-3).contains(&days)), "{days_left:?}");

    let problem = problem("a.pem", &early.pem(), &[]);
    assert_eq!(
        problem,
        format!(
            "the certificate is not yet valid before {}; register it then, or check this server's \
             clock",
            day(3)
        )
    );
}

#[test]
fn what_needs_care_is_a_warning() {
    let authority = Authority::new();
    let odd = authority.apple_certificate(TOPIC).without_topic().without_markers().valid(-1, 5);

    let (code, found) = report(&File::new("a.pem", &odd.build().pem()), &[]);

    assert_eq!(
        (code, &found["warnings"]),
        (
            Some(0),
            &json!([
                "it runs out in 4 days; renew it",
                "it names no topic; give apns_topic when it is registered, or topic with each \
                 message",
                "it carries none of Apple's marks for push: it may be no push certificate",
            ])
        )
    );
}

#[test]
fn password_may_stand_in_a_file() {
    let file = File::new("cert.p12", &identity().p12("se cret"));
    let password = file.beside("password", b"se cret\r\n");

    let (code, found) = report(&file, &["--password-file", &password]);

    assert_eq!((code, &found["usable"]), (Some(0), &json!(true)));
}

#[test]
fn what_cannot_be_read_is_named() {
    let file = File::new("cert.p12", b"x");
    let large = file.beside("large", &vec![b'x'; 1024 * 1024 + 1]);
    let ended =
        |sentence: &str| -> Ended { (Some(1), String::new(), format!("pushlet: {sentence}\n")) };

    assert_eq!(
        run(&["inspect", "/nowhere/cert.p12"]),
        ended("/nowhere/cert.p12 could not be read: No such file or directory (os error 2)")
    );
    assert_eq!(
        run(&["inspect", &large]),
        ended(&format!("{large} is over 1048576 bytes: no credential is that large"))
    );
    assert_eq!(
        run(&["inspect", &file.path, "--password-env", "NOWHERE"]),
        ended("the environment variable NOWHERE is not set, or is no text; set it")
    );
    assert_eq!(
        run(&["inspect", &file.path, "--password-file", "/nowhere/x"]),
        ended(
            "the password file /nowhere/x could not be read: No such file or directory (os error 2)"
        )
    );
}

/// What stands in a certificate comes from strangers.
#[test]
fn control_characters_do_not_reach_the_terminal() {
    let odd = Authority::new().apple_certificate("com.example\u{1b}[2J").build();
    let file = File::new("a.pem", &odd.pem());

    let (code, output, _) = run(&["inspect", &file.path]);

    assert_eq!(code, Some(0));
    assert!(!output.contains('\u{1b}') && output.contains("com.example\\u{1b}[2J"), "{output}");
}

#[test]
fn person_at_a_terminal_is_asked() {
    if !require("python3", &["python3", "-c", "import pty"]) {
        return;
    }
    let file = File::new("cert.p12", &identity().p12("secret"));
    let ask = |lines: &str| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/terminal.py");
        let mut python = Command::new("python3");
        python.args([script, lines, env!("CARGO_BIN_EXE_pushlet"), "inspect", &file.path]);
        let output = python.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };

    let (code, shown) = ask("wrong,secret");
    assert_eq!((code, shown.matches("password: ").count()), (Some(0), 2), "{shown}");
    assert!(shown.contains("CN=Apple Push Services") && !shown.contains("secret"), "{shown}");

    let (code, shown) = ask("a,b,c");
    assert_eq!((code, shown.matches("password: ").count()), (Some(1), 3), "{shown}");
    assert!(shown.contains("wrong password"), "{shown}");
}
