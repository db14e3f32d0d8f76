//! PEM text: which keys and certificates are inside.
//!
//! OpenSSL's PEM functions are not used: they ask the terminal for a password wherever a block says
//! that it is encrypted, and derive keys whose counts nobody has looked at.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use openssl::ec::EcKey;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkcs5;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::symm::Cipher;

use super::ber::{Reader, SEQUENCE, is_one_sequence};
use super::certificate::{
    Bundle, read_certificate, read_encrypted_pkcs8, read_pkcs8, unreadable_key,
};
use super::kdf_cost::Budget;
use super::pbe::{Password, Pbe, decrypt};
use super::problem::Problem;

/// Writers disagree about padding, and about bits after the last byte.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// What stands between one BEGIN and its END.
pub(super) struct Block {
    /// The words after BEGIN, such as `RSA PRIVATE KEY`.
    pub(super) label: String,
    /// The value of `DEK-Info`: the key is encrypted in OpenSSL's own, oldest way.
    pub(super) encryption: Option<String>,
    base64: String,
}

impl Block {
    /// The bytes that the block stands for.
    pub(super) fn der(&self) -> Result<Vec<u8>, Problem> {
        BASE64.decode(&self.base64).map_err(|_| Problem::Damaged)
    }
}

/// Finds the blocks. Everything around them (bag attributes, comments), a byte order mark, line
/// ends of any kind and indentation are passed over.
pub(super) fn blocks(text: &[u8]) -> Vec<Block> {
    let text = String::from_utf8_lossy(text);
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for line in text.split(['\n', '\r']) {
        let line = line.trim_start_matches('\u{feff}').trim();
        if let Some(label) = marker(line, "-----BEGIN ") {
            let label = label.to_owned();
            open = Some(Block { label, encryption: None, base64: String::new() });
        } else if let Some(label) = marker(line, "-----END ") {
            blocks.extend(open.take().filter(|block| block.label == label));
        } else if let Some(block) = &mut open {
            match line.split_once(':') {
                Some(("DEK-Info", value)) => block.encryption = Some(value.trim().to_owned()),
                Some(_) => {}
                None => block.base64.extend(line.split_whitespace()),
            }
        }
    }
    blocks
}

fn marker<'a>(line: &'a str, start: &str) -> Option<&'a str> {
    line.strip_prefix(start)?.strip_suffix("-----")
}

/// Reads the keys and certificates of the blocks.
pub(super) fn read(blocks: &[Block], password: &str) -> Result<Bundle, Problem> {
    let password = Password::Text(password);
    let mut budget = Budget::new();
    let mut bundle = Bundle::default();
    let mut encrypted = Vec::new();
    for block in blocks {
        budget.part()?;
        match block.label.as_str() {
            "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => {
                bundle.certificates.push(read_certificate(&block.der()?)?);
            }
            "PRIVATE KEY" => bundle.keys.push(read_pkcs8(&block.der()?)?),
            "ENCRYPTED PRIVATE KEY" => encrypted.push(EncryptedKey::read(block, &mut budget)?),
            "RSA PRIVATE KEY" | "EC PRIVATE KEY" => bundle.keys.push(read_older(block, password)?),
            _ => {} // EC PARAMETERS, revocation lists, public keys
        }
    }
    for key in encrypted {
        bundle.keys.push(read_encrypted_pkcs8(&key.pbe, &key.data, password)?);
    }
    Ok(bundle)
}

/// `EncryptedPrivateKeyInfo` of PKCS#8; its cost is paid.
struct EncryptedKey {
    pbe: Pbe,
    data: Vec<u8>,
}

impl EncryptedKey {
    fn read(block: &Block, budget: &mut Budget) -> Result<Self, Problem> {
        let der = block.der()?;
        let mut fields = Reader::new(&der).expect(SEQUENCE)?.inside();
        let pbe = Pbe::read(&fields.expect(SEQUENCE)?, budget)?;
        Ok(Self { pbe, data: fields.octet_string()? })
    }
}

