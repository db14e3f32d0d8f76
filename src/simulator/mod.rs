//! A fake APNs, FCM and GCM endpoint, protocol-true, to try things out and to test against.
//!
//! It imports nothing of the relay: if client and fake shared a constant, a misreading would pass
//! twice. Both are written from the documents of Apple and Google.
//!
//! | module | what it is |
//! |---|---|
//! | `apns` | TLS, HTTP/2 connections and their streams |
//! | `checks`, `provider_token`, `client`, `reasons` | what APNs checks, and its words |
//! | `channels` | broadcast channels, and where they are managed |
//! | `http1` | the server for the next four, over HTTP/1.1, and over TLS with HTTP/2 |
//! | `oauth`, [`service_account`] | access tokens for service accounts |
//! | `fcm`, `fcm_request`, `fcm_error` | FCM HTTP v1 |
//! | `gcm`, `gcm_request` | the legacy endpoint |
//! | `control` | what to answer next and what arrived, for people with `curl` |
//! | [`script`], `magic` | what becomes of the next messages |
//! | [`record`] | what arrived |
//! | [`certificates`] | certificates and keys made on the spot |

mod apns;
pub mod certificates;
mod channels;
mod checks;
mod client;
mod control;
mod fcm;
mod fcm_error;
mod fcm_request;
mod gcm;
mod gcm_request;
mod http1;
mod magic;
mod oauth;
mod provider_token;
mod reasons;
pub mod record;
pub mod script;
pub mod service_account;
mod tls;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinHandle};

use apns::{Apns, Service};
use certificates::{Authority, Environment, ProviderKey};
use checks::Policy;
use oauth::Grants;
use provider_token::ProviderTokens;
use record::{OnMessage, Received, Record};
use script::{Rule, Script};
use service_account::ServiceAccount;

/// What is simulated, and where.
pub struct Options {
    /// Where APNs listens (default: a free port of 127.0.0.1).
    pub apns: SocketAddr,
    /// Where APNs has its channels managed (default: a free port of 127.0.0.1).
    pub channels: SocketAddr,
    /// Where FCM, GCM, the token endpoint and the control routes listen, in plain HTTP (default: a free port of 127.0.0.1).
    pub http: SocketAddr,
    /// Where the same listens over TLS, and speaks HTTP/2 as Google does (default: nowhere).
    pub https: Option<SocketAddr>,
    /// Whether requests are checked as Apple does (default); `false` takes everything, so that the
    /// simulator's cost is not in a measurement.
    pub checks: bool,
    /// Which of Apple's systems this is (default: whatever comes).
    pub environment: Environment,
    /// PEM of the authorities whose client certificates are let in; the others meet a TLS alert.
    /// `None` (default): all are, even expired ones, which are refused by the checks.
    pub client_authorities: Option<Vec<u8>>,
    /// The keys whose provider tokens are good. Empty (default): any, signatures are not verified.
    pub provider_keys: Vec<ProviderKey>,
    /// Whether a second token of a key within 20 minutes is `TooManyProviderTokenUpdates` (default:
    /// no).
    pub limit_token_updates: bool,
    /// How far Apple's clock is ahead of this machine's, in seconds (default 0).
    pub apple_ahead_secs: i64,
    /// Whether Apple's answers say what time it is (default: no; Apple's were not seen to).
    pub tells_time: bool,
    /// How long Google's access tokens live (default: an hour).
    pub access_token_life: Duration,
    /// `SETTINGS_MAX_CONCURRENT_STREAMS` (default 1,000).
    pub max_concurrent_streams: u32,
    /// The flow-control windows.
    pub windows: Windows,
    /// How many messages the record keeps (default 10,000); the oldest make room. For measurements
    /// choose 0.
    pub messages_kept: usize,
    /// Called with each message as it arrives; it must not block.
    pub on_message: Option<OnMessage>,
}

