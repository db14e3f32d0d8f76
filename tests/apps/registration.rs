//! Registering again, and what it may cost.

use http::StatusCode;
use pushlet::simulator::script::{Answer, Rule};
use url::Url;

use crate::support::credentials::ENDLESS;
use crate::support::handmade::{
    Kdf, certificate_bag, encrypted_key_pem, p12_of_safes, plain_safe, shrouded_key_bag,
};
use crate::support::keys::{Authority, signing_key_p8};
use crate::support::relay::{Peer, TOKEN, TOPIC};
use crate::support::wire::{Bench, FEEDBACK, code, ok, refusal, seen};

const KEY_IDS: [(&str, &str); 2] = [("apns_key_id", "KEY1234567"), ("apns_team_id", "TEAM123456")];

fn p12(topic: &str) -> Vec<u8> {
    Authority::new().apple_certificate(topic).build().p12("")
}

async fn register(bench: &Bench, name: &str, file: &[u8], fields: &[(&str, &str)]) {
    let fields = [&[("application_id", "app")], fields].concat();
    let answer = seen(bench.upload(name, file, &fields)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}

async fn send(bench: &Bench) {
    let fields = [("application_id", "app"), ("device_token", TOKEN), ("alert", "x")];
    let answer = bench.send(&fields).await;
    assert_eq!(answer.told(), ok());
}

/// Connections are counted from 1: the first message makes the first one.
#[tokio::test(flavor = "multi_thread")]
async fn registering_makes_no_connection_and_the_first_message_does() {
    let bench = Bench::start().await;
    for app in ["one", "two", "three"] {
        bench.relay.register(app).await;
    }

    register(&bench, "apns_p12", &p12(TOPIC), &[]).await;
    send(&bench).await;
    send(&bench).await;

    let used: Vec<_> =
        bench.peer.simulator.received().iter().map(|message| message.connection).collect();
    assert_eq!(used, [Some(1), Some(1)]);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_calls_use_only_the_new_credential() {
    let bench = Bench::start().await;

    register(&bench, "apns_p12", &p12("com.example.old"), &[]).await;
    send(&bench).await;
    let old = bench.arrived();
    register(&bench, "apns_p12", &p12("com.example.new"), &[]).await;
    send(&bench).await;
    let new = bench.arrived();
    register(
        &bench,
        "apns_p8",
        &signing_key_p8(),
        &[&KEY_IDS[..], &[("apns_topic", "a.b")]].concat(),
    )
    .await;
    send(&bench).await;
    let key = bench.arrived();

    let told = |message: &pushlet::simulator::record::Received| {
        (message.topic.clone().unwrap(), message.authenticated_as.clone().unwrap())
    };
    let pair = |topic: &str, who: &str| (topic.to_owned(), who.to_owned());
    assert_eq!(told(&old), pair("com.example.old", "certificate com.example.old"));
    assert_eq!(told(&new), pair("com.example.new", "certificate com.example.new"));
    assert_eq!(told(&key), pair("a.b", "key KEY1234567 of team TEAM123456"));
    bench.stop().await;
}

/// A call that names neither mode nor topic does not inherit those of the call before. The relay
/// does not trust the sandbox of this test, and names it when it says so.
#[tokio::test(flavor = "multi_thread")]
async fn mode_and_topic_are_fresh_each_time() {
    let sandbox = Peer::start();
    let sandbox_url = Url::parse(&sandbox.simulator.apns_url()).unwrap();
    let host = format!("localhost:{}", sandbox_url.port().unwrap());
    let bench = Bench::configured(|config| config.apns.sandbox_url = sandbox_url).await;
    let certificate = Authority::new().apple_certificate(TOPIC).topic("a.voip", "voip").build();
    let p12 = certificate.p12("");

    for mode in ["development", "sandbox"] {
        register(&bench, "apns_p12", &p12, &[("apns_mode", mode)]).await;
        let answer = bench.relay.send("app", TOKEN, "x").await;
        assert_eq!((answer.status, &*answer.error()), (503, "apns_unavailable"));
        assert!(answer.body.contains(&host), "{}", answer.body);
    }
    register(&bench, "apns_p12", &p12, &[("apns_topic", "a.voip")]).await;
    send(&bench).await;
    assert_eq!(bench.arrived().topic.as_deref(), Some("a.voip"));
    register(&bench, "apns_p12", &p12, &[("apns_mode", "production")]).await;
    send(&bench).await;
    assert_eq!(bench.arrived().topic.as_deref(), Some(TOPIC));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_dead_tokens_outlives_the_credential() {
    let bench = Bench::start().await;
    register(&bench, "apns_p12", &p12(TOPIC), &[]).await;
    let gone = Answer::reject(StatusCode::GONE, "Unregistered");
    bench.peer.simulator.script(Rule::token(TOKEN, gone));
    assert_eq!(bench.relay.send("app", TOKEN, "x").await.status, 410);

    register(&bench, "apns_p8", &signing_key_p8(), &KEY_IDS).await;

    let feedback = seen(bench.form(FEEDBACK, &[("application_id", "app")])).await.json();
    assert_eq!(feedback["response"][0]["device_token"], TOKEN);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_fails_changes_nothing() {
    let bench = Bench::start().await;
    register(&bench, "apns_p12", &p12(TOPIC), &[]).await;

    let fields = [("application_id", "app"), ("apns_topic", "other")];
    let answer = seen(bench.upload("apns_p12", b"0hello", &fields)).await;

    assert_eq!(answer.code(), code(400, "invalid_apns_p12"));
    send(&bench).await;
    assert_eq!(bench.arrived().topic.as_deref(), Some(TOPIC));
    bench.stop().await;
}

/// It would take minutes to derive such a key; what is told is told at once, and meanwhile other
/// calls go through.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_costs_too_much_is_refused_unread() {
    let bench = Bench::start().await;
    bench.relay.register("app").await;
    let identity = Authority::new().apple_certificate(TOPIC).build();
    let bags =
        [certificate_bag(&identity.certificate), shrouded_key_bag(&identity.key, ENDLESS, "s")];
    let p12 = p12_of_safes(&[plain_safe(&bags)]);
    let scrypt = Kdf::Scrypt { n: 1 << 20, r: 8, p: 1 };
    let pem =
        |kdf| [identity.certificate_pem(), encrypted_key_pem(&identity.key, kdf, "s")].concat();

    let files = [
        ("apns_p12", "apns_p12_pass", p12),
        ("apns_pem", "apns_pem_pass", pem(ENDLESS)),
        ("apns_pem", "apns_pem_pass", pem(scrypt)),
    ];
    for (name, password, file) in files {
        let costly = (0..8).map(|_| seen(bench.upload(name, &file, &[(password, "s")])));
        let (answers, sent) = tokio::join!(
            futures_util::future::join_all(costly),
            bench.relay.send("app", TOKEN, "x"),
        );

        assert_eq!(sent.status, 200);
        for answer in answers {
            assert_eq!(answer.code(), code(400, &format!("invalid_{name}")), "{}", answer.body);
            assert!(answer.body.contains("default settings of your tool"), "{}", answer.body);
        }
    }
    bench.stop().await;
}

/// One thread reads credentials, and few may wait for it; sends do not.
#[tokio::test(flavor = "multi_thread")]
async fn too_many_costly_registrations_are_turned_away() {
    let bench = Bench::start().await;
    bench.relay.register("app").await;
    let identity = Authority::new().apple_certificate(TOPIC).build();
    let costly = Kdf::Pbkdf2 { iterations: 1_000_000 };
    let bags =
        [certificate_bag(&identity.certificate), shrouded_key_bag(&identity.key, costly, "s")];
    let p12 = p12_of_safes(&[plain_safe(&bags)]);

    let uploads: Vec<_> = (0..64)
        .map(|_| tokio::spawn(seen(bench.upload("apns_p12", &p12, &[("apns_p12_pass", "x")]))))
        .collect();
    let answers = futures_util::future::select_all(uploads);
    let (mut first, _, rest) = answers.await;
    let mut rest = rest;
    while first.as_ref().unwrap().status != 503 {
        (first, _, rest) = futures_util::future::select_all(rest).await;
    }

    let first = first.unwrap();
    let message = "too many credentials wait to be read; try again";
    let (status, body) = refusal(503, "overloaded", message);
    assert_eq!(first.told(), (status, body.replace('}', ",\"retry_after\":1}")));
    assert_eq!(first.header("retry-after"), Some("1"));
    assert_eq!(
        bench
            .send(&[("application_id", "app"), ("device_token", TOKEN), ("alert", "x")])
            .await
            .told(),
        ok()
    );
    rest.iter().for_each(tokio::task::JoinHandle::abort);
    drop(rest);
    bench.stop().await;
}
