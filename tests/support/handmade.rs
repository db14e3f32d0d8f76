//! P12 and PEM files that no tool writes, put together by hand.

use openssl::hash::MessageDigest;
use openssl::pkcs5;
use openssl::pkey::{PKey, Private};
use openssl::symm::{Cipher, encrypt};
use openssl::x509::X509;

use super::der;

/// Takes the MAC away.
pub fn without_mac(p12: &[u8]) -> Vec<u8> {
    der::edit(p12, &[0], |fields| {
        assert_eq!(fields.len(), 3, "it had a MAC");
        fields.truncate(2);
    })
}

/// Writes the outside in BER, as Java and NSS do: indefinite lengths, octets in pieces.
pub fn in_ber(p12: &[u8]) -> Vec<u8> {
    let fields = der::at(p12, &[0]);
    let [version, content, rest @ ..] = fields.as_slice() else { panic!("a PFX") };
    let octets = &der::at(&content.encode(), &[0, 1])[0].content;
    let pieces: Vec<u8> = octets.chunks(100).flat_map(der::octets).collect();
    let content = indefinite(
        der::SEQUENCE,
        &[der::oid("1.2.840.113549.1.7.1"), indefinite(der::CONTEXT_0, &indefinite(0x24, &pieces))]
            .concat(),
    );
    let rest: Vec<u8> = rest.iter().flat_map(der::Node::encode).collect();
    indefinite(der::SEQUENCE, &[version.encode(), content, rest].concat())
}

fn indefinite(tag: u8, content: &[u8]) -> Vec<u8> {
    [&[tag, 0x80], content, &[0, 0]].concat()
}

/// How a key is derived in a file made by hand.
#[derive(Debug, Clone, Copy)]
pub enum Kdf {
    /// PBKDF2 with SHA-256.
    Pbkdf2 { iterations: u64 },
    /// scrypt.
    Scrypt { n: u64, r: u64, p: u64 },
}

/// An `AlgorithmIdentifier` of PBES2 with AES-256, and what it makes of the bytes. A count past a
/// million is written down and not derived: what follows it is noise.
pub fn pbes2(kdf: Kdf, password: &str, plain: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (salt, iv) = (b"saltsalt", [7; 16]);
    let mut key = [0; 32];
    let derivation = match kdf {
        Kdf::Pbkdf2 { iterations } => {
            let count = usize::try_from(iterations.min(1_000_000)).unwrap();
            let sha256 = MessageDigest::sha256();
            pkcs5::pbkdf2_hmac(password.as_bytes(), salt, count, sha256, &mut key).unwrap();
            der::algorithm("1.2.840.113549.1.5.12", &pbkdf2_parameters(salt, iterations, None))
        }
        Kdf::Scrypt { n, r, p } => {
            if n <= 1 << 16 {
                let most = 1 << 30;
                pkcs5::scrypt(password.as_bytes(), salt, n, r, p, most, &mut key).unwrap();
            }
            let numbers = [n, r, p].map(der::integer).concat();
            let parameters = der::element(der::SEQUENCE, &[der::octets(salt), numbers].concat());
            der::algorithm("1.3.6.1.4.1.11591.4.11", &parameters)
        }
    };
    let encryption = der::algorithm("2.16.840.1.101.3.4.1.42", &der::octets(&iv));
    let parameters = der::sequence(&[derivation, encryption]);
    let data = encrypt(Cipher::aes_256_cbc(), &key, Some(&iv), plain).unwrap();
    (der::algorithm("1.2.840.113549.1.5.13", &parameters), data)
}

fn pbkdf2_parameters(salt: &[u8], iterations: u64, key_size: Option<u64>) -> Vec<u8> {
    let key_size = key_size.map(der::integer).unwrap_or_default();
    let prf = der::algorithm("1.2.840.113549.2.9", &[der::NULL, 0]);
    der::sequence(&[der::octets(salt), der::integer(iterations), key_size, prf])
}

/// An `EncryptedPrivateKeyInfo`.
pub fn encrypted_pkcs8(algorithm: &[u8], data: &[u8]) -> Vec<u8> {
    der::sequence(&[algorithm.to_vec(), der::octets(data)])
}

/// A key in PEM, encrypted by [`pbes2`].
pub fn encrypted_key_pem(key: &PKey<Private>, kdf: Kdf, password: &str) -> Vec<u8> {
    let (algorithm, data) = pbes2(kdf, password, &key.private_key_to_pkcs8().unwrap());
    pem("ENCRYPTED PRIVATE KEY", &encrypted_pkcs8(&algorithm, &data))
}

