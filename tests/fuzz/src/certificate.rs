//! What holds for every credential that is read.

use openssl::pkey::Id;
use pushlet::providers::apns::credential::{Credential, Raw};
use time::OffsetDateTime;

use crate::cost;

/// The password of the seeds.
pub const PASSWORD: &str = "correct horse";
/// More topics than the reader keeps of a certificate.
const MAX_TOPICS: usize = 101;

/// Which password an input asks for.
pub fn password(first: u8) -> &'static str {
    if first & 1 == 1 { PASSWORD } else { "" }
}

/// The present.
pub fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// A signing key with names like Apple's.
pub fn p8(text: &[u8]) -> Raw {
    let (key_id, team_id) = ("KEY1234567".to_owned(), "TEAM123456".to_owned());
    Raw::P8 { text: text.to_vec(), key_id, team_id }
}

/// Reads a certificate with its key. Panics if it cost too much, if they do not belong together, or
/// if a refusal tells the password.
pub fn check(raw: &Raw, file: &[u8]) {
    let read = cost::bounded(|| Credential::read(raw, now()));

    match read {
        Ok(Credential::Certificate(certificate)) => {
            let public = certificate.leaf.public_key().unwrap();
            assert!(certificate.key.public_eq(&public));
            assert!(matches!(certificate.key.id(), Id::EC | Id::RSA));
            let now = now();
            assert!(certificate.not_before <= now && now <= certificate.not_after);
            assert!(certificate.topics.len() <= MAX_TOPICS);
            assert!(!certificate.chain.contains(&certificate.leaf));
        }
        Ok(Credential::SigningKey(_)) => panic!("a signing key"),
        Err(error) => {
            let sentence = error.to_string();
            assert!(!sentence.is_empty() && !sentence.contains('\n'), "{sentence:?}");
            let is_in_the_file = file.windows(PASSWORD.len()).any(|w| w == PASSWORD.as_bytes());
            assert!(is_in_the_file || !sentence.contains(PASSWORD), "{sentence}");
        }
    }
}