/// PKCS#1 and SEC1, as they are or encrypted by `DEK-Info`.
fn read_older(block: &Block, password: Password<'_>) -> Result<PKey<Private>, Problem> {
    let mut der = block.der()?;
    if let Some(encryption) = &block.encryption {
        der = decrypt_older(encryption, password, &der)?;
        if !is_one_sequence(&der) {
            return Err(password.refused());
        }
    }
    let key = if block.label == "EC PRIVATE KEY" {
        EcKey::private_key_from_der(&der).and_then(PKey::from_ec_key)
    } else {
        Rsa::private_key_from_der(&der).and_then(PKey::from_rsa)
    };
    key.map_err(|_| unreadable_key())
}

/// One round of MD5 over password and salt: there is no count that could be large. The salt is the
/// start of the initialisation vector (OpenSSL's manual, `PEM_read_bio_PrivateKey`, "PEM encryption
/// format").
fn decrypt_older(
    encryption: &str,
    password: Password<'_>,
    data: &[u8],
) -> Result<Vec<u8>, Problem> {
    let (name, iv) = encryption.split_once(',').ok_or(Problem::Damaged)?;
    let nid = match name.trim() {
        "AES-128-CBC" => Nid::AES_128_CBC,
        "AES-192-CBC" => Nid::AES_192_CBC,
        "AES-256-CBC" => Nid::AES_256_CBC,
        "DES-CBC" => Nid::DES_CBC,
        "DES-EDE3-CBC" => Nid::DES_EDE3_CBC,
        name => return Err(Problem::UnsupportedAlgorithm(name.chars().take(40).collect())),
    };
    let missing = || Problem::UnsupportedAlgorithm(name.to_owned());
    let cipher = Cipher::from_nid(nid).ok_or_else(missing)?;
    let iv = hex(iv.trim()).filter(|iv| Some(iv.len()) == cipher.iv_len());
    let iv = iv.ok_or(Problem::Damaged)?;
    let salt = iv.get(..8).ok_or(Problem::Damaged)?;
    let md5 = MessageDigest::md5();
    let derived = pkcs5::bytes_to_key(cipher, md5, password.utf8(), Some(salt), 1);
    let key = derived.map_err(|_| missing())?.key;
    decrypt(cipher, name, &key, &iv, data)?.ok_or_else(|| password.refused())
}

fn hex(digits: &str) -> Option<Vec<u8>> {
    let nibble = |digit: &u8| char::from(*digit).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let mut pairs = digits.as_bytes().chunks_exact(2);
    let bytes = pairs
        .by_ref()
        .map(|pair| match pair {
            [high, low] => Some((nibble(high)? << 4) | nibble(low)?),
            _ => None,
        })
        .collect();
    if pairs.remainder().is_empty() { bytes } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_among_noise() {
        let text = "\u{feff}Bag Attributes\r\n    friendlyName: x\r\n  -----BEGIN A KEY-----\r\n  \
                    Proc-Type: 4,ENCRYPTED\r\n  DEK-Info: AES-128-CBC,00ff\r\n\r\n  YWJj\r\n  \
                    ZA==\r\n  -----END A KEY-----\r\n-----BEGIN B-----\nYQ==\n-----END C-----";

        let blocks = blocks(text.as_bytes());

        let [block] = blocks.as_slice() else { panic!("one block has its END") };
        assert_eq!(block.label, "A KEY");
        assert_eq!(block.encryption.as_deref(), Some("AES-128-CBC,00ff"));
        assert_eq!(block.der(), Ok(b"abcd".to_vec()));
    }

    #[test]
    fn hex_wants_whole_bytes() {
        assert_eq!(hex("00fF"), Some(vec![0x00, 0xff]));
        assert_eq!(hex("0"), None);
        assert_eq!(hex("0g"), None);
    }
}
