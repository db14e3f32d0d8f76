//! Credentials as they come in calls and in the configuration: bytes, text, or base64 of either.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Standard base64 without white space, with its padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The contents of a file that came as bytes or as text: DER, PEM and JSON as they are, anything
/// else is base64. `None` if it is none of those. The first byte of DER is a digit in ASCII, but
/// base64 of DER, PEM and JSON starts with a letter.
pub fn contents(bytes: &[u8]) -> Option<Vec<u8>> {
    const PEM_MARK: &[u8] = b"-----BEGIN";
    const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let is_der = bytes.first() == Some(&0x30);
    let is_pem = bytes.windows(PEM_MARK.len()).any(|window| window == PEM_MARK);
    let is_json = bytes.trim_ascii_start().first() == Some(&b'{');
    if is_der || is_pem || is_json {
        return Some(bytes.to_vec());
    }
    base64(bytes).filter(|contents| !contents.is_empty())
}

/// Base64 in any of its spellings: standard or URL-safe, with its padding or without, wrapped or not.
#[must_use]
pub fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let encoded: Vec<u8> = text
        .iter()
        .filter(|byte| !byte.is_ascii_whitespace())
        .map(|byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            other => *other,
        })
        .collect();
    BASE64.decode(encoded).ok()
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn der_pem_and_json_stay_as_they_are() {
        let pem = b"Bag Attributes\r\n-----BEGIN CERTIFICATE-----\r\n";

        for bytes in [b"\x30\x82\xff\x00".as_slice(), pem, b"{\"type\":1}", b"\r\n {"] {
            assert_eq!(contents(bytes), Some(bytes.to_vec()));
        }
        assert_eq!(contents(b"\xef\xbb\xbf{}"), Some(b"{}".to_vec()), "a mark before text");
    }

    #[test]
    fn base64_may_be_wrapped_unpadded_and_url_safe() {
        let expected = Some(vec![0x30, 0xfb, 0xff, 0xfe]);

        for text in ["MPv//g==", "MPv//g", "MPv__g", " MPv/\r\n/g=\t= ", "MPv_/g=="] {
            assert_eq!(contents(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_none_of_them_is_refused() {
        for bytes in [b"".as_slice(), b" ", b"=", b"no file!", b"\xff\xfe", b"MPv//h==", b"M"] {
            assert_eq!(contents(bytes), None, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn base64_comes_back(bytes in proptest::collection::vec(any::<u8>(), 1..200)) {
            prop_assert_eq!(contents(format!(" {}", STANDARD.encode(&bytes)).as_bytes()), Some(bytes.clone()));
            prop_assert_eq!(contents(format!("\n{}", URL_SAFE_NO_PAD.encode(&bytes)).as_bytes()), Some(bytes));
        }

        #[test]
        fn anything_may_come(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            contents(&bytes);
        }
    }
}
