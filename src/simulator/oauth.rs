//! The fake token endpoint: access tokens for signed assertions (RFC 7523; Google, "Using OAuth 2.0
//! for Server to Server Applications").

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix_web::{HttpRequest, HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use openssl::hash::MessageDigest;
use openssl::sign::Verifier;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::record::{Provider, Received, Verdict, now_ms};
use super::script::Answer;
use super::service_account::ServiceAccount;
use super::{Shared, gcm, http1};

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// Either of them allows to send.
const SCOPES: [&str; 2] = [
    "https://www.googleapis.com/auth/cloud-platform",
    "https://www.googleapis.com/auth/firebase.messaging",
];
/// The longest life of an assertion, in seconds.
const MAX_LIFE: i64 = 3_600;
/// How far ahead a client's clock may be, in seconds.
const SKEW: i64 = 300;

/// Who has an access token.
pub(super) struct Grants {
    /// How long an access token lives.
    life: Duration,
    /// Guards both; held for one look-up, or for one signature.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    accounts: Vec<ServiceAccount>,
    tokens: HashMap<String, Grant>,
}

/// Whose an access token is.
#[derive(Debug, Clone)]
pub(super) struct Grant {
    pub(super) client_email: String,
    /// `None`: an account that this simulator did not make.
    pub(super) project_id: Option<String>,
    expires: Instant,
}

/// Why there is no token: Google's code and description.
type Refusal = (&'static str, &'static str);

#[derive(Deserialize)]
struct Header {
    alg: String,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    scope: String,
    aud: String,
    iat: i64,
    exp: i64,
    /// Google takes a person here, and nothing else.
    #[serde(default = "nobody")]
    sub: Value,
}

/// Stands for a `sub` that is not there; null is not the same.
fn nobody() -> Value {
    Value::from("")
}

impl Grants {
    pub(super) fn new(life: Duration) -> Self {
        Self { life, state: Mutex::default() }
    }

    /// From now on assertions of this account must have its signature.
    pub(super) fn add(&self, account: ServiceAccount) {
        self.state().accounts.push(account);
    }

    /// Forgets all tokens: FCM refuses them.
    pub(super) fn revoke(&self) {
        self.state().tokens.clear();
    }

    /// Whose token this is; `None` if nobody's, or if its time is over.
    pub(super) fn find(&self, token: &str) -> Option<Grant> {
        let state = self.state();
        state.tokens.get(token).filter(|grant| Instant::now() < grant.expires).cloned()
    }

    /// The answer to an assertion, and whose it is.
    fn grant(&self, assertion: &str, now: i64) -> Result<(String, String), Refusal> {
        let invalid = |description| ("invalid_grant", description);
        let claims = self.verified(assertion)?;
        if !claims.scope.split(' ').any(|scope| SCOPES.contains(&scope)) {
            return Err(("invalid_scope", "Invalid OAuth scope or ID token audience provided."));
        }
        if !claims.aud.ends_with("/token") {
            return Err(invalid("Invalid JWT: Failed audience check."));
        }
        let is_short = claims.exp.saturating_sub(claims.iat) <= MAX_LIFE;
        if !is_short || claims.iat > now.saturating_add(SKEW) || claims.exp <= now {
            return Err(invalid(
                "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable \
                 timeframe. Check your iat and exp values in the JWT claim.",
            ));
        }
        let mut state = self.state();
        let known = state.accounts.iter().find(|account| account.client_email == claims.iss);
        let grant = Grant {
            client_email: claims.iss.clone(),
            project_id: known.map(|account| account.project_id.clone()),
            expires: Instant::now() + self.life,
        };
        let token = format!("ya29.simulated-{}", Uuid::new_v4().simple());
        state.tokens.insert(token.clone(), grant);
        Ok((token, claims.iss))
    }

    /// The claims, if they are signed as they must be.
    fn verified(&self, assertion: &str) -> Result<Claims, Refusal> {
        let malformed = || ("invalid_request", "Bad Request");
        let (signed, signature) = assertion.rsplit_once('.').ok_or_else(malformed)?;
        let (header, claims) = signed.split_once('.').ok_or_else(malformed)?;
        let decoded = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| malformed());
        let header: Header = serde_json::from_slice(&decoded(header)?).map_err(|_| malformed())?;
        let claims: Claims = serde_json::from_slice(&decoded(claims)?).map_err(|_| malformed())?;
        let signature = decoded(signature)?;
        if header.alg != "RS256" || !claims.sub.is_string() {
            return Err(malformed());
        }
        let state = self.state();
        let known = state.accounts.iter().find(|account| account.client_email == claims.iss);
        let is_signed = known.is_none_or(|account| {
            let verifier = Verifier::new(MessageDigest::sha256(), &account.key);
            verifier
                .and_then(|mut verifier| verifier.verify_oneshot(&signature, signed.as_bytes()))
                .unwrap_or(false)
        });
        if is_signed { Ok(claims) } else { Err(("invalid_grant", "Invalid JWT Signature.")) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `POST /token`.
pub(super) async fn token(
    request: HttpRequest,
    shared: web::Data<Shared>,
    body: Bytes,
) -> HttpResponse {
    let (delay, answer) = shared.script.take_token_request().unwrap_or(Answer::Accept).into_parts();
    let result = match &answer {
        Answer::Accept | Answer::Delay { .. } => granted(&shared, &body),
        _ => Err(("", "")),
    };
    let client_email = result.as_ref().map(|(_, email)| email.clone()).unwrap_or_default();
    let verdict = match (&answer, &result) {
        (_, Ok(_)) => Verdict::Accepted,
        (Answer::Reject(rejection), _) => {
            Verdict::Refused { status: rejection.status.as_u16(), reason: rejection.reason.clone() }
        }
        (_, Err((code, _))) => Verdict::Refused { status: 400, reason: (*code).to_owned() },
    };
    shared.record.push(received(client_email, verdict));
    if !delay.is_zero() {
        sleep(delay).await;
    }
    match answer {
        Answer::Accept | Answer::Delay { .. } => respond(&shared, result),
        Answer::Drop | Answer::GoAway { .. } | Answer::Reset { .. } => http1::cut(&request),
        Answer::Never => std::future::pending().await,
        Answer::Raw(raw) => gcm::raw_response(raw),
        Answer::Reject(rejection) => {
            let mut response = gcm::response(rejection.status.as_u16());
            if let Some(secs) = rejection.retry_after_secs {
                response.insert_header(("retry-after", secs.to_string()));
            }
            response.json(json!({ "error": rejection.reason, "error_description": "scripted" }))
        }
    }
}

fn granted(shared: &Shared, body: &[u8]) -> Result<(String, String), Refusal> {
    let form: HashMap<_, _> = url::form_urlencoded::parse(body).into_owned().collect();
    if form.get("grant_type").map(String::as_str) != Some(GRANT_TYPE) {
        return Err(("unsupported_grant_type", "Invalid grant_type"));
    }
    let assertion = form.get("assertion").map(String::as_str).unwrap_or_default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    shared.grants.grant(assertion, i64::try_from(now).unwrap_or(i64::MAX))
}

fn respond(shared: &Shared, result: Result<(String, String), Refusal>) -> HttpResponse {
    match result {
        Ok((access_token, _)) => gcm::response(200).json(json!({
            "access_token": access_token,
            "expires_in": shared.grants.life.as_secs(),
            "token_type": "Bearer",
        })),
        Err((error, error_description)) => gcm::response(400)
            .json(json!({ "error": error, "error_description": error_description })),
    }
}

fn received(client_email: String, verdict: Verdict) -> Received {
    Received {
        provider: Provider::Oauth,
        connection: None,
        device_token: String::new(),
        channel_id: None,
        topic: None,
        push_type: None,
        priority: None,
        expiration: None,
        collapse_id: None,
        apns_id: None,
        authenticated_as: Some(client_email),
        payload: Bytes::new(),
        verdict,
        received_at_ms: now_ms(),
    }
}
