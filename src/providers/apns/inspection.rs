//! What a credential says of itself, whether it can be used or not: for people who hold a file.

use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::x509::{X509, X509NameRef};
use time::OffsetDateTime;

use super::certificate::{Bundle, Environments, Purpose, moment, read_certificate, unreadable_key};
use super::credential::{load_legacy_provider, look, p8_der, signing_key};
use super::problem::{Format, Found, Problem};
use super::{p12, pem};

/// Everything that a file was seen to hold.
#[derive(Debug)]
pub struct Inspection {
    /// How it is written down; `None` for what is no file of ours.
    pub format: Option<Format>,
    /// The certificate that would be shown to Apple; without a key of its own, the first.
    pub certificate: Option<CertificateReport>,
    /// The names of the other certificates, in the file's order.
    pub chain: Vec<String>,
    /// The key of that certificate, or the signing key.
    pub key: Option<KeyReport>,
    /// Why it cannot be used, in a sentence.
    pub problem: Option<String>,
    /// Whether that is for want of the right password.
    pub is_locked: bool,
}

/// What stands in a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateReport {
    /// Whose it is, such as `CN=Apple Push Services: com.example.app`.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// Its number at the issuer, in hexadecimal.
    pub serial: String,
    /// SHA-256 of the whole, in hexadecimal.
    pub sha256: String,
    /// The topics that it names, the base topic first.
    pub topics: Vec<String>,
    /// Which environments it serves.
    pub environments: Environments,
    /// The moment from which it is valid.
    pub not_before: OffsetDateTime,
    /// The last moment at which it is valid.
    pub not_after: OffsetDateTime,
}

/// What can be said of a private key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyReport {
    /// `RSA`, or `EC` with the name of the curve.
    pub kind: String,
    /// Its length.
    pub bits: u32,
}

/// Looks into a file of any kind; an empty password is none. It may take seconds of CPU, bounded
/// as [`Credential::read`](super::credential::Credential::read) is.
#[must_use]
pub fn inspect(file: &[u8], password: &str, now: OffsetDateTime) -> Inspection {
    load_legacy_provider();
    let found = look(file);
    match found {
        Found::Certificate => certificate_alone(file),
        Found::Empty | Found::Unknown => {
            Inspection { problem: Some(found.to_string()), ..Inspection::of(None) }
        }
        Found::P12 => Inspection::of_bundle(Format::P12, p12::read(file, password), now),
        Found::Pem => {
            let bundle = pem::read(&pem::blocks(file), password);
            Inspection::of_bundle(Format::Pem, bundle, now)
        }
        Found::SigningKey => of_signing_key(file),
    }
}

fn certificate_alone(der: &[u8]) -> Inspection {
    let bundle = read_certificate(der)
        .map(|certificate| Bundle { keys: Vec::new(), certificates: vec![certificate] });
    Inspection::of_bundle(Format::Pem, bundle, OffsetDateTime::UNIX_EPOCH).without_format()
}

fn of_signing_key(file: &[u8]) -> Inspection {
    let inspection = Inspection::of(Some(Format::P8));
    let key = p8_der(file).and_then(|der| signing_key(&der));
    let key = key.and_then(|key| PKey::from_ec_key(key).map_err(|_| unreadable_key()));
    match key {
        Ok(key) => Inspection { key: Some(KeyReport::of(&key)), ..inspection },
        Err(problem) => inspection.wrong(&problem),
    }
}

impl Inspection {
    fn of(format: Option<Format>) -> Self {
        let (certificate, chain, key, problem) = (None, Vec::new(), None, None);
        Self { format, certificate, chain, key, problem, is_locked: false }
    }

    fn wrong(self, problem: &Problem) -> Self {
        let is_locked = matches!(problem, Problem::PasswordMissing | Problem::PasswordWrong);
        Self { problem: Some(problem.to_string()), is_locked, ..self }
    }

    fn without_format(self) -> Self {
        Self { format: None, ..self }
    }

    fn of_bundle(format: Format, bundle: Result<Bundle, Problem>, now: OffsetDateTime) -> Self {
        let inspection = Self::of(Some(format));
        let bundle = match bundle {
            Ok(bundle) => bundle,
            Err(problem) => return inspection.wrong(&problem),
        };
        let (leaf, key, problem) = match bundle.choose(now) {
            Ok(pair) => (Some(pair.certificate), Some(pair.key), pair.check(now).err()),
            Err(problem) => (bundle.certificates.first(), bundle.keys.first(), Some(problem)),
        };
        let others = bundle.certificates.iter().filter(|other| Some(*other) != leaf);
        Self {
            certificate: leaf.and_then(CertificateReport::of),
            chain: others.map(|other| name(other.subject_name())).collect(),
            key: key.map(KeyReport::of),
            problem: problem.map(|problem| problem.to_string()),
            ..inspection
        }
    }
}

impl CertificateReport {
    /// `None` when the certificate's own fields cannot be read.
    fn of(certificate: &X509) -> Option<Self> {
        let purpose = Purpose::read(&certificate.to_der().ok()?);
        let serial = certificate.serial_number().to_bn().and_then(|number| number.to_hex_str());
        let digest = certificate.digest(MessageDigest::sha256()).ok()?;
        Some(Self {
            subject: name(certificate.subject_name()),
            issuer: name(certificate.issuer_name()),
            serial: serial.ok()?.to_lowercase(),
            sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            topics: purpose.topics,
            environments: purpose.environments,
            not_before: moment(certificate.not_before()).ok()?,
            not_after: moment(certificate.not_after()).ok()?,
        })
    }
}

impl KeyReport {
    fn of(key: &PKey<Private>) -> Self {
        let curve = key.ec_key().ok().and_then(|key| key.group().curve_name());
        let kind = match (key.id(), curve) {
            (Id::RSA, _) => "RSA".to_owned(),
            (_, Some(Nid::X9_62_PRIME256V1)) => "EC P-256".to_owned(),
            (_, Some(curve)) => format!("EC {}", curve.short_name().unwrap_or("on a curve")),
            (_, None) => "of another kind".to_owned(),
        };
        Self { kind, bits: key.bits() }
    }
}

/// `CN=…, OU=…`, in the certificate's order.
fn name(name: &X509NameRef) -> String {
    let parts = name.entries().map(|entry| {
        let field = entry.object().nid().short_name().unwrap_or("?");
        let text = entry.data().to_string().unwrap_or_default();
        format!("{field}={text}")
    });
    parts.collect::<Vec<_>>().join(", ")
}
