//! The Apple Push Notification service.

mod attempt;
mod ber;
mod certificate;
pub mod channels;
mod clock;
pub mod credential;
pub mod device_token;
mod facts;
pub mod inspection;
pub mod kdf_cost;
pub mod live_activity;
pub mod message;
mod mode;
mod p12;
pub mod parts;
pub mod payload;
mod pbe;
mod pem;
mod probe;
mod problem;
pub mod push_type;
mod request;
pub mod response;
mod sandboxed;
mod signature;
pub mod token;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use http::HeaderValue;
use tokio::sync::watch;
use tokio::time::Instant;
use url::Url;

use self::clock::Clock;
use self::credential::Credential;
pub use self::facts::CertificateFacts;
use self::facts::facts;
use self::message::Message;
pub use self::mode::Mode;
pub use self::probe::Probe;
use self::response::Sent;
use self::sandboxed::{Sandbox, Sandboxed};
use self::token::{Signer, Tokens};
use super::attempt::{Attempt, Watch};
use super::timeout::Timeout;
use crate::metrics::{Metrics, Peer, Provider};
use crate::outcome::Outcome;
use crate::transport::{
    self, ConnectionId, Endpoint, Homes, Identity, Pool, Request, Trust, proxy,
};

/// The section `[apns]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Apple's endpoint for applications in production. `https` only; a port may follow.
    pub production_url: Url,
    /// Apple's endpoint for applications in development. `https` only; a port may follow.
    pub sandbox_url: Url,
    /// Apple's endpoint for managing the broadcast channels of applications in production. `https`
    /// only; a port may follow.
    pub production_channels_url: Url,
    /// Apple's endpoint for managing the broadcast channels of applications in development.
    /// `https` only; a port may follow.
    pub sandbox_channels_url: Url,
    /// A file with further certificate authorities in PEM, trusted for APNs beside the system's.
    /// A relative path starts at the folder of this file.
    pub ca_file: Option<PathBuf>,
    /// How long a call may take in all: waiting, connecting, the answer, retries. At most 25 s.
    pub timeout: Duration,
    /// How long making one connection may take. At most 25 s.
    pub connect_timeout: Duration,
    /// Most connections of one application; more are opened only when those are used up.
    /// From 1 to 64.
    pub connections_per_application: usize,
    /// How many sends of one application may be in flight or waiting; past it a send is answered
    /// 503 before anything was sent. From 1 to 1000000.
    pub max_in_flight_per_application: usize,
    /// A connection on which nothing was read for this long is asked for a sign of life (PING).
    /// From 100 ms to 1 h.
    pub keepalive_interval: Duration,
    /// How long the answer to that may take; then the connection counts as dead.
    /// At most 25 s.
    pub keepalive_timeout: Duration,
    /// A connection beside the last one is closed when it was idle for this long.
    /// From 100 ms to 24 h.
    pub idle_timeout: Duration,
}

impl Default for Settings {
    #[expect(clippy::expect_used, reason = "the addresses are constants and parse")]
    fn default() -> Self {
        Self {
            production_url: Url::parse("https://api.push.apple.com").expect("a constant URL"),
            sandbox_url: Url::parse("https://api.sandbox.push.apple.com").expect("a constant URL"),
            production_channels_url: Url::parse("https://api-manage-broadcast.push.apple.com:2196")
                .expect("a constant URL"),
            sandbox_channels_url: Url::parse(
                "https://api-manage-broadcast.sandbox.push.apple.com:2195",
            )
            .expect("a constant URL"),
            ca_file: None,
            timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(10),
            connections_per_application: 4,
            max_in_flight_per_application: 4_000,
            keepalive_interval: Duration::from_secs(60),
            keepalive_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(300),
        }
    }
}

/// More than any answer of Apple's, which take some dozens.
const MAX_ANSWER_BYTES: usize = 4 * 1024;

