//! Apple's credentials: a certificate with its key, or a signing key for provider tokens.

use std::fmt;
use std::sync::OnceLock;

use openssl::ec::EcKey;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::provider::Provider;
use openssl::sha::sha256;
use openssl::x509::X509;
use time::OffsetDateTime;

pub use super::certificate::{Certificate, Environments};
use super::certificate::{read_pkcs8, unreadable_key};
pub use super::kdf_cost::Excess;
use super::pem::Block;
pub use super::problem::{CredentialError, Format, Found, Problem};
use super::{p12, pem};
use crate::secret::Secret;

/// A credential as it was uploaded or configured.
#[derive(Clone)]
pub enum Raw {
    /// A PKCS#12 file.
    P12 {
        /// The file; bytes after its end are passed over.
        der: Vec<u8>,
        /// Its password; empty for none.
        password: Secret<String>,
    },
    /// Apple's signing key.
    P8 {
        /// The file as Apple gave it; its bare DER is taken as well.
        text: Vec<u8>,
        /// The ten characters that name the key.
        key_id: String,
        /// The ten characters that name the team.
        team_id: String,
    },
    /// Certificate and key in PEM, in any order.
    Pem {
        /// The text.
        text: Vec<u8>,
        /// The password of an encrypted key; empty for none.
        password: Secret<String>,
    },
}

impl Raw {
    /// How it is written down.
    pub fn format(&self) -> Format {
        match self {
            Self::P12 { .. } => Format::P12,
            Self::P8 { .. } => Format::P8,
            Self::Pem { .. } => Format::Pem,
        }
    }
}

/// Prints what it is and not what is in it.
impl fmt::Debug for Raw {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Raw({:?})", self.format())
    }
}

/// How an application proves to Apple who it is.
#[derive(Debug)]
pub enum Credential {
    /// By a client certificate on the connection.
    Certificate(Certificate),
    /// By a provider token in each request, signed with this key.
    SigningKey(SigningKey),
}

impl Credential {
    /// Reads an uploaded credential. It may take seconds of CPU, bounded by
    /// [`kdf_cost`](super::kdf_cost): do not call it where others wait.
    ///
    /// # Errors
    ///
    /// A [`CredentialError`] says what is wrong with the file, for the caller who sent it.
    pub fn read(raw: &Raw, now: OffsetDateTime) -> Result<Self, CredentialError> {
        load_legacy_provider();
        let read = match raw {
            Raw::P12 { der, password } => read_p12(der, password.expose(), now),
            Raw::P8 { text, key_id, team_id } => read_p8(text, key_id, team_id),
            Raw::Pem { text, password } => read_pem(text, password.expose(), now),
        };
        read.map_err(|problem| CredentialError { format: raw.format(), problem })
    }
}

/// A key that Apple issued to a team; it signs provider tokens (ES256).
pub struct SigningKey {
    /// The private key, on P-256.
    pub key: EcKey<Private>,
    /// The ten characters that name the key at Apple.
    pub key_id: String,
    /// The ten characters that name the team at Apple.
    pub team_id: String,
    /// SHA-256 of the public key in DER: the same key uploaded twice has the same.
    pub fingerprint: [u8; 32],
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SigningKey")
            .field("key_id", &self.key_id)
            .field("team_id", &self.team_id)
            .finish_non_exhaustive()
    }
}

