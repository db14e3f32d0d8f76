//! Provider tokens: the JSON Web Token that a signing key gives instead of a certificate
//! (Apple, "Establishing a token-based connection to APNs").
//!
//! Apple wants a token to be kept for 20 to 60 minutes and counts updates for each key, so a token
//! belongs to its key and team and not to an application: [`Tokens`] hands the same one to all. Nor
//! does it belong to a process: the time that stands in it is a multiple of 40 minutes and the
//! signature follows from key and text (RFC 6979), so that every replica shows Apple the same one,
//! and a restart updates nothing.
//!
//! ```text
//!             iat         shown from here               to here      Apple's limit
//! age in min  0 ───────── 10 ────────────────────────── 50 ───────── 60
//! ```
//! So a clock may be wrong by ten minutes, either way: the token is never from the future, and
//! never older than an hour. The next one comes 40 minutes after it, twice what Apple asks for.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use openssl::ec::EcKey;
use openssl::error::ErrorStack;
use openssl::pkey::Private;
use tokio::time::Instant;

use super::credential::SigningKey;
use super::signature;

/// Tokens are issued at multiples of this, in Unix seconds.
const GRID_SECS: i64 = 40 * 60;
/// How old a token is when it is first shown.
const YOUNGEST_SECS: i64 = 10 * 60;
/// The middle of the time that it is shown.
const MIDDLE_SECS: i64 = YOUNGEST_SECS + GRID_SECS / 2;
/// A clock that is set back by no more than this does not bring the former token back.
const SET_BACK_SECS: i64 = 60;
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
    current: Option<Token>,
    /// How many places beside the one that is due: what a clock that is far off needs.
    shift: i64,
    /// When a refusal last made us sign another one.
    forced: Option<Instant>,
}

struct Token {
    authorization: HeaderValue,
    /// Where it is on the grid.
    place: i64,
}

impl fmt::Debug for Signer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Signer({} of {})", self.key_id, self.team_id)
    }
}

impl Signer {
    /// The ten characters that name the key at Apple.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The ten characters that name the team at Apple.
    #[must_use]
    pub fn team_id(&self) -> &str {
        &self.team_id
    }

    /// The value of `authorization`, marked as sensitive.
    ///
    /// # Errors
    /// When OpenSSL cannot sign.
    pub fn authorization(&self) -> Result<HeaderValue, ErrorStack> {
        self.authorization_at(unix_secs())
    }

