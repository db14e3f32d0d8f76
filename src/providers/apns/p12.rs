//! PKCS#12 files (RFC 7292): which keys and certificates are inside.
//!
//! OpenSSL's own `PKCS12_parse` is not used: an encrypted part may hide a key whose derivation
//! takes 2³¹−1 iterations, and that function derives it as it goes. Here every count is charged
//! when it is read, on the outside before anything is derived and inside an encrypted part before
//! its keys are.

use openssl::hash::MessageDigest;
use openssl::memcmp;
use openssl::pkey::PKey;
use openssl::sign::Signer;

use super::ber::{
    CONTEXT_0, CONTEXT_0_PRIMITIVE, Element, INTEGER, Malformed, Reader, SEQUENCE, is_one_sequence,
};
use super::certificate::{Bundle, read_certificate, read_encrypted_pkcs8, read_pkcs8};
use super::kdf_cost::Budget;
use super::pbe::{Password, Pbe, Pbkdf2, Purpose, hmac_digest, pkcs12_key, unsupported};
use super::problem::Problem;

const DATA: &str = "1.2.840.113549.1.7.1";
const ENCRYPTED_DATA: &str = "1.2.840.113549.1.7.6";
const KEY_BAG: &str = "1.2.840.113549.1.12.10.1.1";
const SHROUDED_KEY_BAG: &str = "1.2.840.113549.1.12.10.1.2";
const CERTIFICATE_BAG: &str = "1.2.840.113549.1.12.10.1.3";
const SAFE_CONTENTS_BAG: &str = "1.2.840.113549.1.12.10.1.6";
const X509_CERTIFICATE: &str = "1.2.840.113549.1.9.22.1";
const PBMAC1: &str = "1.2.840.113549.1.5.14";

/// How deep bags may hold bags; no writer is known that does it at all.
const MAX_NESTED_BAGS: usize = 4;

/// Whether the bytes are a PKCS#12 file, by their outer structure. What follows it is not looked
/// at: files have been seen with a newline at the end.
pub(super) fn looks_like(file: &[u8]) -> bool {
    Outer::read(file).is_ok()
}

/// Opens a file that [`looks_like`] one.
pub(super) fn read(file: &[u8], password: &str) -> Result<Bundle, Problem> {
    let outer = Outer::read(file)?;
    let mut budget = Budget::new();
    let mac = outer.mac.map(|mac| Mac::read(&mac, &mut budget)).transpose()?;
    let safes = read_safes(&outer.safes, &mut budget)?;
    let mut refused = Problem::PasswordWrong;
    for password in Password::candidates(password) {
        let opened = match &mac {
            Some(mac) if !mac.verifies(&outer.safes, password)? => Err(password.refused()),
            Some(_) | None => open(&safes, password, budget.clone()),
        };
        match opened {
            Err(problem @ (Problem::PasswordMissing | Problem::PasswordWrong)) => refused = problem,
            opened => return opened,
        }
    }
    Err(refused)
}

/// `PFX`: the bytes that the MAC protects, and the MAC.
struct Outer<'a> {
    safes: Vec<u8>,
    mac: Option<Element<'a>>,
}

impl<'a> Outer<'a> {
    fn read(file: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Reader::new(file).expect(SEQUENCE)?.inside();
        fields.expect(INTEGER)?;
        let mut content = fields.expect(SEQUENCE)?.inside();
        if content.next()?.ok_or(Malformed)?.oid()? != DATA {
            return Err(Malformed);
        }
        let safes = content.expect(CONTEXT_0)?.inside().octet_string()?;
        let mac = fields.optional(SEQUENCE)?;
        Ok(Self { safes, mac })
    }
}

/// One part of a file; an encrypted one hides its bags.
enum Safe {
    Encrypted(Pbe, Vec<u8>),
    Plain(Vec<Bag>),
}

/// One thing that a file holds.
enum Bag {
    Certificate(Vec<u8>),
    EncryptedKey(Pbe, Vec<u8>),
    Key(Vec<u8>),
}