/// Whether the text can be a key id or team id of Apple's: ten letters and digits.
pub fn valid_apple_identifier(text: &str) -> bool {
    text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Loads OpenSSL's legacy provider, once for the life of the process: RC2, in which Keychain
/// encrypts certificates, is only there. A system's OpenSSL may lack it; then such a file is
/// refused with a sentence that says so.
///
/// The fallbacks are kept, since loading a provider without them takes away the default one, and
/// with it TLS; and the provider must not be dropped, which would unload it. Hence a static: it is
/// OpenSSL's state, and that is global.
pub fn load_legacy_provider() {
    static LEGACY: OnceLock<Option<Provider>> = OnceLock::new();
    LEGACY.get_or_init(|| Provider::try_load(None, "legacy", true).ok());
}

fn read_p12(der: &[u8], password: &str, now: OffsetDateTime) -> Result<Credential, Problem> {
    if !p12::looks_like(der) {
        return Err(Problem::WrongFormat { expected: Format::P12, found: look(der) });
    }
    p12::read(der, password)?.into_certificate(now).map(Credential::Certificate)
}

fn read_pem(text: &[u8], password: &str, now: OffsetDateTime) -> Result<Credential, Problem> {
    let blocks = pem::blocks(text);
    let found = look(text);
    if blocks.is_empty() || found == Found::SigningKey {
        return Err(Problem::WrongFormat { expected: Format::Pem, found });
    }
    pem::read(&blocks, password)?.into_certificate(now).map(Credential::Certificate)
}

pub(super) fn read_p8(text: &[u8], key_id: &str, team_id: &str) -> Result<Credential, Problem> {
    let key = signing_key(&p8_der(text)?)?;
    let public = key.public_key_to_der().map_err(|_| unreadable_key())?;
    Ok(Credential::SigningKey(SigningKey {
        key,
        key_id: key_id.to_owned(),
        team_id: team_id.to_owned(),
        fingerprint: sha256(&public),
    }))
}

/// The PKCS#8 inside: of a file with one block that is a key, or the file itself.
pub(super) fn p8_der(text: &[u8]) -> Result<Vec<u8>, Problem> {
    let blocks = pem::blocks(text);
    let found = look(text);
    let wrong = Err(Problem::WrongFormat { expected: Format::P8, found });
    if blocks.is_empty() {
        return if found == Found::SigningKey { Ok(text.to_vec()) } else { wrong };
    }
    let has = |label: &str| blocks.iter().find(|block| block.label == label);
    if let Some(block) = has("PRIVATE KEY").or_else(|| has("EC PRIVATE KEY")) {
        return if has("CERTIFICATE").is_some() { wrong } else { unencrypted(block) };
    }
    if has("ENCRYPTED PRIVATE KEY").is_some() {
        return Err(encrypted_p8());
    }
    if has("RSA PRIVATE KEY").is_some() {
        return Err(not_p256("an RSA key"));
    }
    if has("PUBLIC KEY").is_some() {
        return Err(Problem::KeyUnusable(
            "it holds only a public key; send the .p8 file as Apple gave it".to_owned(),
        ));
    }
    wrong
}

fn unencrypted(block: &Block) -> Result<Vec<u8>, Problem> {
    if block.encryption.is_some() { Err(encrypted_p8()) } else { block.der() }
}

fn encrypted_p8() -> Problem {
    Problem::KeyUnusable(
        "the key is encrypted; send the .p8 file as Apple gave it, which is not".to_owned(),
    )
}

fn not_p256(what: &str) -> Problem {
    Problem::KeyUnusable(format!(
        "it holds {what}, Apple's signing keys are EC keys on the curve P-256; send the .p8 file \
         as Apple gave it"
    ))
}

pub(super) fn signing_key(der: &[u8]) -> Result<EcKey<Private>, Problem> {
    let key = match read_pkcs8(der) {
        Ok(key) => key,
        Err(Problem::Damaged) => EcKey::private_key_from_der(der)
            .and_then(PKey::from_ec_key)
            .map_err(|_| unreadable_key())?,
        Err(problem) => return Err(problem),
    };
    let Ok(key) = key.ec_key() else { return Err(not_p256("a key that is not EC")) };
    if key.group().curve_name() != Some(Nid::X9_62_PRIME256V1) {
        return Err(not_p256("an EC key on another curve"));
    }
    key.check_key().map_err(|_| unreadable_key())?;
    Ok(key)
}

/// What a file looks like, for the diagnosis of one that is not what it was said to be.
pub(super) fn look(file: &[u8]) -> Found {
    let blocks = pem::blocks(file);
    if file.is_empty() {
        Found::Empty
    } else if !blocks.is_empty() {
        if is_signing_key(&blocks) { Found::SigningKey } else { Found::Pem }
    } else if p12::looks_like(file) {
        Found::P12
    } else if X509::from_der(file).is_ok() {
        Found::Certificate
    } else if signing_key(file).is_ok() {
        Found::SigningKey
    } else {
        Found::Unknown
    }
}

fn is_signing_key(blocks: &[Block]) -> bool {
    match blocks {
        [block] if block.label == "PRIVATE KEY" => {
            block.der().is_ok_and(|der| signing_key(&der).is_ok())
        }
        _ => false,
    }
}
