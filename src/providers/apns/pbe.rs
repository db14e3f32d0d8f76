//! Password-based encryption: PKCS#5 (RFC 8018) and the scheme of PKCS#12 (RFC 7292).
//!
//! OpenSSL does the cryptography; its own readers are not used, since they derive keys before
//! anybody could look at the counts. A [`Pbe`] exists only when its cost was charged.

use openssl::asn1::Asn1Object;
use openssl::error::ErrorStack;
use openssl::hash::{Hasher, MessageDigest};
use openssl::nid::Nid;
use openssl::pkcs5;
use openssl::symm::{Cipher, Crypter, Mode};

use super::ber::{Element, INTEGER, Malformed, Reader, SEQUENCE};
use super::kdf_cost::{Budget, MAX_SCRYPT_BYTES};
use super::problem::Problem;

const PBES2: &str = "1.2.840.113549.1.5.13";
const PBKDF2: &str = "1.2.840.113549.1.5.12";
const SCRYPT: &str = "1.3.6.1.4.1.11591.4.11";

/// A password as PKCS#12 sees it.
#[derive(Clone, Copy)]
pub(super) enum Password<'a> {
    /// None at all, which PKCS#12 tells from an empty one.
    Absent,
    /// This one, possibly empty.
    Text(&'a str),
}

impl<'a> Password<'a> {
    /// What a given password may stand for: writers disagree about what an empty one is.
    pub(super) fn candidates(given: &'a str) -> Vec<Self> {
        if given.is_empty() { vec![Self::Absent, Self::Text("")] } else { vec![Self::Text(given)] }
    }

    /// The diagnosis when it does not open the file.
    pub(super) fn refused(self) -> Problem {
        match self {
            Self::Absent | Self::Text("") => Problem::PasswordMissing,
            Self::Text(_) => Problem::PasswordWrong,
        }
    }

    pub(super) fn utf8(self) -> &'a [u8] {
        match self {
            Self::Absent => &[],
            Self::Text(text) => text.as_bytes(),
        }
    }

    /// Big-endian UTF-16 with a final zero (RFC 7292 appendix B.1).
    fn utf16(self) -> Vec<u8> {
        match self {
            Self::Absent => Vec::new(),
            Self::Text(text) => text.encode_utf16().chain([0]).flat_map(u16::to_be_bytes).collect(),
        }
    }
}

/// How one part of a file is encrypted; its cost is paid.
pub(super) struct Pbe {
    cipher: Cipher,
    name: String,
    kdf: Kdf,
}

/// How key and initialisation vector come about.
enum Kdf {
    /// RFC 7292 appendix B.
    Pkcs12 { key_size: usize, salt: Vec<u8>, iterations: u64 },
    /// PBKDF1 of RFC 8018 §5.1: key and vector are eight bytes each.
    Pbkdf1 { digest: MessageDigest, salt: Vec<u8>, iterations: u64 },
    /// RFC 8018 §5.2.
    Pbkdf2 { pbkdf2: Pbkdf2, iv: Vec<u8> },
    /// RFC 7914.
    Scrypt { n: u64, r: u64, p: u64, salt: Vec<u8>, iv: Vec<u8> },
}

impl Pbe {
    /// Reads an `AlgorithmIdentifier` and charges what it asks for.
    pub(super) fn read(algorithm: &Element<'_>, budget: &mut Budget) -> Result<Self, Problem> {
        let mut fields = algorithm.inside();
        let scheme = fields.next()?.ok_or(Malformed)?.oid()?;
        let parameters = fields.expect(SEQUENCE)?;
        match scheme.as_str() {
            PBES2 => Self::read_pbes2(&parameters, budget),
            scheme => Self::read_older(scheme, &parameters, budget),
        }
    }

