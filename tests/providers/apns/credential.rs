//! Reading Apple credentials: what loads, and what is said about what does not.

use std::process::Command;
use std::time::{Duration, Instant};

use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkcs5;
use openssl::pkey::PKey;
use openssl::symm::{Cipher, encrypt};
use proptest::prelude::*;
use pushlet::providers::apns::Mode;
use pushlet::providers::apns::credential::{
    Certificate, Credential, CredentialError, Environments, Excess, Format, Found, Problem, Raw,
    SigningKey, load_legacy_provider, valid_apple_identifier,
};
use pushlet::secret::Secret;
use time::OffsetDateTime;

use crate::support::der;
use crate::support::keys::{self, Authority, Identity, Kdf, P12};

const TOPIC: &str = "com.example.app";
const FAST: Kdf = Kdf::Pbkdf2 { iterations: 1 };
const ENDLESS: Kdf = Kdf::Pbkdf2 { iterations: (1 << 31) - 1 };

// What P12 files load: the matrix of the protocol notes, in its order.

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
        ("no MAC, AES", &plain, keys::without_mac(&plain.p12("secret")), "secret"),
        ("no MAC, RC2", &plain, no_mac(&plain, P12::Keychain, "secret"), "secret"),
        ("no MAC, empty password", &plain, no_mac(&plain, P12::Keychain, ""), ""),
        ("no MAC, nothing encrypted", &plain, no_mac(&plain, P12::Plain, ""), ""),
        ("no MAC, nothing encrypted, password", &plain, no_mac(&plain, P12::Plain, ""), "needless"),
        ("MAC, nothing encrypted", &plain, plain.p12_of(P12::Plain, "secret"), "secret"),
        ("one iteration", &plain, one_iteration(&plain), "secret"),
        ("trailing newline", &plain, [plain.p12("secret"), b"\n".to_vec()].concat(), "secret"),
        ("BER, RC2", &plain, keys::in_ber(&plain.p12_of(P12::Keychain, "secret")), "secret"),
        ("BER, AES", &chained, keys::in_ber(&chained.p12("secret")), "secret"),
    ];

    for (what, identity, file, password) in loads {
        let read = read_p12(file, password);

        let certificate = certificate(what, read);
        assert_belongs(what, &certificate, identity);
    }
}

#[test]
fn p12_with_certificates_only_has_no_private_key() {
    let identity = Authority::new().apple_certificate(TOPIC).build();
    let bag = keys::certificate_bag(&identity.certificate);
    let file = keys::p12_of_safes(&[keys::plain_safe(&[bag])]);

    assert_eq!(read_p12(&file, "").unwrap_err(), p12_error(Problem::KeyMissing));
}

