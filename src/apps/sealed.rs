//! Registrations that need no store: sealed into the id that the caller keeps.
//!
//! ```text
//! sealed~ BASE64URL( version 1 | key id 8 | nonce 12 | AES-256-GCM of the contents | tag 16 )
//!                    └──── authenticated ───┘
//! ```
//! `~` stands in no id that a caller can choose. Key and key id follow from the configured secret
//! by HMAC, so that the id tells nothing of it and the secret may serve other ends. Nonces are
//! random: NIST SP 800-38D §8.3 allows 2³² of them for a key.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::memcmp;
use openssl::pkey::PKey;
use openssl::rand::rand_bytes;
use openssl::sign::Signer;
use openssl::symm::{Cipher, decrypt_aead, encrypt_aead};
use serde::{Deserialize, Serialize};

use crate::providers::apns::parts::Parts;
use crate::secret::Secret;

/// What a sealed registration begins with.
const PREFIX: &str = "sealed~";
/// The longest that is made or looked at, in bytes. Certificates take some 6 KiB.
pub(super) const MAX_BYTES: usize = 64 * 1024;
const VERSION: u8 = 1;
const KEY_ID_BYTES: usize = 8;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const KEY_LABEL: &str = "pushlet sealed registration, version 1, AES-256-GCM";
const KEY_ID_LABEL: &str = "pushlet sealed registration, version 1, key id";

/// What a registration holds once it is opened.
#[derive(Serialize, Deserialize)]
pub struct Contents {
    /// The name of the application: for scopes, logs, metrics and feedback.
    pub name: String,
    /// Its side at Apple.
    pub apple: Option<Apple>,
    /// Its side at Google: the essentials of a service account's file.
    pub google: Option<Vec<u8>>,
}

/// Prints its name alone.
impl fmt::Debug for Contents {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Contents({})", self.name)
    }
}

/// The side of a registration at Apple.
#[derive(Debug, Serialize, Deserialize)]
pub struct Apple {
    /// The credential.
    pub parts: Parts,
    /// `apns_mode`, in its own word.
    pub mode: String,
    /// `apns_topic`.
    pub topic: Option<String>,
}

/// Seals registrations, and opens what was sealed with the same keys.
#[derive(Debug)]
pub struct Seal {
    current: Option<Key>,
    /// These open and seal no more.
    previous: Vec<Key>,
}

#[derive(Debug)]
struct Key {
    id: [u8; KEY_ID_BYTES],
    secret: Secret<[u8; 32]>,
}

/// Why nothing was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotSealed {
    /// OpenSSL could not.
    Failed,
    /// No key is configured.
    NoKey,
    /// It would be so many bytes, which is more than is taken.
    TooLarge(usize),
}

impl fmt::Display for NotSealed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed => {
                formatter.write_str("could not be done; the log of openssl may say why")
            }
            Self::NoKey => formatter.write_str(
                "needs a key to seal with; set server.secret_key, the same in every replica",
            ),
            Self::TooLarge(bytes) => write!(
                formatter,
                "would make an id of {bytes} bytes, at most {MAX_BYTES} are taken; leave out \
                 certificates that are not of the chain"
            ),
        }
    }
}

