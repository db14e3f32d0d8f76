//! `apns_mode=auto`: two simulators, one for each of Apple's environments.

use std::net::TcpListener;

use http::StatusCode;
use pushlet::simulator::certificates::Environment;
use pushlet::simulator::script::{Answer, Rule};
use pushlet::simulator::{Options, Simulator};
use tempfile::TempDir;
use tokio::runtime::Handle;
use url::Url;

use crate::support::keys::{Authority, Identity, signing_key_p8};
use crate::support::relay::{Peer, Relay, TOKEN, TOPIC};
use crate::support::wire::{Bench, FEEDBACK, Seen, code, ok, seen};

const OTHER_TOKEN: &str = "1111111111111111111111111111111111111111111111111111111111111111";

/// A relay between a production (that of the bench) and a sandbox of its own.
struct Apple {
    bench: Bench,
    sandbox: Simulator,
    _folder: TempDir,
}

impl Apple {
    async fn start() -> Self {
        let options = || Options { environment: Environment::Any, ..Options::default() };
        let peer = Peer::with(options());
        let sandbox = Simulator::start(options(), &Handle::current()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let ca_file = folder.path().join("both.pem");
        let both = [peer.simulator.ca_pem(), sandbox.ca_pem()].concat();
        std::fs::write(&ca_file, both).unwrap();
        let mut config = peer.config.clone();
        config.apns.ca_file = Some(ca_file);
        config.apns.sandbox_url = Url::parse(&sandbox.apns_url()).unwrap();
        let relay = Relay::start(config).await;
        Self { bench: Bench { peer, relay }, sandbox, _folder: folder }
    }

    async fn stop(self) {
        assert_eq!(self.sandbox.unused_rules(), []);
        self.sandbox.stop().await;
        self.bench.stop().await;
    }

    async fn register(&self, identity: &Identity) -> Seen {
        let fields = [("application_id", "app"), ("apns_mode", "auto")];
        let answer = seen(self.bench.upload("apns_p12", &identity.p12(""), &fields)).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer
    }

    async fn send(&self, device_token: &str) -> Seen {
        let fields = [("application_id", "app"), ("device_token", device_token), ("alert", "x")];
        self.bench.send(&fields).await
    }

    /// How many messages each has seen since the last look: production, sandbox.
    fn asked(&self) -> (usize, usize) {
        let production = self.bench.count();
        let sandbox = self.sandbox.received().len();
        self.sandbox.clear();
        (production, sandbox)
    }
}

fn certificate() -> Identity {
    Authority::new().apple_certificate(TOPIC).build()
}

fn unknown() -> Answer {
    Answer::reject(StatusCode::BAD_REQUEST, "BadDeviceToken")
}

fn took_it(answer: &Seen) -> Option<&str> {
    assert_eq!(answer.told(), ok());
    answer.header("apns-environment")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_the_sandbox_is_found_there_and_remembered() {
    let apple = Apple::start().await;
    let registered = apple.register(&certificate()).await;
    assert_eq!(registered.json()["apns"]["environment"], "auto");
    assert!(registered.json().get("warnings").is_none(), "{}", registered.body);
    apple.bench.peer.simulator.script(Rule::token(TOKEN, unknown()));

    let answer = apple.send(TOKEN).await;

    assert_eq!(took_it(&answer), Some("sandbox"));
    let first = apple.bench.peer.simulator.received()[0].apns_id.clone();
    assert_eq!(first, apple.sandbox.received()[0].apns_id, "the same message");
    assert_eq!(first.as_deref(), answer.header("apns-id"));
    assert_eq!(apple.asked(), (1, 1));
    assert_eq!(took_it(&apple.send(TOKEN).await), Some("sandbox"));
    assert_eq!(apple.asked(), (0, 1), "it goes there at once");
    assert_eq!(took_it(&apple.send(OTHER_TOKEN).await), Some("production"));
    assert_eq!(apple.asked(), (1, 0));
    apple.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_says_where_its_token_is_known() {
    let apple = Apple::start().await;
    apple.register(&certificate()).await;
    apple.bench.peer.simulator.script(Rule::token(TOKEN, unknown()));
    let dead = "5e750410aa";
    let strange = "5e750400bb";
    let tokens = [TOKEN, OTHER_TOKEN, dead, strange].map(|token| ("device_token", token));
    let rest = [("application_id", "app"), ("alert", "x")];

    let answer = apple.bench.send(&[&rest[..], &tokens].concat()).await;

    let answer = answer.json();
    let rows = answer["results"].as_array().unwrap();
    let known: Vec<_> = rows.iter().map(|row| row["environment"].as_str()).collect();
    assert_eq!(known, [Some("sandbox"), Some("production"), Some("production"), None]);
    let status: Vec<_> = rows.iter().map(|row| row["status"].as_u64().unwrap()).collect();
    assert_eq!(status, [200, 200, 410, 400]);
    apple.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_moved_is_found_again() {
    let apple = Apple::start().await;
    apple.register(&certificate()).await;
    apple.bench.peer.simulator.script(Rule::token(TOKEN, unknown()));
    apple.send(TOKEN).await;
    apple.sandbox.script(Rule::token(TOKEN, unknown()));
    apple.asked();

    assert_eq!(took_it(&apple.send(TOKEN).await), Some("production"));
    assert_eq!(apple.asked(), (1, 1));

    assert_eq!(took_it(&apple.send(TOKEN).await), Some("production"));
    assert_eq!(apple.asked(), (1, 0));
    apple.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_neither_knows_is_refused_after_both_were_asked_once() {
    let apple = Apple::start().await;
    apple.register(&certificate()).await;
    apple.bench.peer.simulator.script(Rule::token(TOKEN, unknown()));
    apple.sandbox.script(Rule::token(TOKEN, unknown()));

    let answer = apple.send(TOKEN).await;

    assert_eq!(answer.code(), code(400, "invalid_device_token"));
    let body = answer.json();
    assert_eq!((&body["status"], &body["reason"]), (&400.into(), &"BadDeviceToken".into()));
    assert_eq!(
        body["message"],
        "apple does not know this device token: production and the sandbox were both asked; usual \
         cause: a token of an app with another topic"
    );
    assert_eq!(answer.header("apns-environment"), None);
    assert_eq!(apple.asked(), (1, 1));
    apple.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_refusals_are_no_reason_to_ask_again() {
    let apple = Apple::start().await;
    apple.register(&certificate()).await;
    let other_topic = Answer::reject(StatusCode::BAD_REQUEST, "DeviceTokenNotForTopic");
    apple.bench.peer.simulator.script(Rule::token(TOKEN, other_topic));
    let gone = Answer::reject(StatusCode::GONE, "Unregistered");
    apple.bench.peer.simulator.script(Rule::token(OTHER_TOKEN, gone));

    assert_eq!(apple.send(TOKEN).await.code(), code(400, "invalid_device_token"));
    let answer = apple.send(OTHER_TOKEN).await;

    assert_eq!(answer.code(), code(410, "device_token_unregistered"));
    assert_eq!(answer.json()["environment"], "production");
    assert_eq!(apple.asked(), (2, 0));
    apple.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_dead_in_the_sandbox_is_dead() {
    let apple = Apple::start().await;
    apple.register(&certificate()).await;
    apple.bench.peer.simulator.script(Rule::token(TOKEN, unknown()));
    let gone = Answer::reject(StatusCode::GONE, "Unregistered");
    apple.sandbox.script(Rule::token(TOKEN, gone));

    let answer = apple.send(TOKEN).await;

    assert_eq!(answer.code(), code(410, "device_token_unregistered"));
    assert_eq!(answer.json()["environment"], "sandbox");
    let list = seen(apple.bench.form(FEEDBACK, &[("application_id", "app")])).await;
    assert_eq!(list.json()["response"][0]["device_token"], TOKEN);
    apple.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_for_one_environment_alone_does_not_stop_the_application() {
    let apple = Apple::start().await;
    let p8 = signing_key_p8();
    let fields = [
        ("application_id", "app"),
        ("apns_mode", "auto"),
        ("apns_key_id", "KEY1234567"),
        ("apns_team_id", "TEAM123456"),
        ("apns_topic", TOPIC),
    ];
    assert_eq!(seen(apple.bench.upload("apns_p8", &p8, &fields)).await.status, 200);
    apple.bench.peer.simulator.script(Rule::token(TOKEN, unknown()));
    let refused = Answer::reject(StatusCode::FORBIDDEN, "BadEnvironmentKeyIdInToken");
    apple.sandbox.script(Rule::token(TOKEN, refused));

    let answer = apple.send(TOKEN).await;

    assert_eq!(answer.code(), code(400, "invalid_device_token"));
    let message = answer.json()["message"].as_str().unwrap().to_owned();
    assert!(
        message.contains("sandbox was asked as well and refused the credential: BadEnvironment"),
        "{message}"
    );
    assert_eq!(took_it(&apple.send(OTHER_TOKEN).await), Some("production"));
    apple.stop().await;
}

/// An environment that cannot be reached says nothing about the other one.
#[tokio::test(flavor = "multi_thread")]
async fn each_environment_has_a_circuit_of_its_own() {
    let peer = Peer::start();
    let mut config = peer.config.clone();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    config.apns.sandbox_url = Url::parse(&format!("https://localhost:{}", closed.port())).unwrap();
    let bench = Bench { relay: Relay::start(config).await, peer };
    let fields = [("application_id", "app"), ("apns_mode", "auto")];
    seen(bench.upload("apns_p12", &certificate().p12(""), &fields)).await;
    let send = |device_token| {
        let fields = [("application_id", "app"), ("device_token", device_token), ("alert", "x")];
        seen(bench.form("/send_notification", &fields))
    };
    bench.peer.simulator.script(Rule::token(TOKEN, unknown()));

    let answer = send(TOKEN).await;

    assert_eq!(answer.code(), code(503, "apns_unavailable"));
    assert_eq!(answer.json()["delivery"], "not_sent");
    assert_eq!(took_it(&send(OTHER_TOKEN).await), Some("production"));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_one_environment_settles_it() {
    let authority = Authority::new();
    let of = |topic| authority.apple_certificate(topic);
    let table = [
        (of(TOPIC).development_only().build(), "development", (0, 1)),
        (of(TOPIC).production_only().build(), "production", (1, 0)),
        (of(TOPIC).without_markers().build(), "production", (1, 0)),
    ];
    for (identity, mode, asked) in table {
        let apple = Apple::start().await;

        let registered = apple.register(&identity).await;

        assert_eq!(registered.json()["apns"]["environment"], mode);
        let warning = format!(
            "the certificate is not known to serve both environments; apns_mode=auto acts as {mode}"
        );
        assert_eq!(registered.json()["warnings"], serde_json::json!([warning]));
        assert_eq!(took_it(&apple.send(TOKEN).await), None);
        assert_eq!(apple.asked(), asked);
        apple.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sandbox_is_connected_to_when_it_is_needed() {
    let apple = Apple::start().await;
    apple.register(&certificate()).await;
    let connections = || async {
        let status = apple.bench.relay.client.get(apple.bench.relay.url("/status"));
        seen(status).await.json()["applications"][0]["connections"].clone()
    };

    took_it(&apple.send(OTHER_TOKEN).await);
    assert_eq!(connections().await, 1);
    apple.bench.peer.simulator.script(Rule::token(TOKEN, unknown()));
    took_it(&apple.send(TOKEN).await);

    assert_eq!(connections().await, 2);
    apple.stop().await;
}
