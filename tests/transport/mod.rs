//! The transport under every fault: a whole relay under load, and a peer or a network that
//! misbehaves. Each call has to be answered once, and what it is told has to be true: the peer's
//! record of what it took is the witness.

mod answers;
mod connect;
mod goaway;
mod homes;
mod idle;
mod nginx;
mod proxy;
mod replace;
mod reset;
mod settings;
mod silence;
mod tls;
mod window;

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use pushlet::config::Config;
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};
use url::Url;

use crate::support::keys::Authority;
use crate::support::relay::{Relay, TOKEN};
use crate::support::scripted_peer::{Conn, Record, Request, ScriptedPeer, Tls};
use crate::support::wire::{SEND, Seen, seen};

/// What the script of a healthy peer says first.
const HUNDRED_STREAMS: &[(u16, u32)] = &[(crate::support::scripted_peer::STREAMS, 100)];

/// How long a test waits for what has to happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A call, known by the text of its alert, and what its caller was told.
type Told = (String, Seen);

/// A relay with one application.
struct Bench {
    relay: Relay,
    sent: AtomicUsize,
    _folder: TempDir,
}

impl Bench {
    /// A relay that trusts `authority` and takes `address` for Apple.
    async fn start(
        authority: &Authority,
        address: SocketAddr,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let url = Url::parse(&format!("https://{address}")).unwrap();
        Self::at(authority, url, change).await
    }

    async fn at(authority: &Authority, url: Url, change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ca_file = folder.path().join("ca.pem");
        std::fs::write(&ca_file, authority.pem()).unwrap();
        let mut config = Config::default();
        config.apns.production_url = url.clone();
        config.apns.sandbox_url = url;
        config.apns.ca_file = Some(ca_file);
        change(&mut config);
        let relay = Relay::start(config).await;
        relay.register("app").await;
        Self { relay, sent: AtomicUsize::new(0), _folder: folder }
    }

    /// One call with a text of its own.
    async fn send(&self) -> Told {
        self.send_with(&[]).await
    }

    async fn send_with(&self, more: &[(&str, &str)]) -> Told {
        self.send_as("app", more).await
    }

    async fn send_as(&self, application_id: &str, more: &[(&str, &str)]) -> Told {
        let message = format!("message {}", self.sent.fetch_add(1, Ordering::SeqCst));
        let fields =
            [("application_id", application_id), ("device_token", TOKEN), ("alert", &*message)];
        let fields = [&fields[..], more].concat();
        let answer = timeout(PATIENCE, seen(self.relay.form_request(SEND, &fields))).await;
        (message, answer.expect("a call is answered"))
    }

    /// So many calls at once.
    async fn load(&self, calls: usize) -> Vec<Told> {
        join_all((0..calls).map(|_| self.send())).await
    }

    /// Sends until a call is accepted.
    async fn recovers(&self) -> Vec<Told> {
        let until = Instant::now() + PATIENCE;
        let mut told = Vec::new();
        loop {
            let call = self.send().await;
            let is_accepted = call.1.status == 200;
            told.push(call);
            if is_accepted {
                return told;
            }
            assert!(Instant::now() < until, "it does not recover: {told:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The script of a healthy peer.
async fn healthy(mut conn: Conn) {
    conn.settings(HUNDRED_STREAMS).await;
    conn.accept_all().await;
}

/// A peer whose connections are led by `script`, and a relay in front of it.
async fn meet<F, S>(change: impl FnOnce(&mut Config), script: F) -> (Bench, ScriptedPeer)
where
    F: Fn(Conn) -> S + Send + Sync + 'static,
    S: Future<Output = ()> + Send + 'static,
{
    let authority = Authority::new();
    let peer = ScriptedPeer::start(&Tls::new(&authority), script).await;
    let bench = Bench::start(&authority, peer.address, change).await;
    (bench, peer)
}

/// Short limits, so that a test of silence is short.
fn short(config: &mut Config) {
    config.apns.timeout = Duration::from_secs(2);
    config.apns.connect_timeout = Duration::from_secs(1);
}

/// A message of some 1,350 bytes: 48 of them fill the byte budget of a connection (64 KiB).
fn filler() -> String {
    format!(r#"{{"filler":"{}"}}"#, "x".repeat(1_300))
}

/// What a caller was told of delivery: `ok`, `not_sent`, `unknown`, or the error of a refusal.
fn word((_, answer): &Told) -> String {
    if answer.status == 200 {
        return "ok".to_owned();
    }
    let json = answer.json();
    json["delivery"].as_str().or(json["error"].as_str()).unwrap_or_default().to_owned()
}

/// Asserts that nobody was told what is not so: `ok` was taken by the peer, and what is not `ok`
/// and not `unknown` was not. Nothing was taken twice. Each message had one id, however often it
/// went out.
fn assert_true(told: &[Told], record: &Record) {
    let mut taken: HashMap<String, usize> = HashMap::new();
    for message in record.accepted() {
        *taken.entry(message).or_default() += 1;
    }
    for call in told {
        let times = taken.get(&call.0).copied().unwrap_or_default();
        let is_true = match word(call).as_str() {
            "ok" => times == 1,
            "unknown" => times <= 1,
            _ => times == 0,
        };
        assert!(is_true, "taken {times} times, and told: {call:?}");
    }
    assert_ids(told, record);
}

/// Asserts that all tries of a message carried the `apns-id` that its caller was told, and that no
/// other message had that.
fn assert_ids(told: &[Told], record: &Record) {
    let ids = record.ids();
    let mut owners = HashMap::new();
    for (message, answer) in told {
        let Some(tries) = ids.get(message) else { continue };
        let id = answer.apns_id().expect("what was sent has an id");
        assert!(tries.iter().all(|tried| *tried == id), "{message}, {id}, went out as {tries:?}");
        assert_eq!(owners.insert(id, message), None, "two messages have this id");
    }
}

/// Asserts that at least so many messages went out more than once.
fn assert_retried(messages: usize, record: &Record) {
    let retried = record.ids().values().filter(|tries| tries.len() > 1).count();
    assert!(retried >= messages, "{retried} messages went out more than once");
}

/// The number in the text of a message.
fn number(request: &Request) -> usize {
    request.message.rsplit(' ').next().unwrap().parse().unwrap()
}

/// Asserts that every call was told this.
fn assert_all(told: &[Told], expected: &str) {
    for call in told {
        assert_eq!(word(call), expected, "{call:?}");
    }
}

/// How many calls were told this.
fn count(told: &[Told], expected: &str) -> usize {
    told.iter().filter(|call| word(call) == expected).count()
}

/// Waits for something to become so.
async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "{what}");
        sleep(Duration::from_millis(10)).await;
    }
}
