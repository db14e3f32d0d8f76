//! Provider tokens: what APNs checks of an `authorization` header.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::bn::BigNum;
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::hash::{MessageDigest, hash};
use openssl::pkey::{PKey, Public};
use serde::Deserialize;

use super::certificates::ProviderKey;
use super::reasons::Refusal;

/// Apple, *Establishing a token-based connection to APNs*: not older than an hour, and not renewed
/// more than once in 20 minutes.
const OLDEST_SECS: i64 = 60 * 60;
const RENEWAL_SECS: i64 = 20 * 60;

/// A provider token in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProviderToken {
    pub(super) key_id: String,
    pub(super) team_id: String,
    issued_at_secs: i64,
    signed: String,
    signature: Vec<u8>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    iat: i64,
}

impl ProviderToken {
    /// Reads `bearer JWT`; `None` if it is not that. Apple's scheme is lower case.
    pub(super) fn parse(authorization: &str) -> Option<Self> {
        let token = authorization.strip_prefix("bearer ")?;
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header: Header = part(header)?;
        let claims: Claims = part(claims)?;
        if header.alg != "ES256" || header.kid.is_empty() || claims.iss.is_empty() {
            return None;
        }
        Some(Self {
            key_id: header.kid,
            team_id: claims.iss,
            issued_at_secs: claims.iat,
            signed: signed.to_owned(),
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
        })
    }

    /// Whether this key signed it: r and s, 32 bytes each (RFC 7518 §3.4).
    fn is_signed_by(&self, key: &PKey<Public>) -> Result<bool, ErrorStack> {
        let (Some(r), Some(s), 64) =
            (self.signature.get(..32), self.signature.get(32..), self.signature.len())
        else {
            return Ok(false);
        };
        let signature =
            EcdsaSig::from_private_components(BigNum::from_slice(r)?, BigNum::from_slice(s)?)?;
        let digest = hash(MessageDigest::sha256(), self.signed.as_bytes())?;
        let key = key.ec_key()?;
        signature.verify(&digest, &key)
    }
}

fn part<T: serde::de::DeserializeOwned>(encoded: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()
}

/// The token side of a connection: what it was first used with.
#[derive(Debug, Default)]
pub(super) struct TokenStanding {
    /// The newest header whose signature was found good: it need not be verified again.
    verified: Option<String>,
    /// The team of the first token; the connection is that team's.
    team_id: Option<String>,
    /// An expired token came: no later request on this connection is served. Seen with Apple's
    /// servers; undocumented.
    pub(super) is_wedged: bool,
}

/// The keys that may sign, and the newest token of each.
pub(super) struct ProviderTokens {
    /// Empty: any key is as good as any other, and no signature is verified.
    keys: Vec<ProviderKey>,
    /// The newest token of each key and when it came, if renewals are limited. Guards the map; held
    /// for one look-up.
    newest: Option<Mutex<HashMap<String, (String, i64)>>>,
}

impl ProviderTokens {
    pub(super) fn new(keys: Vec<ProviderKey>, limit_updates: bool) -> Self {
        Self { keys, newest: limit_updates.then(Mutex::default) }
    }

    /// Checks the header of one request.
    pub(super) fn check(
        &self,
        authorization: Option<&str>,
        standing: &mut TokenStanding,
        now_secs: i64,
    ) -> Result<(), Refusal> {
        let header = authorization.ok_or_else(|| Refusal::new("MissingProviderToken"))?;
        let invalid = || Refusal::new("InvalidProviderToken");
        let token = ProviderToken::parse(header).ok_or_else(invalid)?;
        if standing.verified.as_deref() != Some(header) && !self.is_trusted(&token) {
            return Err(invalid());
        }
        let age_secs = now_secs.saturating_sub(token.issued_at_secs);
        if !(0..=OLDEST_SECS).contains(&age_secs) {
            return Err(Refusal::new("ExpiredProviderToken"));
        }
        if standing.team_id.as_ref().is_some_and(|team_id| *team_id != token.team_id) {
            return Err(invalid());
        }
        self.check_renewal(&token.key_id, header, now_secs)?;
        standing.verified = Some(header.to_owned());
        standing.team_id = Some(token.team_id);
        Ok(())
    }

    fn is_trusted(&self, token: &ProviderToken) -> bool {
        let known =
            self.keys.iter().find(|key| key.key_id == token.key_id && key.team_id == token.team_id);
        match known {
            Some(key) => token.is_signed_by(&key.public_key).unwrap_or(false),
            None => self.keys.is_empty(),
        }
    }

