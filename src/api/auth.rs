//! Who may call: HTTP Basic, scopes, and the rules for browsers and for a relay without
//! credentials.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web_httpauth::headers::authorization::{Basic, Scheme};
use openssl::memcmp;
use openssl::sha::Sha256;
use tokio::time::Instant;
use url::Url;
use wildmatch::WildMatch;

use super::error::ApiError;
use super::proxies::{Proxies, Source};
use super::rate::Rate;
use crate::delivery::Share;
use crate::secret::Secret;

/// The word in a credential's `applications` that allows `gcm_api_key`.
const GCM: &str = "gcm";

/// The section `[auth]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Who may call. With none the server starts only on a loopback address, or with
    /// `allow_anonymous`.
    pub credentials: Vec<Credential>,
    /// Let anybody call, on any address. For a relay that something else protects.
    pub allow_anonymous: bool,
}

/// One entry of `[[auth.credentials]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The user name of HTTP Basic.
    pub username: String,
    /// The password of HTTP Basic.
    pub password: Secret<String>,
    /// Names or globs (`*`, `?`) of the applications that this credential may use; `gcm` allows
    /// `gcm_api_key`. Left out, it may use all.
    pub applications: Option<Vec<String>>,
    /// Messages a second that this credential may send; past it 429, and many on one call wait for
    /// their turn. A call about channels counts as a message. From 1 to 1000000; left out, there is
    /// no limit.
    pub rate_limit: Option<u32>,
    /// How many of them may come at once; left out, as many as in a second. From 1 to 1000000.
    pub rate_burst: Option<u32>,
    /// How many of its messages go while one goes of a credential of weight 1, where many on one call
    /// wait for their turn. From 1 to 100.
    pub weight: u32,
}

/// Lets callers in or not.
#[derive(Debug, Clone)]
pub struct Door {
    entries: Vec<Entry>,
    /// Of all who need no credential.
    anybodys: Share,
    /// Without credentials on a loopback address, only calls that come from this machine and mean
    /// it are served: a name that leads here, or a proxy, brings strangers.
    local_only: bool,
    /// Who is believed about where a call comes from.
    proxies: Proxies,
}

#[derive(Debug, Clone)]
struct Entry {
    /// SHA-256 of user name and password: equal lengths, compared in constant time.
    username: Secret<[u8; 32]>,
    password: Secret<[u8; 32]>,
    scope: Scope,
    rate: Option<Arc<Rate>>,
    share: Share,
}

/// What a caller may use.
#[derive(Debug, Clone)]
enum Scope {
    All,
    Only(Vec<WildMatch>),
}

/// Somebody who was let in.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    scope: &'a Scope,
    /// What tells one from another, and is no user name.
    name: &'a [u8],
    /// Its place among the entries.
    number: usize,
    rate: Option<&'a Arc<Rate>>,
    share: &'a Share,
}

impl Caller<'_> {
    /// What tells this credential from another; empty where nobody has to log in.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.name
    }

    /// How many messages a second it may send; `None`: any number.
    pub(super) fn rate(&self) -> Option<&Arc<Rate>> {
        self.rate
    }

    /// Takes a place for so many messages that go out now.
    ///
    /// # Errors
    /// `rate_limited`.
    pub(super) fn pay(&self, messages: usize) -> Result<(), ApiError> {
        let Some(rate) = self.rate else { return Ok(()) };
        let (count, now) = (u32::try_from(messages).unwrap_or(u32::MAX), Instant::now());
        rate.reserve(count, now, now).map(|_| ()).map_err(ApiError::rate_limited)
    }

    /// By which the same one is found again, at the same door.
    #[must_use]
    pub fn number(&self) -> usize {
        self.number
    }

    /// What it holds of the relay. Those who need no credential are one caller.
    #[must_use]
    pub fn share(&self) -> &Share {
        self.share
    }

    /// Whether an application is the caller's.
    #[must_use]
    pub fn owns(&self, application: &str) -> bool {
        match self.scope {
            Scope::All => true,
            Scope::Only(globs) => globs.iter().any(|glob| glob.matches(application)),
        }
    }

    /// Whether every application is the caller's, and the relay itself.
    #[must_use]
    pub fn owns_all(&self) -> bool {
        match self.scope {
            Scope::All => true,
            Scope::Only(_) => false,
        }
    }

    /// Whether the caller may use keys of Google's.
    #[must_use]
    pub fn owns_keys(&self) -> bool {
        match self.scope {
            Scope::All => true,
            Scope::Only(globs) => globs.iter().any(|glob| glob.pattern() == GCM),
        }
    }

    /// Refuses an application that is not the caller's.
    ///
    /// # Errors
    /// `forbidden`.
    pub fn must_own(&self, application: &str) -> Result<(), ApiError> {
        if self.owns(application) {
            return Ok(());
        }
        Err(ApiError::forbidden("this credential may not use that application; use one that may"))
    }

    /// Refuses a key of Google's unless the caller may use one.
    ///
    /// # Errors
    /// `forbidden`.
    pub fn must_own_keys(&self) -> Result<(), ApiError> {
        if self.owns_keys() {
            return Ok(());
        }
        Err(ApiError::forbidden(
            "this credential may not use gcm_api_key; add gcm to its list of applications",
        ))
    }

    /// Refuses a caller who may use some applications only, and so has to name one.
    ///
    /// # Errors
    /// `forbidden`.
    pub fn must_be_free(&self) -> Result<(), ApiError> {
        if self.owns_all() {
            return Ok(());
        }
        Err(ApiError::forbidden(
            "this credential may register certain applications only; give application_id",
        ))
    }
}

