//! Another configuration while it runs.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use http::StatusCode;
use pushlet::apps::preload::{Preload, Source};
use pushlet::apps::preloaded::Changes;
use pushlet::config::Config;
use pushlet::providers::fcm::message::FcmTarget;
use pushlet::providers::gcm::{AccountSource, Bridge, KeyHash};
use pushlet::secret::Secret;
use pushlet::server::Reloaded;
use pushlet::simulator::record::{Provider, Received};
use pushlet::simulator::script::{Answer, Rejection, Rule};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::support::keys::Authority;
use crate::support::process::Process;
use crate::support::relay::{Peer, Relay, TOKEN, credential};
use crate::support::wire::{FEEDBACK, REGISTER, SEND, code, ok, seen};

/// A folder with certificates, each for the topic of its file's name.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Puts a fresh certificate for this topic into a file, as a tool that replaces files does.
    fn put(&self, name: &str, topic: &str) {
        let next = self.path("next");
        fs::write(&next, Authority::new().apple_certificate(topic).build().p12("")).unwrap();
        fs::rename(next, self.path(name)).unwrap();
    }

    /// An entry whose certificate is in the file of this name.
    fn application(&self, id: &str, file: &str) -> Preload {
        Preload {
            application_id: id.to_owned(),
            apns_p12: Some(Source::File(self.path(file))),
            ..Preload::default()
        }
    }
}

fn changes(added: usize, changed: usize, removed: usize) -> Result<Reloaded, String> {
    let applications = Changes { added, changed, removed };
    Ok(Reloaded { applications, left: Vec::new() })
}

/// Sends to an application, and gives what the simulator saw of it.
async fn sent(peer: &Peer, relay: &Relay, id: &str) -> Received {
    peer.simulator.clear();
    let answer = relay.send(id, TOKEN, "hello").await;
    assert_eq!((answer.status, answer.body), ok(), "{id}");
    let mut received = peer.simulator.received();
    assert_eq!(received.len(), 1);
    received.remove(0)
}

/// Waits until the simulator has a message.
async fn arrives(peer: &Peer) {
    let until = Instant::now() + Duration::from_secs(60);
    while peer.simulator.received().is_empty() {
        assert!(Instant::now() < until, "no message arrives");
        sleep(Duration::from_millis(5)).await;
    }
}

