//! What PEM text loads, and what is said about that which does not.

use openssl::hash::MessageDigest;
use openssl::pkcs5;
use openssl::symm::{Cipher, encrypt};
use pushlet::providers::apns::credential::{Format, Found, Problem, load_legacy_provider};

use crate::support::credentials::{TOPIC, assert_belongs, certificate, pem_error, read_pem};
use crate::support::der;
use crate::support::handmade::{self, Kdf};
use crate::support::keys::{self, Authority, Identity, P12};

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
        (
            "scrypt",
            &ec,
            join(
                &ec,
                handmade::encrypted_key_pem(&ec.key, Kdf::Scrypt { n: 1024, r: 8, p: 1 }, "secret"),
            ),
        ),
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
    let text = [identity.pem(), handmade::pem("CERTIFICATE", b"no certificate")].concat();

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

/// `pbeWithMD5AndDES-CBC`; OpenSSL's `EVP_BytesToKey` happens to be PBKDF1 for MD5 and DES.
fn pbes1_pem(identity: &Identity) -> Vec<u8> {
    load_legacy_provider();
    let (md5, des) = (MessageDigest::md5(), Cipher::des_cbc());
    let derived = pkcs5::bytes_to_key(des, md5, b"secret", Some(b"saltsalt"), 2048).unwrap();
    let plain = identity.key.private_key_to_pkcs8().unwrap();
    let data = encrypt(des, &derived.key, derived.iv.as_deref(), &plain).unwrap();
    let parameters = der::sequence(&[der::octets(b"saltsalt"), der::integer(2048)]);
    let algorithm = der::algorithm("1.2.840.113549.1.5.3", &parameters);
    handmade::pem("ENCRYPTED PRIVATE KEY", &handmade::encrypted_pkcs8(&algorithm, &data))
}

/// The key as it stands in a P12 of OpenSSL's: `pbeWithSHA1And3-KeyTripleDES-CBC`.
fn pkcs12_scheme_pem(identity: &Identity) -> Vec<u8> {
    let file = identity.p12_of(P12::TripleDes, "secret");
    let shrouded = der::at(&file, &[0, 1, 1, 0, 0, 1, 1, 0, 0, 0, 1]).remove(0);
    handmade::pem("ENCRYPTED PRIVATE KEY", &shrouded.encode())
}