/// HTTP/2's flow-control windows, in bytes (default 65,535 each, as APNs was seen to have).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// Of each stream.
    pub stream_bytes: u32,
    /// Of the connection.
    pub connection_bytes: u32,
}

impl Default for Options {
    fn default() -> Self {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            apns: any_port,
            channels: any_port,
            http: any_port,
            https: None,
            checks: true,
            environment: Environment::Any,
            client_authorities: None,
            provider_keys: Vec::new(),
            limit_token_updates: false,
            apple_ahead_secs: 0,
            tells_time: false,
            access_token_life: Duration::from_secs(3_600),
            max_concurrent_streams: 1_000,
            windows: Windows { stream_bytes: 65_535, connection_bytes: 65_535 },
            messages_kept: 10_000,
            on_message: None,
        }
    }
}

/// What the two servers share.
struct Shared {
    /// Whether anything is checked.
    checks: bool,
    script: Script,
    channels: channels::Channels,
    grants: Grants,
    record: Record,
    next_multicast_id: AtomicU64,
    next_message_id: AtomicU64,
}

impl Shared {
    fn new(checks: bool, access_token_life: Duration, record: Record) -> Self {
        Self {
            checks,
            script: Script::default(),
            channels: channels::Channels::default(),
            grants: Grants::new(access_token_life),
            record,
            // So that the first answer is the one in Pushlet's documentation.
            next_multicast_id: AtomicU64::new(108),
            next_message_id: AtomicU64::new(8),
        }
    }
}

/// A running simulator. Dropping it stops it, and cuts what is connected.
pub struct Simulator {
    apns_address: SocketAddr,
    channels_address: SocketAddr,
    http_address: SocketAddr,
    https_address: Option<SocketAddr>,
    authority: Vec<u8>,
    shared: Arc<Shared>,
    servers: Vec<JoinHandle<()>>,
}

impl Simulator {
    /// Binds both addresses and serves on this runtime.
    ///
    /// # Errors
    /// An address can't be bound, `client_authorities` is no PEM, or OpenSSL made no certificate.
    pub fn start(options: Options, runtime: &Handle) -> io::Result<Self> {
        // Binding, and what serves, needs the runtime at hand.
        let _context = runtime.enter();
        let apns_listener = bind(options.apns)?;
        let channels_listener = bind(options.channels)?;
        let channels_address = channels_listener.local_addr()?;
        let http_listener = bind(options.http)?;
        let apns_address = apns_listener.local_addr()?;
        let http_address = http_listener.local_addr()?;
        let https_listener = options.https.map(bind).transpose()?;
        let https_address = https_listener.as_ref().map(TcpListener::local_addr).transpose()?;

        // A name of its own: a client that trusts two simulators must not take one for the other.
        let name = format!("Pushlet simulator {}", uuid::Uuid::new_v4().simple());
        let authority = Authority::generate(&name)?;
        let server = authority.server(apns_address.ip())?;
        let shared = Arc::new(Shared::new(
            options.checks,
            options.access_token_life,
            Record::new(options.messages_kept, options.on_message),
        ));
        let tokens = ProviderTokens::new(options.provider_keys, options.limit_token_updates);
        let push = Arc::new(Apns {
            service: Service::Push,
            acceptor: tls::acceptor(&server, options.client_authorities.as_deref())?,
            max_concurrent_streams: options.max_concurrent_streams,
            windows: options.windows,
            policy: Arc::new(Policy { environment: options.environment, tokens }),
            ahead_secs: options.apple_ahead_secs,
            tells_time: options.tells_time,
            checks: options.checks,
            shared: Arc::clone(&shared),
        });
        let management = Arc::new(Apns { service: Service::Channels, ..Apns::clone(&push) });

        let https = https_listener
            .map(|listener| Ok::<_, io::Error>((listener.into_std()?, tls::web(&server)?)));
        let http =
            http1::server(http_listener.into_std()?, https.transpose()?, Arc::clone(&shared))?;
        let apple = |listener, apns| {
            let handle = runtime.clone();
            runtime.spawn(async move {
                let never = apns::serve(listener, apns, handle).await;
                match never {}
            })
        };
        let servers = vec![
            apple(apns_listener, push),
            apple(channels_listener, management),
            runtime.spawn(async move {
                // It ends with an error only if a thread can't be started: nothing is served then.
                let _ = http.await;
            }),
        ];
        let authority = authority.pem()?;
        Ok(Self {
            apns_address,
            channels_address,
            http_address,
            https_address,
            authority,
            shared,
            servers,
        })
    }