    /// PKCS#12's own schemes and PBES1: salt and count.
    fn read_older(
        scheme: &str,
        parameters: &Element<'_>,
        budget: &mut Budget,
    ) -> Result<Self, Problem> {
        let (md5, sha1) = (MessageDigest::md5(), MessageDigest::sha1());
        let (nid, key_size, pbkdf1) = match scheme {
            "1.2.840.113549.1.12.1.1" => (Nid::RC4, 16, None),
            "1.2.840.113549.1.12.1.2" => (Nid::RC4_40, 5, None),
            "1.2.840.113549.1.12.1.3" => (Nid::DES_EDE3_CBC, 24, None),
            "1.2.840.113549.1.12.1.4" => (Nid::DES_EDE_CBC, 16, None),
            "1.2.840.113549.1.12.1.5" => (Nid::RC2_CBC, 16, None),
            "1.2.840.113549.1.12.1.6" => (Nid::RC2_40_CBC, 5, None),
            "1.2.840.113549.1.5.3" => (Nid::DES_CBC, 8, Some(md5)),
            "1.2.840.113549.1.5.6" => (Nid::RC2_64_CBC, 8, Some(md5)),
            "1.2.840.113549.1.5.10" => (Nid::DES_CBC, 8, Some(sha1)),
            "1.2.840.113549.1.5.11" => (Nid::RC2_64_CBC, 8, Some(sha1)),
            _ => return Err(unsupported(scheme)),
        };
        let mut fields = parameters.inside();
        let salt = fields.octet_string()?;
        let iterations = read_iterations(&mut fields, budget)?;
        let kdf = match pbkdf1 {
            Some(digest) => Kdf::Pbkdf1 { digest, salt, iterations },
            None => Kdf::Pkcs12 { key_size, salt, iterations },
        };
        let name = nid_name(nid);
        let cipher =
            Cipher::from_nid(nid).ok_or_else(|| Problem::UnsupportedAlgorithm(name.clone()))?;
        Ok(Self { cipher, name, kdf })
    }

    fn read_pbes2(parameters: &Element<'_>, budget: &mut Budget) -> Result<Self, Problem> {
        let mut fields = parameters.inside();
        let mut derivation = fields.expect(SEQUENCE)?.inside();
        let mut encryption = fields.expect(SEQUENCE)?.inside();
        let function = derivation.next()?.ok_or(Malformed)?.oid()?;
        let arguments = derivation.expect(SEQUENCE)?;
        let scheme = encryption.next()?.ok_or(Malformed)?.oid()?;
        let nid = match scheme.as_str() {
            "2.16.840.1.101.3.4.1.2" => Nid::AES_128_CBC,
            "2.16.840.1.101.3.4.1.22" => Nid::AES_192_CBC,
            "2.16.840.1.101.3.4.1.42" => Nid::AES_256_CBC,
            "1.2.840.113549.3.7" => Nid::DES_EDE3_CBC,
            "1.3.14.3.2.7" => Nid::DES_CBC,
            scheme => return Err(unsupported(scheme)),
        };
        let name = nid_name(nid);
        let cipher =
            Cipher::from_nid(nid).ok_or_else(|| Problem::UnsupportedAlgorithm(name.clone()))?;
        let iv = encryption.octet_string()?;
        if Some(iv.len()) != cipher.iv_len() {
            return Err(Problem::Damaged);
        }
        let kdf = match function.as_str() {
            PBKDF2 => Kdf::Pbkdf2 { pbkdf2: Pbkdf2::read(&arguments, budget)?, iv },
            SCRYPT => read_scrypt(&arguments, iv, budget)?,
            function => return Err(unsupported(function)),
        };
        Ok(Self { cipher, name, kdf })
    }

    /// Decrypts with a key of this password. What comes out of a wrong password is refused here or
    /// is noise: the reader of the result decides.
    pub(super) fn decrypt(&self, password: Password<'_>, data: &[u8]) -> Result<Vec<u8>, Problem> {
        let (key, iv) = self.key_and_iv(password).map_err(|_| Problem::Damaged)?;
        decrypt(self.cipher, &self.name, &key, &iv, data)?.ok_or_else(|| password.refused())
    }