    /// Whether a token counts as another one when its signature alone differs is not documented;
    /// here it does.
    fn check_renewal(&self, key_id: &str, header: &str, now_secs: i64) -> Result<(), Refusal> {
        let Some(newest) = &self.newest else {
            return Ok(());
        };
        let mut newest = newest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, since_secs)) = newest.get(key_id) {
            if known == header {
                return Ok(());
            }
            if now_secs.saturating_sub(*since_secs) < RENEWAL_SECS {
                return Err(Refusal::new("TooManyProviderTokenUpdates"));
            }
        }
        newest.insert(key_id.to_owned(), (header.to_owned(), now_secs));
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]
mod tests {
    use super::super::certificates::SigningKey;
    use super::*;

    const NOW: i64 = 1_700_000_000;

    fn sign(key: &SigningKey, issued_at_secs: i64) -> String {
        let header = format!(r#"{{"alg":"ES256","kid":"{}"}}"#, key.key_id);
        let claims = format!(r#"{{"iss":"{}","iat":{issued_at_secs}}}"#, key.team_id);
        let signed =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let digest = hash(MessageDigest::sha256(), signed.as_bytes()).unwrap();
        let signature = EcdsaSig::sign(&digest, &key.key.ec_key().unwrap()).unwrap();
        let mut raw = signature.r().to_vec_padded(32).unwrap();
        raw.extend(signature.s().to_vec_padded(32).unwrap());
        format!("bearer {signed}.{}", URL_SAFE_NO_PAD.encode(raw))
    }

    fn check(tokens: &ProviderTokens, header: &str, now_secs: i64) -> Result<(), &'static str> {
        let mut standing = TokenStanding::default();
        tokens.check(Some(header), &mut standing, now_secs).map_err(|refusal| refusal.reason)
    }

    #[test]
    fn an_hour_is_the_limit_and_the_future_is_expired() {
        let key = SigningKey::generate("KEY", "TEAM").unwrap();
        let tokens = ProviderTokens::new(vec![key.public().unwrap()], false);
        let expired = Err("ExpiredProviderToken");

        assert_eq!(check(&tokens, &sign(&key, NOW), NOW), Ok(()));
        assert_eq!(check(&tokens, &sign(&key, NOW - 3_600), NOW), Ok(()));
        assert_eq!(check(&tokens, &sign(&key, NOW - 3_601), NOW), expired);
        assert_eq!(check(&tokens, &sign(&key, NOW + 1), NOW), expired);
    }

    #[test]
    fn only_known_keys_of_their_team_sign() {
        let key = SigningKey::generate("KEY", "TEAM").unwrap();
        let tokens = ProviderTokens::new(vec![key.public().unwrap()], false);
        let forged = SigningKey::generate("KEY", "TEAM").unwrap();
        let borrowed = SigningKey { team_id: "OTHER".to_owned(), key: key.key.clone(), ..forged };
        let forged = SigningKey::generate("KEY", "TEAM").unwrap();
        let invalid = Err("InvalidProviderToken");

        assert_eq!(check(&tokens, &sign(&forged, NOW), NOW), invalid);
        assert_eq!(check(&tokens, &sign(&borrowed, NOW), NOW), invalid);
        assert_eq!(check(&tokens, "bearer a.b.c", NOW), invalid);
        assert_eq!(check(&tokens, &sign(&key, NOW).replace("bearer", "Bearer"), NOW), invalid);
    }

    #[test]
    fn a_connection_belongs_to_one_team() {
        let tokens = ProviderTokens::new(Vec::new(), false);
        let mut standing = TokenStanding::default();
        let one = sign(&SigningKey::generate("KEY", "ONE").unwrap(), NOW);
        let two = sign(&SigningKey::generate("KEY", "TWO").unwrap(), NOW);

        assert_eq!(tokens.check(Some(&one), &mut standing, NOW), Ok(()));

        let refused = tokens.check(Some(&two), &mut standing, NOW);
        assert_eq!(refused, Err(Refusal::new("InvalidProviderToken")));
    }

    #[test]
    fn renewals_are_20_minutes_apart() {
        let key = SigningKey::generate("KEY", "TEAM").unwrap();
        let tokens = ProviderTokens::new(Vec::new(), true);
        let (first, second) = (sign(&key, NOW), sign(&key, NOW + 1));

        assert_eq!(check(&tokens, &first, NOW), Ok(()));
        assert_eq!(check(&tokens, &second, NOW + 1_199), Err("TooManyProviderTokenUpdates"));
        assert_eq!(check(&tokens, &first, NOW + 1_199), Ok(()));
        assert_eq!(check(&tokens, &second, NOW + 1_200), Ok(()));
    }
}
