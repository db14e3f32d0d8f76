//! Registering: every kind of credential, what is told of it, and what is wrong with a bad one.

use openssl::asn1::Asn1Time;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::support::handmade::{Kdf, certificate_bag, p12_of_safes, plain_safe, shrouded_key_bag};
use crate::support::keys::{Authority, Identity, P12, ec_key, rsa_key, signing_key_p8};
use crate::support::relay::{TOKEN, TOPIC};
use crate::support::wire::{Bench, REGISTER, Seen, code, refusal, seen};

const P12_START: &str =
    "could not process apns_p12 certificate, check that it is in p12 format and is valid: ";
const PEM_START: &str =
    "could not process apns_pem certificate, check that it is in pem format and is valid: ";

async fn register(bench: &Bench, name: &str, file: &[u8], fields: &[(&str, &str)]) -> Seen {
    seen(bench.upload(name, file, fields)).await
}

/// Seconds since 1970, and as the answer has it.
fn not_after(identity: &Identity) -> OffsetDateTime {
    let since = Asn1Time::from_unix(0).unwrap().diff(identity.certificate.not_after()).unwrap();
    let secs = i64::from(since.days) * 86_400 + i64::from(since.secs);
    OffsetDateTime::from_unix_timestamp(secs).unwrap()
}

fn day(when: OffsetDateTime) -> String {
    when.date().to_string()
}