    fn key_and_iv(&self, password: Password<'_>) -> Result<(Vec<u8>, Vec<u8>), ErrorStack> {
        let key_size = self.cipher.key_len();
        match &self.kdf {
            Kdf::Pkcs12 { key_size, salt, iterations } => {
                let iv_size = self.cipher.iv_len().unwrap_or(0);
                let derive = |purpose, size| {
                    let sha1 = MessageDigest::sha1();
                    pkcs12_key(sha1, purpose, password, salt, *iterations, size)
                };
                Ok((derive(Purpose::Key, *key_size)?, derive(Purpose::Iv, iv_size)?))
            }
            Kdf::Pbkdf1 { digest, salt, iterations } => {
                let mut hash = digest_of(*digest, &[password.utf8(), salt])?;
                for _ in 1..*iterations {
                    hash = digest_of(*digest, &[&hash])?;
                }
                let (key, rest) = hash.split_at(hash.len().min(8));
                Ok((key.to_vec(), rest.iter().copied().take(8).collect()))
            }
            Kdf::Pbkdf2 { pbkdf2, iv } => Ok((pbkdf2.derive(password, key_size)?, iv.clone())),
            Kdf::Scrypt { n, r, p, salt, iv } => {
                let mut key = vec![0; key_size];
                // OpenSSL counts some working space on top of 128·N·r.
                let most = MAX_SCRYPT_BYTES.saturating_mul(2);
                pkcs5::scrypt(password.utf8(), salt, *n, *r, *p, most, &mut key)?;
                Ok((key, iv.clone()))
            }
        }
    }
}

/// PBKDF2 with its parameters; its cost is paid.
pub(super) struct Pbkdf2 {
    digest: MessageDigest,
    salt: Vec<u8>,
    iterations: usize,
    key_size: Option<u64>,
}

impl Pbkdf2 {
    /// Reads `PBKDF2-params` and charges its count.
    pub(super) fn read(arguments: &Element<'_>, budget: &mut Budget) -> Result<Self, Problem> {
        let mut fields = arguments.inside();
        let salt = fields.octet_string()?;
        let iterations = read_iterations(&mut fields, budget)?;
        let key_size = fields.optional(INTEGER)?.map(|size| size.unsigned()).transpose()?;
        let digest = match fields.optional(SEQUENCE)? {
            Some(function) => {
                let function = function.inside().next()?.ok_or(Malformed)?.oid()?;
                hmac_digest(&function).ok_or_else(|| unsupported(&function))?
            }
            None => MessageDigest::sha1(),
        };
        let iterations = usize::try_from(iterations).map_err(|_| Problem::Damaged)?;
        Ok(Self { digest, salt, iterations, key_size })
    }

    /// The length of the key, where the parameters name it.
    pub(super) fn key_size(&self) -> Option<u64> {
        self.key_size
    }

    pub(super) fn derive(
        &self,
        password: Password<'_>,
        size: usize,
    ) -> Result<Vec<u8>, ErrorStack> {
        let mut key = vec![0; size];
        pkcs5::pbkdf2_hmac(password.utf8(), &self.salt, self.iterations, self.digest, &mut key)?;
        Ok(key)
    }
}

/// What a key of PKCS#12 is for (RFC 7292 appendix B.3).
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    Iv,
    Key,
    Mac,
}

impl Purpose {
    fn id(self) -> u8 {
        match self {
            Self::Key => 1,
            Self::Iv => 2,
            Self::Mac => 3,
        }
    }
}

/// The key derivation of PKCS#12, in the letters of RFC 7292 appendix B.2.
pub(super) fn pkcs12_key(
    digest: MessageDigest,
    purpose: Purpose,
    password: Password<'_>,
    salt: &[u8],
    iterations: u64,
    size: usize,
) -> Result<Vec<u8>, ErrorStack> {
    let v = digest.block_size();
    let d = vec![purpose.id(); v];
    let mut i = fill_blocks(salt, v);
    i.extend(fill_blocks(&password.utf16(), v));
    let mut hasher = Hasher::new(digest)?;
    let mut key = Vec::new();
    while key.len() < size {
        hasher.update(&d)?;
        hasher.update(&i)?;
        let mut a = hasher.finish()?;
        for _ in 1..iterations {
            hasher.update(&a)?;
            a = hasher.finish()?;
        }
        key.extend_from_slice(&a);
        let b: Vec<u8> = a.iter().copied().cycle().take(v).collect();
        for block in i.chunks_mut(v) {
            add_plus_one(block, &b);
        }
    }
    key.truncate(size);
    Ok(key)
}

/// The bytes again and again, up to the next whole number of blocks.
fn fill_blocks(bytes: &[u8], block: usize) -> Vec<u8> {
    let size = bytes.len().div_ceil(block).saturating_mul(block);
    bytes.iter().copied().cycle().take(size).collect()
}

