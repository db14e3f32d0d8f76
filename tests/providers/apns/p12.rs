//! What P12 files load, and what is said about those that do not.

use std::process::Command;

use pushlet::providers::apns::credential::{Format, Found, Problem};

use crate::support::credentials::{FAST, TOPIC, assert_belongs, certificate, p12_error, read_p12};
use crate::support::der;
use crate::support::handmade::{self, Kdf};
use crate::support::keys::{self, Authority, Identity, P12};

#[test]
fn every_p12_of_the_matrix_loads() {
    let authority = Authority::new();
    let plain = authority.apple_certificate(TOPIC).build();
    let chained = authority.apple_certificate(TOPIC).rsa().with_chain().build();
    let named = |style, password| chained.p12_with(style, password, Some((2048, "Übung 推")));
    let loads: &[(&str, &Identity, Vec<u8>, &str)] = &[
        ("keychain", &plain, plain.p12_of(P12::Keychain, "secret"), "secret"),
        ("keychain, chain and names", &chained, named(P12::Keychain, "schlüssel推"), "schlüssel推"),
        ("keychain, empty password", &plain, plain.p12_of(P12::Keychain, ""), ""),
        ("RC2-128", &plain, plain.p12_of(P12::Rc2, "secret"), "secret"),
        ("3DES", &plain, plain.p12_of(P12::TripleDes, "secret"), "secret"),
        ("plain certificates", &plain, plain.p12_of(P12::CertificatesPlain, "secret"), "secret"),
        ("AES-256", &plain, plain.p12("secret"), "secret"),
        ("AES-256, RSA, chain", &chained, named(P12::Aes256, "schlüssel😀"), "schlüssel😀"),
        ("AES-256, empty password", &plain, plain.p12(""), ""),
        ("AES-128", &plain, plain.p12_of(P12::Aes128, "secret"), "secret"),
        ("no MAC, AES", &plain, handmade::without_mac(&plain.p12("secret")), "secret"),
        ("no MAC, RC2", &plain, no_mac(&plain, P12::Keychain, "secret"), "secret"),
        ("no MAC, empty password", &plain, no_mac(&plain, P12::Keychain, ""), ""),
        ("no MAC, nothing encrypted", &plain, no_mac(&plain, P12::Plain, ""), ""),
        ("no MAC, nothing encrypted, password", &plain, no_mac(&plain, P12::Plain, ""), "needless"),
        ("MAC, nothing encrypted", &plain, plain.p12_of(P12::Plain, "secret"), "secret"),
        ("one iteration", &plain, one_iteration(&plain), "secret"),
        ("trailing newline", &plain, [plain.p12("secret"), b"\n".to_vec()].concat(), "secret"),
        ("BER, RC2", &plain, handmade::in_ber(&plain.p12_of(P12::Keychain, "secret")), "secret"),
        ("BER, AES", &chained, handmade::in_ber(&chained.p12("secret")), "secret"),
    ];

    for (what, identity, file, password) in loads {
        let read = read_p12(file, password);

        let certificate = certificate(what, read);
        assert_belongs(what, &certificate, identity);
    }
}

#[test]
fn provider_modules_are_not_looked_for_where_the_environment_points() {
    let run = |change: fn(&mut Command) -> &mut Command| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([
            "--exact",
            "providers::apns::p12::every_p12_of_the_matrix_loads",
            "--nocapture",
        ]);
        change(&mut command).output().unwrap()
    };

    let unset = run(|command| command.env_remove("OPENSSL_MODULES"));
    let nowhere = run(|command| command.env("OPENSSL_MODULES", "/nonexistent"));

    for output in [unset, nowhere] {
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.contains("test result: ok. 1 passed"), "{text}");
    }
}

#[test]
fn leaf_is_the_certificate_of_the_key_wherever_it_stands() {
    let authority = Authority::new();
    let identity = authority.apple_certificate(TOPIC).build();
    let leaf = handmade::certificate_bag(&identity.certificate);
    let other = handmade::certificate_bag(&authority.certificate);
    let key = handmade::shrouded_key_bag(&identity.key, FAST, "p");
    let nested = handmade::bag_of_bags(&[leaf.clone(), key.clone()]);
    let orders = [
        vec![handmade::plain_safe(&[other.clone(), key.clone(), leaf.clone()])],
        vec![handmade::encrypted_safe(&[key.clone(), other.clone(), leaf.clone()], FAST, "p")],
        vec![
            handmade::plain_safe(std::slice::from_ref(&other)),
            handmade::encrypted_safe(&[nested], FAST, "p"),
        ],
    ];

    for safes in orders {
        let certificate = certificate("order", read_p12(&handmade::p12_of_safes(&safes), "p"));

        assert_eq!(certificate.leaf, identity.certificate);
        assert_eq!(certificate.chain, vec![authority.certificate.clone()]);
    }
}

#[test]
fn p12_with_certificates_only_has_no_private_key() {
    let identity = Authority::new().apple_certificate(TOPIC).build();
    let bag = handmade::certificate_bag(&identity.certificate);
    let file = handmade::p12_of_safes(&[handmade::plain_safe(&[bag])]);

    assert_eq!(read_p12(&file, "").unwrap_err(), p12_error(Problem::KeyMissing));
}