impl Door {
    /// A door for these credentials; `loopback` says that the server listens on loopback alone.
    #[must_use]
    pub fn new(settings: &Settings, loopback: bool) -> Self {
        let entry = |credential: &Credential| Entry {
            username: Secret::new(sha256(credential.username.as_bytes())),
            password: Secret::new(sha256(credential.password.expose().as_bytes())),
            scope: match &credential.applications {
                None => Scope::All,
                Some(globs) => Scope::Only(globs.iter().map(|glob| WildMatch::new(glob)).collect()),
            },
            rate: credential.rate_limit.map(|per_sec| {
                Arc::new(Rate::new(per_sec, credential.rate_burst.unwrap_or(per_sec)))
            }),
            share: Share::new(credential.weight),
        };
        let entries: Vec<Entry> = settings.credentials.iter().map(entry).collect();
        let local_only = entries.is_empty() && loopback;
        Self { entries, anybodys: Share::new(1), local_only, proxies: Proxies::default() }
    }

    /// The same, with proxies in front of it that are believed.
    #[must_use]
    pub fn behind(self, proxies: &Proxies) -> Self {
        Self { proxies: proxies.clone(), ..self }
    }

    /// Lets a caller in.
    ///
    /// # Errors
    /// `unauthorized`; `forbidden` for a stranger's page in somebody's browser, and for a call that
    /// did not start on this machine where only such calls are served.
    pub fn admit(&self, request: &HttpRequest) -> Result<Caller<'_>, ApiError> {
        let caller = if self.entries.is_empty() {
            if self.local_only {
                refuse_strangers(&self.source(request))?;
            }
            self.anybody()
        } else {
            self.identify(request).ok_or_else(ApiError::unauthorized)?
        };
        // A page of another site can make a browser ask, and is not shown the answer.
        if !request.method().is_safe() {
            self.refuse_pages(request)?;
        }
        Ok(caller)
    }

    /// Somebody who was not asked, and may use everything.
    #[must_use]
    pub fn anybody(&self) -> Caller<'_> {
        let (scope, name, share) = (&Scope::All, &[], &self.anybodys);
        Caller { scope, name, number: 0, rate: None, share }
    }

    /// Refuses what a page of another site makes a browser ask: browsers say so (Fetch Metadata),
    /// and name the page's origin (RFC 6454 §7).
    ///
    /// # Errors
    /// `forbidden`.
    pub(super) fn refuse_pages(&self, request: &HttpRequest) -> Result<(), ApiError> {
        refuse_pages(request.headers(), &self.source(request))
    }

    fn source<'a>(&self, request: &'a HttpRequest) -> Source<'a> {
        self.proxies.source(request.peer_addr().map(|peer| peer.ip()), request.headers())
    }

    /// Somebody who was let in before.
    #[must_use]
    pub fn again(&self, number: usize) -> Option<Caller<'_>> {
        if self.entries.is_empty() {
            return Some(self.anybody());
        }
        self.entries.get(number).map(|entry| entry.caller(number))
    }

    /// Looks at every entry, whichever fits, so that the time taken tells nothing.
    fn identify(&self, request: &HttpRequest) -> Option<Caller<'_>> {
        let basic = basic(request.headers())?;
        let username = sha256(basic.user_id().as_bytes());
        let password = sha256(basic.password().unwrap_or_default().as_bytes());
        let mut found = None;
        for (number, entry) in self.entries.iter().enumerate() {
            let same_name = memcmp::eq(entry.username.expose(), &username);
            let same_password = memcmp::eq(entry.password.expose(), &password);
            if same_name & same_password {
                found = Some((number, entry));
            }
        }
        found.map(|(number, entry)| entry.caller(number))
    }
}

