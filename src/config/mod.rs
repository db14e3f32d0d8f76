//! Every setting of the process: defaults, then the file, then the environment; all mistakes at
//! once.

mod applications;
mod reader;
mod running;
mod sections;
mod sources;
mod values;
pub mod watch;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::api::proxies::Proxies;
use crate::api::{Compat, auth, ops};
use crate::apps::feedback;
use crate::apps::preload::Preload;
use crate::config::sources::Sources;
use crate::delivery::idempotency;
use crate::providers::{apns, fcm, gcm};
use crate::secret::Secret;
use crate::telemetry;
use crate::transport::proxy;

/// The whole configuration: one field for each section, as the module that uses it declares it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// The section `[server]`.
    pub server: Server,
    /// The section `[auth]`.
    pub auth: auth::Settings,
    /// The section `[apns]`.
    pub apns: apns::Settings,
    /// The section `[fcm]`.
    pub fcm: fcm::Settings,
    /// The section `[gcm]`.
    pub gcm: gcm::Settings,
    /// The section `[proxy]`.
    pub proxy: proxy::Settings,
    /// The section `[compat]`.
    pub compat: Compat,
    /// The section `[feedback]`.
    pub feedback: feedback::Settings,
    /// The section `[idempotency]`.
    pub idempotency: idempotency::Settings,
    /// The section `[ops]`.
    pub ops: ops::Settings,
    /// The section `[log]`.
    pub log: telemetry::Settings,
    /// Applications that are registered at the start, so that a restart loses none. The words are
    /// those of `POST /register_application`; a credential is given by exactly one of `NAME` (PEM
    /// or base64 text), `NAME_file` (a path) and `NAME_env` (an environment variable that holds
    /// the text). One that is expired or can't be read is logged, and the rest runs.
    pub applications: Vec<Preload>,
}

/// The section `[server]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Address and port to listen on. `PUSHLET_SERVER__BIND` comes before `PORT` (which means
    /// `0.0.0.0:PORT`), that before this file. Port 0 takes a free one.
    pub bind: SocketAddr,
    /// Largest body of a call, in bytes; a larger one is answered 413. From 1024 (1 KiB) to
    /// 67108864 (64 MiB).
    pub max_body_bytes: usize,
    /// Most messages of one call that brings many. From 1 to 10000.
    pub max_batch: usize,
    /// Largest body of such a call, in bytes; `max_body_bytes` holds for all others. From 1024
    /// (1 KiB) to 67108864 (64 MiB).
    pub max_batch_bytes: usize,
    /// How long a caller may take to send the first head of a connection (then 408; never less than
    /// 1 s), and the body of any call (then 400). From 100 ms to 10 minutes.
    pub read_timeout: Duration,
    /// How long a caller may leave its answer unread; then the connection is closed. From 100 ms to
    /// 10 minutes. Kept by Linux alone.
    pub write_timeout: Duration,
    /// How many applications may be registered; past it a registration is answered 503. From 1 to
    /// 1000000.
    pub max_applications: usize,
    /// Seals the registrations that ask for it (`sealed=true`), so that every replica with this key
    /// serves them: 32 bytes in hexadecimal or base64, as `openssl rand -hex 32` writes them.
    pub secret_key: Option<Secret<[u8; 32]>>,
    /// Keys that were `secret_key` before, in a list or with commas between them: what they sealed
    /// is still served. What was sealed with a key that stands nowhere any more is revoked.
    pub previous_secret_keys: Vec<Secret<[u8; 32]>>,
    /// How many sealed registrations are kept open, with their connections; the one that was used
    /// least lately makes room, and is opened again when it is used again. From 1 to 100000.
    pub max_sealed_open: usize,
    /// How many sends may be in flight or waiting, all applications together; past it a send is
    /// answered 503 before anything was sent. From 1 to 1000000.
    pub max_in_flight: usize,
    /// How many of them may be of one credential, of all its applications together; past it a send of
    /// its is answered 503. Left out, it is seven eighths of `max_in_flight` where there are several
    /// credentials, so that none takes the room of all, else all. From 1 to 1000000.
    pub max_in_flight_per_caller: Option<usize>,
    /// Threads that serve calls and hold the connections to Apple and Google; 0 means one for each
    /// core. At most 1024.
    pub workers: usize,
    /// How long SIGTERM leaves the listener open, while `/readyz` says 503: time for a load
    /// balancer to look elsewhere. At most 10 minutes.
    pub drain_delay: Duration,
    /// How long SIGTERM waits for what is in flight. At most 10 minutes.
    pub shutdown_timeout: Duration,
    /// The certificate to speak HTTPS with, in PEM, and its chain after it; left out, it is plain
    /// HTTP. TLS 1.2 and 1.3, HTTP/1.1. Given with `tls_key`; read anew when either file changes.
    pub tls_cert: Option<PathBuf>,
    /// The key of that certificate, in PEM, not encrypted.
    pub tls_key: Option<PathBuf>,
    /// Addresses and networks of proxies whose `X-Forwarded-For`, `X-Forwarded-Host` and
    /// `X-Forwarded-Proto` are believed; nobody else's are. As a variable: with commas between them.
    pub trusted_proxies: Proxies,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 9292)),
            max_body_bytes: 1024 * 1024,
            max_batch: 1_000,
            max_batch_bytes: 8 * 1024 * 1024,
            read_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            max_applications: 10_000,
            secret_key: None,
            previous_secret_keys: Vec::new(),
            max_sealed_open: 1_000,
            max_in_flight: 20_000,
            max_in_flight_per_caller: None,
            workers: 0,
            drain_delay: Duration::ZERO,
            shutdown_timeout: Duration::from_secs(25),
            tls_cert: None,
            tls_key: None,
            trusted_proxies: Proxies::default(),
        }
    }
}

