//! Certificates and keys made on the spot: the simulator's own, and samples like Apple's.

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use openssl::asn1::{Asn1Integer, Asn1Object, Asn1OctetString, Asn1Time};
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkcs12::Pkcs12;
use openssl::pkey::{PKey, Private, Public};
use openssl::rsa::Rsa;
use openssl::x509::extension::{
    BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
};
use openssl::x509::{X509, X509Builder, X509Extension, X509Name, X509NameRef};

/// Which of Apple's two systems: what a certificate is marked for, or which one is simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    /// Both, as Apple's *Push Services* certificates are; simulated: whatever comes.
    Any,
    /// `api.push.apple.com`.
    Production,
    /// `api.sandbox.push.apple.com`, also called development.
    Sandbox,
}

/// A certification authority of this process.
pub struct Authority {
    certificate: X509,
    key: PKey<Private>,
}

/// What a sample certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The base topic: the subject's UID.
    pub topic: String,
    /// The topics of Apple's extension, with their kinds; empty: no such extension.
    pub topics: Vec<(String, String)>,
    /// The environment markers.
    pub environment: Environment,
    /// Start of its validity, in days from now; negative is the past.
    pub starts_in_days: i64,
    /// End of its validity, in days from now; negative is the past.
    pub ends_in_days: i64,
    /// An EC key on P-256; else RSA of 2,048 bits, as Apple's are.
    pub elliptic: bool,
}

impl Subject {
    /// What Apple's *Push Services* certificate of an app says: both environments, the app's topic,
    /// `VoIP` and complication, a year and a month, RSA.
    pub fn of_app(topic: &str) -> Self {
        let topics = [("", "app"), (".voip", "voip"), (".complication", "complication")];
        Self {
            topic: topic.to_owned(),
            topics: topics.map(|(suffix, kind)| (format!("{topic}{suffix}"), kind.into())).into(),
            environment: Environment::Any,
            starts_in_days: -1,
            ends_in_days: 395,
            elliptic: false,
        }
    }
}

/// A certificate and its key.
pub struct Identity {
    /// The certificate.
    pub certificate: X509,
    /// Its private key.
    pub key: PKey<Private>,
}

impl Identity {
    /// The certificate as PEM.
    ///
    /// # Errors
    /// What OpenSSL says.
    pub fn certificate_pem(&self) -> Result<Vec<u8>, ErrorStack> {
        self.certificate.to_pem()
    }

    /// The key as PEM, PKCS#8, not encrypted.
    ///
    /// # Errors
    /// What OpenSSL says.
    pub fn key_pem(&self) -> Result<Vec<u8>, ErrorStack> {
        self.key.private_key_to_pem_pkcs8()
    }

    /// Both as PKCS#12, encrypted as OpenSSL does by default (AES-256, PBKDF2, SHA-256).
    ///
    /// # Errors
    /// What OpenSSL says.
    pub fn p12(&self, password: &str) -> Result<Vec<u8>, ErrorStack> {
        let mut builder = Pkcs12::builder();
        builder.name("pushlet").pkey(&self.key).cert(&self.certificate);
        builder.build2(password)?.to_der()
    }
}

/// A provider's signing key, as Apple hands out in a `.p8` file.
pub struct SigningKey {
    /// The key id, `kid`.
    pub key_id: String,
    /// The team id, `iss`.
    pub team_id: String,
    /// The private key.
    pub key: PKey<Private>,
}

impl SigningKey {
    /// A new key.
    ///
    /// # Errors
    /// What OpenSSL says.
    pub fn generate(key_id: &str, team_id: &str) -> Result<Self, ErrorStack> {
        let key = elliptic_key()?;
        Ok(Self { key_id: key_id.to_owned(), team_id: team_id.to_owned(), key })
    }

    /// The file as Apple offers it for download: PKCS#8, PEM.
    ///
    /// # Errors
    /// What OpenSSL says.
    pub fn p8(&self) -> Result<Vec<u8>, ErrorStack> {
        self.key.private_key_to_pem_pkcs8()
    }

    /// What the simulator needs in order to verify this key's signatures.
    ///
    /// # Errors
    /// What OpenSSL says.
    pub fn public(&self) -> Result<ProviderKey, ErrorStack> {
        let public_key = PKey::public_key_from_der(&self.key.public_key_to_der()?)?;
        Ok(ProviderKey { key_id: self.key_id.clone(), team_id: self.team_id.clone(), public_key })
    }
}

/// The public half of a [`SigningKey`].
pub struct ProviderKey {
    /// The key id, `kid`.
    pub key_id: String,
    /// The team id, `iss`.
    pub team_id: String,
    /// The public key, on P-256.
    pub public_key: PKey<Public>,
}

impl Authority {
    /// A new authority of this common name, for ten years.
    ///
    /// # Errors
    /// What OpenSSL says.
    pub fn generate(common_name: &str) -> Result<Self, ErrorStack> {
        let key = elliptic_key()?;
        let name = name(&[(Nid::COMMONNAME, common_name)])?;
        let mut builder = builder(&name, &key, -1, 3_650)?;
        builder.set_issuer_name(&name)?;
        builder.append_extension(BasicConstraints::new().critical().ca().build()?)?;
        builder.append_extension(KeyUsage::new().critical().key_cert_sign().crl_sign().build()?)?;
        builder.sign(&key, MessageDigest::sha256())?;
        Ok(Self { certificate: builder.build(), key })
    }

    /// The authority's certificate as PEM: what a client must trust.
    ///
    /// # Errors
    /// What OpenSSL says.
    pub fn pem(&self) -> Result<Vec<u8>, ErrorStack> {
        self.certificate.to_pem()
    }

