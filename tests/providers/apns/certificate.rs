//! Which certificate of a file is taken, and what it says of itself.

use std::time::Duration;

use openssl::pkey::PKey;
use pushlet::providers::apns::Mode;
use pushlet::providers::apns::credential::{Environments, Problem};

use crate::support::credentials::{
    TOPIC, certificate, now, p12_error, pem_error, read_p12, read_pem, timed,
};
use crate::support::der;
use crate::support::handmade::{self};
use crate::support::keys::{self, Authority};

#[test]
fn of_two_certificates_of_one_key_the_valid_one_is_taken() {
    let authority = Authority::new();
    let old = authority.apple_certificate(TOPIC).valid(-30, -1).build();
    let new = authority.apple_certificate(TOPIC).key(old.key.clone()).build();
    let text = [old.certificate_pem(), new.certificate_pem(), old.key_pem()].concat();

    let certificate = certificate("two", read_pem(&text, ""));

    assert_eq!(certificate.leaf, new.certificate);
}

#[test]
fn key_of_another_certificate_does_not_match() {
    let authority = Authority::new();
    let one = authority.apple_certificate(TOPIC).build();
    let two = authority.apple_certificate(TOPIC).build();
    let bags = [handmade::certificate_bag(&one.certificate), handmade::plain_key_bag(&two.key)];
    let text = [one.certificate_pem(), two.key_pem()].concat();

    let p12 = read_p12(&handmade::p12_of_safes(&[handmade::plain_safe(&bags)]), "");
    let pem = read_pem(&text, "");

    assert_eq!(p12.unwrap_err(), p12_error(Problem::KeyMismatch));
    assert_eq!(pem.unwrap_err(), pem_error(Problem::KeyMismatch));
}

#[test]
fn key_alone_has_no_certificate() {
    let identity = Authority::new().apple_certificate(TOPIC).build();
    let p12 =
        handmade::p12_of_safes(&[handmade::plain_safe(&[handmade::plain_key_bag(&identity.key)])]);

    let p12 = read_p12(&p12, "");
    let pem = read_pem(&identity.older_key_pem(None), "");

    assert_eq!(p12.unwrap_err(), p12_error(Problem::CertificateMissing));
    assert_eq!(pem.unwrap_err(), pem_error(Problem::CertificateMissing));
}

#[test]
fn expired_and_not_yet_valid_name_the_day() {
    let authority = Authority::new();
    let expired = authority.apple_certificate(TOPIC).valid(-30, -2).build();
    let early = authority.apple_certificate(TOPIC).valid(2, 30).build();
    let day = |days: i64| (now() + time::Duration::days(days)).date();

    let gone = read_p12(&expired.p12("p"), "p").unwrap_err();
    let soon = read_pem(&early.pem(), "").unwrap_err();

    assert_eq!(gone, p12_error(Problem::Expired(day(-2))));
    assert_eq!(
        gone.problem.to_string(),
        format!("the certificate expired on {}; register a new one", day(-2))
    );
    assert_eq!(soon, pem_error(Problem::NotYetValid(day(2))));
}

#[test]
fn key_that_apple_certifies_for_nobody_is_refused() {
    let key = PKey::generate_ed25519().unwrap();
    let identity = Authority::new().apple_certificate(TOPIC).key(key).build();

    let error = read_pem(&identity.pem(), "").unwrap_err();

    assert_eq!(
        error.problem.to_string(),
        "the key is neither RSA nor EC, and Apple issues no other; send what was made for Apple"
    );
}

#[test]
fn rsa_key_of_an_unusable_size_is_refused() {
    let key = PKey::from_rsa(openssl::rsa::Rsa::generate(1024).unwrap()).unwrap();
    let identity = Authority::new().apple_certificate(TOPIC).key(key).build();

    let error = read_p12(&identity.p12("p"), "p").unwrap_err();

    assert_eq!(
        error.problem.to_string(),
        "the key is RSA of 1024 bits, 2048 to 8192 are usable; request a certificate with a new key"
    );
}

#[test]
fn key_that_would_be_computed_while_it_is_read_is_refused_first() {
    // A DSA key of 64,000 bits: OpenSSL would raise g to it, which takes seconds.
    let number = der::element(der::INTEGER, &[0x7f; 8_000]);
    let parameters = der::sequence(&[number.clone(), number.clone(), number.clone()]);
    let algorithm = der::algorithm("1.2.840.10040.4.1", &parameters);
    let key = der::sequence(&[der::integer(0), algorithm, der::octets(&number)]);
    let identity = Authority::new().apple_certificate(TOPIC).build();
    let text = [identity.certificate_pem(), handmade::pem("PRIVATE KEY", &key)].concat();

    let (error, took) = timed(|| read_pem(&text, "").unwrap_err());

    assert!(matches!(error.problem, Problem::KeyUnusable(_)), "{error}");
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn topics_and_environments_are_read_from_the_certificate() {
    let authority = Authority::new();
    let read = |made: keys::AppleCertificate<'_>| {
        let certificate = certificate("topics", read_pem(&made.build().pem(), ""));
        (certificate.topics, certificate.default_topic, certificate.environments)
    };
    let new = || authority.apple_certificate(TOPIC);
    let voip = der::sequence(&[der::element(der::UTF8_STRING, b"com.example.app.voip")]);

    let all = read(
        new()
            .topic("com.example.app.voip", "voip")
            .topic("com.example.app.complication", "complication"),
    );
    let older = read(new().production_only().extension("1.2.840.113635.100.6.3.4", voip));
    let none = read(new().without_topic().without_markers());
    let odd = read(
        new()
            .without_topic()
            .development_only()
            .extension("1.2.840.113635.100.6.3.6", b"\x30\x7fnot what it was".to_vec()),
    );

    let topics = |suffixes: &[&str]| -> Vec<String> {
        suffixes.iter().map(|suffix| format!("{TOPIC}{suffix}")).collect()
    };
    let default = Some(TOPIC.to_owned());
    assert_eq!(all, (topics(&["", ".voip", ".complication"]), default.clone(), Environments::Both));
    assert_eq!(older, (topics(&["", ".voip"]), default, Environments::Production));
    assert_eq!(none, (vec![], None, Environments::Unknown));
    assert_eq!(odd, (vec![], None, Environments::Development));
}

#[test]
fn environments_exclude_only_what_they_name() {
    let excluded = [
        Environments::Both,
        Environments::Development,
        Environments::Production,
        Environments::Unknown,
    ]
    .map(|serves| (serves.excludes(Mode::Development), serves.excludes(Mode::Production)));

    assert_eq!(excluded, [(false, false), (false, true), (true, false), (false, false)]);
}

#[test]
fn validity_is_read_to_the_second() {
    let identity = Authority::new().apple_certificate(TOPIC).valid(-3, 40).build();

    let read = certificate("validity", read_p12(&identity.p12("p"), "p"));

    assert_eq!(read.not_after - read.not_before, time::Duration::days(43));
    let age = now() - read.not_before - time::Duration::days(3);
    assert!(age < time::Duration::minutes(1) && !age.is_negative(), "{age}");
}