impl Config {
    /// Reads the configuration. `file` comes before the one that `PUSHLET_CONFIG` names; with
    /// neither no file is read. Credentials of `[[applications]]` are not looked at: only where
    /// they are is noted.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with file and environment, including an address that others reach
    /// while nobody has to log in.
    pub fn load(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, Mistakes> {
        Self::read(file, environment, open_door)
    }

    /// The same for a process that listens nowhere: who could call it does not matter.
    ///
    /// # Errors
    ///
    /// Everything else that is wrong with file and environment.
    pub fn load_unserved(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, Mistakes> {
        Self::read(file, environment, |_, _, _| None)
    }

    fn read(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
        door: impl Fn(&str, SocketAddr, &auth::Settings) -> Option<String>,
    ) -> Result<Self, Mistakes> {
        let environment: BTreeMap<_, _> = environment.collect();
        let mut sources = Sources::open(file, &environment);

        let server = sources.section("server", sections::server);
        let auth = sources.section("auth", |table| sections::auth(table, &environment));
        let mut mistakes = Vec::new();
        if sources.is_clean() {
            mistakes.extend(door("server.bind", server.bind, &auth));
        }
        let apns = sources.section("apns", sections::apns);
        let fcm = sources.section("fcm", sections::fcm);
        let gcm = sources.section("gcm", sections::gcm);
        let proxy = sources.section("proxy", sections::proxy);
        let compat = sources.section("compat", sections::compat);
        let feedback = sources.section("feedback", sections::feedback);
        let idempotency = sources.section("idempotency", sections::idempotency);
        let ops = sources.section("ops", sections::ops);
        if let (true, Some(bind)) = (sources.is_clean(), ops.bind) {
            mistakes.extend(door("ops.bind", bind, &auth));
        }
        let log = sources.section("log", sections::log);
        let (applications, mut found) = sources.finish(applications::applications);
        mistakes.append(&mut found);
        let config = Self {
            server,
            auth,
            apns,
            fcm,
            gcm,
            proxy,
            compat,
            feedback,
            idempotency,
            ops,
            log,
            applications,
        };
        if mistakes.is_empty() { Ok(config) } else { Err(Mistakes(mistakes)) }
    }
}

/// The environment of this process. What is not UTF-8 is spelt with replacement characters, where
/// [`std::env::vars`] would panic.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().map(|(name, value)| {
        (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
    })
}

/// Everything that is wrong with a configuration: one sentence each, one a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(Vec<String>);

impl Mistakes {
    /// The sentences, in the order of the sections; never empty.
    pub fn all(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Mistakes {}

/// A relay that others can reach and that asks nobody who they are is refused.
fn open_door(name: &str, bind: SocketAddr, auth: &auth::Settings) -> Option<String> {
    let closed = !auth.credentials.is_empty() || auth.allow_anonymous;
    if closed || bind.ip().to_canonical().is_loopback() {
        return None;
    }
    Some(format!(
        "anybody could call: `{name}` is `{bind}`, which others can reach, and no credential is \
         configured; set `PUSHLET_USERNAME` and `PUSHLET_PASSWORD`, or give \
         `[[auth.credentials]]`, or listen on 127.0.0.1, or allow it with \
         `auth.allow_anonymous = true`"
    ))
}