    /// The APNs endpoint: `https://localhost:PORT`.
    pub fn apns_url(&self) -> String {
        format!("https://localhost:{}", self.apns_address.port())
    }

    /// Where APNs has its channels managed: `https://localhost:PORT`.
    pub fn channels_url(&self) -> String {
        format!("https://localhost:{}", self.channels_address.port())
    }

    /// Where APNs listens.
    pub fn apns_address(&self) -> SocketAddr {
        self.apns_address
    }

    /// The base of the GCM and control routes: `http://ADDRESS:PORT`.
    pub fn http_url(&self) -> String {
        format!("http://{}", self.http_address)
    }

    /// The base of the same routes over TLS: `https://localhost:PORT`; `None` unless
    /// [`Options::https`] was given.
    pub fn https_url(&self) -> Option<String> {
        self.https_address.map(|address| format!("https://localhost:{}", address.port()))
    }

    /// PEM of the authority that a client of the TLS endpoints must trust.
    pub fn ca_pem(&self) -> &[u8] {
        &self.authority
    }

    /// The endpoint that gives access tokens, over TLS if there is a way.
    pub fn token_uri(&self) -> String {
        let base = self.https_url().unwrap_or_else(|| self.http_url());
        format!("{base}/token")
    }

    /// A service account of this project, as the file that Google would give: it gets its access
    /// tokens here, and only with its own signature. Accounts from elsewhere get theirs unseen.
    ///
    /// # Errors
    /// OpenSSL made no key.
    pub fn service_account(&self, project_id: &str) -> io::Result<String> {
        let account = ServiceAccount::generate(project_id)?;
        let file = account.json(&self.token_uri());
        self.shared.grants.add(account);
        Ok(file)
    }

    /// Forgets all access tokens: FCM answers 401 until the sender has another one.
    pub fn revoke_access_tokens(&self) {
        self.shared.grants.revoke();
    }

    /// The newest messages, oldest first.
    pub fn received(&self) -> Vec<Received> {
        self.shared.record.all()
    }

    /// Forgets the messages; rules stay.
    pub fn clear(&self) {
        self.shared.record.clear();
    }

    /// Adds a rule; it comes after those of the same token that wait already.
    pub fn script(&self, rule: Rule) {
        self.shared.script.add(rule);
    }

    /// The rules that were not used, or not as often as they could have been.
    pub fn unused_rules(&self) -> Vec<Rule> {
        self.shared.script.unused()
    }

    /// Forgets all rules.
    pub fn clear_script(&self) {
        self.shared.script.clear();
    }

    /// Stops, and waits until neither address is served and all connections are cut.
    pub async fn stop(mut self) {
        for server in std::mem::take(&mut self.servers) {
            server.abort();
            let _: Result<(), JoinError> = server.await;
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        for server in &self.servers {
            server.abort();
        }
    }
}

/// How many connections may wait to be accepted: more than a test opens at once.
const BACKLOG: u32 = 1_024;

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A port that was in use a moment ago can be used again (the standard library does the same).
    socket.set_reuseaddr(true)?;
    let listener = socket.bind(address).and_then(|()| socket.listen(BACKLOG));
    listener.map_err(|error| {
        let message = format!("can't listen on {address}: {error}; choose another address");
        io::Error::new(error.kind(), message)
    })
}
