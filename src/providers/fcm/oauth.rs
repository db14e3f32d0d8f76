//! Access tokens: what a service account gets from Google's token endpoint (RFC 7523; Google,
//! "Using OAuth 2.0 for Server to Server Applications").
//!
//! ```text
//! none ──first caller──► fetching ──► valid ──refresh_at──► valid, fetching ──► valid
//!   ▲                        │          │
//!   └── failed, expired, refused by FCM ┘
//! ```
//!
//! One fetch at a time for each account: who needs its result waits for it, and who has a token
//! that is still good does not.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::sign::Signer;
use reqwest::Certificate;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

use super::credential::ServiceAccount;
use crate::outcome::{Cause, Delivery, Failure, Fault, Outcome, Rejection, Retry};
use crate::providers::retry_after;
use crate::providers::web::{self, LazyClient};
use crate::transport::proxy;

/// The one permission that sending needs.
const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
/// How long the endpoint may take in all.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// An answer takes some 2 KiB.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// How far the clocks of two machines may be apart.
const BACKDATED: u64 = 10;
/// The longest life that Google allows an assertion, in seconds.
const ASSERTION_LIFE: u64 = 3_600;
/// A token is renewed this long before its end, or at three quarters of a shorter life.
const REFRESH_AHEAD: Duration = Duration::from_secs(300);
/// How long before its end a token is not used any more, or a tenth of a shorter life.
const LAST_USE: Duration = Duration::from_secs(10);
/// A longer life than this is not believed.
const MAX_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a refusal of the account itself is remembered, so that a broken key does not make as
/// many requests as it gets messages.
const REFUSAL_KEPT: Duration = Duration::from_secs(10);
/// The pause after a renewal ahead of time that failed, or half of what is left of the token.
const NEXT_RENEWAL: Duration = Duration::from_secs(10);
/// After a refusal made us fetch a token, so long no other one is fetched because FCM refuses it
/// too, unless it was good in between.
const MIN_AGE: Duration = Duration::from_secs(10);

/// Every account of the process, each once.
#[derive(Debug)]
pub(super) struct Accounts {
    client: Arc<LazyClient>,
    runtime: Handle,
    /// Guards the map alone; entries whose last user is gone are swept when one is added.
    accounts: Mutex<HashMap<[u8; 32], Weak<Account>>>,
}

/// One service account and its token.
pub(super) struct Account {
    file: ServiceAccount,
    client: Arc<LazyClient>,
    runtime: Handle,
    /// Guards the token and who fetches the next one; never held while waiting.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    /// The fetch under way. Its sender ends with it, whatever happens.
    fetch: Option<watch::Receiver<Option<Result<HeaderValue, NoToken>>>>,
    /// The last refusal of the account, while it is remembered.
    refused: Option<(NoToken, Instant)>,
    /// When FCM refused a token; `None` again when it took a later one.
    forced: Option<Instant>,
}

struct Token {
    authorization: HeaderValue,
    refresh_at: Instant,
    expires_at: Instant,
}

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoToken {
    /// The endpoint refuses the account; asking again soon is of no use.
    Refused(String),
    /// It may be there in a moment.
    Unavailable { detail: String, retry_after: Option<Duration> },
}

impl NoToken {
    /// What it means for a message that was to be sent.
    pub(super) fn into_outcome(self) -> Outcome {
        match self {
            Self::Refused(detail) => Outcome::Rejected(Rejection {
                fault: Fault::Credentials,
                status: None,
                reason: String::new(),
                detail: Some(detail),
                id: None,
                gone_since: None,
            }),
            Self::Unavailable { detail, retry_after } => Outcome::Failed(Failure {
                cause: Cause::Unreachable { detail },
                delivery: Delivery::NotSent,
                retry: Retry::Once,
                retry_after,
                id: None,
            }),
        }
    }
}

impl Accounts {
    /// `authorities` are trusted beside the system's.
    pub(super) fn new(authorities: Vec<Certificate>, runtime: Handle) -> Self {
        let client = LazyClient::new(authorities, Some(CONNECT_TIMEOUT), Some(FETCH_TIMEOUT));
        Self { client: Arc::new(client), runtime, accounts: Mutex::default() }
    }

