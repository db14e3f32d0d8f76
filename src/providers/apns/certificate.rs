//! Apple's push certificate: what it is for, and until when.

use std::fmt;
use std::ops::RangeInclusive;

use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::pkey::{Id, PKey, Private};
use openssl::x509::X509;
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::Mode;
use super::ber::{INTEGER, Malformed, Reader, SEQUENCE, UTF8_STRING};
use super::pbe::{Password, Pbe};
use super::problem::Problem;

/// Subject UID: the base topic.
const USER_ID: &str = "0.9.2342.19200300.100.1.1";
const DEVELOPMENT_PUSH: &str = "1.2.840.113635.100.6.3.1";
const PRODUCTION_PUSH: &str = "1.2.840.113635.100.6.3.2";
const VOIP_TOPICS: &str = "1.2.840.113635.100.6.3.4";
const TOPICS: &str = "1.2.840.113635.100.6.3.6";
const EC_KEY: &str = "1.2.840.10045.2.1";
const RSA_KEY: &str = "1.2.840.113549.1.1.1";
/// Shorter ones TLS refuses (OpenSSL's security level 2); with longer ones each handshake would
/// hold up everybody else's.
const RSA_BITS: RangeInclusive<u32> = 2048..=8192;
/// Apple's certificates name about five; more come from nobody honest.
const MAX_TOPICS: usize = 100;

/// A client certificate with its key, valid on the day it was uploaded.
pub struct Certificate {
    /// The certificate that is shown to Apple.
    pub leaf: X509,
    /// The other certificates of the file, in its order.
    pub chain: Vec<X509>,
    /// The private key of `leaf`: RSA or EC.
    pub key: PKey<Private>,
    /// The topics that it names, the base topic first; empty if it names none.
    pub topics: Vec<String>,
    /// The base topic: the UID of the subject.
    pub default_topic: Option<String>,
    /// Which environments it serves.
    pub environments: Environments,
    /// The moment from which it is valid.
    pub not_before: OffsetDateTime,
    /// The last moment at which it is valid.
    pub not_after: OffsetDateTime,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Certificate")
            .field("topics", &self.topics)
            .field("environments", &self.environments)
            .field("not_before", &self.not_before)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// Which of Apple's environments a certificate serves, by its own markers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environments {
    /// Both; today's "Apple Push Services" certificates do.
    Both,
    /// The sandbox only.
    Development,
    /// Production only.
    Production,
    /// It carries no marker: Apple decides.
    Unknown,
}

impl Environments {
    /// Whether it is known not to serve this one.
    pub fn excludes(self, mode: Mode) -> bool {
        match self {
            Self::Both | Self::Unknown => false,
            Self::Development => mode == Mode::Production,
            Self::Production => mode == Mode::Development,
        }
    }

    /// The mode that comes of one that was asked for: to find out needs both environments.
    pub fn settle(self, mode: Mode) -> Mode {
        match (mode, self) {
            (Mode::Auto, Self::Both) => Mode::Auto,
            (Mode::Auto, Self::Development) => Mode::Development,
            (Mode::Auto, Self::Production | Self::Unknown) => Mode::Production,
            (Mode::Development | Mode::Production, _) => mode,
        }
    }
}

/// The keys and certificates of a file, in any order.
#[derive(Default)]
pub(super) struct Bundle {
    pub(super) keys: Vec<PKey<Private>>,
    pub(super) certificates: Vec<X509>,
}

impl Bundle {
    /// Chooses certificate and key by the public key that they share, never by position. Of several
    /// pairs (a renewed certificate beside the old one) the one that is valid and lasts longest.
    pub(super) fn into_certificate(self, now: OffsetDateTime) -> Result<Certificate, Problem> {
        let chosen = self.choose(now)?;
        chosen.check(now)?;
        chosen.finish(&self.certificates)
    }

    /// The same of one that was usable when it came, whatever became of it since.
    pub(super) fn into_certificate_of_any_time(
        self,
        now: OffsetDateTime,
    ) -> Result<Certificate, Problem> {
        self.choose(now)?.finish(&self.certificates)
    }

    /// The pair itself, whether it can be used or not.
    pub(super) fn choose(&self, now: OffsetDateTime) -> Result<Candidate<'_>, Problem> {
        if self.certificates.is_empty() {
            return Err(Problem::CertificateMissing);
        }
        if self.keys.is_empty() {
            return Err(Problem::KeyMissing);
        }
        let mut best: Option<Candidate<'_>> = None;
        for certificate in &self.certificates {
            let Ok(public) = certificate.public_key() else { continue };
            let Some(key) = self.keys.iter().find(|key| key.public_eq(&public)) else { continue };
            let candidate = Candidate {
                certificate,
                key,
                not_before: moment(certificate.not_before())?,
                not_after: moment(certificate.not_after())?,
            };
            if best.as_ref().is_none_or(|best| candidate.rank(now) > best.rank(now)) {
                best = Some(candidate);
            }
        }
        best.ok_or(Problem::KeyMismatch)
    }
}

/// A certificate with its key.
pub(super) struct Candidate<'a> {
    pub(super) certificate: &'a X509,
    pub(super) key: &'a PKey<Private>,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
}