async fn topic(peer: &Peer, relay: &Relay, id: &str) -> String {
    sent(peer, relay, id).await.topic.unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_the_same_keeps_its_connection_and_its_dead_tokens() {
    let (peer, files) = (Peer::start(), Files::new());
    files.put("shop.p12", "com.example.shop");
    files.put("news.p12", "com.example.news");
    let mut config = peer.config.clone();
    config.applications =
        vec![files.application("shop", "shop.p12"), files.application("news", "news.p12")];
    let relay = Relay::start(config).await;
    let gone = Answer::Reject(Rejection {
        status: StatusCode::GONE,
        reason: "Unregistered".to_owned(),
        timestamp_ms: Some(1_354_055_047_000),
        retry_after_secs: None,
    });
    peer.simulator.script(Rule::next(gone));
    assert_eq!(relay.send("shop", TOKEN, "hello").await.status, 410);
    let before = (sent(&peer, &relay, "news").await, sent(&peer, &relay, "news").await);
    assert_eq!(before.0.connection, before.1.connection);

    // The same contents in another file, and other limits.
    fs::copy(files.path("news.p12"), files.path("moved.p12")).unwrap();
    let reloaded = relay.reload(|config| {
        config.applications[1] = files.application("news", "moved.p12");
        config.apns.timeout = Duration::from_secs(7);
        config.apns.connections_per_application = 2;
        config.server.max_in_flight = 7;
        config.feedback.max_tokens = 7;
    });
    assert_eq!(reloaded, changes(0, 0, 0));

    assert_eq!(sent(&peer, &relay, "news").await.connection, before.0.connection);
    let dead = relay.form(FEEDBACK, &[("application_id", "shop")]).await;
    let expected = format!(
        r#"{{"response":[{{"device_token":"{TOKEN}","timestamp":"2012-11-27T22:24:07Z"}}]}}"#
    );
    assert_eq!((dead.status, dead.body), (200, expected));
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_was_replaced_on_disk_is_taken_and_no_other_one_is_touched() {
    let (peer, files) = (Peer::start(), Files::new());
    files.put("shop.p12", "com.example.shop");
    files.put("news.p12", "com.example.news");
    let mut config = peer.config.clone();
    config.applications =
        vec![files.application("shop", "shop.p12"), files.application("news", "news.p12")];
    let relay = Relay::start(config).await;
    assert_eq!(topic(&peer, &relay, "shop").await, "com.example.shop");
    let news = sent(&peer, &relay, "news").await.connection;

    files.put("shop.p12", "com.example.shop.renewed");
    assert_eq!(relay.reload(|_| ()), changes(0, 1, 0));

    assert_eq!(topic(&peer, &relay, "shop").await, "com.example.shop.renewed");
    assert_eq!(sent(&peer, &relay, "news").await.connection, news);
    assert_eq!(relay.reload(|_| ()), changes(0, 0, 0));
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_is_named_no_more_goes_and_its_call_in_flight_ends_well() {
    let (peer, files) = (Peer::start(), Files::new());
    files.put("shop.p12", "com.example.shop");
    let mut config = peer.config.clone();
    config.applications = vec![files.application("shop", "shop.p12")];
    let relay = Relay::start(config).await;
    let by = Duration::from_millis(700);
    peer.simulator.script(Rule::next(Answer::Delay { by, then: Box::new(Answer::Accept) }));

    let calling = relay.send("shop", TOKEN, "hello");
    let removing = async {
        arrives(&peer).await;
        relay.reload(|config| config.applications.clear())
    };
    let (answer, reloaded) = tokio::join!(calling, removing);

    assert_eq!(reloaded, changes(0, 0, 1));
    assert_eq!((answer.status, answer.body), ok());
    let later = relay.send("shop", TOKEN, "hello").await;
    assert_eq!((later.status, later.error()), code(404, "application_not_found"));
    // And back again.
    assert_eq!(relay.reload(|_| ()), changes(1, 0, 0));
    assert_eq!(topic(&peer, &relay, "shop").await, "com.example.shop");
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_registered_over_http_stays_until_the_file_names_it() {
    let (peer, files) = (Peer::start(), Files::new());
    let topics = ["com.example.http", "com.example.file"];
    files.put("chat.p12", topics[1]);
    let relay = Relay::start(peer.config.clone()).await;
    let register = async || {
        let p12 = Authority::new().apple_certificate(topics[0]).build().p12("");
        let part = reqwest::multipart::Part::bytes(p12).file_name("cert.p12");
        let form = reqwest::multipart::Form::new().text("application_id", "chat");
        let answer = relay.multipart(REGISTER, form.part("apns_p12", part)).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    };
    let named =
        |config: &mut Config| config.applications = vec![files.application("chat", "chat.p12")];

    register().await;
    assert_eq!(relay.reload(|_| ()), changes(0, 0, 0));
    assert_eq!(topic(&peer, &relay, "chat").await, topics[0], "the file says nothing of it");
    assert_eq!(relay.reload(named), changes(0, 1, 0));
    assert_eq!(topic(&peer, &relay, "chat").await, topics[1], "the file wins");
    register().await;
    assert_eq!(topic(&peer, &relay, "chat").await, topics[0], "a registration replaces it");
    assert_eq!(relay.reload(named), changes(0, 1, 0));
    assert_eq!(topic(&peer, &relay, "chat").await, topics[1], "the file wins again");
    register().await;
    assert_eq!(relay.reload(|_| ()), changes(0, 0, 1));
    assert_eq!(topic(&peer, &relay, "chat").await, topics[0], "only what the file brought goes");
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_cannot_be_used_replaces_none() {
    let (peer, files) = (Peer::start(), Files::new());
    files.put("shop.p12", "com.example.shop");
    let mut config = peer.config.clone();
    config.applications = vec![files.application("shop", "shop.p12")];
    let relay = Relay::start(config).await;
    let connection = sent(&peer, &relay, "shop").await.connection;

    for rubbish in [Some("no certificate"), None] {
        match rubbish {
            Some(rubbish) => fs::write(files.path("shop.p12"), rubbish).unwrap(),
            None => fs::remove_file(files.path("shop.p12")).unwrap(),
        }
        let reloaded = relay.reload(|config| {
            config.applications.push(files.application("new", "shop.p12"));
        });

        // The new one has no other credential to go on with, so its sends are refused.
        assert_eq!(reloaded.map(|reloaded| reloaded.applications.removed), Ok(0));
        assert_eq!(sent(&peer, &relay, "shop").await.connection, connection);
        let refused = relay.send("new", TOKEN, "hello").await;
        assert_eq!((refused.status, refused.error()), code(502, "apns_credentials_rejected"));
    }
    files.put("shop.p12", "com.example.shop.renewed");
    assert_eq!(relay.reload(|_| ()), changes(0, 1, 1));
    assert_eq!(topic(&peer, &relay, "shop").await, "com.example.shop.renewed");
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_credentials_and_compat_hold_for_the_next_call() {
    let peer = Peer::start();
    let relay = Relay::start(peer.config.clone()).await;
    relay.register("app").await;
    let big = "x".repeat(2_000);

    let reloaded = relay.reload(|config| {
        config.server.max_body_bytes = 1_024;
        config.server.max_applications = 1;
        config.apns.max_in_flight_per_application = 1;
        config.compat.always_200 = true;
        config.compat.ignore_unknown = true;
    });
    assert_eq!(reloaded, changes(0, 0, 0));

    let answer = relay.form(FEEDBACK, &[("application_id", &big)]).await;
    assert_eq!((answer.status, answer.error()), code(413, "request_too_large"));
    let answer = relay.form(FEEDBACK, &[("application_id", "other"), ("nobody_knows", "1")]).await;
    assert_eq!((answer.status, answer.error()), code(200, "application_not_found"));
    let answer = relay.form(REGISTER, &[("application_id", "b"), ("apns_p12", "MAAA")]).await;
    assert_eq!((answer.status, answer.error()), code(200, "overloaded"));
    let by = Duration::from_millis(500);
    peer.simulator.script(Rule::next(Answer::Delay { by, then: Box::new(Answer::Accept) }));
    let second = async {
        arrives(&peer).await;
        relay.send("app", TOKEN, "second").await
    };
    let (first, second) = tokio::join!(relay.send("app", TOKEN, "first"), second);
    assert_eq!((first.status, first.body), ok());
    assert_eq!((second.status, second.error()), code(200, "overloaded"));

    let reloaded = relay.reload(|config| {
        config.auth.credentials = vec![credential("new", "n", Some(&["app"]))];
        config.apns.timeout = Duration::from_millis(300);
    });
    assert_eq!(reloaded, changes(0, 0, 0));
    let call = |password: &'static str| {
        let url = relay.url(FEEDBACK);
        seen(relay.client.post(url).basic_auth("new", Some(password)))
    };
    assert_eq!(call("wrong").await.code(), code(401, "unauthorized"));
    assert_eq!(call("n").await.code(), code(400, "missing_application_id"));
    peer.simulator.script(Rule::next(Answer::Never));
    let body = format!("application_id=app&device_token={TOKEN}&alert=x");
    let late = relay.client.post(relay.url(SEND)).basic_auth("new", Some("n"));
    let late = late.header("content-type", "application/x-www-form-urlencoded").body(body);
    assert_eq!(seen(late).await.code(), code(504, "apns_timeout"));
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_fails_while_credentials_and_limits_change_under_load() {
    let (peer, files) = (Peer::start(), Files::new());
    files.put("one.p12", "com.example.one");
    files.put("two.p12", "com.example.two");
    let mut config = peer.config.clone();
    config.applications = vec![files.application("app", "one.p12")];
    let relay = Relay::start(config).await;
    let (sent, over) = (AtomicUsize::new(0), AtomicBool::new(false));

    let calling = join_all((0..32).map(|_| async {
        while !over.load(Ordering::Relaxed) {
            let answer = relay.send("app", TOKEN, "hello").await;
            assert_eq!((answer.status, answer.body), ok());
            sent.fetch_add(1, Ordering::Relaxed);
        }
    }));
    let reloading = async {
        let mut before = 0;
        for round in 0..20 {
            let file = if round % 2 == 0 { "two.p12" } else { "one.p12" };
            let reloaded = relay.reload(|config| {
                config.applications = vec![files.application("app", file)];
                config.apns.keepalive_interval = Duration::from_secs(30 + round);
                config.server.max_in_flight = 5_000 + usize::try_from(round).unwrap();
            });
            assert_eq!(reloaded, changes(0, 1, 0));
            let until = Instant::now() + Duration::from_secs(60);
            while sent.load(Ordering::Relaxed) < before + 64 {
                assert!(Instant::now() < until, "no call gets through");
                sleep(Duration::from_millis(5)).await;
            }
            before = sent.load(Ordering::Relaxed);
        }
        over.store(true, Ordering::Relaxed);
    };
    tokio::join!(calling, reloading);

    let received = peer.simulator.received();
    assert_eq!(received.len(), sent.load(Ordering::Relaxed), "each arrived once");
    for topic in ["com.example.one", "com.example.two"] {
        assert!(received.iter().any(|message| message.topic.as_deref() == Some(topic)), "{topic}");
    }
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_key_stands_for_what_the_file_says_now() {
    let peer = Peer::start();
    let bridge = |project: &str| Bridge {
        api_key: KeyHash::of("old"),
        service_account: AccountSource::Text(Secret::new(
            peer.simulator.service_account(project).unwrap(),
        )),
        fcm_target: FcmTarget::default(),
    };
    let relay = Relay::start(peer.config.clone()).await;
    let send = async || {
        peer.simulator.clear();
        let fields = [("gcm_api_key", "old"), ("device_token", "42"), ("alert", "x")];
        relay.form(SEND, &fields).await;
        let is_fcm = |message: &Received| message.provider == Provider::Fcm;
        peer.simulator.received().iter().filter(|message| is_fcm(message)).count()
    };

    assert_eq!(send().await, 0, "the legacy endpoint has it");
    assert_eq!(relay.reload(|config| config.gcm.bridge = vec![bridge("one")]), changes(0, 0, 0));
    assert_eq!(send().await, 1);
    let broken = AccountSource::Text(Secret::new("{}".to_owned()));
    let reloaded = relay.reload(|config| {
        config.gcm.bridge = vec![Bridge { service_account: broken, ..bridge("one") }];
    });
    assert_eq!(reloaded, changes(0, 0, 0));
    assert_eq!(send().await, 1, "the account that works stays");
    assert_eq!(relay.reload(|config| config.gcm.bridge.clear()), changes(0, 0, 0));
    assert_eq!(send().await, 0);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_a_start_can_change_stays_and_is_named() {
    let peer = Peer::start();
    let relay = Relay::start(peer.config.clone()).await;

    let reloaded = relay.reload(|config| {
        config.server.bind = "127.0.0.1:1".parse().unwrap();
        config.server.workers = 7;
        config.apns.production_url = "https://apple.invalid".parse().unwrap();
        config.apns.ca_file = None;
        config.gcm.drop_in_routes = true;
        config.compat.always_200 = true;
    });

    let left = ["server.bind", "server.workers", "apns.production_url", "apns.ca_file"];
    let left = left.into_iter().chain(["gcm.drop_in_routes"]).collect::<Vec<_>>();
    assert_eq!(reloaded.map(|reloaded| reloaded.left), Ok(left));
    relay.register("app").await;
    assert_eq!(topic(&peer, &relay, "app").await, crate::support::relay::TOPIC);
    let answer = relay.form(FEEDBACK, &[("application_id", "nobody")]).await;
    assert_eq!(answer.status, 200, "the rest was taken over");
    assert_eq!(relay.reload(|_| ()), changes(0, 0, 0), "nothing is left to restart for");
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_reload_opens_a_relay_that_others_reach() {
    let peer = Peer::start();
    let mut config = peer.config.clone();
    config.server.bind = "0.0.0.0:0".parse().unwrap();
    config.auth.credentials = vec![credential("a", "b", None)];
    let relay = Relay::start(config).await;

    // This would do for a relay that starts with it.
    let reloaded = relay.reload(|config| {
        config.server.bind = "127.0.0.1:0".parse().unwrap();
        config.auth.credentials.clear();
        config.compat.ignore_unknown = true;
    });

    let mistake = reloaded.unwrap_err();
    assert!(mistake.starts_with("anybody could call: `server.bind` is `0.0.0.0:0`"), "{mistake}");
    let port = relay.address.port();
    let url = format!("http://127.0.0.1:{port}{FEEDBACK}");
    assert_eq!(seen(relay.client.post(&url)).await.code(), code(401, "unauthorized"));
    let known = relay.client.post(&url).basic_auth("a", Some("b"));
    let known = known.header("content-type", "application/json").body(r#"{"nobody_knows":1}"#);
    assert_eq!(seen(known).await.code(), code(400, "unknown_parameter"), "nothing was changed");
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_applications_than_allowed_change_nothing() {
    let (peer, files) = (Peer::start(), Files::new());
    files.put("a.p12", "com.example.a");
    let relay = Relay::start(peer.config.clone()).await;

    let reloaded = relay.reload(|config| {
        config.server.max_applications = 1;
        config.applications = ["a", "b"].map(|id| files.application(id, "a.p12")).to_vec();
    });

    let mistake = "`[[applications]]` has 2 entries, more than `server.max_applications` allows; \
                   raise it";
    assert_eq!(reloaded, Err(mistake.to_owned()));
    assert_eq!(relay.send("a", TOKEN, "hello").await.status, 404);
    relay.stop().await;
}

/// A configuration file that a process reads.
struct Served {
    peer: Peer,
    files: Files,
    process: Process,
}

impl Served {
    fn start() -> Self {
        let (peer, files) = (Peer::start(), Files::new());
        files.put("shop.p12", "com.example.shop");
        let config = files.path("pushlet.toml");
        fs::write(&config, "").unwrap();
        let named = [("PUSHLET_CONFIG", config.to_str().unwrap())];
        let process = Process::serve_before(&peer, &named);
        process.address();
        Self { peer, files, process }
    }

    fn write(&self, text: &str) {
        fs::write(self.files.path("next.toml"), text).unwrap();
        fs::rename(self.files.path("next.toml"), self.files.path("pushlet.toml")).unwrap();
    }

    async fn send(&self) -> u16 {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let body = format!("application_id=shop&device_token={TOKEN}&alert=x");
        let call = client.post(format!("http://{}{SEND}", self.process.address())).body(body);
        seen(call.header("content-type", "application/x-www-form-urlencoded")).await.status
    }
}

const SHOP: &str = "[[applications]]\napplication_id = \"shop\"\napns_p12_file = \"shop.p12\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn sighup_reads_the_file_anew_and_the_log_tells_each_message_at_debug() {
    let served = Served::start();
    assert_eq!(served.send().await, 404);

    served.write(&format!("[log]\nlevel = \"debug\"\n[server]\nworkers = 3\n{SHOP}"));
    served.process.signal("HUP");

    let line = served.process.line("the configuration was read anew");
    assert!(line.contains(" INFO ") && line.ends_with("added=1 changed=0 removed=0"), "{line}");
    let line = served.process.line("waits for a restart");
    assert!(line.contains(" WARN ") && line.ends_with("settings=\"server.workers\""), "{line}");
    assert_eq!(served.send().await, 200);
    served.process.line(" accepted");
    served.process.signal("TERM");
    served.process.line("stopping");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_change_are_read_anew_unasked() {
    let served = Served::start();

    served.write(SHOP);
    served.process.line("added=1 changed=0 removed=0");
    assert_eq!(served.send().await, 200);
    served.files.put("shop.p12", "com.example.renewed");
    served.process.line("added=0 changed=1 removed=0");
    assert_eq!(served.send().await, 200);

    let topics = served.peer.simulator.received();
    let topics: Vec<_> = topics.iter().filter_map(|message| message.topic.as_deref()).collect();
    assert_eq!(topics, ["com.example.shop", "com.example.renewed"]);
    served.write("");
    served.process.line("added=0 changed=0 removed=1");
    assert_eq!(served.send().await, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_changes_nothing_and_is_an_error_that_names_the_key() {
    let served = Served::start();
    served.write(SHOP);
    served.process.line("added=1");

    served.write("[server]\nmax_body_bytes = 7\nunknown = 1\n[log]\nlevel = \"trace\"\n");

    let line = served.process.line("nothing was changed");
    assert!(line.contains(" ERROR "), "{line}");
    for key in ["server.max_body_bytes", "server.unknown"] {
        assert!(line.contains(key), "{line}");
    }
    assert_eq!(served.send().await, 200);
    assert!(!served.process.log().iter().any(|line| line.contains("DEBUG")), "still at info");
    fs::remove_file(served.files.path("pushlet.toml")).unwrap();
    served.process.line("cannot be read");
    assert_eq!(served.send().await, 200);
}