/// `block = block + b + 1`, both read as big-endian numbers, without the carry out.
fn add_plus_one(block: &mut [u8], b: &[u8]) {
    let mut carry = 1_u16;
    for (byte, addend) in block.iter_mut().zip(b).rev() {
        let sum = u16::from(*byte) + u16::from(*addend) + carry;
        let [high, low] = sum.to_be_bytes();
        *byte = low;
        carry = high.into();
    }
}

/// `None` where the key does not fit the data.
pub(super) fn decrypt(
    cipher: Cipher,
    name: &str,
    key: &[u8],
    iv: &[u8],
    data: &[u8],
) -> Result<Option<Vec<u8>>, Problem> {
    let Ok(mut crypter) = Crypter::new(cipher, Mode::Decrypt, key, Some(iv)) else {
        return Err(Problem::UnsupportedAlgorithm(name.to_owned()));
    };
    let mut plain = vec![0; data.len().saturating_add(cipher.block_size())];
    let Ok(start) = crypter.update(data, &mut plain) else { return Ok(None) };
    let Some(rest) = plain.get_mut(start..) else { return Ok(None) };
    let Ok(end) = crypter.finalize(rest) else { return Ok(None) };
    plain.truncate(start.saturating_add(end));
    Ok(Some(plain))
}

fn digest_of(digest: MessageDigest, parts: &[&[u8]]) -> Result<Vec<u8>, ErrorStack> {
    let mut hasher = Hasher::new(digest)?;
    for part in parts {
        hasher.update(part)?;
    }
    Ok(hasher.finish()?.to_vec())
}

fn read_iterations(fields: &mut Reader<'_>, budget: &mut Budget) -> Result<u64, Problem> {
    let iterations = fields.expect(INTEGER)?.unsigned()?;
    if iterations == 0 {
        return Err(Problem::Damaged);
    }
    budget.iterations(iterations)?;
    Ok(iterations)
}

fn read_scrypt(arguments: &Element<'_>, iv: Vec<u8>, budget: &mut Budget) -> Result<Kdf, Problem> {
    let mut fields = arguments.inside();
    let salt = fields.octet_string()?;
    let n = fields.expect(INTEGER)?.unsigned()?;
    let r = fields.expect(INTEGER)?.unsigned()?;
    let p = fields.expect(INTEGER)?.unsigned()?;
    if !n.is_power_of_two() || n < 2 || r == 0 || p == 0 {
        return Err(Problem::Damaged);
    }
    budget.scrypt(n, r, p)?;
    Ok(Kdf::Scrypt { n, r, p, salt, iv })
}

/// The digest of an `hmacWith…` function (RFC 8018 appendix B.1).
pub(super) fn hmac_digest(oid: &str) -> Option<MessageDigest> {
    match oid {
        "1.2.840.113549.2.7" => Some(MessageDigest::sha1()),
        "1.2.840.113549.2.8" => Some(MessageDigest::sha224()),
        "1.2.840.113549.2.9" => Some(MessageDigest::sha256()),
        "1.2.840.113549.2.10" => Some(MessageDigest::sha384()),
        "1.2.840.113549.2.11" => Some(MessageDigest::sha512()),
        _ => None,
    }
}

/// Names what cannot be used: OpenSSL's word where it has one, else the identifier.
pub(super) fn unsupported(oid: &str) -> Problem {
    let known = Asn1Object::from_str(oid).map(|object| object.nid()).ok();
    let name = known.filter(|nid| *nid != Nid::UNDEF).and_then(|nid| nid.long_name().ok());
    Problem::UnsupportedAlgorithm(name.unwrap_or(oid).to_owned())
}

fn nid_name(nid: Nid) -> String {
    nid.long_name().unwrap_or("an unknown cipher").to_uppercase()
}

impl From<Malformed> for Problem {
    fn from(_: Malformed) -> Self {
        Self::Damaged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_is_utf16_with_a_final_zero() {
        assert_eq!(Password::Absent.utf16(), b"");
        assert_eq!(Password::Text("").utf16(), b"\0\0");
        assert_eq!(Password::Text("aé😀").utf16(), b"\0a\0\xe9\xd8\x3d\xde\x00\0\0");
    }

    #[test]
    fn block_addition_carries_and_drops_the_last_carry() {
        let mut block = [0xff, 0xff];

        add_plus_one(&mut block, &[0x00, 0xff]);

        assert_eq!(block, [0x00, 0xff]);
    }
}
