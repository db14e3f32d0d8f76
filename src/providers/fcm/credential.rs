//! Service accounts: the JSON file that Google gives for a project.

use std::fmt;
use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openssl::pkey::{Id, PKey, Private};
use openssl::rsa::Rsa;
use openssl::sha::Sha256;
use serde_json::{Map, Value};
use url::{Host, Url};

/// Where a file that names no endpoint gets its tokens (Google, "Using OAuth 2.0 for Server to
/// Server Applications").
const DEFAULT_TOKEN_URI: &str = "https://oauth2.googleapis.com/token";
/// Google makes keys of 2048 bits; larger ones cost ever more to sign with.
const RSA_BITS: RangeInclusive<u32> = 2048..=8192;

/// A service account that can be used.
pub struct ServiceAccount {
    /// The project that it sends for.
    pub(super) project_id: String,
    pub(super) client_email: String,
    pub(super) private_key_id: Option<String>,
    pub(super) key: PKey<Private>,
    pub(super) token_uri: Url,
    /// What makes two of them the same to Google.
    pub(super) fingerprint: [u8; 32],
}

impl fmt::Debug for ServiceAccount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ServiceAccount({})", self.client_email)
    }
}

/// Who gave the file, and so how far its `token_uri` is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Somebody who calls: the relay connects to Google with it and to nobody else.
    Caller,
    /// The configuration.
    Operator,
}

/// Why a file is no usable service account: a sentence that quotes nothing of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidServiceAccount(String);

impl fmt::Display for InvalidServiceAccount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for InvalidServiceAccount {}

impl ServiceAccount {
    /// Reads the file. `fcm_url` is where messages go: a caller's file may get its tokens there.
    ///
    /// # Errors
    /// [`InvalidServiceAccount`].
    pub fn parse(
        contents: &[u8],
        origin: Origin,
        fcm_url: &Url,
    ) -> Result<Self, InvalidServiceAccount> {
        let value: Value = serde_json::from_slice(contents)
            .map_err(|error| invalid(&format!("it is not json: {error}")))?;
        let Value::Object(file) = value else {
            return Err(invalid("it is no json object; give the file that google made"));
        };
        if file.get("type").is_some_and(|kind| kind != "service_account") {
            return Err(invalid(
                "its `type` is not service_account; make a key of a service account in the google \
                 cloud console",
            ));
        }
        let project_id = required(&file, "project_id")?;
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:_".contains(&byte);
        if !project_id.bytes().all(known) {
            return Err(invalid("its `project_id` has characters that no project has"));
        }
        let client_email = required(&file, "client_email")?;
        let private_key = required(&file, "private_key")?;
        let private_key_id = file.get("private_key_id").and_then(Value::as_str);
        let token_uri = token_uri(&file, origin, fcm_url)?;
        let mut fingerprint = Sha256::new();
        for part in [client_email, private_key, private_key_id.unwrap_or(""), token_uri.as_str()] {
            fingerprint.update(part.as_bytes());
            fingerprint.update(b"\0");
        }
        Ok(Self {
            project_id: project_id.to_owned(),
            client_email: client_email.to_owned(),
            private_key_id: private_key_id.map(str::to_owned),
            key: rsa_key(private_key)?,
            token_uri,
            fingerprint: fingerprint.finish(),
        })
    }
}

/// What of it is no secret.
impl ServiceAccount {
    /// The project that it sends for.
    #[must_use]
    pub fn project_id(&self) -> &str {
        &self.project_id
    }

    /// The name of the account.
    #[must_use]
    pub fn client_email(&self) -> &str {
        &self.client_email
    }

    /// The name of its key, where the file gives one.
    #[must_use]
    pub fn private_key_id(&self) -> Option<&str> {
        self.private_key_id.as_deref()
    }

    /// The length of its RSA key.
    #[must_use]
    pub fn key_bits(&self) -> u32 {
        self.key.bits()
    }

    /// Where it gets its access tokens.
    #[must_use]
    pub fn token_uri(&self) -> &Url {
        &self.token_uri
    }
}

/// A service account's file without what is not needed to send: what is kept of it where it is
/// kept. `None` if it is none.
#[must_use]
pub fn essentials(contents: &[u8]) -> Option<Vec<u8>> {
    const NEEDED: [&str; 6] =
        ["client_email", "private_key", "private_key_id", "project_id", "token_uri", "type"];
    let mut file: Map<String, Value> = serde_json::from_slice(contents).ok()?;
    file.retain(|name, _| NEEDED.contains(&name.as_str()));
    serde_json::to_vec(&file).ok()
}

fn invalid(problem: &str) -> InvalidServiceAccount {
    InvalidServiceAccount(problem.to_owned())
}

fn required<'a>(
    file: &'a Map<String, Value>,
    name: &str,
) -> Result<&'a str, InvalidServiceAccount> {
    let text = file.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    text.ok_or_else(|| invalid(&format!("it has no `{name}`; give the file that google made")))
}

fn token_uri(
    file: &Map<String, Value>,
    origin: Origin,
    fcm_url: &Url,
) -> Result<Url, InvalidServiceAccount> {
    let text = match file.get("token_uri") {
        None => DEFAULT_TOKEN_URI,
        Some(value) => value.as_str().unwrap_or_default(),
    };
    let url = Url::parse(text).map_err(|_| invalid("its `token_uri` is no URL"))?;
    let is_plain =
        url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    let is_trusted = match origin {
        Origin::Caller => is_google(&url) || url.origin() == fcm_url.origin(),
        Origin::Operator => url.scheme() == "https" || is_loopback(&url),
    };
    if is_plain && is_trusted {
        return Ok(url);
    }
    Err(invalid(match origin {
        Origin::Caller => "its `token_uri` is not https on a host of googleapis.com",
        Origin::Operator => "its `token_uri` is not https (or http on loopback)",
    }))
}

fn is_google(url: &Url) -> bool {
    let google = |host: &str| host.ends_with(".googleapis.com");
    url.scheme() == "https" && url.port().is_none() && url.host_str().is_some_and(google)
}

fn is_loopback(url: &Url) -> bool {
    let here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    url.scheme() == "http" && here
}

/// A key in PEM, PKCS#8 or PKCS#1. Encrypted ones are not read: Google makes none, and OpenSSL
/// would ask the terminal for a password.
fn rsa_key(pem: &str) -> Result<PKey<Private>, InvalidServiceAccount> {
    let problem = || invalid("its `private_key` is no RSA key in PEM");
    let between = |label: &str| {
        let (_, rest) = pem.split_once(&format!("-----BEGIN {label}-----"))?;
        let (encoded, _) = rest.split_once(&format!("-----END {label}-----"))?;
        let encoded: String = encoded.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        STANDARD.decode(encoded).ok()
    };
    let key = if let Some(der) = between("PRIVATE KEY") {
        PKey::private_key_from_pkcs8(&der)
    } else {
        let der = between("RSA PRIVATE KEY").ok_or_else(problem)?;
        Rsa::private_key_from_der(&der).and_then(PKey::from_rsa)
    };
    let key = key.map_err(|_| problem())?;
    if key.id() != Id::RSA {
        return Err(problem());
    }
    if !RSA_BITS.contains(&key.bits()) {
        let (least, most) = (RSA_BITS.start(), RSA_BITS.end());
        return Err(invalid(&format!(
            "its `private_key` is RSA of {} bits, {least} to {most} are usable",
            key.bits()
        )));
    }
    Ok(key)
}