    /// A server certificate for `localhost`, `127.0.0.1`, `::1` and one address more.
    ///
    /// # Errors
    /// What OpenSSL says.
    pub fn server(&self, address: IpAddr) -> Result<Identity, ErrorStack> {
        let key = elliptic_key()?;
        let name = name(&[(Nid::COMMONNAME, "localhost")])?;
        let mut builder = builder(&name, &key, -1, 395)?;
        builder.append_extension(ExtendedKeyUsage::new().server_auth().build()?)?;
        let names = SubjectAlternativeName::new()
            .dns("localhost")
            .ip("127.0.0.1")
            .ip("::1")
            .ip(&address.to_string())
            .build(&builder.x509v3_context(Some(&self.certificate), None))?;
        builder.append_extension(names)?;
        self.issue(builder, key)
    }

    /// A client certificate that says what Apple's say.
    ///
    /// # Errors
    /// What OpenSSL says.
    pub fn client(&self, subject: &Subject) -> Result<Identity, ErrorStack> {
        let key =
            if subject.elliptic { elliptic_key()? } else { PKey::from_rsa(Rsa::generate(2_048)?)? };
        let common_name = format!("Apple Push Services: {}", subject.topic);
        let name = name(&[
            (Nid::USERID, &subject.topic),
            (Nid::COMMONNAME, common_name.get(..64).unwrap_or(&common_name)),
        ])?;
        let mut builder = builder(&name, &key, subject.starts_in_days, subject.ends_in_days)?;
        builder.append_extension(ExtendedKeyUsage::new().client_auth().build()?)?;
        let (development, production) = match subject.environment {
            Environment::Any => (true, true),
            Environment::Production => (false, true),
            Environment::Sandbox => (true, false),
        };
        const NULL: &[u8] = &[0x05, 0x00];
        if development {
            builder.append_extension(extension("1.2.840.113635.100.6.3.1", NULL)?)?;
        }
        if production {
            builder.append_extension(extension("1.2.840.113635.100.6.3.2", NULL)?)?;
        }
        if !subject.topics.is_empty() {
            let topics = topics_der(&subject.topics);
            builder.append_extension(extension("1.2.840.113635.100.6.3.6", &topics)?)?;
        }
        self.issue(builder, key)
    }

    fn issue(&self, mut builder: X509Builder, key: PKey<Private>) -> Result<Identity, ErrorStack> {
        builder.set_issuer_name(self.certificate.subject_name())?;
        builder.sign(&self.key, MessageDigest::sha256())?;
        Ok(Identity { certificate: builder.build(), key })
    }
}

fn elliptic_key() -> Result<PKey<Private>, ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    PKey::from_ec_key(EcKey::generate(&group)?)
}

fn name(entries: &[(Nid, &str)]) -> Result<X509Name, ErrorStack> {
    let mut builder = X509Name::builder()?;
    for (nid, value) in entries {
        builder.append_entry_by_nid(*nid, value)?;
    }
    Ok(builder.build())
}

/// All but issuer, extensions and signature.
fn builder(
    subject: &X509NameRef,
    key: &PKey<Private>,
    starts_in_days: i64,
    ends_in_days: i64,
) -> Result<X509Builder, ErrorStack> {
    let mut serial = BigNum::new()?;
    serial.rand(127, MsbOption::ONE, false)?;
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    builder.set_serial_number(&*Asn1Integer::from_bn(&serial)?)?;
    builder.set_subject_name(subject)?;
    builder.set_pubkey(key)?;
    builder.set_not_before(&*days_from_now(starts_in_days)?)?;
    builder.set_not_after(&*days_from_now(ends_in_days)?)?;
    Ok(builder)
}

fn days_from_now(days: i64) -> Result<Asn1Time, ErrorStack> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_secs = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    Asn1Time::from_unix(now_secs.saturating_add(days.saturating_mul(86_400)))
}

fn extension(oid: &str, der: &[u8]) -> Result<X509Extension, ErrorStack> {
    let oid = Asn1Object::from_str(oid)?;
    X509Extension::new_from_der(&oid, false, &*Asn1OctetString::new_from_bytes(der)?)
}

/// SEQUENCE of a string with the topic and a SEQUENCE with a string of its kind, in turn.
/// Read off existing parsers of such certificates; Apple documents no layout.
fn topics_der(topics: &[(String, String)]) -> Vec<u8> {
    const UTF8_STRING: u8 = 0x0c;
    const SEQUENCE: u8 = 0x30;
    let mut content = Vec::new();
    for (topic, kind) in topics {
        content.extend(tlv(UTF8_STRING, topic.as_bytes()));
        content.extend(tlv(SEQUENCE, &tlv(UTF8_STRING, kind.as_bytes())));
    }
    tlv(SEQUENCE, &content)
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut encoded = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => encoded.push(short),
        _ => {
            let length = content.len().to_be_bytes();
            let significant = length.iter().skip_while(|byte| **byte == 0);
            let count = u8::try_from(significant.clone().count()).unwrap_or(0);
            encoded.push(0x80 | count);
            encoded.extend(significant);
        }
    }
    encoded.extend(content);
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_der() {
        assert_eq!(tlv(4, &[7; 2]), [4, 2, 7, 7]);
        assert_eq!(tlv(4, &[7; 127]).get(..2), Some(&[4, 0x7f][..]));
        assert_eq!(tlv(4, &[7; 128]).get(..3), Some(&[4, 0x81, 0x80][..]));
        assert_eq!(tlv(4, &[7; 300]).get(..4), Some(&[4, 0x82, 0x01, 0x2c][..]));
    }
}
