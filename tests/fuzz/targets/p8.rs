//! A signing key: what is read is a key on P-256, and reads the same when it is written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use pushlet::providers::apns::credential::{Credential, SigningKey};
use pushlet_fuzz::certificate::{now, p8};
use pushlet_fuzz::keys::{ec_key, ec_key_on, rsa_key};
use pushlet_fuzz::seeds;

fuzz_target!(init: seeds::write("p8", seeds), |text: &[u8]| {
    let Some(key) = read(text) else { return };

    assert_eq!(key.key.group().curve_name(), Some(Nid::X9_62_PRIME256V1));
    key.key.check_key().unwrap();
    let pem = PKey::from_ec_key(key.key.clone()).unwrap().private_key_to_pem_pkcs8().unwrap();
    assert_eq!(read(&pem).unwrap().fingerprint, key.fingerprint);
});

fn read(text: &[u8]) -> Option<SigningKey> {
    match Credential::read(&p8(text), now()) {
        Ok(Credential::SigningKey(key)) => Some(key),
        Ok(Credential::Certificate(_)) => panic!("a certificate"),
        Err(error) => {
            assert!(!error.to_string().is_empty());
            None
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let key = ec_key();
    vec![
        key.private_key_to_pem_pkcs8().unwrap(),
        key.private_key_to_pkcs8().unwrap(),
        key.private_key_to_der().unwrap(),
        key.ec_key().unwrap().private_key_to_pem().unwrap(),
        key.public_key_to_pem().unwrap(),
        ec_key_on(Nid::SECP384R1).private_key_to_pem_pkcs8().unwrap(),
        rsa_key().private_key_to_pem_pkcs8().unwrap(),
        PKey::generate_ed25519().unwrap().private_key_to_pem_pkcs8().unwrap(),
    ]
}