/// What all applications share: where Apple is, whom we trust, and the provider tokens.
#[derive(Debug)]
pub struct Context {
    timeout: Timeout,
    production_url: Url,
    sandbox_url: Url,
    pools: watch::Sender<transport::Settings>,
    production: Endpoint,
    sandbox: Endpoint,
    channels: channels::Place,
    trust: Trust,
    tokens: Tokens,
    clock: Clock,
    sandboxed: Sandboxed,
    metrics: Arc<Peer>,
    homes: Homes,
}

impl Context {
    /// Reads the certificate authorities. `homes` is where connections live.
    ///
    /// # Errors
    /// A sentence that names the setting: a URL without a host, a CA file that cannot be read.
    pub fn new(settings: Settings, homes: Homes) -> Result<Self, String> {
        if !signature::IS_DETERMINISTIC {
            tracing::warn!(
                openssl = openssl::version::version(),
                "provider tokens differ from replica to replica and after a restart, and apple may \
                 answer TooManyProviderTokenUpdates; build with vendored-openssl, or with openssl 3.2 \
                 or later"
            );
        }
        let endpoint =
            |url: &Url, key| Endpoint::of(url).ok_or_else(|| format!("{key} has no host: {url}"));
        let trust = Trust::new(settings.ca_file.as_deref()).map_err(|error| {
            let file = settings.ca_file.as_deref().unwrap_or("".as_ref());
            format!(
                "the certificate authorities of {} could not be read: {error}; \
                 check apns.ca_file",
                file.display()
            )
        })?;
        Ok(Self {
            production: endpoint(&settings.production_url, "apns.production_url")?,
            sandbox: endpoint(&settings.sandbox_url, "apns.sandbox_url")?,
            channels: channels::Place::new(&settings)?,
            timeout: Timeout::new(settings.timeout),
            pools: watch::Sender::new(of_pool(&settings)),
            production_url: settings.production_url,
            sandbox_url: settings.sandbox_url,
            trust,
            tokens: Tokens::default(),
            clock: Clock::new(),
            sandboxed: Sandboxed::new(),
            metrics: Arc::default(),
            homes,
        })
    }

    /// The same, counted in these numbers.
    #[must_use]
    pub fn metered(self, metrics: &Metrics) -> Self {
        Self { metrics: Arc::clone(metrics.peer(Provider::Apns)), ..self }
    }

    /// The same, reached through what stands in between.
    #[must_use]
    pub fn through(self, proxy: &proxy::Settings) -> Self {
        let (production, sandbox) = (self.production.through(proxy), self.sandbox.through(proxy));
        Self { production, sandbox, channels: self.channels.through(proxy), ..self }
    }

    /// How long a call may take in all.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout.get()
    }

    /// Lets the limits of other settings apply from now on, to what is registered as well. Where
    /// Apple is and whom we trust stays.
    pub fn change_limits(&self, settings: &Settings) {
        self.timeout.set(settings.timeout);
        self.channels.change_limits(settings);
        self.pools.send_if_modified(|pools| {
            let next = of_pool(settings);
            let is_other = *pools != next;
            *pools = next;
            is_other
        });
    }

    /// How far this machine's clock is ahead of Apple's, in seconds; `None` until Apple has said
    /// what time it is.
    #[must_use]
    pub fn clock_skew_secs(&self) -> Option<i64> {
        self.clock.skew_secs()
    }

    fn endpoint(&self, mode: Mode) -> &Endpoint {
        match mode {
            Mode::Development => &self.sandbox,
            Mode::Auto | Mode::Production => &self.production,
        }
    }

    fn pool(&self, mode: Mode, identity: Option<Identity>) -> Pool {
        let endpoint = self.endpoint(mode).clone();
        let settings = self.pools.subscribe();
        let (trust, metrics) = (self.trust.clone(), Arc::clone(&self.metrics));
        Pool::new(endpoint, trust, identity, settings, metrics, &self.homes)
    }
}

fn of_pool(settings: &Settings) -> transport::Settings {
    transport::Settings {
        connections: settings.connections_per_application,
        connect_timeout: settings.connect_timeout,
        keepalive_interval: settings.keepalive_interval,
        keepalive_timeout: settings.keepalive_timeout,
        idle_timeout: settings.idle_timeout,
        max_waiting: settings.max_in_flight_per_application,
        max_answer_bytes: MAX_ANSWER_BYTES,
    }
}