/// PEM of some DER.
pub fn pem(label: &str, der: &[u8]) -> Vec<u8> {
    let base64 = openssl::base64::encode_block(der);
    let lines: Vec<String> =
        base64.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n")).into_bytes()
}

/// A bag with a certificate.
pub fn certificate_bag(certificate: &X509) -> Vec<u8> {
    let value = der::octets(&certificate.to_der().unwrap());
    let bag = der::sequence(&[der::oid("1.2.840.113549.1.9.22.1"), der::context_0(&value)]);
    der::sequence(&[der::oid("1.2.840.113549.1.12.10.1.3"), der::context_0(&bag)])
}

/// A bag with a key, encrypted by [`pbes2`].
pub fn shrouded_key_bag(key: &PKey<Private>, kdf: Kdf, password: &str) -> Vec<u8> {
    let (algorithm, data) = pbes2(kdf, password, &key.private_key_to_pkcs8().unwrap());
    let value = encrypted_pkcs8(&algorithm, &data);
    der::sequence(&[der::oid("1.2.840.113549.1.12.10.1.2"), der::context_0(&value)])
}

/// A bag with the key as it is.
pub fn plain_key_bag(key: &PKey<Private>) -> Vec<u8> {
    let key = der::context_0(&key.private_key_to_pkcs8().unwrap());
    der::sequence(&[der::oid("1.2.840.113549.1.12.10.1.1"), key])
}

/// A bag with bags in it.
pub fn bag_of_bags(bags: &[Vec<u8>]) -> Vec<u8> {
    let contents = der::sequence(bags);
    der::sequence(&[der::oid("1.2.840.113549.1.12.10.1.6"), der::context_0(&contents)])
}

/// A part of a P12 that shows its bags.
pub fn plain_safe(bags: &[Vec<u8>]) -> Vec<u8> {
    data(&der::sequence(bags))
}

/// A part of a P12 whose bags are encrypted by [`pbes2`].
pub fn encrypted_safe(bags: &[Vec<u8>], kdf: Kdf, password: &str) -> Vec<u8> {
    let (algorithm, encrypted) = pbes2(kdf, password, &der::sequence(bags));
    let content = der::sequence(&[
        der::oid("1.2.840.113549.1.7.1"),
        algorithm,
        der::element(0x80, &encrypted),
    ]);
    let encrypted = der::sequence(&[der::integer(0), content]);
    der::sequence(&[der::oid("1.2.840.113549.1.7.6"), der::context_0(&encrypted)])
}

/// A P12 of these parts, without MAC.
pub fn p12_of_safes(safes: &[Vec<u8>]) -> Vec<u8> {
    der::sequence(&[der::integer(3), data(&der::sequence(safes))])
}

/// The same with the MAC of RFC 9879.
pub fn p12_of_safes_with_mac(safes: &[Vec<u8>], password: &str, iterations: u64) -> Vec<u8> {
    let content = der::sequence(safes);
    let mut key = [0; 32];
    let count = usize::try_from(iterations.min(1_000_000)).unwrap();
    let sha256 = MessageDigest::sha256();
    pkcs5::pbkdf2_hmac(password.as_bytes(), b"saltsalt", count, sha256, &mut key).unwrap();
    let key = PKey::hmac(&key).unwrap();
    let mut signer = openssl::sign::Signer::new(sha256, &key).unwrap();
    let value = signer.sign_oneshot_to_vec(&content).unwrap();
    let derivation = pbkdf2_parameters(b"saltsalt", iterations, Some(32));
    let parameters = der::sequence(&[
        der::algorithm("1.2.840.113549.1.5.12", &derivation),
        der::algorithm("1.2.840.113549.2.9", &[der::NULL, 0]),
    ]);
    let info =
        der::sequence(&[der::algorithm("1.2.840.113549.1.5.14", &parameters), der::octets(&value)]);
    // Salt and count stand here for form's sake (RFC 9879 §4).
    let mac = der::sequence(&[info, der::octets(b"NOT USED"), der::integer(1)]);
    der::sequence(&[der::integer(3), data(&content), mac])
}

fn data(content: &[u8]) -> Vec<u8> {
    let octets = der::octets(content);
    der::sequence(&[der::oid("1.2.840.113549.1.7.1"), der::context_0(&octets)])
}