impl Seal {
    /// Seals with the first key, if there is one, and opens with all.
    ///
    /// # Errors
    /// A sentence on a key that is no secret, or that OpenSSL cannot use.
    pub fn new(
        current: Option<&Secret<[u8; 32]>>,
        previous: &[Secret<[u8; 32]>],
    ) -> Result<Self, String> {
        Ok(Self {
            current: current.map(|secret| Key::new(secret, "server.secret_key")).transpose()?,
            previous: previous
                .iter()
                .map(|secret| Key::new(secret, "server.previous_secret_keys"))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Whether there is a key to seal with.
    #[must_use]
    pub fn can_seal(&self) -> bool {
        self.current.is_some()
    }

    /// The registration as an id.
    ///
    /// # Errors
    /// See [`NotSealed`].
    pub fn seal(&self, contents: &Contents) -> Result<String, NotSealed> {
        let key = self.current.as_ref().ok_or(NotSealed::NoKey)?;
        let plain = postcard::to_stdvec(contents).map_err(|_| NotSealed::Failed)?;
        let sealed = key.encrypt(&plain).map_err(|_| NotSealed::Failed)?;
        let mut text = PREFIX.to_owned();
        URL_SAFE_NO_PAD.encode_string(sealed, &mut text);
        if text.len() > MAX_BYTES { Err(NotSealed::TooLarge(text.len())) } else { Ok(text) }
    }

    /// What is in a sealed registration; `None` of one that was sealed with none of our keys, or
    /// altered since. Nothing of it is looked at before it is known to be ours.
    #[must_use]
    pub fn open(&self, text: &str) -> Option<Contents> {
        let text = text.strip_prefix(PREFIX).filter(|_| text.len() <= MAX_BYTES)?;
        let sealed = URL_SAFE_NO_PAD.decode(text).ok()?;
        let keys = self.current.iter().chain(&self.previous);
        let plain = keys.filter_map(|key| key.decrypt(&sealed)).next()?;
        postcard::from_bytes(&plain).ok()
    }
}

/// Whether an id claims to be a sealed registration.
#[must_use]
pub fn is_sealed(id: &str) -> bool {
    id.starts_with(PREFIX)
}

impl Key {
    fn new(secret: &Secret<[u8; 32]>, name: &str) -> Result<Self, String> {
        let bytes = secret.expose();
        let [first, ..] = bytes;
        if bytes.iter().all(|byte| byte == first) {
            return Err(format!(
                "{name} is an example and no secret; make one, such as by `openssl rand -hex 32`"
            ));
        }
        let derive = |label: &str| {
            hmac(bytes, label).map_err(|error| format!("{name} cannot be used: {error}"))
        };
        let named = derive(KEY_ID_LABEL)?;
        let mut id = [0; KEY_ID_BYTES];
        id.iter_mut().zip(named).for_each(|(to, from)| *to = from);
        Ok(Self { id, secret: Secret::new(derive(KEY_LABEL)?) })
    }

    /// What is in the clear, and bound to the rest.
    fn head(&self) -> Vec<u8> {
        [&[VERSION], self.id.as_slice()].concat()
    }

    fn encrypt(&self, plain: &[u8]) -> Result<Vec<u8>, ErrorStack> {
        let (mut nonce, mut tag) = ([0; NONCE_BYTES], [0; TAG_BYTES]);
        rand_bytes(&mut nonce)?;
        let (cipher, mut sealed) = (Cipher::aes_256_gcm(), self.head());
        let hidden =
            encrypt_aead(cipher, self.secret.expose(), Some(&nonce), &sealed, plain, &mut tag)?;
        for part in [nonce.as_slice(), &hidden, &tag] {
            sealed.extend_from_slice(part);
        }
        Ok(sealed)
    }

    fn decrypt(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let head = self.head();
        let (found, rest) = sealed.split_at_checked(head.len())?;
        if !memcmp::eq(found, &head) {
            return None;
        }
        let (nonce, rest) = rest.split_at_checked(NONCE_BYTES)?;
        let (hidden, tag) = rest.split_at_checked(rest.len().checked_sub(TAG_BYTES)?)?;
        let cipher = Cipher::aes_256_gcm();
        decrypt_aead(cipher, self.secret.expose(), Some(nonce), &head, hidden, tag).ok()
    }
}

/// HMAC-SHA256, as RFC 5869 expands a key that is random already.
fn hmac(secret: &[u8; 32], label: &str) -> Result<[u8; 32], ErrorStack> {
    let key = PKey::hmac(secret)?;
    let mut signer = Signer::new(MessageDigest::sha256(), &key)?;
    signer.update(label.as_bytes())?;
    let mut derived = [0; 32];
    signer.sign(&mut derived)?;
    Ok(derived)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(first: u8) -> Secret<[u8; 32]> {
        let mut bytes = [7; 32];
        if let Some(byte) = bytes.first_mut() {
            *byte = first;
        }
        Secret::new(bytes)
    }

    fn seal(current: Option<u8>, previous: &[u8]) -> Seal {
        let previous: Vec<_> = previous.iter().map(|first| secret(*first)).collect();
        let seal = Seal::new(current.map(secret).as_ref(), &previous);
        seal.unwrap_or_else(|error| panic!("{error}"))
    }

    fn contents(google_bytes: usize) -> Contents {
        let google = Some(vec![b'x'; google_bytes]);
        Contents { name: "shop".to_owned(), apple: None, google }
    }

    fn sealed(by: &Seal) -> String {
        by.seal(&contents(10)).unwrap_or_else(|error| panic!("{error}"))
    }

    fn name(by: &Seal, text: &str) -> Option<String> {
        by.open(text).map(|contents| contents.name)
    }

    #[test]
    fn what_one_replica_seals_another_opens() {
        let (one, other) = (seal(Some(1), &[]), seal(Some(1), &[]));

        let text = sealed(&one);

        assert_eq!(name(&other, &text).as_deref(), Some("shop"));
        assert_ne!(sealed(&one), text, "the nonce is fresh each time");
        let known = |sign: char| sign.is_ascii_alphanumeric() || "-_~".contains(sign);
        assert!(is_sealed(&text) && text.chars().all(known));
    }

    #[test]
    fn a_key_opens_as_long_as_it_is_configured() {
        let text = sealed(&seal(Some(1), &[]));

        assert_eq!(name(&seal(Some(2), &[3, 1]), &text).as_deref(), Some("shop"));
        assert_eq!(name(&seal(None, &[1]), &text).as_deref(), Some("shop"));
        assert_eq!(name(&seal(Some(2), &[3]), &text), None);
        assert_eq!(name(&seal(None, &[]), &text), None);
        assert_eq!(seal(None, &[1]).seal(&contents(0)), Err(NotSealed::NoKey));
    }

    #[test]
    fn every_byte_is_authenticated() {
        let by = seal(Some(1), &[]);
        let text = sealed(&by);
        let bytes = text.strip_prefix(PREFIX).map(|text| URL_SAFE_NO_PAD.decode(text));
        let Some(Ok(bytes)) = bytes else { panic!("no base64: {text}") };

        for place in 0..bytes.len() {
            let mut forged = bytes.clone();
            if let Some(byte) = forged.get_mut(place) {
                *byte ^= 1;
            }
            assert!(by.open(&format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(forged))).is_none());
            let cut = bytes.get(..place).unwrap_or_default();
            assert!(by.open(&format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(cut))).is_none());
        }
        for place in 0..text.len() {
            assert!(by.open(text.get(..place).unwrap_or_default()).is_none(), "{place}");
        }
        assert!(by.open(&format!("{text}A")).is_none());
        assert!(by.open(&format!("{text}=")).is_none());
        assert!(by.open("").is_none());
    }

    #[test]
    fn what_would_not_be_looked_at_is_not_made() {
        let by = seal(Some(1), &[]);

        assert!(matches!(by.seal(&contents(MAX_BYTES)), Err(NotSealed::TooLarge(_))));

        let largest = contents(MAX_BYTES * 3 / 4 - 64);
        let text = by.seal(&largest).unwrap_or_else(|error| panic!("{error}"));
        assert!(text.len() > MAX_BYTES - 200, "{}", text.len());
        assert!(by.open(&text).is_some());
    }

    #[test]
    fn a_key_of_one_byte_is_no_secret() {
        for bytes in [[0; 32], [0xff; 32]] {
            let message = "server.secret_key is an example and no secret; make one, such as by \
                           `openssl rand -hex 32`";
            let refused = Seal::new(Some(&Secret::new(bytes)), &[]);
            assert_eq!(refused.err().as_deref(), Some(message));
        }
    }

    #[test]
    fn nothing_secret_is_in_debug() {
        let text = format!("{:?}", seal(Some(1), &[2]));

        assert_eq!(text.matches("secret: ***").count(), 2, "{text}");
        assert_eq!(format!("{:?}", contents(3)), "Contents(shop)");
    }
}
