//! Registrations that the caller keeps: served by every relay that has the key and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use pushlet::apps::sealed::{Apple, Contents, Seal};
use pushlet::config::Config;
use pushlet::providers::apns::parts::Parts;
use pushlet::secret::Secret;
use pushlet::simulator::Options;
use pushlet::simulator::script::{Answer, Rule};

use crate::support::keys::{Authority, Identity, signing_key_p8};
use crate::support::process::Process;
use crate::support::relay::{Peer, Relay, TOKEN, TOPIC, credential};
use crate::support::wire::{
    Bench, FEEDBACK, FORM, REGISTER, SEND, Seen, code, encoded, ok, refusal, seen,
};

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const OTHER_KEY: &str = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";

fn key_bytes(first: u8) -> Secret<[u8; 32]> {
    Secret::new(std::array::from_fn(|place| first + u8::try_from(place).unwrap()))
}

fn with_key(config: &mut Config) {
    config.server.secret_key = Some(key_bytes(0));
}

fn p12() -> String {
    STANDARD.encode(Authority::new().apple_certificate(TOPIC).with_chain().build().p12("secret"))
}

/// A call to a relay, whichever process it is in.
async fn call(address: SocketAddr, path: &str, fields: &[(&str, &str)]) -> Seen {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.post(format!("http://{address}{path}"));
    seen(request.header("content-type", FORM).body(encoded(fields))).await
}