impl Entry {
    fn caller(&self, number: usize) -> Caller<'_> {
        Caller {
            scope: &self.scope,
            name: self.username.expose(),
            number,
            rate: self.rate.as_ref(),
            share: &self.share,
        }
    }
}

/// User name and password of HTTP Basic. The parser knows one spelling of the scheme, and RFC 9110
/// §11.1 allows all.
fn basic(headers: &HeaderMap) -> Option<Basic> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("Basic") {
        return None;
    }
    let value = HeaderValue::try_from(format!("Basic {}", token.trim_start_matches(' '))).ok()?;
    Basic::parse(&value).ok()
}

/// Unlike `openssl::sha::sha256`, which looks the algorithm up by its name each time: that costs
/// more than the hash.
fn sha256(text: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(text);
    hash.finish()
}

fn refuse_pages(headers: &HeaderMap, source: &Source<'_>) -> Result<(), ApiError> {
    let foreign_site =
        headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none");
    let foreign_origin = headers.get(header::ORIGIN).is_some_and(|origin| {
        let host = source.host.unwrap_or_default();
        !origin.to_str().is_ok_and(|origin| is_same_host(origin, host, source.scheme))
    });
    if foreign_site || foreign_origin {
        return Err(ApiError::forbidden(
            "a page of another site may not call; call from a program or from this host",
        ));
    }
    Ok(())
}

/// `scheme` is that of the host, where it is known: it says which port is meant when none is named.
fn is_same_host(origin: &str, host: &str, scheme: Option<&str>) -> bool {
    let Ok(origin) = Url::parse(origin) else { return false };
    let scheme = scheme.unwrap_or(origin.scheme());
    let Ok(host) = Url::parse(&format!("{scheme}://{host}")) else { return false };
    origin.host_str().is_some()
        && origin.host_str() == host.host_str()
        && origin.port_or_known_default() == host.port_or_known_default()
}

fn refuse_strangers(source: &Source<'_>) -> Result<(), ApiError> {
    let is_foreign_host = source.host.is_some_and(|host| !is_loopback(host));
    let is_foreign = source.address.is_some_and(|address| !address.is_loopback());
    if source.is_hearsay || is_foreign_host || is_foreign {
        return Err(ApiError::forbidden(
            "without credentials only this machine itself is served; configure a credential to \
             serve others",
        ));
    }
    Ok(())
}

/// Whether a `Host` names this machine to itself.
fn is_loopback(host: &str) -> bool {
    let Ok(url) = Url::parse(&format!("http://{host}")) else { return false };
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => Ipv4Addr::is_loopback(&address),
        Some(url::Host::Ipv6(address)) => Ipv6Addr::is_loopback(&address),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loopback_host_is_known_in_every_spelling() {
        for host in [
            "localhost",
            "localhost:9292",
            "LOCALHOST",
            "127.0.0.1:80",
            "127.9.9.9",
            "[::1]:9292",
            "app.localhost",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "example.com",
            "10.0.0.1",
            "localhost.example.com",
            "[::2]",
            "::1",
            "a b",
            "127.0.0.1@example.com",
            "example.com/localhost",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn an_origin_is_compared_with_host_and_port() {
        assert!(is_same_host("http://localhost:9292", "localhost:9292", None));
        assert!(is_same_host("https://relay.example", "relay.example", None));
        assert!(is_same_host("https://relay.example", "Relay.Example:443", None));
        for (origin, host) in [
            ("null", "relay.example"),
            ("https://evil.example", "relay.example"),
            ("http://relay.example:8080", "relay.example"),
            ("https://relay.example", ""),
        ] {
            assert!(!is_same_host(origin, host, None), "{origin} {host}");
        }
    }
}