/// The Apple side of one application: its credential and its connections.
#[derive(Debug)]
pub struct Apns {
    context: Arc<Context>,
    mode: Mode,
    /// It was to find out, and its certificate is not known to serve both environments.
    is_settled: bool,
    default_topic: Option<String>,
    access: Access,
    /// The sandbox, of an application that finds out; that of `access` is production.
    sandbox: Option<Sandbox>,
    /// The connections for managing channels, opened by the first such call. Few need them, and a pool
    /// is large.
    channels: OnceLock<Box<Pool>>,
}

/// What an application shows Apple.
enum Access {
    Certificate {
        pool: Pool,
        facts: CertificateFacts,
        identity: Identity,
    },
    Token {
        pool: Pool,
        signer: Arc<Signer>,
    },
    /// A preloaded credential that could not be used; why.
    Unusable(String),
}

impl fmt::Debug for Access {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate { facts, .. } => write!(formatter, "{facts:?}"),
            Self::Token { signer, .. } => write!(formatter, "{signer:?}"),
            Self::Unusable(reason) => write!(formatter, "Unusable({reason})"),
        }
    }
}

impl Apns {
    /// The Apple side of an application with this credential. It makes no connection; the first
    /// message does. `topic` comes before the one in the certificate.
    #[must_use]
    pub fn new(
        context: &Arc<Context>,
        credential: Credential,
        mode: Mode,
        topic: Option<String>,
    ) -> Self {
        let asked = mode;
        let mode = match &credential {
            Credential::Certificate(certificate) => certificate.environments.settle(asked),
            Credential::SigningKey(_) => asked,
        };
        let sandbox = |identity: Option<Identity>| {
            (mode == Mode::Auto).then(|| Sandbox { identity, pool: OnceLock::new() })
        };
        let (access, own_topic, sandbox) = match credential {
            Credential::Certificate(certificate) => {
                let facts = facts(&certificate, mode);
                let own_topic = certificate.default_topic.clone();
                let identity = Identity {
                    certificate: certificate.leaf,
                    chain: certificate.chain,
                    key: certificate.key,
                };
                let sandbox = sandbox(Some(identity.clone()));
                let pool = context.pool(mode, Some(identity.clone()));
                (Access::Certificate { pool, facts, identity }, own_topic, sandbox)
            }
            Credential::SigningKey(key) => {
                let signer = context.tokens.signer(key);
                (Access::Token { pool: context.pool(mode, None), signer }, None, sandbox(None))
            }
        };
        Self {
            context: Arc::clone(context),
            mode,
            is_settled: mode != asked,
            default_topic: topic.or(own_topic),
            access,
            sandbox,
            channels: OnceLock::new(),
        }
    }

    /// The Apple side of an application whose credential cannot be used: each send is refused
    /// with `reason`.
    #[must_use]
    pub fn unusable(
        context: &Arc<Context>,
        mode: Mode,
        topic: Option<String>,
        reason: String,
    ) -> Self {
        let access = Access::Unusable(reason);
        // The topic may have stood in the very certificate that is no good. A message that lacks
        // nothing else must not be told that it lacks a topic.
        let default_topic = Some(topic.unwrap_or_else(|| "unknown".to_owned()));
        let context = Arc::clone(context);
        let (is_settled, sandbox, channels) = (false, None, OnceLock::new());
        Self { context, mode, is_settled, default_topic, access, sandbox, channels }
    }

    /// The topic of a message that names none.
    #[must_use]
    pub fn default_topic(&self) -> Option<&str> {
        self.default_topic.as_deref()
    }

