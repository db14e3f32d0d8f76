//! ES256: the signature of a provider token.

use openssl::ec::EcKey;
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::pkey_ctx::PkeyCtx;
use openssl::sha::sha256;

/// Whether the same key and text always give the same signature (RFC 6979). Otherwise each process
/// signs a token of its own: OpenSSL knows the way since 3.2, and a system's may be older.
pub(super) const IS_DETERMINISTIC: bool = cfg!(deterministic_ecdsa);

/// r and s, 32 bytes each (RFC 7518 §3.4), over SHA-256 of the text.
pub(super) fn es256(key: &EcKey<Private>, text: &[u8]) -> Result<Vec<u8>, ErrorStack> {
    let key = PKey::from_ec_key(key.clone())?;
    let mut context = PkeyCtx::new(&key)?;
    context.sign_init()?;
    #[cfg(deterministic_ecdsa)]
    context.set_nonce_type(openssl::pkey_ctx::NonceType::DETERMINISTIC_K)?;
    // RFC 6979 needs to know the hash, not only its value.
    context.set_signature_md(openssl::md::Md::sha256())?;
    let mut der = Vec::new();
    context.sign_to_vec(&sha256(text), &mut der)?;
    let signature = EcdsaSig::from_der(&der)?;
    let mut raw = signature.r().to_vec_padded(32)?;
    raw.extend(signature.s().to_vec_padded(32)?);
    Ok(raw)
}

#[cfg(test)]
mod tests {
    use openssl::bn::BigNum;
    use openssl::ec::{EcGroup, EcPoint};
    use openssl::nid::Nid;

    use super::*;

    /// RFC 6979 §A.2.5: the key x, and (text, r, s) for SHA-256.
    const KEY: &str = "C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721";
    const VECTORS: [(&str, &str, &str); 2] = [
        (
            "sample",
            "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716",
            "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8",
        ),
        (
            "test",
            "F1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367",
            "019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083",
        ),
    ];

    fn key() -> Result<EcKey<Private>, ErrorStack> {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
        let private = BigNum::from_hex_str(KEY)?;
        let mut public = EcPoint::new(&group)?;
        let mut context = openssl::bn::BigNumContext::new()?;
        public.mul_generator2(&group, &private, &mut context)?;
        EcKey::from_private_components(&group, &private, &public)
    }

    #[test]
    fn a_signature_is_that_of_rfc_6979() -> Result<(), ErrorStack> {
        for (text, r, s) in VECTORS {
            let raw = es256(&key()?, text.as_bytes())?;

            let hex: String = raw.iter().map(|byte| format!("{byte:02X}")).collect();
            if IS_DETERMINISTIC {
                assert_eq!(hex, format!("{r}{s}"), "{text}");
            }
            let (r, s) = raw.split_at(32);
            let (r, s) = (BigNum::from_slice(r)?, BigNum::from_slice(s)?);
            let signature = EcdsaSig::from_private_components(r, s)?;
            let key = key()?;
            assert!(signature.verify(&sha256(text.as_bytes()), &key)?, "{text}");
        }
        Ok(())
    }
}