#[test]
fn rfc_9879_mac_is_verified() {
    let identity = Authority::new().apple_certificate(TOPIC).build();
    let bags =
        [handmade::certificate_bag(&identity.certificate), handmade::plain_key_bag(&identity.key)];
    let file = handmade::p12_of_safes_with_mac(&[handmade::plain_safe(&bags)], "secret", 1000);

    let right = read_p12(&file, "secret");
    let wrong = read_p12(&file, "other");

    assert_belongs("PBMAC1", &certificate("PBMAC1", right), &identity);
    assert_eq!(wrong.unwrap_err(), p12_error(Problem::PasswordWrong));
}

#[test]
fn scrypt_within_the_bound_loads() {
    let identity = Authority::new().apple_certificate(TOPIC).build();
    let scrypt = Kdf::Scrypt { n: 1 << 14, r: 8, p: 1 };
    let bags = [
        handmade::certificate_bag(&identity.certificate),
        handmade::shrouded_key_bag(&identity.key, scrypt, "secret"),
    ];
    let file = handmade::p12_of_safes(&[handmade::encrypted_safe(&bags, scrypt, "secret")]);

    assert_belongs("scrypt", &certificate("scrypt", read_p12(&file, "secret")), &identity);
}

#[test]
fn wrong_password_is_told_for_every_writer() {
    let identity = Authority::new().apple_certificate(TOPIC).build();
    let styles =
        [P12::Aes128, P12::Aes256, P12::CertificatesPlain, P12::Keychain, P12::Rc2, P12::TripleDes];

    for style in styles {
        let file = identity.p12_of(style, "secret");
        for file in [file.clone(), handmade::without_mac(&file), handmade::in_ber(&file)] {
            let wrong = read_p12(&file, "other").unwrap_err();
            let missing = read_p12(&file, "").unwrap_err();

            assert_eq!(wrong, p12_error(Problem::PasswordWrong), "{style:?}");
            assert_eq!(missing, p12_error(Problem::PasswordMissing), "{style:?}");
        }
    }
}

#[test]
fn password_with_a_zero_in_it_is_a_wrong_one() {
    let identity = Authority::new().apple_certificate(TOPIC).build();

    let read = read_p12(&identity.p12("secret"), "secret\0");

    assert_eq!(read.unwrap_err(), p12_error(Problem::PasswordWrong));
}

#[test]
fn algorithm_that_openssl_lacks_is_named() {
    let identity = Authority::new().apple_certificate(TOPIC).build();
    let file = no_mac(&identity, P12::Aes256, "p");
    // The cipher of the certificates' safe becomes IDEA, which no build of OpenSSL here has.
    let file = der::edit(&file, &[0, 1, 1, 0, 0, 0, 1, 0, 1, 1, 1, 1], |fields| {
        fields[0] = der::Node::parse(&der::oid("1.3.6.1.4.1.188.7.1.1.2")).remove(0);
    });

    let error = read_p12(&file, "p").unwrap_err();

    assert_eq!(error, p12_error(Problem::UnsupportedAlgorithm("idea-cbc".into())));
}

#[test]
fn bags_in_bags_without_end_are_refused() {
    let identity = Authority::new().apple_certificate(TOPIC).build();
    let bag = (0..50).fold(handmade::certificate_bag(&identity.certificate), |bag, _| {
        handmade::bag_of_bags(&[bag])
    });

    let error = read_p12(&handmade::p12_of_safes(&[handmade::plain_safe(&[bag])]), "").unwrap_err();

    assert_eq!(error, p12_error(Problem::Damaged));
}

#[test]
fn what_is_no_p12_is_told_by_its_looks() {
    let identity = Authority::new().apple_certificate(TOPIC).build();
    let der = identity.certificate.to_der().unwrap();
    let pkcs8 = identity.key.private_key_to_pkcs8().unwrap();
    let files: [(Vec<u8>, Found); 6] = [
        (Vec::new(), Found::Empty),
        (identity.pem(), Found::Pem),
        (keys::signing_key_p8(), Found::SigningKey),
        (der, Found::Certificate),
        (pkcs8, Found::SigningKey),
        (b"0 what".to_vec(), Found::Unknown),
    ];

    for (file, found) in files {
        let problem = Problem::WrongFormat { expected: Format::P12, found };
        assert_eq!(read_p12(&file, "").unwrap_err(), p12_error(problem));
    }
}

fn no_mac(identity: &Identity, style: P12, password: &str) -> Vec<u8> {
    handmade::without_mac(&identity.p12_of(style, password))
}

/// Everything with one iteration, which the MAC writes by leaving its count away.
fn one_iteration(identity: &Identity) -> Vec<u8> {
    let file = identity.p12_with(P12::Keychain, "secret", Some((1, "name")));
    assert_eq!(der::at(&file, &[0, 2]).len(), 2, "the MAC has no count");
    file
}