    /// Which of Apple's environments it talks to.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether it was to find out the environment of each token, and does not: its certificate is
    /// not known to serve both.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.is_settled
    }

    /// What its certificate says; `None` for a signing key.
    #[must_use]
    pub fn certificate(&self) -> Option<&CertificateFacts> {
        match &self.access {
            Access::Certificate { facts, .. } => Some(facts),
            Access::Token { .. } | Access::Unusable(_) => None,
        }
    }

    /// The names of its signing key and of the team; `None` for a certificate.
    #[must_use]
    pub fn signing_key(&self) -> Option<(&str, &str)> {
        match &self.access {
            Access::Token { signer, .. } => Some((signer.key_id(), signer.team_id())),
            Access::Certificate { .. } | Access::Unusable(_) => None,
        }
    }

    /// Why its credential cannot be used, if so.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        match &self.access {
            Access::Certificate { .. } | Access::Token { .. } => None,
            Access::Unusable(reason) => Some(reason),
        }
    }

    /// How many connections to Apple are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        let sandbox = self.sandbox.as_ref().and_then(|sandbox| sandbox.pool.get());
        let sandbox = sandbox.map_or(0, |pool| pool.connections());
        match &self.access {
            Access::Certificate { pool, .. } | Access::Token { pool, .. } => {
                pool.connections() + sandbox
            }
            Access::Unusable(_) => 0,
        }
    }

    /// How long a call may take in all.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.context.timeout()
    }

    /// Sends a message once, to `environment` where there is a choice. An answer that comes after
    /// `deadline`, or after the caller hung up, goes to `on_late`.
    ///
    /// # Cancel safety
    /// Dropped before the message was written, it is never written; afterwards its answer is
    /// awaited in the background for a minute.
    pub async fn send(
        &self,
        message: &Message,
        environment: Option<Mode>,
        deadline: Instant,
        avoid: Option<ConnectionId>,
        on_late: impl FnOnce(Outcome) + Send + 'static,
    ) -> Attempt {
        let id = message.apns_id.hyphenated().to_string();
        let Ready { head, pool, token } = match self.ready(message, environment) {
            Ok(ready) => ready,
            Err(attempt) => return attempt,
        };
        let body = message.payload.clone();
        let flight = match pool.send(Request { head, body, avoid, deadline }) {
            Ok(flight) => flight,
            Err(error) => return Attempt::failed(error, id),
        };
        let (late_id, topic_given) = (id.clone(), message.is_topic_given);
        let mut watch = Watch::new(flight, self.context.homes.process(), move |answer| {
            let (sent, now) = (Sent { apns_id: &late_id, topic_given }, SystemTime::now());
            on_late(response::read(answer.status, &answer.headers, &answer.body, sent, now));
        });
        match watch.answer().await {
            Ok(answer) => {
                self.context.clock.hear(&answer.headers, SystemTime::now());
                let token = token.as_ref().map(|(signer, used)| (*signer, used));
                let sent = Sent { apns_id: &id, topic_given };
                Attempt::answered(&answer, sent, pool, token)
            }
            Err(error) => Attempt::failed(error, id),
        }
    }

    /// Everything that the request of a message needs.
    fn ready(&self, message: &Message, environment: Option<Mode>) -> Result<Ready<'_>, Attempt> {
        let (pool, signer) = match &self.access {
            Access::Certificate { pool, .. } => (pool, None),
            Access::Token { pool, signer } => (pool, Some(signer)),
            Access::Unusable(reason) => return Err(Attempt::unusable(reason.clone())),
        };
        let authorization = signer.map(|signer| signer.authorization()).transpose();
        let authorization = authorization
            .map_err(|error| Attempt::unusable(format!("the signing key cannot sign: {error}")))?;
        let mode = environment.unwrap_or(self.mode);
        let pool = match &self.sandbox {
            Some(sandbox) if mode == Mode::Development => {
                let pool = || Box::new(self.context.pool(mode, sandbox.identity.clone()));
                sandbox.pool.get_or_init(pool)
            }
            Some(_) | None => pool,
        };
        let authority = self.context.endpoint(mode).authority();
        let head = request::build(message, authority, authorization.clone()).ok_or_else(|| {
            Attempt::unusable("a header of the message could not be written".to_owned())
        })?;
        Ok(Ready { head, pool, token: signer.zip(authorization) })
    }
}

/// A request that can go out.
struct Ready<'a> {
    head: http::Request<()>,
    pool: &'a Pool,
    /// Whose provider token it shows, and the token.
    token: Option<(&'a Arc<Signer>, HeaderValue)>,
}
