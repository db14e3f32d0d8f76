//! Provider tokens: the JSON Web Token that a signing key gives instead of a certificate
//! (Apple, "Establishing a token-based connection to APNs").
//!
//! Apple wants a token to be kept for 20 to 60 minutes and counts updates for each key, so a token
//! belongs to its key and team and not to an application: [`Tokens`] hands the same one to all.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use openssl::ec::EcKey;
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::pkey::Private;
use openssl::sha::sha256;
use tokio::time::Instant;

use super::credential::SigningKey;

/// A token is renewed at this age, well before Apple's hour is over.
const RENEW_AFTER: Duration = Duration::from_secs(50 * 60);
/// Apple refuses more frequent updates with `TooManyProviderTokenUpdates`.
const MIN_AGE: Duration = Duration::from_secs(20 * 60);

/// Every signer of the process, each once.
#[derive(Debug, Default)]
pub struct Tokens {
    /// Guards the map alone; entries whose last application is gone are swept when one is added.
    signers: Mutex<HashMap<Identity, Weak<Signer>>>,
}

/// What makes two keys the same to Apple.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Identity {
    key_id: String,
    team_id: String,
    fingerprint: [u8; 32],
}

impl Tokens {
    /// The signer for this key and team, shared with whoever holds it already.
    #[must_use]
    pub fn signer(&self, key: SigningKey) -> Arc<Signer> {
        let identity = Identity {
            key_id: key.key_id.clone(),
            team_id: key.team_id.clone(),
            fingerprint: key.fingerprint,
        };
        let mut signers = self.signers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(signer) = signers.get(&identity).and_then(Weak::upgrade) {
            return signer;
        }
        signers.retain(|_, signer| signer.strong_count() > 0);
        let signer = Arc::new(Signer {
            key: key.key,
            key_id: key.key_id,
            team_id: key.team_id,
            state: Mutex::default(),
        });
        signers.insert(identity, Arc::downgrade(&signer));
        signer
    }
}

/// Signs for one key and team.
pub struct Signer {
    key: EcKey<Private>,
    key_id: String,
    team_id: String,
    /// Guards the current token. Held while signing, so that one caller signs and the others
    /// take what it made.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    current: Option<(HeaderValue, Instant)>,
    /// When a refusal last made us sign before it was time.
    forced: Option<Instant>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Signer({} of {})", self.key_id, self.team_id)
    }
}

impl Signer {
    /// The value of `authorization`, marked as sensitive.
    ///
    /// # Errors
    /// When OpenSSL cannot sign.
    pub fn authorization(&self) -> Result<HeaderValue, ErrorStack> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &state.current {
            Some((token, made)) if made.elapsed() < RENEW_AFTER => Ok(token.clone()),
            _ => self.sign(&mut state),
        }
    }

    /// Apple called `refused` expired. True when another token is there to try: somebody renewed
    /// it meanwhile, or it is renewed now, which happens once in 20 minutes at the most.
    #[must_use]
    pub fn replace(&self, refused: &HeaderValue) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &state.current {
            Some((token, _)) if token != refused => return true,
            _ => {}
        }
        if state.forced.is_some_and(|at| at.elapsed() < MIN_AGE) {
            return false;
        }
        state.forced = Some(Instant::now());
        self.sign(&mut state).is_ok()
    }

    fn sign(&self, state: &mut State) -> Result<HeaderValue, ErrorStack> {
        let issued = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let token = self.token(issued)?;
        let mut value = HeaderValue::try_from(format!("bearer {token}"))
            .unwrap_or_else(|_| HeaderValue::from_static("bearer"));
        value.set_sensitive(true);
        state.current = Some((value.clone(), Instant::now()));
        Ok(value)
    }

    /// RFC 7515 §3.1 with ES256 (RFC 7518 §3.4: r and s, 32 bytes each).
    fn token(&self, issued: u64) -> Result<String, ErrorStack> {
        // Key and team id are ten letters and digits, so that nothing needs escaping.
        let header = format!(r#"{{"alg":"ES256","kid":"{}"}}"#, self.key_id);
        let claims = format!(r#"{{"iss":"{}","iat":{issued}}}"#, self.team_id);
        let mut token = URL_SAFE_NO_PAD.encode(header);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let signature = EcdsaSig::sign(&sha256(token.as_bytes()), &self.key)?;
        let mut raw = signature.r().to_vec_padded(32)?;
        raw.extend(signature.s().to_vec_padded(32)?);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(raw, &mut token);
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use openssl::ec::EcGroup;
    use openssl::nid::Nid;

    use super::*;

    fn key(team_id: &str) -> SigningKey {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1);
        let key = group.and_then(|group| EcKey::generate(&group));
        let key = key.unwrap_or_else(|error| panic!("{error}"));
        SigningKey {
            key,
            key_id: "KEY1234567".to_owned(),
            team_id: team_id.to_owned(),
            fingerprint: [7; 32],
        }
    }

    fn shown(signer: &Signer) -> HeaderValue {
        signer.authorization().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_key_of_a_team_has_one_signer_however_often_it_is_registered() {
        let tokens = Tokens::default();

        let first = tokens.signer(key("TEAM123456"));
        let again = tokens.signer(key("TEAM123456"));
        let other = tokens.signer(key("TEAM654321"));

        assert!(Arc::ptr_eq(&first, &again));
        assert!(!Arc::ptr_eq(&first, &other));
        assert_eq!(shown(&first), shown(&again));
        drop((first, again));
        let _ = tokens.signer(key("TEAM000000"));
        let left = tokens.signers.lock().unwrap_or_else(PoisonError::into_inner).len();
        assert_eq!(left, 2, "the one that nobody holds any more is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_kept_for_fifty_minutes_and_then_renewed() {
        let signer = Tokens::default().signer(key("TEAM123456"));
        let first = shown(&signer);

        tokio::time::advance(RENEW_AFTER - Duration::from_secs(1)).await;
        assert_eq!(shown(&signer), first);
        tokio::time::advance(Duration::from_secs(1)).await;

        assert_ne!(shown(&signer), first);
        assert!(first.is_sensitive());
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_token_is_replaced_once_in_twenty_minutes() {
        let signer = Tokens::default().signer(key("TEAM123456"));
        let first = shown(&signer);

        assert!(signer.replace(&first), "renewed");
        let second = shown(&signer);
        assert!(signer.replace(&first), "somebody else renewed it already");
        assert_eq!(shown(&signer), second);
        assert!(!signer.replace(&second), "not again so soon");
        tokio::time::advance(MIN_AGE).await;

        assert!(signer.replace(&second));
        assert_ne!(shown(&signer), second);
    }
}