    fn authorization_at(&self, now_secs: i64) -> Result<HeaderValue, ErrorStack> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let due = place_at(now_secs) + state.shift;
        let was_due = place_at(now_secs.saturating_add(SET_BACK_SECS)) + state.shift;
        match &state.current {
            Some(token) if token.place == due || token.place == was_due => {
                Ok(token.authorization.clone())
            }
            _ => self.sign(&mut state, due),
        }
    }

    /// Apple called `refused` expired. True when another token is there to try: the next one came
    /// meanwhile, or a neighbour is shown from now on, which happens once in 20 minutes at the
    /// most.
    #[must_use]
    pub fn replace(&self, refused: &HeaderValue) -> bool {
        self.replace_at(refused, unix_secs())
    }

    /// A token whose age is right by our clock is expired by Apple's, so ours is off by more than
    /// ten minutes. The same token again would be refused again, and one issued at any odd time
    /// would be this process's alone. Which neighbour it is, the age tells: a slow clock makes the
    /// oldest too old first, a fast one puts the youngest into Apple's future first.
    fn replace_at(&self, refused: &HeaderValue, now_secs: i64) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let place = match &state.current {
            Some(token) if token.authorization != refused => return true,
            Some(token) => token.place,
            None => return false,
        };
        if state.forced.is_some_and(|at| at.elapsed() < MIN_AGE) {
            return false;
        }
        let age_secs = now_secs.saturating_sub(place * GRID_SECS);
        let (neighbour, clock) =
            if age_secs > MIDDLE_SECS { (place + 1, "slow") } else { (place - 1, "fast") };
        tracing::warn!(
            key.id = self.key_id,
            age_minutes = age_secs / 60,
            clock,
            "apple calls a provider token expired that is not by this machine's clock; set the clock"
        );
        state.forced = Some(Instant::now());
        state.shift = neighbour - place_at(now_secs);
        self.sign(&mut state, neighbour).is_ok()
    }

    fn sign(&self, state: &mut State, place: i64) -> Result<HeaderValue, ErrorStack> {
        let token = self.token(place * GRID_SECS)?;
        let mut value = HeaderValue::try_from(format!("bearer {token}"))
            .unwrap_or_else(|_| HeaderValue::from_static("bearer"));
        value.set_sensitive(true);
        state.current = Some(Token { authorization: value.clone(), place });
        Ok(value)
    }

    /// RFC 7515 §3.1 with ES256 (RFC 7518 §3.4: r and s, 32 bytes each).
    fn token(&self, issued_secs: i64) -> Result<String, ErrorStack> {
        // Key and team id are ten letters and digits, so that nothing needs escaping.
        let header = format!(r#"{{"alg":"ES256","kid":"{}"}}"#, self.key_id);
        let claims = format!(r#"{{"iss":"{}","iat":{issued_secs}}}"#, self.team_id);
        let mut token = URL_SAFE_NO_PAD.encode(header);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let raw = signature::es256(&self.key, token.as_bytes())?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(raw, &mut token);
        Ok(token)
    }
}

/// The place on the grid of the token that is shown at this time.
fn place_at(now_secs: i64) -> i64 {
    now_secs.saturating_sub(YOUNGEST_SECS).div_euclid(GRID_SECS)
}

fn unix_secs() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use openssl::ec::EcGroup;
    use openssl::nid::Nid;

    use super::*;

    /// A moment at which a token is first shown.
    const START: i64 = 700_000 * GRID_SECS + YOUNGEST_SECS;
    const MINUTE: i64 = 60;

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

    fn signer() -> Arc<Signer> {
        Tokens::default().signer(key("TEAM123456"))
    }

    fn shown(signer: &Signer, now_secs: i64) -> HeaderValue {
        signer.authorization_at(now_secs).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The age of a token at a time, by its own claims.
    fn age(token: &HeaderValue, now_secs: i64) -> i64 {
        let text = token.to_str().unwrap_or_default().split('.').nth(1).unwrap_or_default();
        let claims = URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap_or_default();
        now_secs - claims["iat"].as_i64().unwrap_or_else(|| panic!("no iat: {claims}"))
    }

    #[test]
    fn a_key_of_a_team_has_one_signer_however_often_it_is_registered() {
        let tokens = Tokens::default();

        let first = tokens.signer(key("TEAM123456"));
        let again = tokens.signer(key("TEAM123456"));
        let other = tokens.signer(key("TEAM654321"));

        assert!(Arc::ptr_eq(&first, &again));
        assert!(!Arc::ptr_eq(&first, &other));
        drop((first, again));
        let _ = tokens.signer(key("TEAM000000"));
        let left = tokens.signers.lock().unwrap_or_else(PoisonError::into_inner).len();
        assert_eq!(left, 2, "the one that nobody holds any more is forgotten");
    }

    #[test]
    fn a_token_is_shown_for_forty_minutes_and_is_never_young_nor_old() {
        let signer = signer();
        let first = shown(&signer, START);

        for second in 0..GRID_SECS {
            assert_eq!(shown(&signer, START + second), first);
        }
        let second = shown(&signer, START + GRID_SECS);

        assert_ne!(second, first);
        assert_eq!(age(&first, START), 10 * MINUTE);
        assert_eq!(age(&first, START + GRID_SECS), 50 * MINUTE);
        assert_eq!(age(&second, START + GRID_SECS), 10 * MINUTE);
        assert!(first.is_sensitive() && second.is_sensitive());
    }

    #[test]
    fn processes_that_share_nothing_but_the_key_show_the_same_token() {
        if !signature::IS_DETERMINISTIC {
            return;
        }
        let one = signer();
        let other =
            Tokens::default().signer(SigningKey { key: one.key.clone(), ..key(&one.team_id) });

        assert_eq!(shown(&one, START), shown(&other, START + GRID_SECS - 1));
        assert_ne!(shown(&one, START), shown(&other, START + GRID_SECS));
    }

    #[test]
    fn a_clock_that_is_set_back_a_little_brings_no_former_token_back() {
        let signer = signer();
        let _ = shown(&signer, START - 1);
        let second = shown(&signer, START);

        assert_eq!(shown(&signer, START - SET_BACK_SECS), second);

        let hours_ago = START - 3 * 3_600;
        assert!((10 * MINUTE..50 * MINUTE).contains(&age(&shown(&signer, hours_ago), hours_ago)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_token_is_replaced_once_in_twenty_minutes() {
        let signer = signer();
        let first = shown(&signer, START);

        assert!(signer.replace_at(&first, START), "a neighbour");
        let second = shown(&signer, START);
        assert_ne!(second, first);
        assert!(signer.replace_at(&first, START), "somebody else replaced it already");
        assert_eq!(shown(&signer, START), second);
        assert!(!signer.replace_at(&second, START), "not again so soon");
        tokio::time::advance(MIN_AGE).await;

        assert!(signer.replace_at(&second, START));
        assert_ne!(shown(&signer, START), second);
    }

    /// What Apple allows, by Apple's clock.
    fn is_good(token: &HeaderValue, apples_secs: i64) -> bool {
        (0..=60 * MINUTE).contains(&age(token, apples_secs))
    }

    #[test]
    fn a_clock_that_is_off_by_half_an_hour_costs_one_refusal() {
        for ahead in -30..=30 {
            for minute in 0..40 {
                let ours = START + minute * MINUTE;
                let apples = ours - ahead * MINUTE;
                let signer = signer();
                let token = shown(&signer, ours);
                if is_good(&token, apples) {
                    continue;
                }
                assert!(ahead.abs() > 10, "ten minutes do no harm");

                assert!(signer.replace_at(&token, ours));

                let next = shown(&signer, ours);
                assert!(is_good(&next, apples), "{ahead} minutes ahead, minute {minute}");
                assert_eq!(shown(&signer, ours + MINUTE / 2), next, "it stays");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_right_again_costs_one_refusal_more() {
        // A slow clock is found out at the end of a token's time, a fast one at its start.
        for (wrong, right) in [(START + 39 * MINUTE, START), (START, START + 39 * MINUTE)] {
            let right = right + 3 * GRID_SECS;
            let signer = signer();
            assert!(signer.replace_at(&shown(&signer, wrong), wrong));
            tokio::time::advance(MIN_AGE).await;
            let token = shown(&signer, right);
            assert!(!is_good(&token, right));

            assert!(signer.replace_at(&token, right));

            assert!(is_good(&shown(&signer, right), right));
            assert_eq!(age(&shown(&signer, START), START), 10 * MINUTE, "as if nothing had been");
        }
    }
}