    /// The same, reached through what stands in between.
    pub(super) fn through(self, proxy: &proxy::Settings) -> Self {
        Self { client: Arc::new(self.client.through(proxy)), ..self }
    }

    /// The account of this file, shared with whoever holds it already.
    pub(super) fn account(&self, file: ServiceAccount) -> Arc<Account> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = accounts.get(&file.fingerprint).and_then(Weak::upgrade) {
            return account;
        }
        accounts.retain(|_, account| account.strong_count() > 0);
        let fingerprint = file.fingerprint;
        let account = Arc::new(Account {
            file,
            client: Arc::clone(&self.client),
            runtime: self.runtime.clone(),
            state: Mutex::default(),
        });
        accounts.insert(fingerprint, Arc::downgrade(&account));
        account
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Account({})", self.file.client_email)
    }
}

impl Account {
    /// The project that it sends for.
    pub(super) fn project_id(&self) -> &str {
        self.file.project_id()
    }

    /// The value of `authorization`, marked as sensitive.
    ///
    /// # Cancel safety
    /// Dropped, the fetch goes on for those who wait beside this caller, and for the next one.
    pub(super) async fn authorization(self: &Arc<Self>) -> Result<HeaderValue, NoToken> {
        let mut fetched = {
            let mut state = self.state();
            let now = Instant::now();
            if let Some(token) = &mut state.token {
                let current = token.authorization.clone();
                if now < token.refresh_at {
                    return Ok(current);
                }
                if now < token.expires_at {
                    let left = token.expires_at.saturating_duration_since(now);
                    token.refresh_at = now + NEXT_RENEWAL.min(left / 2);
                    self.fetch_once(&mut state);
                    return Ok(current);
                }
            }
            match &state.refused {
                Some((refusal, until)) if now < *until => return Err(refusal.clone()),
                _ => self.fetch_once(&mut state),
            }
        };
        match fetched.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(result)) => result.clone(),
            Ok(None) | Err(_) => Err(unavailable("the fetch of an access token was ended")),
        }
    }

    /// FCM took the token.
    pub(super) fn proved(&self) {
        self.state().forced = None;
    }

    /// FCM refused the token. True when it is worth to try with another one: somebody fetched it
    /// meanwhile, or the next caller will.
    pub(super) fn replace(&self, refused: &HeaderValue) -> bool {
        let mut state = self.state();
        match &state.token {
            Some(token) if token.authorization == *refused => {}
            Some(_) | None => return true,
        }
        if state.forced.is_some_and(|at| at.elapsed() < MIN_AGE) {
            return false;
        }
        state.forced = Some(Instant::now());
        state.token = None;
        true
    }

    /// Joins the fetch that is under way, or starts one.
    fn fetch_once(
        self: &Arc<Self>,
        state: &mut State,
    ) -> watch::Receiver<Option<Result<HeaderValue, NoToken>>> {
        if let Some(fetch) = state.fetch.as_ref().filter(|fetch| fetch.has_changed().is_ok()) {
            return fetch.clone();
        }
        let (done, fetch) = watch::channel(None);
        state.fetch = Some(fetch.clone());
        let account = Arc::clone(self);
        self.runtime.spawn(async move {
            let result = account.fetch().await;
            let mut state = account.state();
            let outcome = match result {
                Ok(token) => {
                    let authorization = token.authorization.clone();
                    (state.token, state.refused) = (Some(token), None);
                    Ok(authorization)
                }
                Err(no_token) => {
                    let account = account.file.client_email.as_str();
                    tracing::warn!(account, ?no_token, "no access token could be had");
                    if matches!(no_token, NoToken::Refused(_)) {
                        state.refused = Some((no_token.clone(), Instant::now() + REFUSAL_KEPT));
                    }
                    Err(no_token)
                }
            };
            state.fetch = None;
            drop(state);
            let _ = done.send(Some(outcome));
        });
        fetch
    }

    async fn fetch(&self) -> Result<Token, NoToken> {
        let assertion = assertion(&self.file, unix_now())
            .map_err(|error| NoToken::Refused(format!("its private key cannot sign: {error}")))?;
        // The parts of a JWT and its dots need no escapes in a form.
        let body = format!(
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}"
        );
        let started = Instant::now();
        let via = self.client.via(&self.file.token_uri);
        let broken = |error: reqwest::Error| {
            unavailable(&format!("no access token{via}: {}", web::sentence(&error)))
        };
        let client = self.client.get().map_err(broken)?;
        let request = client
            .post(self.file.token_uri.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body);
        let mut response = request.send().await.map_err(broken)?;
        let status = response.status().as_u16();
        let wait = retry_after(response.headers(), SystemTime::now());
        let body = match web::body(&mut response, MAX_ANSWER_BYTES).await {
            Ok(body) => body,
            Err(web::Unread::Broken(error)) => return Err(broken(error)),
            Err(web::Unread::TooLong) => {
                return Err(unavailable("the answer of the token endpoint is too long"));
            }
        };
        read(status, wait, &body, started)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unavailable(detail: &str) -> NoToken {
    NoToken::Unavailable { detail: detail.to_owned(), retry_after: None }
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: u64,
}