impl Candidate<'_> {
    fn rank(&self, now: OffsetDateTime) -> (bool, OffsetDateTime) {
        ((self.not_before..=self.not_after).contains(&now), self.not_after)
    }

    /// Whether it can be used at this time.
    pub(super) fn check(&self, now: OffsetDateTime) -> Result<(), Problem> {
        if now > self.not_after {
            return Err(Problem::Expired(self.not_after.date()));
        }
        if now < self.not_before {
            return Err(Problem::NotYetValid(self.not_before.date()));
        }
        if self.key.id() == Id::RSA && !RSA_BITS.contains(&self.key.bits()) {
            return Err(Problem::KeyUnusable(format!(
                "the key is RSA of {} bits, {} to {} are usable; request a certificate with a new \
                 key",
                self.key.bits(),
                RSA_BITS.start(),
                RSA_BITS.end()
            )));
        }
        Ok(())
    }

    fn finish(self, all: &[X509]) -> Result<Certificate, Problem> {
        let der = self.certificate.to_der().map_err(|_| Problem::Damaged)?;
        let purpose = Purpose::read(&der);
        Ok(Certificate {
            leaf: self.certificate.clone(),
            chain: all.iter().filter(|other| *other != self.certificate).cloned().collect(),
            key: self.key.clone(),
            topics: purpose.topics,
            default_topic: purpose.user_id,
            environments: purpose.environments,
            not_before: self.not_before,
            not_after: self.not_after,
        })
    }
}

/// What Apple wrote into a certificate. Its extensions are documented nowhere, so nothing in them
/// is an error: what cannot be read is not there.
pub(super) struct Purpose {
    pub(super) topics: Vec<String>,
    user_id: Option<String>,
    pub(super) environments: Environments,
}

impl Purpose {
    pub(super) fn read(der: &[u8]) -> Self {
        let nothing =
            Self { topics: Vec::new(), user_id: None, environments: Environments::Unknown };
        let Ok((_, certificate)) = X509Certificate::from_der(der) else { return nothing };
        let user_id = certificate
            .subject()
            .iter_attributes()
            .find(|attribute| attribute.attr_type().to_id_string() == USER_ID)
            .and_then(|attribute| attribute.as_str().ok())
            .filter(|topic| !topic.is_empty())
            .map(str::to_owned);
        let mut topics: Vec<String> = user_id.iter().cloned().collect();
        let (mut development, mut production) = (false, false);
        for extension in certificate.extensions() {
            match extension.oid.to_id_string().as_str() {
                DEVELOPMENT_PUSH => development = true,
                PRODUCTION_PUSH => production = true,
                TOPICS | VOIP_TOPICS => add_topics(extension.value, &mut topics),
                _ => {}
            }
        }
        let environments = match (development, production) {
            (true, true) => Environments::Both,
            (true, false) => Environments::Development,
            (false, true) => Environments::Production,
            (false, false) => Environments::Unknown,
        };
        Self { topics, user_id, environments }
    }
}

/// A sequence in which each topic is a UTF-8 string, followed by a sequence of what it is for. The
/// layout is known from other readers of these certificates, not from Apple.
fn add_topics(value: &[u8], topics: &mut Vec<String>) {
    let mut elements = match Reader::new(value).expect(SEQUENCE) {
        Ok(sequence) => sequence.inside(),
        Err(_) => Reader::new(value),
    };
    while let Ok(Some(element)) = elements.next() {
        if element.tag != UTF8_STRING || topics.len() >= MAX_TOPICS {
            continue;
        }
        match std::str::from_utf8(element.content) {
            Ok("") | Err(_) => {}
            Ok(topic) if topics.iter().any(|known| known == topic) => {}
            Ok(topic) => topics.push(topic.to_owned()),
        }
    }
}

/// Reads an X.509 certificate in DER.
pub(super) fn read_certificate(der: &[u8]) -> Result<X509, Problem> {
    X509::from_der(der).map_err(|_| Problem::Damaged)
}

/// Reads an unencrypted PKCS#8 key, RSA or EC. `Damaged` means that it is no PKCS#8 at all.
///
/// Of a DSA or DH key OpenSSL computes the public half as it reads, over numbers of any length:
/// minutes for a file of a few kilobytes. So the algorithm is looked at first.
pub(super) fn read_pkcs8(der: &[u8]) -> Result<PKey<Private>, Problem> {
    let mut fields = Reader::new(der).expect(SEQUENCE)?.inside();
    fields.expect(INTEGER)?;
    let algorithm = fields.expect(SEQUENCE)?.inside().next()?.ok_or(Malformed)?.oid()?;
    if ![EC_KEY, RSA_KEY].contains(&algorithm.as_str()) {
        return Err(Problem::KeyUnusable(
            "the key is neither RSA nor EC, and Apple issues no other; send what was made for \
             Apple"
                .to_owned(),
        ));
    }
    PKey::private_key_from_pkcs8(der).map_err(|_| unreadable_key())
}

/// Reads an encrypted PKCS#8 key. What is no key once it is decrypted had another password.
pub(super) fn read_encrypted_pkcs8(
    pbe: &Pbe,
    data: &[u8],
    password: Password<'_>,
) -> Result<PKey<Private>, Problem> {
    read_pkcs8(&pbe.decrypt(password, data)?)
        .map_err(|problem| if problem == Problem::Damaged { password.refused() } else { problem })
}

/// The diagnosis of a key that has the outside of one and cannot be used.
pub(super) fn unreadable_key() -> Problem {
    Problem::KeyUnusable("the private key is damaged or of an unknown kind; export it again".into())
}

pub(super) fn moment(time: &Asn1TimeRef) -> Result<OffsetDateTime, Problem> {
    let since = Asn1Time::from_unix(0).and_then(|epoch| epoch.diff(time));
    let since = since.map_err(|_| Problem::Damaged)?;
    let since = Duration::days(since.days.into()).checked_add(Duration::seconds(since.secs.into()));
    since.and_then(|since| OffsetDateTime::UNIX_EPOCH.checked_add(since)).ok_or(Problem::Damaged)
}
