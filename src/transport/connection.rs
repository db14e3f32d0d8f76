//! One connection: how it is made, and what is known of it while it lives.
//!
//! ```text
//! dial: name → TCP → TLS → HTTP/2 → PING ──PONG──► Active ──GOAWAY, age, retired──► Draining
//!                                    (the gate)      │                                │
//!                                                    └──── dead, broken ──► gone ◄────┘
//! ```
//! A connection is put in service when its first PING is answered: the peer's SETTINGS come before
//! the PONG, so its stream limit is known, and under TLS 1.3 so is its verdict on our certificate
//! (RFC 8446 §4.4.2.4: the alert arrives after the handshake).

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use h2::client::{Connection, SendRequest};
use h2::{Ping, PingPong};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_openssl::SslStream;

use super::error::{Error, Refusal, certificate_alert, describe, goaway_reason};
use super::nudge::Note;
use super::pool::{ConnectionFacts, ConnectionId, Plan};
use super::stream::{Body, Upload};
use super::tap::{Seen, Socket, Tap, tls_reason_code};
use super::tls::{Endpoint, Identity, Trust};
use crate::metrics::Closed;

/// What one TCP attempt may take while other addresses are left to try.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(2);

/// The driver of a connection, as `h2` has it.
pub(super) type Driver = Connection<Tap, Body>;

/// A connection that is through the gate.
pub(super) struct Fresh {
    pub(super) send: SendRequest<Body>,
    pub(super) driver: Driver,
    pub(super) ping: PingPong,
    pub(super) seen: Arc<Seen>,
}

/// Makes a connection and brings it through the gate, within `limit` in all.
pub(super) async fn dial(plan: &Plan, limit: Duration) -> Result<Fresh, Error> {
    let Plan { endpoint, trust, identity, .. } = plan;
    let mut at = format!("{}:{}", endpoint.host, endpoint.port);
    if let Some(proxy) = &endpoint.proxy {
        at = format!("{at} through the proxy {proxy}");
    }
    let attempt = async {
        let stream = reach(endpoint, limit).await?;
        let stream = tls(endpoint, trust, identity.as_deref(), stream).await?;
        gate(stream).await
    };
    match timeout(limit, attempt).await {
        Ok(Ok(fresh)) => Ok(fresh),
        Ok(Err((detail, refusal))) => {
            Err(Error::Connect { detail: format!("{at}: {detail}"), refusal })
        }
        Err(_) => {
            let detail = format!("{at}: not connected within {limit:?}");
            Err(Error::Connect { detail, refusal: None })
        }
    }
}

/// What went wrong, for people, and the peer's own word.
type Trouble = (String, Option<Refusal>);

/// The peer itself, or what a proxy takes for it.
async fn reach(endpoint: &Endpoint, limit: Duration) -> Result<TcpStream, Trouble> {
    let Some(proxy) = &endpoint.proxy else {
        return tcp(&endpoint.host, endpoint.port, limit).await;
    };
    let mut stream = match tcp(&proxy.host, proxy.port, limit).await {
        Ok(stream) => stream,
        Err((trouble, _)) => return Err((format!("it cannot be reached: {trouble}"), None)),
    };
    let authority = format!("{}:{}", endpoint.authority().host(), endpoint.port);
    proxy.tunnel(&mut stream, &authority).await.map_err(|trouble| (trouble, None))?;
    Ok(stream)
}

/// The name is looked up afresh for each connection and one of its addresses taken at random, as
/// Apple asks ("Sending notification requests to APNs", Follow best practices while sending push
/// notifications).
async fn tcp(host: &str, port: u16, limit: Duration) -> Result<TcpStream, Trouble> {
    let looked_up = tokio::net::lookup_host((host, port)).await;
    let addresses: Vec<SocketAddr> = match looked_up {
        Ok(addresses) => mixed(addresses.collect()),
        Err(error) => return Err((format!("the name was not found: {error}"), None)),
    };
    let until = Instant::now() + limit;
    let mut trouble = "the name has no address".to_owned();
    for (tried, address) in addresses.iter().enumerate() {
        let last = tried + 1 == addresses.len();
        let patience = if last { until } else { until.min(Instant::now() + ADDRESS_TIMEOUT) };
        match timeout_at(patience, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => trouble = format!("{address}: {error}"),
            Err(_) => trouble = format!("{address}: no answer"),
        }
    }
    Err((trouble, None))
}