#[derive(Deserialize)]
struct Refused {
    error: String,
}

/// The status decides; a 503 with JSON is no token.
fn read(
    status: u16,
    retry_after: Option<Duration>,
    body: &[u8],
    started: Instant,
) -> Result<Token, NoToken> {
    match status {
        200 => granted(body, started)
            .ok_or_else(|| unavailable("the answer of the token endpoint is not the documented")),
        408 | 429 | 500..=599 => {
            let detail = format!("the token endpoint answered {status}");
            Err(NoToken::Unavailable { detail, retry_after })
        }
        300..=399 => Err(NoToken::Refused(
            "the token endpoint redirects, which is not followed; check token_uri".to_owned(),
        )),
        _ => Err(NoToken::Refused(refusal(status, body))),
    }
}

fn granted(body: &[u8], started: Instant) -> Option<Token> {
    let Granted { access_token, expires_in } = serde_json::from_slice(body).ok()?;
    if access_token.is_empty() {
        return None;
    }
    let mut authorization = HeaderValue::try_from(format!("Bearer {access_token}")).ok()?;
    authorization.set_sensitive(true);
    let life = Duration::from_secs(expires_in).min(MAX_LIFE);
    Some(Token {
        authorization,
        refresh_at: started + life.saturating_sub(REFRESH_AHEAD.min(life / 4)),
        expires_at: started + life.saturating_sub(LAST_USE.min(life / 10)),
    })
}

/// Google's code for it (RFC 6749 §5.2) and nothing else of what it wrote.
fn refusal(status: u16, body: &[u8]) -> String {
    let code = serde_json::from_slice::<Refused>(body).ok().map(|refused| refused.error);
    let is_code = |code: &String| {
        (1..=40).contains(&code.len())
            && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    match code.filter(is_code) {
        Some(code) if code == "invalid_grant" => {
            "the token endpoint refused the service account: invalid_grant; was its key deleted, \
             or is the clock of this machine wrong?"
                .to_owned()
        }
        Some(code) => format!(
            "the token endpoint refused the service account: {code}; register a new key of it"
        ),
        None => format!("the token endpoint answered {status}; check token_uri"),
    }
}

#[derive(Serialize)]
struct Header<'a> {
    alg: &'static str,
    typ: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<&'a str>,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    scope: &'static str,
    aud: &'a str,
    iat: u64,
    exp: u64,
}

/// The JSON Web Token that proves who asks (RFC 7515 §3.1 with RS256), unpadded.
fn assertion(file: &ServiceAccount, now: u64) -> Result<String, ErrorStack> {
    let issued = now.saturating_sub(BACKDATED);
    let header = Header { alg: "RS256", typ: "JWT", kid: file.private_key_id.as_deref() };
    let claims = Claims {
        iss: &file.client_email,
        scope: SCOPE,
        aud: file.token_uri.as_str(),
        iat: issued,
        exp: issued.saturating_add(ASSERTION_LIFE),
    };
    let mut token = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&header).unwrap_or_default());
    token.push('.');
    let claims = serde_json::to_vec(&claims).unwrap_or_default();
    URL_SAFE_NO_PAD.encode_string(claims, &mut token);
    let mut signer = Signer::new(MessageDigest::sha256(), &file.key)?;
    let signature = signer.sign_oneshot_to_vec(token.as_bytes())?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(token)
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
