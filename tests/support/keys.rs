//! Certificates, keys and the files that hold them, made at run time: no secret is in the tree.
//!
//! ```ignore
//! let authority = Authority::new();
//! let identity = authority.apple_certificate("com.example.app").build();
//! let file = identity.p12("secret");
//! ```

use openssl::asn1::{Asn1Integer, Asn1Object, Asn1OctetString, Asn1Time};
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkcs12::Pkcs12;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::stack::Stack;
use openssl::symm::Cipher;
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509Extension, X509Name};
use pushlet::providers::apns::credential::load_legacy_provider;

use super::der;

const DAY: i64 = 24 * 60 * 60;

/// A new EC key on P-256.
pub fn ec_key() -> PKey<Private> {
    ec_key_on(Nid::X9_62_PRIME256V1)
}

/// A new EC key on this curve.
pub fn ec_key_on(curve: Nid) -> PKey<Private> {
    let group = EcGroup::from_curve_name(curve).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

/// A new RSA key.
pub fn rsa_key() -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap()
}

/// A signing key as Apple gives it (`AuthKey_….p8`).
pub fn signing_key_p8() -> Vec<u8> {
    ec_key().private_key_to_pem_pkcs8().unwrap()
}

/// A certificate authority of its own.
pub struct Authority {
    pub certificate: X509,
    pub key: PKey<Private>,
}

impl Authority {
    /// A new one.
    pub fn new() -> Self {
        let key = ec_key();
        let mut builder = certificate(&name(&[(Nid::COMMONNAME, "Test Authority")]), &key, (-1, 9));
        let issuer = name(&[(Nid::COMMONNAME, "Test Authority")]);
        builder.set_issuer_name(&issuer).unwrap();
        builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        Self { certificate: builder.build(), key }
    }

    /// Its certificate, as `apns.ca_file` wants it.
    pub fn pem(&self) -> Vec<u8> {
        self.certificate.to_pem().unwrap()
    }

    /// A push certificate for this topic: EC key, both environments, valid now.
    pub fn apple_certificate(&self, topic: &str) -> AppleCertificate<'_> {
        AppleCertificate {
            authority: self,
            topic: Some(topic.to_owned()),
            topics: vec![(topic.to_owned(), "app".to_owned())],
            markers: vec!["1.2.840.113635.100.6.3.1", "1.2.840.113635.100.6.3.2"],
            extensions: Vec::new(),
            days: (-1, 365),
            key: None,
            chain: false,
        }
    }

    /// A server's certificate for these names; addresses are taken as such.
    pub fn server_certificate(&self, hosts: &[&str]) -> Identity {
        self.server_certificate_valid(hosts, (-1, 9))
    }

    /// The same, valid from and to, in days from now.
    pub fn server_certificate_valid(&self, hosts: &[&str], days: (i64, i64)) -> Identity {
        let key = ec_key();
        let subject = name(&[(Nid::COMMONNAME, hosts.first().copied().unwrap_or("server"))]);
        let mut builder = certificate(&subject, &key, days);
        let mut names = SubjectAlternativeName::new();
        for host in hosts {
            if host.parse::<std::net::IpAddr>().is_ok() {
                names.ip(host)
            } else {
                names.dns(host)
            };
        }
        let context = builder.x509v3_context(Some(&self.certificate), None);
        let names = names.build(&context).unwrap();
        builder.append_extension(names).unwrap();
        Identity { certificate: self.sign(builder), key, chain: Vec::new() }
    }

    fn sign(&self, mut builder: X509Builder) -> X509 {
        builder.set_issuer_name(self.certificate.subject_name()).unwrap();
        builder.sign(&self.key, MessageDigest::sha256()).unwrap();
        builder.build()
    }
}

/// A push certificate that is still to be made.
pub struct AppleCertificate<'a> {
    authority: &'a Authority,
    topic: Option<String>,
    topics: Vec<(String, String)>,
    markers: Vec<&'static str>,
    extensions: Vec<(&'static str, Vec<u8>)>,
    days: (i64, i64),
    key: Option<PKey<Private>>,
    chain: bool,
}