/// Random order with the address families in turn, so that a family that leads nowhere costs one
/// attempt (RFC 8305 §4).
fn mixed(mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    for place in (1..addresses.len()).rev() {
        addresses.swap(place, random_below(place + 1));
    }
    let (mut six, mut four): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|a| a.is_ipv6());
    let mut order = Vec::with_capacity(six.len() + four.len());
    while !six.is_empty() || !four.is_empty() {
        order.extend(six.pop());
        order.extend(four.pop());
    }
    order
}

/// A random number below `bound`; 0 when the system has no randomness to give.
pub(super) fn random_below(bound: usize) -> usize {
    let mut bytes = [0; 8];
    if bound == 0 || openssl::rand::rand_bytes(&mut bytes).is_err() {
        return 0;
    }
    usize::try_from(u64::from_le_bytes(bytes) % (bound as u64)).unwrap_or(0)
}

async fn tls(
    endpoint: &Endpoint,
    trust: &Trust,
    identity: Option<&Identity>,
    stream: TcpStream,
) -> Result<SslStream<Socket>, Trouble> {
    let ours = |error: io::Error| (format!("TLS could not start: {error}"), None);
    let handshake = trust.handshake(endpoint, identity).await.map_err(ours)?;
    let stream = SslStream::new(handshake, Socket::new(stream));
    let mut stream = stream.map_err(io::Error::from).map_err(ours)?;
    if let Err(error) = Pin::new(&mut stream).connect().await {
        let alert = tls_reason_code(&error).and_then(certificate_alert);
        let verdict = stream.ssl().verify_result();
        let detail = if verdict == openssl::x509::X509VerifyResult::OK {
            format!("the TLS handshake failed: {error}")
        } else {
            format!("the server's certificate is not trusted: {}", verdict.error_string())
        };
        return Err((detail, alert.map(Refusal::Alert)));
    }
    if stream.ssl().selected_alpn_protocol() != Some(b"h2") {
        return Err(("the server does not speak HTTP/2 (ALPN)".to_owned(), None));
    }
    Ok(stream)
}

async fn gate(stream: SslStream<Socket>) -> Result<Fresh, Trouble> {
    let seen = Arc::new(Seen::new(stream.ssl().version_str()));
    let tap = Tap::new(stream, Arc::clone(&seen));
    let trouble = |error: &h2::Error| {
        let refusal = seen.alert().map(Refusal::Alert).or_else(|| goaway_reason(error));
        (describe(error), refusal)
    };
    let (mut send, mut driver) = h2::client::Builder::new()
        .enable_push(false)
        .initial_max_send_streams(1)
        .max_concurrent_reset_streams(1000)
        .max_header_list_size(16 * 1024)
        .max_local_error_reset_streams(None)
        .handshake(tap)
        .await
        .map_err(|error| trouble(&error))?;
    let Some(mut ping) = driver.ping_pong() else {
        return Err(("a new connection had no PING".to_owned(), None));
    };
    ping.send_ping(Ping::opaque()).map_err(|error| trouble(&error))?;
    poll_fn(|cx| {
        match Pin::new(&mut driver).poll(cx) {
            // `h2` ends a connection that the peer closed without an error code as a success; what
            // a GOAWAY said is known to the sender alone.
            Poll::Ready(Ok(())) => {
                return Poll::Ready(Err(match send.poll_ready(cx) {
                    Poll::Ready(Err(error)) if error.is_go_away() => trouble(&error),
                    _ => ended(&seen),
                }));
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Err(trouble(&error))),
            Poll::Pending => {}
        }
        ping.poll_pong(cx).map(|pong| match pong {
            Ok(_) => Ok(()),
            Err(error) => Err(trouble(&error)),
        })
    })
    .await?;
    Ok(Fresh { send, driver, ping, seen })
}