fn summary(identity: &Identity, environment: &str) -> String {
    let not_after = not_after(identity);
    let days_left = (not_after - OffsetDateTime::now_utc()).whole_days();
    let not_after = not_after.format(&Rfc3339).unwrap();
    format!(
        "{{\"topics\":[\"{TOPIC}\"],\"environment\":\"{environment}\",\
         \"not_after\":\"{not_after}\",\"days_left\":{days_left}}}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_certificate_is_answered_with_what_it_is() {
    let bench = Bench::start().await;
    let authority = Authority::new();
    let ec = authority.apple_certificate(TOPIC).build();
    let rsa = authority.apple_certificate(TOPIC).rsa().with_chain().build();
    let encrypted = [ec.certificate_pem(), ec.encrypted_key_pem("s")].concat();
    let older = [rsa.older_key_pem(Some("s")), rsa.certificate_pem()].concat();

    for (name, identity, file, fields) in [
        ("apns_p12", &ec, ec.p12(""), &[][..]),
        ("apns_p12", &ec, ec.p12(""), &[("apns_p12_pass", "")]),
        ("apns_p12", &ec, ec.p12("pässwörd €"), &[("apns_p12_pass", "pässwörd €")]),
        ("apns_p12", &rsa, rsa.p12_of(P12::Keychain, "s"), &[("apns_p12_pass", "s")]),
        ("apns_pem", &ec, ec.pem(), &[]),
        ("apns_pem", &rsa, rsa.pem(), &[]),
        ("apns_pem", &ec, encrypted, &[("apns_pem_pass", "s")]),
        ("apns_pem", &rsa, older, &[("apns_pem_pass", "s")]),
    ] {
        let fields = [&[("application_id", "app")], fields].concat();
        let answer = register(&bench, name, &file, &fields).await;

        let apns = summary(identity, "production");
        let expected = format!("{{\"application_id\":\"app\",\"apns\":{apns}}}");
        assert_eq!(answer.told(), (200, expected), "{name} {fields:?}");
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signing_key_is_told_without_an_end() {
    let bench = Bench::start().await;
    let ids =
        [("application_id", "app"), ("apns_key_id", "KEY1234567"), ("apns_team_id", "TEAM123456")];
    let with_topic = [&ids[..], &[("apns_topic", TOPIC), ("apns_mode", "development")]].concat();

    let answer = register(&bench, "apns_p8", &signing_key_p8(), &with_topic).await;
    assert_eq!(
        answer.body,
        r#"{"application_id":"app","apns":{"topics":["com.example.app"],"environment":"development"}}"#
    );
    let answer = register(&bench, "apns_p8", &signing_key_p8(), &ids).await;
    assert_eq!(
        answer.body,
        concat!(
            r#"{"application_id":"app","apns":{"topics":[],"environment":"production"},"warnings":["#,
            r#""the application has no topic of its own; give apns_topic, or topic with each message"]}"#
        )
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_without_a_name_gets_a_uuid() {
    let bench = Bench::start().await;
    let p12 = Authority::new().apple_certificate(TOPIC).build().p12("");

    for fields in [&[][..], &[("application_id", "")]] {
        let answer = register(&bench, "apns_p12", &p12, fields).await.json();

        let id = answer["application_id"].as_str().unwrap();
        assert_eq!(uuid::Uuid::try_parse(id).unwrap().hyphenated().to_string(), id);
        assert_eq!(bench.relay.send(id, TOKEN, "x").await.status, 200);
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_caller_should_know_is_a_warning() {
    let bench = Bench::start().await;
    let authority = Authority::new();
    let certificate = || authority.apple_certificate(TOPIC);
    let other =
        |mode| format!("the certificate is not for {mode}; register it with the other apns_mode");

    for (identity, mode, warnings) in [
        (certificate().build(), "production", vec![]),
        (certificate().build(), "development", vec![]),
        (certificate().valid(-9, 32).build(), "production", vec![]),
        (
            certificate().valid(-9, 30).build(),
            "production",
            vec!["the certificate runs out in 29 days; register a new one".to_owned()],
        ),
        (certificate().development_only().build(), "production", vec![other("production")]),
        (certificate().development_only().build(), "development", vec![]),
        (certificate().production_only().build(), "development", vec![other("development")]),
        (certificate().production_only().build(), "production", vec![]),
    ] {
        let fields = [("apns_mode", mode)];
        let answer = register(&bench, "apns_p12", &identity.p12(""), &fields).await.json();

        let told = answer.get("warnings").cloned().unwrap_or_else(|| serde_json::json!([]));
        assert_eq!(told, serde_json::json!(warnings), "{mode}");
        assert_eq!(answer["apns"]["environment"], mode);
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_p12_is_diagnosed() {
    let bench = Bench::start().await;
    let authority = Authority::new();
    let identity = authority.apple_certificate(TOPIC).build();
    let expired = authority.apple_certificate(TOPIC).valid(-9, -2).build();
    let future = authority.apple_certificate(TOPIC).valid(3, 9).build();
    let stranger = Identity { key: ec_key(), ..authority.apple_certificate(TOPIC).build() };
    let certificate = certificate_bag(&identity.certificate);
    let fast = Kdf::Pbkdf2 { iterations: 1 };
    let key_bag = |key| shrouded_key_bag(key, fast, "s");
    let keyless = p12_of_safes(&[plain_safe(&[certificate_bag(&identity.certificate)])]);
    let mixed = p12_of_safes(&[plain_safe(&[certificate, key_bag(&stranger.key)])]);
    let future_day = day(OffsetDateTime::now_utc() + time::Duration::days(3));

    for (file, password, diagnosis) in [
        (identity.p12("s"), "wrong", "wrong password; ".to_owned()),
        (identity.p12("s"), "", "wrong password: ".to_owned()),
        (keyless, "", "no private key in it; ".to_owned()),
        (mixed, "s", "key and certificate do not match; ".to_owned()),
        (expired.p12(""), "", format!("the certificate expired on {}; ", day(not_after(&expired)))),
        (future.p12(""), "", format!("the certificate is not yet valid before {future_day}; ")),
        (identity.pem(), "", "not PKCS#12 at all; it looks like PEM text".to_owned()),
        (identity.certificate.to_der().unwrap(), "", "not PKCS#12 at all; ".to_owned()),
        (b"0hello".to_vec(), "", "not PKCS#12 at all; ".to_owned()),
    ] {
        let answer = register(&bench, "apns_p12", &file, &[("apns_p12_pass", password)]).await;

        assert_eq!(answer.code(), code(400, "invalid_apns_p12"), "{diagnosis}");
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(message.starts_with(&format!("{P12_START}{diagnosis}")), "{message}");
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_pem_is_diagnosed() {
    let bench = Bench::start().await;
    let authority = Authority::new();
    let identity = authority.apple_certificate(TOPIC).build();
    let expired = authority.apple_certificate(TOPIC).valid(-9, -2).build();
    let locked = [identity.certificate_pem(), identity.encrypted_key_pem("s")].concat();
    let stranger = rsa_key().private_key_to_pem_pkcs8().unwrap();

    for (file, password, diagnosis) in [
        (locked.clone(), "wrong", "wrong password; ".to_owned()),
        (locked, "", "wrong password: ".to_owned()),
        (identity.certificate_pem(), "", "no private key in it; ".to_owned()),
        (rsa_key().private_key_to_pem_pkcs8().unwrap(), "", "no certificate in it; ".to_owned()),
        (
            [identity.certificate_pem(), stranger].concat(),
            "",
            "key and certificate do not match; ".to_owned(),
        ),
        (expired.pem(), "", format!("the certificate expired on {}; ", day(not_after(&expired)))),
        (identity.p12(""), "", "not PEM at all; it looks like a PKCS#12 file".to_owned()),
        (signing_key_p8(), "", "not PEM at all; it looks like an Apple signing key".to_owned()),
    ] {
        let answer = register(&bench, "apns_pem", &file, &[("apns_pem_pass", password)]).await;

        assert_eq!(answer.code(), code(400, "invalid_apns_pem"), "{diagnosis}");
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(message.starts_with(&format!("{PEM_START}{diagnosis}")), "{message}");
    }
    bench.stop().await;
}

/// Every parameter of the call, with a value that it cannot have, and the whole answer.
#[expect(clippy::too_many_lines, reason = "it is a table")]
#[tokio::test(flavor = "multi_thread")]
async fn every_parameter_has_its_error() {
    let bench = Bench::start().await;
    let key = String::from_utf8(signing_key_p8()).unwrap();
    let p12 = "\"apns_p12\":\"MAAA\"";
    let ids = r#""apns_key_id":"KEY1234567","apns_team_id":"TEAM123456""#;
    let key = serde_json::to_string(&key).unwrap();
    let p8 = |ids: &str| format!("\"apns_p8\":{key},{ids}");

    for (body, error, message) in [
        (
            String::new(),
            "missing_apns_certificate",
            "an apns_p12 or apns_pem certificate is required for this call",
        ),
        (
            "\"application_id\":\"app\"".into(),
            "missing_apns_certificate",
            "an apns_p12 or apns_pem certificate is required for this call",
        ),
        (
            p8("\"apns_team_id\":\"TEAM123456\""),
            "missing_apns_key_id",
            "apns_key_id is required with apns_p8; it is the ten characters in the file's name",
        ),
        (
            p8("\"apns_key_id\":\"KEY1234567\""),
            "missing_apns_team_id",
            "apns_team_id is required with apns_p8; apple shows it under membership",
        ),
        (
            p8(r#""apns_key_id":"KEY","apns_team_id":"TEAM123456""#),
            "invalid_apns_key_id",
            "apns_key_id must be ten letters and digits, found `KEY`",
        ),
        (
            p8(r#""apns_key_id":"KEY1234567","apns_team_id":"TEAM-12345""#),
            "invalid_apns_team_id",
            "apns_team_id must be ten letters and digits, found `TEAM-12345`",
        ),
        (
            format!("\"apns_p8\":\"MAAA\",{ids}"),
            "invalid_apns_p8",
            "could not process apns_p8: not a .p8 signing key at all; it looks like no certificate or key: send the file as it was saved",
        ),
        (
            format!("{p12},\"apns_mode\":\"prod\""),
            "invalid_apns_mode",
            "apns_mode must be production, development, sandbox or auto, found `prod`",
        ),
        (
            format!("{p12},\"apns_mode\":\"\""),
            "invalid_apns_mode",
            "apns_mode must be production, development, sandbox or auto, found ``",
        ),
        (
            format!("{p12},\"apns_topic\":\"a b\""),
            "invalid_apns_topic",
            "apns_topic must be a topic, such as a bundle id, found `a b`",
        ),
        (
            format!("{p12},\"apns_p12_pass\":7"),
            "invalid_apns_p12_pass",
            "apns_p12_pass must be text, found number",
        ),
        (
            "\"apns_pem\":\"MAAA\",\"apns_pem_pass\":{}".into(),
            "invalid_apns_pem_pass",
            "apns_pem_pass must be text, found object",
        ),
        (
            "\"apns_p12\":\"MAAA\"".into(),
            "invalid_apns_p12",
            "could not process apns_p12 certificate, check that it is in p12 format and is valid: not PKCS#12 at all; it looks like no certificate or key: send the file as it was saved",
        ),
        (
            "\"apns_pem\":\"MAAA\"".into(),
            "invalid_apns_pem",
            "could not process apns_pem certificate, check that it is in pem format and is valid: not PEM at all; it looks like no certificate or key: send the file as it was saved",
        ),
    ] {
        let answer = bench.json(REGISTER, &format!("{{{body}}}")).await;

        assert_eq!(answer.told(), refusal(400, error, message), "{body}");
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chosen_id_is_held_to_its_characters() {
    let bench = Bench::start().await;
    let p12 = Authority::new().apple_certificate(TOPIC).build().p12("");
    let (longest, too_long) = ("x".repeat(128), "x".repeat(129));

    for id in ["a", "A.b_c-d:9", "YOUR_APPLICATION_NAME", &longest] {
        let answer = register(&bench, "apns_p12", &p12, &[("application_id", id)]).await;
        assert_eq!(answer.json()["application_id"], id);
    }
    for id in [" ", "a b", "a/b", "é", "a\n", "(gcm_api_key)", "*", &too_long] {
        let answer = register(&bench, "apns_p12", &p12, &[("application_id", id)]).await;

        let message = "application_id must be 1 to 128 characters of letters, digits, `.`, `_`, \
                       `-` and `:`";
        assert_eq!(answer.told(), refusal(400, "invalid_application_id", message), "{id}");
        assert_eq!(bench.relay.send(id, TOKEN, "x").await.error(), "application_not_found");
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn past_max_applications_only_known_ones_register() {
    let bench = Bench::configured(|config| config.server.max_applications = 1).await;
    let p12 = Authority::new().apple_certificate(TOPIC).build().p12("");
    bench.relay.register("one").await;

    let answer = register(&bench, "apns_p12", &p12, &[("application_id", "two")]).await;

    let message = "as many applications are registered as may be; raise server.max_applications";
    let (status, body) = refusal(503, "overloaded", message);
    let body = body.replace('}', ",\"retry_after\":1}");
    assert_eq!(answer.told(), (status, body));
    assert_eq!(answer.header("retry-after"), Some("1"));
    let again = register(&bench, "apns_p12", &p12, &[("application_id", "one")]).await;
    assert_eq!(again.status, 200);
    bench.stop().await;
}