impl AppleCertificate<'_> {
    /// Adds a topic to Apple's extension, with the word for what it is for.
    pub fn topic(mut self, topic: &str, kind: &str) -> Self {
        self.topics.push((topic.to_owned(), kind.to_owned()));
        self
    }

    /// Leaves the subject without UID and the extension of topics away.
    pub fn without_topic(mut self) -> Self {
        self.topic = None;
        self.topics.clear();
        self
    }

    /// Marked for the sandbox only.
    pub fn development_only(mut self) -> Self {
        self.markers = vec!["1.2.840.113635.100.6.3.1"];
        self
    }

    /// Marked for production only.
    pub fn production_only(mut self) -> Self {
        self.markers = vec!["1.2.840.113635.100.6.3.2"];
        self
    }

    /// Marked for nothing.
    pub fn without_markers(mut self) -> Self {
        self.markers.clear();
        self
    }

    /// Carries another extension with these bytes.
    pub fn extension(mut self, oid: &'static str, value: Vec<u8>) -> Self {
        self.extensions.push((oid, value));
        self
    }

    /// Valid from and to, in days from now.
    pub fn valid(mut self, from_days: i64, to_days: i64) -> Self {
        self.days = (from_days, to_days);
        self
    }

    /// With a new RSA key.
    pub fn rsa(self) -> Self {
        self.key(rsa_key())
    }

    /// With this key.
    pub fn key(mut self, key: PKey<Private>) -> Self {
        self.key = Some(key);
        self
    }

    /// The authority's certificate goes into the files too.
    pub fn with_chain(mut self) -> Self {
        self.chain = true;
        self
    }

    /// Makes it.
    pub fn build(self) -> Identity {
        let key = self.key.unwrap_or_else(ec_key);
        let common = self.topic.as_deref().unwrap_or("no topic");
        let mut entries = vec![(Nid::COMMONNAME, format!("Apple Push Services: {common}"))];
        entries.extend(self.topic.iter().map(|topic| (Nid::USERID, topic.clone())));
        let entries: Vec<(Nid, &str)> =
            entries.iter().map(|(nid, text)| (*nid, text.as_str())).collect();
        let mut builder = certificate(&name(&entries), &key, self.days);
        for marker in self.markers {
            builder.append_extension(extension(marker, &[der::NULL, 0])).unwrap();
        }
        if !self.topics.is_empty() {
            let value = topics_extension(&self.topics);
            builder.append_extension(extension("1.2.840.113635.100.6.3.6", &value)).unwrap();
        }
        for (oid, value) in self.extensions {
            builder.append_extension(extension(oid, &value)).unwrap();
        }
        let chain = if self.chain { vec![self.authority.certificate.clone()] } else { Vec::new() };
        Identity { certificate: self.authority.sign(builder), key, chain }
    }
}

/// A certificate with its key.
pub struct Identity {
    pub certificate: X509,
    pub key: PKey<Private>,
    pub chain: Vec<X509>,
}

impl Identity {
    /// A P12 as OpenSSL 3 writes it.
    pub fn p12(&self, password: &str) -> Vec<u8> {
        self.p12_of(P12::Aes256, password)
    }

    /// A P12 as one of its writers writes it.
    pub fn p12_of(&self, style: P12, password: &str) -> Vec<u8> {
        self.p12_with(style, password, None)
    }

    /// The same, with a number of iterations and a friendly name.
    pub fn p12_with(&self, style: P12, password: &str, more: Option<(u32, &str)>) -> Vec<u8> {
        load_legacy_provider();
        let none = Nid::from_raw(-1);
        let triple_des = Nid::PBE_WITHSHA1AND3_KEY_TRIPLEDES_CBC;
        let (sha1, sha256) = (MessageDigest::sha1(), MessageDigest::sha256());
        let (key, certificates, digest) = match style {
            P12::Aes128 => (Nid::AES_128_CBC, Nid::AES_128_CBC, sha1),
            P12::Aes256 => (Nid::AES_256_CBC, Nid::AES_256_CBC, sha256),
            P12::CertificatesPlain => (triple_des, none, sha1),
            P12::Keychain => (triple_des, Nid::PBE_WITHSHA1AND40BITRC2_CBC, sha1),
            P12::Plain => (none, none, sha1),
            P12::Rc2 => {
                let rc2 = Nid::PBE_WITHSHA1AND128BITRC2_CBC;
                (rc2, rc2, sha1)
            }
            P12::TripleDes => (triple_des, triple_des, sha1),
        };
        let mut builder = Pkcs12::builder();
        builder.pkey(&self.key).cert(&self.certificate);
        builder.key_algorithm(key).cert_algorithm(certificates).mac_md(digest);
        if let Some((iterations, name)) = more {
            builder.key_iter(iterations).mac_iter(iterations).name(name);
        }
        if !self.chain.is_empty() {
            let mut chain = Stack::new().unwrap();
            self.chain.iter().for_each(|other| chain.push(other.clone()).unwrap());
            builder.ca(chain);
        }
        builder.build2(password).unwrap().to_der().unwrap()
    }