fn ended(seen: &Seen) -> Trouble {
    let detail = "the peer closed the new connection".to_owned();
    (detail, seen.alert().map(Refusal::Alert))
}

/// A connection in the pool.
pub(super) struct Conn {
    pub(super) id: ConnectionId,
    pub(super) send: SendRequest<Body>,
    pub(super) ping: PingPong,
    /// When the PING under way has to be answered.
    pub(super) ping_due: Option<Instant>,
    pub(super) seen: Arc<Seen>,
    /// What reads and writes; none when it has ended.
    driver: Option<Driver>,
    /// What wakes it.
    pub(super) note: Arc<Note>,
    /// Streams that are answered, whole. Letting one go wakes the driver for nothing: they go when it
    /// has something to do.
    pub(super) spent: Vec<Upload>,
    /// Requests without an end.
    pub(super) streams: usize,
    /// Bytes of their bodies.
    pub(super) bytes: usize,
    /// Requests ever sent; a connection has 2³⁰ stream ids for us.
    pub(super) sent: u64,
    pub(super) opened: Instant,
    /// When a request was last sent or ended.
    pub(super) used: Instant,
    /// Since when answers are due and none came.
    pub(super) quiet_since: Option<Instant>,
    /// Random minutes by which its age limit is shortened, so that not all are renewed at once.
    jitter: Duration,
    /// Whether a request was ever answered on it.
    pub(super) answered: bool,
    /// Since when it takes no new requests.
    pub(super) draining: Option<Instant>,
    /// Why it is on its way out.
    pub(super) leaving: Option<Closed>,
    /// Why the peer left, where it gave a reason.
    pub(super) refusal: Option<Refusal>,
}

impl Conn {
    pub(super) fn new(id: ConnectionId, fresh: Fresh, note: Arc<Note>) -> Self {
        let now = Instant::now();
        Self {
            id,
            send: fresh.send,
            ping: fresh.ping,
            ping_due: None,
            seen: fresh.seen,
            driver: Some(fresh.driver),
            note,
            spent: Vec::new(),
            streams: 0,
            bytes: 0,
            sent: 0,
            opened: now,
            used: now,
            quiet_since: None,
            jitter: Duration::from_secs(random_below(60 * 60) as u64),
            answered: false,
            draining: None,
            leaving: None,
            refusal: None,
        }
    }

    /// Reads and writes what can be, if anything woke it; ready when the connection has ended. How it
    /// ended is told to each stream by `h2` itself: its own word may be success where the peer hung up.
    pub(super) fn drive(&mut self) -> Poll<()> {
        if self.note.take()
            && let Some(driver) = &mut self.driver
        {
            self.spent.clear();
            // Letting them go set the note again; the poll below sees to that.
            self.note.take();
            let waker = Waker::from(Arc::clone(&self.note));
            if Pin::new(driver).poll(&mut Context::from_waker(&waker)).is_ready() {
                self.driver = None;
            }
        }
        if self.driver.is_none() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Ends it; whatever is under way ends as broken. It is removed, and counted, with the next look at
    /// all connections.
    pub(super) fn abort(&mut self) {
        self.driver = None;
    }

    pub(super) fn facts(&self) -> ConnectionFacts {
        ConnectionFacts {
            tls_version: self.seen.tls_version,
            max_concurrent_streams: self.send.current_max_send_streams(),
        }
    }

    pub(super) fn drain(&mut self, cause: Closed) {
        self.draining.get_or_insert_with(Instant::now);
        self.leaving.get_or_insert(cause);
    }

    /// When a connection that may live for `age` is renewed.
    pub(super) fn retire_at(&self, age: Duration) -> Instant {
        self.opened + age.saturating_sub(self.jitter)
    }

    /// Asks for a sign of life within `limit`, unless that was asked already.
    pub(super) fn ask(&mut self, limit: Duration) {
        let due = Instant::now() + limit;
        match self.ping_due {
            Some(earlier) if earlier <= due => {}
            Some(_) => self.ping_due = Some(due),
            None => {
                if self.ping.send_ping(Ping::opaque()).is_ok() {
                    self.ping_due = Some(due);
                }
            }
        }
    }
}
