//! Reading credentials, and what the tests say about them.

use std::time::{Duration, Instant};

use pushlet::providers::apns::credential::{
    Certificate, Credential, CredentialError, Format, Problem, Raw, SigningKey,
};
use pushlet::secret::Secret;
use time::OffsetDateTime;

use super::handmade::Kdf;
use super::keys::Identity;

/// The topic of their certificates.
pub const TOPIC: &str = "com.example.app";
/// A derivation that takes no time.
pub const FAST: Kdf = Kdf::Pbkdf2 { iterations: 1 };
/// A derivation that takes minutes.
pub const ENDLESS: Kdf = Kdf::Pbkdf2 { iterations: (1 << 31) - 1 };

pub fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

pub fn p12(der: &[u8], password: &str) -> Raw {
    Raw::P12 { der: der.to_vec(), password: Secret::new(password.to_owned()) }
}

pub fn pem(text: &[u8], password: &str) -> Raw {
    Raw::Pem { text: text.to_vec(), password: Secret::new(password.to_owned()) }
}

pub fn p8(text: &[u8]) -> Raw {
    let (key_id, team_id) = ("KEY1234567".to_owned(), "TEAM123456".to_owned());
    Raw::P8 { text: text.to_vec(), key_id, team_id }
}

pub fn read_p12(der: &[u8], password: &str) -> Result<Credential, CredentialError> {
    Credential::read(&p12(der, password), now())
}

pub fn read_pem(text: &[u8], password: &str) -> Result<Credential, CredentialError> {
    Credential::read(&pem(text, password), now())
}

pub fn read_p8(text: &[u8]) -> Result<Credential, CredentialError> {
    Credential::read(&p8(text), now())
}

pub fn p12_error(problem: Problem) -> CredentialError {
    CredentialError { format: Format::P12, problem }
}

pub fn pem_error(problem: Problem) -> CredentialError {
    CredentialError { format: Format::Pem, problem }
}

pub fn certificate(what: &str, read: Result<Credential, CredentialError>) -> Certificate {
    match read {
        Ok(Credential::Certificate(certificate)) => certificate,
        Ok(Credential::SigningKey(_)) => panic!("{what}: a signing key"),
        Err(error) => panic!("{what}: {error}"),
    }
}

pub fn signing_key(read: Result<Credential, CredentialError>) -> SigningKey {
    match read {
        Ok(Credential::SigningKey(key)) => key,
        Ok(Credential::Certificate(_)) => panic!("a certificate"),
        Err(error) => panic!("{error}"),
    }
}

pub fn assert_belongs(what: &str, read: &Certificate, identity: &Identity) {
    assert_eq!(read.leaf, identity.certificate, "{what}");
    assert!(read.key.public_eq(&identity.key), "{what}");
    assert_eq!(read.default_topic.as_deref(), Some(TOPIC), "{what}");
    if what.contains("chain") {
        assert_eq!(read.chain, identity.chain, "{what}");
    }
}

pub fn timed<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    (run(), start.elapsed())
}
