//! Signing keys, and what holds for credentials of every kind.

use std::time::Duration;

use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::symm::Cipher;
use proptest::prelude::*;
use pushlet::providers::apns::credential::{
    Credential, CredentialError, Format, Found, Problem, Raw, load_legacy_provider,
    valid_apple_identifier,
};
use pushlet::secret::Secret;

use crate::support::credentials::{
    FAST, TOPIC, now, p8, p12, pem, read_p8, read_p12, read_pem, signing_key, timed,
};
use crate::support::handmade::{self};
use crate::support::keys::{self, Authority, P12};

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

fn samples() -> Vec<Raw> {
    let identity = Authority::new().apple_certificate(TOPIC).with_chain().build();
    let few = |style| identity.p12_with(style, "p", Some((10, "name")));
    let join = |key| [identity.certificate_pem(), key].concat();
    vec![
        p12(&few(P12::Keychain), "p"),
        p12(&few(P12::Aes256), "p"),
        p12(&handmade::without_mac(&few(P12::Keychain)), "p"),
        p12(&handmade::without_mac(&few(P12::Plain)), "p"),
        p12(&handmade::in_ber(&few(P12::Aes256)), "p"),
        pem(&join(handmade::encrypted_key_pem(&identity.key, FAST, "secret")), "secret"),
        pem(&join(identity.older_key_pem(Some("secret"))), "secret"),
        p8(&keys::signing_key_p8()),
    ]
}

thread_local! {
    static SAMPLES: Vec<Raw> = samples();
}
