//! A relay whose Google is a simulator: a bridged key, and a registered application.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};

use pushlet::config::Config;
use pushlet::providers::fcm::message::FcmTarget;
use pushlet::providers::gcm::{AccountSource, Bridge, KeyHash};
use pushlet::secret::Secret;
use pushlet::simulator::Options;
use pushlet::simulator::record::{Provider, Received};
use serde_json::Value;

use super::relay::{Peer, Relay};
use super::tools::require;
use super::wire::{Bench, REGISTER, Seen};

/// A key that is bridged to [`PROJECT`].
pub const KEY: &str = "AIzaBridged";
pub const PROJECT: &str = "demo-project";

pub struct Google {
    pub bench: Bench,
    /// The service account, as a file.
    pub account: String,
}

impl Google {
    pub async fn start() -> Self {
        Self::with(Options::default(), |_| ()).await
    }

    /// Over TLS, as Google is.
    pub async fn with(options: Options, change: impl FnOnce(&mut Config)) -> Self {
        let https = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        Self::at(Peer::with(Options { https, ..options }), change).await
    }

    /// Without TLS, as other people's simulators are.
    pub async fn plain() -> Self {
        Self::at(Peer::start(), |_| ()).await
    }

    async fn at(peer: Peer, change: impl FnOnce(&mut Config)) -> Self {
        let account = peer.simulator.service_account(PROJECT).unwrap();
        let mut config = peer.config.clone();
        config.gcm.drop_in_routes = true;
        config.gcm.bridge = vec![Bridge {
            api_key: KeyHash::of(KEY),
            service_account: AccountSource::Text(Secret::new(account.clone())),
            fcm_target: FcmTarget::default(),
        }];
        change(&mut config);
        Self { bench: Bench { relay: Relay::start(config).await, peer }, account }
    }

    /// Ends both. Every request that was made for FCM is judged by Google's own document first.
    pub async fn stop(self) {
        let bodies: Vec<_> =
            self.fcm().iter().map(|m| String::from_utf8(m.payload.to_vec()).unwrap()).collect();
        judge(&bodies);
        self.bench.stop().await;
    }

    /// Registers `app` with the service account.
    pub async fn register(&self) {
        let fields = [("application_id", "app"), ("fcm_service_account", self.account.as_str())];
        let answer = self.bench.relay.form(REGISTER, &fields).await;
        assert_eq!((answer.status, &*answer.body), (200, r#"{"application_id":"app"}"#));
    }

    /// Sends by the bridged key.
    pub async fn send(&self, fields: &[(&str, &str)]) -> Seen {
        self.bench.send(&[&[("gcm_api_key", KEY)], fields].concat()).await
    }

    /// The rows of the answer to a message for these tokens.
    pub async fn rows(&self, tokens: &[&str]) -> Vec<Value> {
        let tokens = serde_json::to_string(tokens).unwrap();
        rows(&self.send(&[("registration_ids", &tokens), ("alert", "x")]).await)
    }

    /// What FCM got, oldest first.
    pub fn fcm(&self) -> Vec<Received> {
        self.received(Provider::Fcm)
    }

    /// How many access tokens were asked for.
    pub fn token_requests(&self) -> usize {
        self.received(Provider::Oauth).len()
    }

    /// The last message that FCM got.
    pub fn message(&self) -> Value {
        let last = self.fcm().pop().expect("a message");
        serde_json::from_slice(&last.payload).unwrap()
    }

    fn received(&self, provider: Provider) -> Vec<Received> {
        let all = self.bench.peer.simulator.received();
        all.into_iter().filter(|received| received.provider == provider).collect()
    }
}

/// The rows of a documented answer, whose numbers must fit them.
pub fn rows(answer: &Seen) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", answer.body);
    let body = answer.json();
    let rows = body["results"].as_array().unwrap().clone();
    let failed = rows.iter().filter(|row| row.get("error").is_some()).count();
    assert!(body["multicast_id"].as_u64().is_some_and(|id| (1..1 << 53).contains(&id)));
    assert_eq!(
        (body["success"].as_u64(), body["failure"].as_u64(), body["canonical_ids"].as_u64()),
        (Some((rows.len() - failed) as u64), Some(failed as u64), Some(0))
    );
    rows
}

/// `error` of each row; what was delivered is an `ok`.
pub fn words(rows: &[Value]) -> Vec<String> {
    rows.iter().map(|row| row["error"].as_str().unwrap_or("ok").to_owned()).collect()
}

/// Google's discovery document takes these bodies.
pub fn judge(bodies: &[String]) {
    let probe = ["python3", "-c", "import googleapiclient, jsonschema"];
    if bodies.is_empty() || !require("google-api-python-client or jsonschema", &probe) {
        return;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/providers/fcm/discovery.py");
    let mut python = Command::new("python3")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let text = serde_json::to_vec(bodies).unwrap();
    python.stdin.take().unwrap().write_all(&text).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "", "Google would not take this");
}