/// Seals a registration, and gives its id.
async fn seal(address: SocketAddr, fields: &[(&str, &str)]) -> String {
    let answer = call(address, REGISTER, &[&[("sealed", "true")], fields].concat()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["application_id"].as_str().unwrap().to_owned()
}

async fn seal_p12(address: SocketAddr, name: &str) -> String {
    let fields = [("application_id", name), ("apns_p12", &p12()), ("apns_p12_pass", "secret")];
    seal(address, &fields).await
}

async fn send(address: SocketAddr, id: &str, device_token: &str) -> Seen {
    let fields = [("application_id", id), ("device_token", device_token), ("alert", "x")];
    call(address, SEND, &fields).await
}

fn not_found() -> (u16, String) {
    code(404, "application_not_found")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_process_seals_another_serves_and_a_restart_loses_nothing() {
    let peer = Peer::start();
    let start = || Process::serve_before(&peer, &[("PUSHLET_SERVER__SECRET_KEY", KEY)]);
    let (one, other) = (start(), start());
    let p8 = String::from_utf8(signing_key_p8()).unwrap();
    let ids = [
        seal_p12(one.address(), "certificate").await,
        seal(
            one.address(),
            &[
                ("apns_p8", p8.as_str()),
                ("apns_key_id", "KEY1234567"),
                ("apns_team_id", "TEAM123456"),
                ("apns_topic", TOPIC),
                ("apns_mode", "sandbox"),
            ],
        )
        .await,
    ];

    for id in &ids {
        assert_eq!(send(one.address(), id, TOKEN).await.told(), ok());
        assert_eq!(send(other.address(), id, TOKEN).await.told(), ok());
    }
    drop(one);
    let restarted = start();
    for id in &ids {
        assert_eq!(send(restarted.address(), id, TOKEN).await.told(), ok());
    }

    let shown: Vec<_> = peer
        .simulator
        .received()
        .into_iter()
        .map(|message| (message.authenticated_as.unwrap(), message.topic.unwrap()))
        .collect();
    let certificate = (format!("certificate {TOPIC}"), TOPIC.to_owned());
    let key = ("key KEY1234567 of team TEAM123456".to_owned(), TOPIC.to_owned());
    let both = [certificate.clone(), certificate.clone(), key.clone(), key.clone()];
    assert_eq!(shown, [both.as_slice(), &[certificate, key]].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_is_sealed_beside_a_certificate() {
    let bench = Bench::configured(with_key).await;
    let account = bench.peer.simulator.service_account("demo-project").unwrap();
    let fields =
        [("apns_p12", &*p12()), ("apns_p12_pass", "secret"), ("fcm_service_account", &*account)];
    let id = seal(bench.relay.address, &fields).await;
    let mut config = bench.peer.config.clone();
    with_key(&mut config);
    let other = Relay::start(config).await;

    let to = |kind| {
        let fields =
            [("application_id", &*id), ("device_token", TOKEN), ("alert", "x"), ("type", kind)];
        let body = encoded(&fields);
        seen(other.client.post(other.url(SEND)).header("content-type", FORM).body(body))
    };

    assert_eq!(to("apns").await.told(), ok());
    let answer = to("gcm").await;
    assert_eq!((answer.status, answer.json()["success"].as_u64()), (200, Some(1)));
    other.stop().await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_says_what_was_sealed_under_which_name() {
    let bench = Bench::configured(with_key).await;
    let p8 = String::from_utf8(signing_key_p8()).unwrap();
    let fields = [
        ("application_id", "shop"),
        ("apns_p8", &*p8),
        ("apns_key_id", "KEY1234567"),
        ("apns_team_id", "TEAM123456"),
        ("apns_topic", TOPIC),
        ("sealed", "1"),
    ];

    let answer = seen(bench.form(REGISTER, &fields)).await;

    let id = answer.json()["application_id"].as_str().unwrap().to_owned();
    let expected = format!(
        r#"{{"application_id":"{id}","name":"shop","apns":{{"topics":["{TOPIC}"],"environment":"production"}}}}"#
    );
    assert_eq!(answer.told(), (200, expected));
    assert!(id.starts_with("sealed~") && (300..600).contains(&id.len()), "{}", id.len());
    // Nothing was registered under the name itself.
    assert_eq!(send(bench.relay.address, "shop", TOKEN).await.code(), not_found());
    // A certificate with its key and chain takes some kilobytes.
    let certificate = seal_p12(bench.relay.address, "shop").await;
    assert!((1_000..8_000).contains(&certificate.len()), "{}", certificate.len());
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_nothing_is_sealed_and_nothing_opened() {
    let bench = Bench::configured(|_| ()).await;
    let with = Bench::configured(with_key).await;
    let foreign = seal_p12(with.relay.address, "shop").await;

    let fields = [("apns_p12", &*p12()), ("apns_p12_pass", "secret"), ("sealed", "true")];
    let answer = call(bench.relay.address, REGISTER, &fields).await;

    let message = "sealed needs a key to seal with; set server.secret_key, the same in every \
                   replica";
    assert_eq!(answer.told(), refusal(400, "invalid_sealed", message));
    assert_eq!(send(bench.relay.address, &foreign, TOKEN).await.code(), not_found());
    with.stop().await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_rotated_and_taking_one_away_revokes() {
    let peer = Peer::start();
    let start = |key: &str, previous: &str| {
        Process::serve_before(
            &peer,
            &[
                ("PUSHLET_SERVER__SECRET_KEY", key),
                ("PUSHLET_SERVER__PREVIOUS_SECRET_KEYS", previous),
            ],
        )
    };
    let old = seal_p12(start(KEY, "").address(), "shop").await;

    let rotated = start(OTHER_KEY, &format!("{},{KEY}", "1f0e".repeat(16)));
    let new = seal_p12(rotated.address(), "shop").await;
    assert_eq!(send(rotated.address(), &old, TOKEN).await.told(), ok());
    assert_eq!(send(rotated.address(), &new, TOKEN).await.told(), ok());

    let without = start(OTHER_KEY, "");
    assert_eq!(send(without.address(), &new, TOKEN).await.told(), ok());
    assert_eq!(send(without.address(), &old, TOKEN).await.code(), not_found());
    let before = start(KEY, "");
    assert_eq!(send(before.address(), &new, TOKEN).await.code(), not_found());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_altered_is_not_there() {
    let bench = Bench::configured(with_key).await;
    let id = seal_p12(bench.relay.address, "shop").await;
    assert_eq!(send(bench.relay.address, &id, TOKEN).await.told(), ok());
    let altered = |place: usize| {
        let mut bytes = id.clone().into_bytes();
        bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).unwrap()
    };
    let mut forged: Vec<_> = (7..id.len()).step_by(501).map(altered).collect();
    forged.push(altered(id.len() - 2));
    forged.extend([7, 8, 60, id.len() - 1].map(|end| id[..end].to_owned()));
    forged.extend([format!("{id}AAAA"), format!("sealed~{}", "A".repeat(200_000))]);
    forged.push(id.to_uppercase());

    for forged in forged {
        let path_answers = [
            send(bench.relay.address, &forged, TOKEN).await,
            call(bench.relay.address, FEEDBACK, &[("application_id", &forged)]).await,
        ];
        for answer in path_answers {
            assert_eq!(answer.code(), not_found(), "{} bytes", forged.len());
            assert!(!answer.body.contains("sealed~"), "{}", answer.body);
        }
    }
    assert_eq!(send(bench.relay.address, &id, TOKEN).await.told(), ok());
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_look_at_the_name_inside() {
    let bench = Bench::configured(|config| {
        with_key(config);
        config.auth.credentials =
            vec![credential("all", "word", None), credential("shop", "word", Some(&["shop-*"]))];
    })
    .await;
    let as_user = |user: &'static str, path: &str, fields: &[(&str, &str)]| {
        seen(bench.form(path, fields).basic_auth(user, Some("word")))
    };
    let p12 = p12();
    let register = |user: &'static str, name: &str| {
        let fields = [
            ("application_id", name),
            ("apns_p12", &*p12),
            ("apns_p12_pass", "secret"),
            ("sealed", "true"),
        ];
        as_user(user, REGISTER, if name.is_empty() { &fields[1..] } else { &fields })
    };
    let id = |answer: Seen| answer.json()["application_id"].as_str().unwrap().to_owned();
    let forbidden = code(403, "forbidden");

    assert_eq!(register("shop", "").await.code(), forbidden);
    assert_eq!(register("shop", "news").await.code(), forbidden);
    let own = id(register("shop", "shop-1").await);
    let foreign = id(register("all", "news").await);

    for (user, sealed, expected) in
        [("shop", &own, 200), ("shop", &foreign, 403), ("all", &own, 200), ("all", &foreign, 200)]
    {
        let message = [("application_id", &**sealed), ("device_token", TOKEN), ("alert", "x")];
        // Closed and open ones alike.
        for _ in 0..2 {
            assert_eq!(as_user(user, SEND, &message).await.status, expected, "{user}");
            let list = as_user(user, FEEDBACK, &[("application_id", &**sealed)]).await;
            assert_eq!(list.status, expected, "{user}");
        }
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_first_calls_open_a_registration_once() {
    let bench = Bench::configured(with_key).await;
    let id = seal_p12(bench.relay.address, "shop").await;

    let fields = [("application_id", &*id), ("device_token", TOKEN), ("alert", "x")];
    let answers = join_all((0..50).map(|_| bench.send(&fields))).await;

    for answer in answers {
        assert_eq!(answer.told(), ok());
    }
    let used: BTreeSet<_> =
        bench.peer.simulator.received().iter().map(|message| message.connection).collect();
    assert_eq!(used, BTreeSet::from([Some(1)]), "two pools would have made two connections");
    let status = bench.relay.client.get(bench.relay.url("/status"));
    let rows = seen(status).await.json()["applications"].clone();
    assert_eq!(rows.as_array().unwrap().len(), 1);
    assert_eq!(rows[0]["application_id"], "shop");
    assert_eq!((&rows[0]["sealed"], &rows[0]["accepted"]), (&true.into(), &50.into()));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_registrations_are_opened_at_the_same_time() {
    let bench = Bench::configured(with_key).await;
    let address = bench.relay.address;
    let p12 = p12();
    let register = |place: usize| {
        let fields = [
            ("application_id", format!("shop-{place}")),
            ("apns_p12", p12.clone()),
            ("apns_p12_pass", "secret".to_owned()),
        ];
        async move {
            let fields = fields.each_ref().map(|(name, value)| (*name, value.as_str()));
            seal(address, &fields).await
        }
    };
    let ids: Vec<_> = stream::iter(0..60).map(register).buffered(4).collect().await;

    let to = |id: &str| {
        let body = encoded(&[("application_id", id), ("device_token", TOKEN), ("alert", "x")]);
        seen(bench.post(SEND).header("content-type", FORM).body(body))
    };
    let answers = join_all(ids.iter().map(|id| to(id))).await;

    for answer in answers {
        assert_eq!(answer.told(), ok(), "more than the queue holds wait, and none is refused");
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_least_lately_used_makes_room_and_keeps_its_dead_tokens() {
    let bench = Bench::configured(|config| {
        with_key(config);
        config.server.max_sealed_open = 2;
    })
    .await;
    let address = bench.relay.address;
    let dead = format!("5e750410{}", &TOKEN[8..]);
    let mut ids = Vec::new();
    for name in ["one", "two", "three"] {
        ids.push(seal_p12(address, name).await);
    }
    let [one, two, three] = ids.as_slice() else { panic!("three") };
    let connection = |answer: Seen| {
        assert_eq!(answer.told(), ok());
        bench.arrived().connection.unwrap()
    };
    assert_eq!(send(address, one, &dead).await.status, 410);
    bench.arrived();

    let first = connection(send(address, one, TOKEN).await);
    let second = connection(send(address, two, TOKEN).await);
    assert_eq!(connection(send(address, one, TOKEN).await), first, "used again");
    let third = connection(send(address, three, TOKEN).await);
    assert_eq!(connection(send(address, one, TOKEN).await), first, "the second made room");
    let again = connection(send(address, two, TOKEN).await);
    assert_eq!(BTreeSet::from([first, second, third, again]).len(), 4);

    // By now the first connection may be gone as well; the list is not.
    assert_eq!(connection(send(address, three, TOKEN).await), again + 1);
    let list = call(address, FEEDBACK, &[("application_id", one)]).await;
    assert_eq!(list.json()["response"][0]["device_token"], dead);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_what_made_room_end() {
    let bench = Bench::configured(|config| {
        with_key(config);
        config.server.max_sealed_open = 1;
    })
    .await;
    let address = bench.relay.address;
    let ids = [seal_p12(address, "one").await, seal_p12(address, "two").await];
    let open = || {
        let port = bench.peer.simulator.apns_address().port();
        connected_to(port)
    };

    for place in 0..10 {
        assert_eq!(send(address, &ids[place % 2], TOKEN).await.told(), ok());
    }

    crate::support::process::until("one connection is left", || open() == 1);
    bench.stop().await;
}

/// How many connections of this machine lead to a port.
fn connected_to(port: u16) -> usize {
    const ESTABLISHED: &str = "01";
    let is_one = |line: &str| {
        let mut words = line.split_whitespace().skip(2);
        let remote = words.next().unwrap_or_default();
        remote.ends_with(&format!(":{port:04X}")) && words.next() == Some(ESTABLISHED)
    };
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .map(|table| table.lines().filter(|line| is_one(line)).count())
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_registration_serves_many_messages_on_one_call() {
    let bench = Bench::configured(with_key).await;
    bench.relay.register("app").await;
    let id = seal_p12(bench.relay.address, "shop").await;
    let message =
        |id: &str| format!(r#"{{"application_id":"{id}","device_token":"aa","alert":"x"}}"#);
    let mut forged = id.clone();
    forged.replace_range(200..201, if &id[200..201] == "A" { "B" } else { "A" });
    let [sealed, plain, forged] = [&*id, "app", &*forged].map(message);

    let answer = bench.json(SEND, &format!(r#"{{"messages":[{sealed},{plain},{sealed}]}}"#)).await;
    let rows = answer.json();
    let rows = rows["results"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["response"] == "ok"), "{}", answer.body);
    assert_eq!((rows.len(), bench.count()), (3, 3));

    let answer = bench.json(SEND, &format!(r#"{{"messages":[{sealed},{forged}]}}"#)).await;
    assert_eq!(answer.code(), not_found());
    assert!(answer.body.contains("\"messages[1]: "), "{}", answer.body);
    assert_eq!(bench.count(), 0, "nothing is sent of a call that is refused");

    let lines = format!("{sealed}\n{forged}\n");
    let request = bench.post(SEND).header("content-type", "application/x-ndjson").body(lines);
    let answer = seen(request).await;
    let mut rows: Vec<&str> = answer.body.lines().collect();
    rows.sort_by_key(|row| row.contains(r#""index":1"#));
    assert!(rows[0].contains(r#""response":"ok""#), "{rows:?}");
    assert!(rows[1].contains(r#""error":"application_not_found""#), "{rows:?}");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_has_run_out_meanwhile_is_apples_to_refuse() {
    let bench = Bench::configured(with_key).await;
    let identity = Authority::new().apple_certificate(TOPIC).valid(-10, -1).build();
    let apple = Apple { parts: parts(&identity), mode: "production".to_owned(), topic: None };
    let contents = Contents { name: "shop".to_owned(), apple: Some(apple), google: None };
    let id = Seal::new(Some(&key_bytes(0)), &[]).unwrap().seal(&contents).unwrap();

    let answer = send(bench.relay.address, &id, TOKEN).await;

    assert_eq!(answer.code(), code(502, "apns_credentials_rejected"));
    assert_eq!(answer.json()["reason"], "BadCertificate");
    bench.stop().await;
}

fn parts(identity: &Identity) -> Parts {
    Parts::Certificate {
        leaf: identity.certificate.to_der().unwrap(),
        chain: Vec::new(),
        key: identity.key.private_key_to_pkcs8().unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sealed_and_cannot_be_used_says_why() {
    let bench = Bench::configured(with_key).await;
    let mut broken = parts(&Authority::new().apple_certificate(TOPIC).build());
    if let Parts::Certificate { key, .. } = &mut broken {
        key.truncate(9);
    }
    let apple = Apple { parts: broken, mode: "production".to_owned(), topic: None };
    let contents = Contents { name: "shop".to_owned(), apple: Some(apple), google: None };
    let id = Seal::new(Some(&key_bytes(0)), &[]).unwrap().seal(&contents).unwrap();

    let answer = send(bench.relay.address, &id, TOKEN).await;

    assert_eq!(answer.code(), code(502, "apns_credentials_rejected"));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_to_be_kept_by_callers_is_refused() {
    let bench = Bench::configured(with_key).await;
    let authority = Authority::new();
    let mut pem = authority.apple_certificate(TOPIC).build().pem();
    for _ in 0..8 {
        let large = authority.apple_certificate(TOPIC).extension("1.2.3.4", vec![b'x'; 8_000]);
        pem.extend(large.build().certificate_pem());
    }

    let answer = seen(bench.upload("apns_pem", &pem, &[("sealed", "true")])).await;

    assert_eq!(answer.code(), code(400, "invalid_sealed"));
    assert!(answer.body.contains("at most 65536 are taken"), "{}", answer.body);
    bench.stop().await;
}

/// What is sealed is a credential: who reads it can send. It stands in calls of every kind here, and in
/// none of the places where operators look.
#[tokio::test(flavor = "multi_thread")]
async fn log_status_and_metrics_have_the_name_and_nothing_of_the_text() {
    let peer = Peer::start();
    let channels = peer.config.apns.production_channels_url.as_str();
    let environment = [
        ("PUSHLET_SERVER__SECRET_KEY", KEY),
        ("PUSHLET_LOG__LEVEL", "trace"),
        ("PUSHLET_APNS__PRODUCTION_CHANNELS_URL", channels),
    ];
    let process = Process::serve_before(&peer, &environment);
    let address = process.address();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let get = |path: &str| seen(client.get(format!("http://{address}{path}")));
    let id = seal_p12(address, "shop").await;
    let dead = format!("5e750410{}", &TOKEN[8..]);

    assert_eq!(send(address, &id, &dead).await.status, 410);
    assert_eq!(send(address, &id, "5e750403").await.status, 502);
    assert_eq!(send(address, &id[..400], TOKEN).await.code(), not_found());
    let line = format!(r#"{{"application_id":"{id}","device_token":"abc","alert":"x"}}"#);
    let stream = client.post(format!("http://{address}{SEND}")).body(line);
    let stream = seen(stream.header("content-type", "application/x-ndjson")).await;
    assert_eq!(stream.json()["error"], "invalid_device_token");
    assert_eq!(call(address, FEEDBACK, &[("application_id", &id)]).await.status, 200);
    assert_eq!(call(address, "/channels", &[("application_id", &id)]).await.status, 200);
    assert_eq!(get(&format!("/channels?application_id={id}")).await.status, 200);
    let again = [("application_id", &*id), ("apns_p12", "MA=="), ("sealed", "true")];
    assert_eq!(call(address, REGISTER, &again).await.status, 400);

    process.line("a sealed registration was opened");
    let status = get("/status").await;
    let metrics = get("/metrics").await.body;
    let log = process.log().join("\n");
    assert!(log.contains("app.id=\"shop\"") || log.contains("app.id=shop"), "{log}");
    assert!(metrics.contains("{application=\"shop\""), "{metrics}");
    let of_shop = &status.json()["applications"][0];
    assert_eq!((&of_shop["application_id"], &of_shop["sealed"]), (&"shop".into(), &true.into()));
    assert_eq!(of_shop["circuit"], "credentials", "{of_shop}");
    for (place, text) in [("log", &log), ("status", &status.body), ("metrics", &metrics)] {
        for start in (0..id.len() - 24).step_by(8) {
            assert!(!text.contains(&id[start..start + 24]), "the text stands in the {place}");
        }
        assert!(!text.contains("sealed~") && !text.contains(KEY), "{place}");
    }
}

#[test]
fn a_key_that_is_no_secret_stops_the_start() {
    let mut process = Process::serve(&[("PUSHLET_SERVER__SECRET_KEY", &"00".repeat(32))]);

    assert_ne!(process.exit_code(), Some(0));

    process.line("server.secret_key is an example and no secret");
}

/// A message whose `apns_id` is its `Idempotency-Key` as well.
async fn send_keyed(
    client: &reqwest::Client,
    address: SocketAddr,
    id: &str,
    apns_id: &str,
) -> reqwest::Result<reqwest::Response> {
    let fields =
        [("application_id", id), ("device_token", TOKEN), ("alert", "x"), ("apns_id", apns_id)];
    let request = client.post(format!("http://{address}{SEND}")).header("content-type", FORM);
    request.header("idempotency-key", apns_id).body(encoded(&fields)).send().await
}

/// How often each message was accepted, by its id.
fn arrivals(peer: &Peer) -> BTreeMap<String, usize> {
    let mut arrived = BTreeMap::new();
    for message in peer.simulator.received().into_iter().filter(|message| message.accepted()) {
        *arrived.entry(message.apns_id.unwrap().to_lowercase()).or_default() += 1;
    }
    arrived
}

/// One of two replicas is killed in the middle of a run. Whoever heard nothing from it asks the
/// other one, with the same `apns_id` and the same `Idempotency-Key`. The other one does not know
/// the keys of the first, so what that one sent and did not answer arrives twice; but whoever asks the
/// other one again hears what it said before.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_replica_loses_nothing_and_doubles_only_what_it_never_answered() {
    const MESSAGES: usize = 300;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let peer = Peer::with(Options { messages_kept: 10 * MESSAGES, ..Options::default() });
    let delay = Answer::Delay { by: Duration::from_millis(30), then: Box::new(Answer::Accept) };
    peer.simulator.script(Rule::next(delay).forever());
    let start = || Process::serve_before(&peer, &[("PUSHLET_SERVER__SECRET_KEY", KEY)]);
    let (one, other) = (start(), start());
    let addresses = [one.address(), other.address()];
    let id = seal_p12(addresses[0], "shop").await;
    let answered = AtomicUsize::new(0);

    let message = |place: usize| {
        let (id, one, answered, client) = (&id, &one, &answered, &client);
        async move {
            let apns_id = format!("00000000-0000-4000-8000-{place:012x}");
            let mut unanswered = false;
            for address in addresses {
                match send_keyed(client, address, id, &apns_id).await {
                    Ok(response) => {
                        assert_eq!(response.status(), 200);
                        if answered.fetch_add(1, Ordering::Relaxed) + 1 == MESSAGES / 3 {
                            one.signal("KILL");
                        }
                        return (apns_id, unanswered);
                    }
                    Err(_) => unanswered = true,
                }
            }
            panic!("no replica answered {apns_id}")
        }
    };
    let sent: Vec<_> = stream::iter(0..MESSAGES).map(message).buffer_unordered(16).collect().await;

    let mut arrived = arrivals(&peer);
    let repeated = sent.iter().filter(|(_, unanswered)| *unanswered).count();
    assert!(repeated > 0, "the replica was killed while it was used");
    let mut doubles = 0;
    for (apns_id, unanswered) in &sent {
        match arrived.remove(apns_id) {
            Some(1) => {}
            Some(2) => {
                assert!(unanswered, "{apns_id} was answered and sent twice");
                doubles += 1;
            }
            other => panic!("{apns_id} arrived {other:?} times"),
        }
    }
    assert_eq!(arrived, BTreeMap::new());
    println!(
        "{} arrived; {repeated} calls were repeated, {doubles} of them arrived twice",
        sent.len()
    );

    peer.simulator.clear();
    for (apns_id, _) in sent.iter().filter(|(_, unanswered)| *unanswered) {
        let again = send_keyed(&client, addresses[1], &id, apns_id).await.unwrap();
        assert_eq!(again.status(), 200);
        assert_eq!(again.headers()["idempotency-replayed"], "true");
    }
    assert_eq!(peer.simulator.received().len(), 0, "nothing is sent for a key that is known");
}