/// `AuthenticatedSafe`: everything that can be seen without a password.
fn read_safes(bytes: &[u8], budget: &mut Budget) -> Result<Vec<Safe>, Problem> {
    let mut safes = Vec::new();
    let mut contents = Reader::new(bytes).expect(SEQUENCE)?.inside();
    while let Some(content) = contents.next()? {
        budget.part()?;
        let mut fields = content.inside();
        let kind = fields.next()?.ok_or(Malformed)?.oid()?;
        match kind.as_str() {
            DATA => {
                let bags = fields.expect(CONTEXT_0)?.inside().octet_string()?;
                safes.push(Safe::Plain(read_safe_contents(&bags, budget)?));
            }
            ENCRYPTED_DATA => {
                let content = fields.expect(CONTEXT_0)?.inside().expect(SEQUENCE)?;
                safes.push(read_encrypted_safe(&content, budget)?);
            }
            _ => {} // encrypted to somebody's public key: not for us, and OpenSSL skips it too
        }
    }
    Ok(safes)
}

fn read_encrypted_safe(content: &Element<'_>, budget: &mut Budget) -> Result<Safe, Problem> {
    let mut fields = content.inside();
    fields.expect(INTEGER)?;
    let mut encrypted = fields.expect(SEQUENCE)?.inside();
    encrypted.next()?; // what it is: data
    let pbe = Pbe::read(&encrypted.expect(SEQUENCE)?, budget)?;
    match encrypted.next()? {
        Some(data) if [CONTEXT_0, CONTEXT_0_PRIMITIVE].contains(&data.tag) => {
            Ok(Safe::Encrypted(pbe, data.octets()?))
        }
        Some(_) | None => Err(Problem::Damaged),
    }
}

fn read_safe_contents(bytes: &[u8], budget: &mut Budget) -> Result<Vec<Bag>, Problem> {
    let mut bags = Vec::new();
    read_bags(&Reader::new(bytes).expect(SEQUENCE)?, budget, &mut bags, MAX_NESTED_BAGS)?;
    Ok(bags)
}

fn read_bags(
    contents: &Element<'_>,
    budget: &mut Budget,
    bags: &mut Vec<Bag>,
    depth: usize,
) -> Result<(), Problem> {
    let depth = depth.checked_sub(1).ok_or(Problem::Damaged)?;
    let mut contents = contents.inside();
    while let Some(bag) = contents.next()? {
        budget.part()?;
        let mut fields = bag.inside();
        let kind = fields.next()?.ok_or(Malformed)?.oid()?;
        let value = fields.expect(CONTEXT_0)?;
        match kind.as_str() {
            KEY_BAG => bags.push(Bag::Key(value.content.to_vec())),
            SHROUDED_KEY_BAG => {
                let mut fields = value.inside().expect(SEQUENCE)?.inside();
                let pbe = Pbe::read(&fields.expect(SEQUENCE)?, budget)?;
                bags.push(Bag::EncryptedKey(pbe, fields.octet_string()?));
            }
            CERTIFICATE_BAG => {
                let mut fields = value.inside().expect(SEQUENCE)?.inside();
                if fields.next()?.ok_or(Malformed)?.oid()? == X509_CERTIFICATE {
                    let certificate = fields.expect(CONTEXT_0)?.inside().octet_string()?;
                    bags.push(Bag::Certificate(certificate));
                }
            }
            SAFE_CONTENTS_BAG => {
                read_bags(&value.inside().expect(SEQUENCE)?, budget, bags, depth)?;
            }
            _ => {} // revocation lists and secrets
        }
    }
    Ok(())
}

fn open(safes: &[Safe], password: Password<'_>, mut budget: Budget) -> Result<Bundle, Problem> {
    let mut bundle = Bundle::default();
    for safe in safes {
        match safe {
            Safe::Encrypted(pbe, data) => {
                let plain = pbe.decrypt(password, data)?;
                if !is_one_sequence(&plain) {
                    return Err(password.refused());
                }
                open_bags(&read_safe_contents(&plain, &mut budget)?, password, &mut bundle)?;
            }
            Safe::Plain(bags) => open_bags(bags, password, &mut bundle)?,
        }
    }
    Ok(bundle)
}