#[test]
fn provider_modules_are_not_looked_for_where_the_environment_points() {
    let run = |change: fn(&mut Command) -> &mut Command| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([
            "--exact",
            "providers::apns::credential::every_p12_of_the_matrix_loads",
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
    let leaf = keys::certificate_bag(&identity.certificate);
    let other = keys::certificate_bag(&authority.certificate);
    let key = keys::shrouded_key_bag(&identity.key, FAST, "p");
    let nested = keys::bag_of_bags(&[leaf.clone(), key.clone()]);
    let orders = [
        vec![keys::plain_safe(&[other.clone(), key.clone(), leaf.clone()])],
        vec![keys::encrypted_safe(&[key.clone(), other.clone(), leaf.clone()], FAST, "p")],
        vec![
            keys::plain_safe(std::slice::from_ref(&other)),
            keys::encrypted_safe(&[nested], FAST, "p"),
        ],
    ];

    for safes in orders {
        let certificate = certificate("order", read_p12(&keys::p12_of_safes(&safes), "p"));

        assert_eq!(certificate.leaf, identity.certificate);
        assert_eq!(certificate.chain, vec![authority.certificate.clone()]);
    }
}

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
fn rfc_9879_mac_is_verified() {
    let identity = Authority::new().apple_certificate(TOPIC).build();
    let bags = [keys::certificate_bag(&identity.certificate), key_bag(&identity)];
    let file = keys::p12_of_safes_with_mac(&[keys::plain_safe(&bags)], "secret", 1000);

    let right = read_p12(&file, "secret");
    let wrong = read_p12(&file, "other");

    assert_belongs("PBMAC1", &certificate("PBMAC1", right), &identity);
    assert_eq!(wrong.unwrap_err(), p12_error(Problem::PasswordWrong));
}

#[test]
fn scrypt_within_the_bound_loads() {
    let identity = Authority::new().apple_certificate(TOPIC).build();
    let scrypt = Kdf::Scrypt { n: 1 << 14, r: 8, p: 1 };
    let bags =
        [certificate_bag(&identity), keys::shrouded_key_bag(&identity.key, scrypt, "secret")];
    let file = keys::p12_of_safes(&[keys::encrypted_safe(&bags, scrypt, "secret")]);

    assert_belongs("scrypt", &certificate("scrypt", read_p12(&file, "secret")), &identity);
}

// What is said about P12 files that do not load.

#[test]
fn wrong_password_is_told_for_every_writer() {
    let identity = Authority::new().apple_certificate(TOPIC).build();
    let styles =
        [P12::Aes128, P12::Aes256, P12::CertificatesPlain, P12::Keychain, P12::Rc2, P12::TripleDes];

    for style in styles {
        let file = identity.p12_of(style, "secret");
        for file in [file.clone(), keys::without_mac(&file), keys::in_ber(&file)] {
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
fn key_of_another_certificate_does_not_match() {
    let authority = Authority::new();
    let one = authority.apple_certificate(TOPIC).build();
    let two = authority.apple_certificate(TOPIC).build();
    let bags = [certificate_bag(&one), key_bag(&two)];
    let text = [one.certificate_pem(), two.key_pem()].concat();

    let p12 = read_p12(&keys::p12_of_safes(&[keys::plain_safe(&bags)]), "");
    let pem = read_pem(&text, "");

    assert_eq!(p12.unwrap_err(), p12_error(Problem::KeyMismatch));
    assert_eq!(pem.unwrap_err(), pem_error(Problem::KeyMismatch));
}

#[test]
fn key_alone_has_no_certificate() {
    let identity = Authority::new().apple_certificate(TOPIC).build();
    let p12 = keys::p12_of_safes(&[keys::plain_safe(&[key_bag(&identity)])]);

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
    // A DSA key of 200,000 bits: OpenSSL would raise g to it.
    let number = der::element(der::INTEGER, &[0x7f; 25_000]);
    let parameters = der::sequence(&[number.clone(), number.clone(), number.clone()]);
    let algorithm = der::algorithm("1.2.840.10040.4.1", &parameters);
    let key = der::sequence(&[der::integer(0), algorithm, der::octets(&number)]);
    let identity = Authority::new().apple_certificate(TOPIC).build();
    let text = [identity.certificate_pem(), keys::pem("PRIVATE KEY", &key)].concat();

    let (error, took) = timed(|| read_pem(&text, "").unwrap_err());

    assert!(matches!(error.problem, Problem::KeyUnusable(_)), "{error}");
    assert!(took < Duration::from_secs(1), "{took:?}");
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

// The bound on cost.

#[test]
fn counts_over_the_bound_are_refused_before_any_key_is_derived() {
    let identity = Authority::new().apple_certificate(TOPIC).build();
    let aes = identity.p12("p");
    let keychain = identity.p12_of(P12::Keychain, "p");
    let endless = |file: &[u8], path: &[usize], position: usize| {
        der::edit(file, path, |fields| {
            fields[position] = der::Node::parse(&der::integer((1 << 31) - 1)).remove(0);
        })
    };
    let safe = [0, 1, 1, 0, 0, 0, 1, 0, 1, 1, 1];
    let key = [0, 1, 1, 0, 0, 1, 1, 0, 0, 0, 1, 0, 0, 1];
    let deeper = |path: &[usize]| [path, &[0, 1]].concat();
    let scrypt = Kdf::Scrypt { n: 1 << 20, r: 8, p: 1 };
    let (algorithm, _) = keys::pbes2(ENDLESS, "p", b"");
    let files: Vec<(&str, Vec<u8>)> = vec![
        ("MAC", endless(&aes, &[0, 2], 2)),
        ("MAC of RFC 9879", keys::p12_of_safes_with_mac(&[], "p", (1 << 31) - 1)),
        ("safe, PBES2", endless(&aes, &deeper(&safe), 1)),
        ("key, PBES2", endless(&aes, &deeper(&key), 1)),
        ("safe, PKCS#12", endless(&keychain, &safe, 1)),
        ("key, PKCS#12", endless(&keychain, &key, 1)),
        ("key, in BER", keys::in_ber(&endless(&keychain, &key, 1))),
    ];
    let pem = keys::pem("ENCRYPTED PRIVATE KEY", &keys::encrypted_pkcs8(&algorithm, &[0; 16]));
    let memory = keys::p12_of_safes(&[keys::encrypted_safe(&[], scrypt, "p")]);

    for (what, file) in files {
        assert!(file.len() < 2048, "{what}: {} bytes", file.len());
        let (error, took) = timed(|| read_p12(&file, "p").unwrap_err());

        let excess = Excess::Iterations((1 << 31) - 1);
        assert_eq!(error, p12_error(Problem::Cost(excess)), "{what}");
        assert!(took < Duration::from_millis(100), "{what}: {took:?}");
    }
    let excess = Excess::Iterations((1 << 31) - 1);
    assert_eq!(read_pem(&pem, "p").unwrap_err(), pem_error(Problem::Cost(excess)));
    let excess = Excess::ScryptBytes(1 << 30);
    assert_eq!(read_p12(&memory, "p").unwrap_err(), p12_error(Problem::Cost(excess)));
}

#[test]
fn count_over_the_bound_says_which_and_the_limit() {
    let file = keys::p12_of_safes(&[keys::encrypted_safe(&[], ENDLESS, "p")]);

    let error = read_p12(&file, "p").unwrap_err();

    assert_eq!(
        error.problem.to_string(),
        "its key derivation asks for 2147483647 iterations, at most 1000000 are allowed; export \
         it again with the default settings of your tool"
    );
}

#[test]
fn count_hidden_in_an_encrypted_safe_is_refused_too() {
    let identity = Authority::new().apple_certificate(TOPIC).build();
    let file = |kdf, nested: bool| {
        let mut bags =
            vec![certificate_bag(&identity), keys::shrouded_key_bag(&identity.key, kdf, "p")];
        if nested {
            bags = vec![keys::bag_of_bags(&bags)];
        }
        let safes = [keys::encrypted_safe(&bags, FAST, "p")];
        [keys::p12_of_safes(&safes), keys::p12_of_safes_with_mac(&safes, "p", 1)]
    };

    for nested in [false, true] {
        for harmless in file(FAST, nested) {
            assert_belongs("hidden", &certificate("hidden", read_p12(&harmless, "p")), &identity);
        }
        for endless in file(ENDLESS, nested) {
            let (error, took) = timed(|| read_p12(&endless, "p").unwrap_err());

            let excess = Excess::Iterations((1 << 31) - 1);
            assert_eq!(error, p12_error(Problem::Cost(excess)));
            assert!(took < Duration::from_secs(1), "{took:?}");
        }
    }
}

#[test]
fn many_derivations_and_many_parts_are_bounded_together() {
    let identity = Authority::new().apple_certificate(TOPIC).build();
    let dear = Kdf::Pbkdf2 { iterations: 900_000 };
    let bag = keys::shrouded_key_bag(&identity.key, dear, "p");
    let dear = keys::p12_of_safes(&[keys::plain_safe(&vec![bag; 5])]);
    let many = keys::p12_of_safes(&[keys::plain_safe(&vec![certificate_bag(&identity); 101])]);
    let blocks = identity.certificate_pem().repeat(101);
    let scrypt = Kdf::Scrypt { n: 1 << 16, r: 8, p: 1 };
    let bag = keys::shrouded_key_bag(&identity.key, scrypt, "p");
    let memory = keys::p12_of_safes(&[keys::plain_safe(&vec![bag; 5])]);

    let excess = |file: &[u8]| read_p12(file, "p").unwrap_err();

    assert_eq!(excess(&dear), p12_error(Problem::Cost(Excess::IterationsInAll)));
    assert_eq!(excess(&many), p12_error(Problem::Cost(Excess::Parts)));
    assert_eq!(excess(&memory), p12_error(Problem::Cost(Excess::ScryptBytesInAll)));
    assert_eq!(read_pem(&blocks, "").unwrap_err(), pem_error(Problem::Cost(Excess::Parts)));
}

#[test]
fn bags_in_bags_without_end_are_refused() {
    let identity = Authority::new().apple_certificate(TOPIC).build();
    let bag = (0..50).fold(certificate_bag(&identity), |bag, _| keys::bag_of_bags(&[bag]));

    let error = read_p12(&keys::p12_of_safes(&[keys::plain_safe(&[bag])]), "").unwrap_err();

    assert_eq!(error, p12_error(Problem::Damaged));
}

// PEM.

#[test]
fn pem_loads_in_every_usual_form() {
    let authority = Authority::new();
    let ec = authority.apple_certificate(TOPIC).with_chain().build();
    let rsa = authority.apple_certificate(TOPIC).rsa().build();
    let join = |identity: &Identity, key: Vec<u8>| [identity.certificate_pem(), key].concat();
    let text = String::from_utf8(rsa.pem()).unwrap();
    let parameters =
        b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
    let noise = "Bag Attributes\n    friendlyName: é: x\n    localKeyID: 01 02\nsubject=/UID=a\n";
    let loads: &[(&str, &Identity, Vec<u8>)] = &[
        ("PKCS#8", &rsa, rsa.pem()),
        ("PKCS#8, EC, chain", &ec, ec.pem()),
        ("PKCS#1", &rsa, join(&rsa, rsa.older_key_pem(None))),
        ("SEC1", &ec, join(&ec, ec.older_key_pem(None))),
        ("SEC1, parameters", &ec, [&parameters[..], &join(&ec, ec.older_key_pem(None))].concat()),
        ("key first", &rsa, [rsa.key_pem(), rsa.certificate_pem()].concat()),
        ("authority first", &ec, [authority.pem(), ec.key_pem(), ec.certificate_pem()].concat()),
        ("PBES2", &ec, join(&ec, ec.encrypted_key_pem("secret"))),
        ("scrypt", &ec, join(&ec, encrypted_pem(&ec, Kdf::Scrypt { n: 1024, r: 8, p: 1 }))),
        ("PBES1", &ec, join(&ec, pbes1_pem(&ec))),
        ("PKCS#12's scheme", &ec, join(&ec, pkcs12_scheme_pem(&ec))),
        ("Proc-Type, RSA", &rsa, join(&rsa, rsa.older_key_pem(Some("secret")))),
        ("Proc-Type, EC", &ec, join(&ec, ec.older_key_pem(Some("secret")))),
        ("noise", &rsa, format!("{noise}{text}{noise}").into_bytes()),
        ("CRLF", &rsa, text.replace('\n', "\r\n").into_bytes()),
        ("byte order mark", &rsa, format!("\u{feff}{text}").into_bytes()),
        ("indented", &rsa, format!("    {}", text.replace('\n', "\n    ")).into_bytes()),
    ];

    for (what, identity, text) in loads {
        let certificate = certificate(what, read_pem(text, "secret"));

        assert_belongs(what, &certificate, identity);
    }
}

#[test]
fn encrypted_pem_tells_a_wrong_password() {
    let ec = Authority::new().apple_certificate(TOPIC).build();
    let keys = [
        ec.encrypted_key_pem("secret"),
        ec.older_key_pem(Some("secret")),
        pbes1_pem(&ec),
        pkcs12_scheme_pem(&ec),
    ];

    for key in keys {
        let text = [ec.certificate_pem(), key].concat();

        // Noise may look like padding: once in 256 times the diagnosis rests on the bytes inside.
        for other in ["other", "another"] {
            let wrong = read_pem(&text, other).unwrap_err();
            assert_eq!(wrong, pem_error(Problem::PasswordWrong));
        }
        let missing = read_pem(&text, "").unwrap_err();
        assert_eq!(missing, pem_error(Problem::PasswordMissing));
    }
}

#[test]
fn certificate_in_pem_alone_has_no_private_key() {
    let identity = Authority::new().apple_certificate(TOPIC).build();

    let error = read_pem(&identity.certificate_pem(), "").unwrap_err();

    assert_eq!(error, pem_error(Problem::KeyMissing));
}

#[test]
fn pem_with_a_damaged_block_is_damaged() {
    let identity = Authority::new().apple_certificate(TOPIC).build();
    let text = [identity.pem(), keys::pem("CERTIFICATE", b"no certificate")].concat();

    assert_eq!(read_pem(&text, "").unwrap_err(), pem_error(Problem::Damaged));
}

#[test]
fn what_is_no_pem_is_told_by_its_looks() {
    let identity = Authority::new().apple_certificate(TOPIC).build();
    let files: [(Vec<u8>, Found); 5] = [
        (Vec::new(), Found::Empty),
        (identity.p12("p"), Found::P12),
        (keys::signing_key_p8(), Found::SigningKey),
        (identity.certificate.to_der().unwrap(), Found::Certificate),
        (b"hello".to_vec(), Found::Unknown),
    ];

    for (file, found) in files {
        let problem = Problem::WrongFormat { expected: Format::Pem, found };
        assert_eq!(read_pem(&file, "").unwrap_err(), pem_error(problem));
    }
}

// Signing keys.

#[test]
fn signing_key_loads_as_apple_gives_it_and_as_bare_der() {
    let key = keys::ec_key();
    let sec1 = key.ec_key().unwrap().private_key_to_pem().unwrap();
    let files =
        [key.private_key_to_pem_pkcs8().unwrap(), key.private_key_to_pkcs8().unwrap(), sec1];

    let read = files.map(|file| signing_key(read_p8(&file)));

    let fingerprint = openssl::sha::sha256(&key.public_key_to_der().unwrap());
    for read in read {
        assert_eq!(read.fingerprint, fingerprint);
        assert_eq!((read.key_id.as_str(), read.team_id.as_str()), ("KEY1234567", "TEAM123456"));
        assert!(PKey::from_ec_key(read.key).unwrap().public_eq(&key));
    }
}

#[test]
fn signing_key_of_another_kind_is_told() {
    let ec = keys::ec_key();
    let curve = keys::ec_key_on(Nid::SECP384R1).private_key_to_pem_pkcs8().unwrap();
    let rsa = keys::rsa_key();
    let aes = Cipher::aes_256_cbc();
    let encrypted = ec.private_key_to_pem_pkcs8_passphrase(aes, b"secret").unwrap();
    let older = ec.ec_key().unwrap().private_key_to_pem_passphrase(aes, b"secret").unwrap();
    let advice = "Apple's signing keys are EC keys on the curve P-256; send the .p8 file as Apple \
                  gave it";
    let encrypted_key = "the key is encrypted; send the .p8 file as Apple gave it, which is not";
    let files = [
        (
            rsa.private_key_to_pem_pkcs8().unwrap(),
            format!("it holds a key that is not EC, {advice}"),
        ),
        (
            rsa.rsa().unwrap().private_key_to_pem().unwrap(),
            format!("it holds an RSA key, {advice}"),
        ),
        (curve, format!("it holds an EC key on another curve, {advice}")),
        (encrypted, encrypted_key.to_owned()),
        (older, encrypted_key.to_owned()),
        (
            ec.public_key_to_pem().unwrap(),
            "it holds only a public key; send the .p8 file as Apple gave it".to_owned(),
        ),
    ];

    for (file, sentence) in files {
        let error = read_p8(&file).unwrap_err();
        assert_eq!((error.format, error.problem), (Format::P8, Problem::KeyUnusable(sentence)));
    }
}

#[test]
fn what_is_no_signing_key_is_told_by_its_looks() {
    let identity = Authority::new().apple_certificate(TOPIC).build();
    let files: [(Vec<u8>, Found); 5] = [
        (Vec::new(), Found::Empty),
        (identity.p12("p"), Found::P12),
        (identity.pem(), Found::Pem),
        (identity.certificate_pem(), Found::Pem),
        (b"hello".to_vec(), Found::Unknown),
    ];

    for (file, found) in files {
        let problem = Problem::WrongFormat { expected: Format::P8, found };
        let error = CredentialError { format: Format::P8, problem };
        assert_eq!(read_p8(&file).unwrap_err(), error);
    }
}

#[test]
fn apple_identifiers_are_ten_letters_and_digits() {
    assert!(valid_apple_identifier("ABC123DEFG"));
    for bad in ["", "ABC123DEF", "ABC123DEFGH", "ABC123DEF-", "ABC123DEFé"] {
        assert!(!valid_apple_identifier(bad), "{bad}");
    }
}

// What a certificate says of itself.

#[test]
fn topics_and_environments_are_read_from_the_certificate() {
    let authority = Authority::new();
    let read = |certificate: keys::AppleCertificate<'_>| {
        let certificate = self::certificate("topics", read_pem(&certificate.build().pem(), ""));
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

#[test]
fn nothing_secret_is_printed() {
    let identity = Authority::new().apple_certificate(TOPIC).build();
    let (der, password) = (identity.p12("hunter2"), Secret::new("hunter2".to_owned()));
    let raw = Raw::P12 { der, password };

    let credential = Credential::read(&raw, now()).unwrap();
    let key = signing_key(read_p8(&keys::signing_key_p8()));

    assert_eq!(format!("{raw:?}"), "Raw(P12)");
    assert!(format!("{credential:?}").starts_with("Certificate(Certificate { topics: ["));
    assert_eq!(
        format!("{key:?}"),
        "SigningKey { key_id: \"KEY1234567\", team_id: \"TEAM123456\", .. }"
    );
}

#[test]
fn tls_goes_on_working_after_the_legacy_provider_is_loaded() {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use openssl::ssl::{SslAcceptor, SslConnector, SslMethod};

    load_legacy_provider();
    load_legacy_provider();
    let authority = Authority::new();
    let server = authority.server_certificate(&["localhost", "127.0.0.1"]);
    let mut acceptor = SslAcceptor::mozilla_modern_v5(SslMethod::tls_server()).unwrap();
    acceptor.set_certificate(&server.certificate).unwrap();
    acceptor.set_private_key(&server.key).unwrap();
    let acceptor = acceptor.build();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serving = std::thread::spawn(move || {
        let mut stream = acceptor.accept(listener.accept().unwrap().0).unwrap();
        stream.write_all(b"hello").unwrap();
        stream.shutdown().unwrap();
    });

    let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
    connector.cert_store_mut().add_cert(authority.certificate.clone()).unwrap();
    let tcp = TcpStream::connect(address).unwrap();
    let mut stream = connector.build().connect("localhost", tcp).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();

    assert_eq!(text, "hello");
    serving.join().unwrap();
}

// Bad input.

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_refused(file in prop::collection::vec(any::<u8>(), 0..300)) {
        for read in [read_p12(&file, "p"), read_pem(&file, "p"), read_p8(&file)] {
            prop_assert!(read.is_err());
        }
    }

    #[test]
    fn changed_files_neither_panic_nor_take_long(
        which in 0..8_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let mut raw = SAMPLES.with(|samples| samples[which].clone());
        let bytes = match &mut raw {
            Raw::P12 { der, .. } => der,
            Raw::P8 { text, .. } | Raw::Pem { text, .. } => text,
        };
        for (place, value) in changes {
            *place.get_mut(bytes) = value;
        }
        if let Some(place) = cut {
            bytes.truncate(place.index(bytes.len()));
        }

        let (_, took) = timed(|| Credential::read(&raw, now()));

        prop_assert!(took < Duration::from_secs(20), "{took:?}");
    }
}

thread_local! {
    static SAMPLES: Vec<Raw> = samples();
}

fn samples() -> Vec<Raw> {
    let identity = Authority::new().apple_certificate(TOPIC).with_chain().build();
    let few = |style| identity.p12_with(style, "p", Some((10, "name")));
    let join = |key| [identity.certificate_pem(), key].concat();
    vec![
        p12(&few(P12::Keychain), "p"),
        p12(&few(P12::Aes256), "p"),
        p12(&keys::without_mac(&few(P12::Keychain)), "p"),
        p12(&keys::without_mac(&few(P12::Plain)), "p"),
        p12(&keys::in_ber(&few(P12::Aes256)), "p"),
        pem(&join(encrypted_pem(&identity, FAST)), "secret"),
        pem(&join(identity.older_key_pem(Some("secret"))), "secret"),
        p8(&keys::signing_key_p8()),
    ]
}

// What the tests above are made of.

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

fn p12(der: &[u8], password: &str) -> Raw {
    Raw::P12 { der: der.to_vec(), password: Secret::new(password.to_owned()) }
}

fn pem(text: &[u8], password: &str) -> Raw {
    Raw::Pem { text: text.to_vec(), password: Secret::new(password.to_owned()) }
}

fn p8(text: &[u8]) -> Raw {
    let (key_id, team_id) = ("KEY1234567".to_owned(), "TEAM123456".to_owned());
    Raw::P8 { text: text.to_vec(), key_id, team_id }
}

fn read_p12(der: &[u8], password: &str) -> Result<Credential, CredentialError> {
    Credential::read(&p12(der, password), now())
}

fn read_pem(text: &[u8], password: &str) -> Result<Credential, CredentialError> {
    Credential::read(&pem(text, password), now())
}

fn read_p8(text: &[u8]) -> Result<Credential, CredentialError> {
    Credential::read(&p8(text), now())
}

fn p12_error(problem: Problem) -> CredentialError {
    CredentialError { format: Format::P12, problem }
}

fn pem_error(problem: Problem) -> CredentialError {
    CredentialError { format: Format::Pem, problem }
}

fn certificate(what: &str, read: Result<Credential, CredentialError>) -> Certificate {
    match read {
        Ok(Credential::Certificate(certificate)) => certificate,
        Ok(Credential::SigningKey(_)) => panic!("{what}: a signing key"),
        Err(error) => panic!("{what}: {error}"),
    }
}

fn signing_key(read: Result<Credential, CredentialError>) -> SigningKey {
    match read {
        Ok(Credential::SigningKey(key)) => key,
        Ok(Credential::Certificate(_)) => panic!("a certificate"),
        Err(error) => panic!("{error}"),
    }
}

fn assert_belongs(what: &str, read: &Certificate, identity: &Identity) {
    assert_eq!(read.leaf, identity.certificate, "{what}");
    assert!(read.key.public_eq(&identity.key), "{what}");
    assert_eq!(read.default_topic.as_deref(), Some(TOPIC), "{what}");
    if what.contains("chain") {
        assert_eq!(read.chain, identity.chain, "{what}");
    }
}

fn timed<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    (run(), start.elapsed())
}

fn no_mac(identity: &Identity, style: P12, password: &str) -> Vec<u8> {
    keys::without_mac(&identity.p12_of(style, password))
}

/// Everything with one iteration, which the MAC writes by leaving its count away.
fn one_iteration(identity: &Identity) -> Vec<u8> {
    let file = identity.p12_with(P12::Keychain, "secret", Some((1, "name")));
    assert_eq!(der::at(&file, &[0, 2]).len(), 2, "the MAC has no count");
    file
}

fn certificate_bag(identity: &Identity) -> Vec<u8> {
    keys::certificate_bag(&identity.certificate)
}

/// A bag with the key as it is.
fn key_bag(identity: &Identity) -> Vec<u8> {
    let key = identity.key.private_key_to_pkcs8().unwrap();
    der::sequence(&[der::oid("1.2.840.113549.1.12.10.1.1"), der::context_0(&key)])
}

fn encrypted_pem(identity: &Identity, kdf: Kdf) -> Vec<u8> {
    let key = identity.key.private_key_to_pkcs8().unwrap();
    let (algorithm, data) = keys::pbes2(kdf, "secret", &key);
    keys::pem("ENCRYPTED PRIVATE KEY", &keys::encrypted_pkcs8(&algorithm, &data))
}

/// `pbeWithMD5AndDES-CBC`; OpenSSL's `EVP_BytesToKey` happens to be PBKDF1 for MD5 and DES.
fn pbes1_pem(identity: &Identity) -> Vec<u8> {
    load_legacy_provider();
    let (md5, des) = (MessageDigest::md5(), Cipher::des_cbc());
    let derived = pkcs5::bytes_to_key(des, md5, b"secret", Some(b"saltsalt"), 2048).unwrap();
    let plain = identity.key.private_key_to_pkcs8().unwrap();
    let data = encrypt(des, &derived.key, derived.iv.as_deref(), &plain).unwrap();
    let parameters = der::sequence(&[der::octets(b"saltsalt"), der::integer(2048)]);
    let algorithm = der::algorithm("1.2.840.113549.1.5.3", &parameters);
    keys::pem("ENCRYPTED PRIVATE KEY", &keys::encrypted_pkcs8(&algorithm, &data))
}

/// The key as it stands in a P12 of OpenSSL's: `pbeWithSHA1And3-KeyTripleDES-CBC`.
fn pkcs12_scheme_pem(identity: &Identity) -> Vec<u8> {
    let file = identity.p12_of(P12::TripleDes, "secret");
    let shrouded = der::at(&file, &[0, 1, 1, 0, 0, 1, 1, 0, 0, 0, 1]).remove(0);
    keys::pem("ENCRYPTED PRIVATE KEY", &shrouded.encode())
}