    /// Certificate, key (PKCS#8) and chain.
    pub fn pem(&self) -> Vec<u8> {
        [self.certificate_pem(), self.key_pem(), self.chain_pem()].concat()
    }

    /// The certificate alone.
    pub fn certificate_pem(&self) -> Vec<u8> {
        self.certificate.to_pem().unwrap()
    }

    /// The key alone, PKCS#8.
    pub fn key_pem(&self) -> Vec<u8> {
        self.key.private_key_to_pem_pkcs8().unwrap()
    }

    /// The key alone, in its older form: PKCS#1 or SEC1; encrypted if a password is given.
    pub fn older_key_pem(&self, password: Option<&str>) -> Vec<u8> {
        let cipher = Cipher::aes_128_cbc();
        match (self.key.rsa(), self.key.ec_key(), password) {
            (Ok(rsa), _, None) => rsa.private_key_to_pem(),
            (Ok(rsa), _, Some(p)) => rsa.private_key_to_pem_passphrase(cipher, p.as_bytes()),
            (_, Ok(ec), None) => ec.private_key_to_pem(),
            (_, Ok(ec), Some(p)) => ec.private_key_to_pem_passphrase(cipher, p.as_bytes()),
            (Err(_), Err(_), _) => panic!("neither RSA nor EC"),
        }
        .unwrap()
    }

    /// The key alone, PKCS#8, encrypted with PBES2.
    pub fn encrypted_key_pem(&self, password: &str) -> Vec<u8> {
        let cipher = Cipher::aes_256_cbc();
        self.key.private_key_to_pem_pkcs8_passphrase(cipher, password.as_bytes()).unwrap()
    }

    fn chain_pem(&self) -> Vec<u8> {
        self.chain.iter().flat_map(|other| other.to_pem().unwrap()).collect()
    }
}

/// Who wrote a P12.
#[derive(Debug, Clone, Copy)]
pub enum P12 {
    /// AES-128 with a SHA-1 MAC.
    Aes128,
    /// OpenSSL 3: AES-256 and PBKDF2, SHA-256 MAC.
    Aes256,
    /// The key in 3DES, certificates as they are.
    CertificatesPlain,
    /// Keychain: certificates in RC2-40, the key in 3DES, SHA-1 MAC.
    Keychain,
    /// Nothing encrypted.
    Plain,
    /// Everything in RC2-128.
    Rc2,
    /// Everything in 3DES.
    TripleDes,
}

fn name(entries: &[(Nid, &str)]) -> X509Name {
    let mut name = X509Name::builder().unwrap();
    for (nid, text) in entries {
        name.append_entry_by_nid(*nid, text).unwrap();
    }
    name.build()
}

fn certificate(subject: &X509Name, key: &PKey<Private>, days: (i64, i64)) -> X509Builder {
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    let at = |days: i64| Asn1Time::from_unix(now + days * DAY).unwrap();
    let mut serial = BigNum::new().unwrap();
    serial.rand(127, MsbOption::MAYBE_ZERO, false).unwrap();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_serial_number(&Asn1Integer::from_bn(&serial).unwrap()).unwrap();
    builder.set_subject_name(subject).unwrap();
    builder.set_pubkey(key).unwrap();
    builder.set_not_before(&at(days.0)).unwrap();
    builder.set_not_after(&at(days.1)).unwrap();
    builder
}

fn extension(oid: &str, value: &[u8]) -> X509Extension {
    let oid = Asn1Object::from_str(oid).unwrap();
    let value = Asn1OctetString::new_from_bytes(value).unwrap();
    X509Extension::new_from_der(&oid, false, &value).unwrap()
}

/// Topic, what it is for, topic, what it is for.
fn topics_extension(topics: &[(String, String)]) -> Vec<u8> {
    let text = |text: &str| der::element(der::UTF8_STRING, text.as_bytes());
    let pairs: Vec<Vec<u8>> = topics
        .iter()
        .flat_map(|(topic, kind)| [text(topic), der::sequence(&[text(kind)])])
        .collect();
    der::sequence(&pairs)
}