fn open_bags(bags: &[Bag], password: Password<'_>, bundle: &mut Bundle) -> Result<(), Problem> {
    for bag in bags {
        match bag {
            Bag::Certificate(der) => bundle.certificates.push(read_certificate(der)?),
            Bag::EncryptedKey(pbe, data) => {
                bundle.keys.push(read_encrypted_pkcs8(pbe, data, password)?);
            }
            Bag::Key(der) => bundle.keys.push(read_pkcs8(der)?),
        }
    }
    Ok(())
}

/// `MacData`: tells a wrong password before anything is decrypted; its cost is paid.
struct Mac {
    digest: MessageDigest,
    key: MacKey,
    value: Vec<u8>,
}

enum MacKey {
    /// RFC 9879.
    Pbmac1 { pbkdf2: Pbkdf2, size: usize },
    /// RFC 7292 appendix B.
    Pkcs12 { salt: Vec<u8>, iterations: u64 },
}

impl Mac {
    fn read(mac: &Element<'_>, budget: &mut Budget) -> Result<Self, Problem> {
        let mut fields = mac.inside();
        let mut info = fields.expect(SEQUENCE)?.inside();
        let mut algorithm = info.expect(SEQUENCE)?.inside();
        let value = info.octet_string()?;
        let scheme = algorithm.next()?.ok_or(Malformed)?.oid()?;
        if scheme == PBMAC1 {
            return Self::read_pbmac1(&algorithm.expect(SEQUENCE)?, value, budget);
        }
        let digest = digest(&scheme).ok_or_else(|| unsupported(&scheme))?;
        let salt = fields.octet_string()?;
        let iterations = match fields.optional(INTEGER)? {
            Some(count) => count.unsigned()?,
            None => 1,
        };
        budget.iterations(iterations)?;
        Ok(Self { digest, key: MacKey::Pkcs12 { salt, iterations }, value })
    }

    fn read_pbmac1(
        parameters: &Element<'_>,
        value: Vec<u8>,
        budget: &mut Budget,
    ) -> Result<Self, Problem> {
        let mut fields = parameters.inside();
        let mut derivation = fields.expect(SEQUENCE)?.inside();
        derivation.next()?; // PBKDF2: RFC 9879 §5 allows no other
        let pbkdf2 = Pbkdf2::read(&derivation.expect(SEQUENCE)?, budget)?;
        let scheme = fields.expect(SEQUENCE)?.inside().next()?.ok_or(Malformed)?.oid()?;
        let digest = hmac_digest(&scheme).ok_or_else(|| unsupported(&scheme))?;
        // RFC 9879 §5 wants the length named and at least 20; OpenSSL allows up to 64.
        let size = pbkdf2.key_size().filter(|size| (20..=64).contains(size));
        let size = size.and_then(|size| usize::try_from(size).ok()).ok_or(Problem::Damaged)?;
        Ok(Self { digest, key: MacKey::Pbmac1 { pbkdf2, size }, value })
    }

    fn verifies(&self, safes: &[u8], password: Password<'_>) -> Result<bool, Problem> {
        let key = match &self.key {
            MacKey::Pbmac1 { pbkdf2, size } => pbkdf2.derive(password, *size),
            MacKey::Pkcs12 { salt, iterations } => {
                let size = self.digest.size();
                pkcs12_key(self.digest, Purpose::Mac, password, salt, *iterations, size)
            }
        };
        let value = key.and_then(|key| {
            let key = PKey::hmac(&key)?;
            Signer::new(self.digest, &key)?.sign_oneshot_to_vec(safes)
        });
        let value = value.map_err(|_| Problem::Damaged)?;
        Ok(value.len() == self.value.len() && memcmp::eq(&value, &self.value))
    }
}

fn digest(oid: &str) -> Option<MessageDigest> {
    match oid {
        "1.2.840.113549.2.5" => Some(MessageDigest::md5()),
        "1.3.14.3.2.26" => Some(MessageDigest::sha1()),
        "2.16.840.1.101.3.4.2.1" => Some(MessageDigest::sha256()),
        "2.16.840.1.101.3.4.2.2" => Some(MessageDigest::sha384()),
        "2.16.840.1.101.3.4.2.3" => Some(MessageDigest::sha512()),
        "2.16.840.1.101.3.4.2.4" => Some(MessageDigest::sha224()),
        _ => None,
    }
}
