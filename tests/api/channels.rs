//! Broadcast channels: managed under `/channels`, and sent to.

use http::StatusCode;
use pushlet::simulator::script::{Answer, Rule};
use reqwest::Method;
use serde_json::json;

use super::outcome::bench;
use crate::support::keys::signing_key_p8;
use crate::support::relay::{Peer, TOKEN, TOPIC, credential};
use crate::support::wire::{Bench, SEND, Seen, code, ok, refusal, seen};

const CHANNELS: &str = "/channels";
const UPDATE: [(&str, &str); 3] =
    [("event", "update"), ("content_state", r#"{"n" : 1.0}"#), ("timestamp", "1685952000")];

async fn create(bench: &Bench, fields: &[(&str, &str)]) -> Seen {
    seen(bench.form(CHANNELS, &[&[("application_id", "app")], fields].concat())).await
}

/// A fresh channel's id.
async fn channel(bench: &Bench, policy: &str) -> String {
    let answer = create(bench, &[("message_storage_policy", policy)]).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["channel_id"].as_str().unwrap().to_owned()
}

fn path(id: &str) -> String {
    let id: String = url::form_urlencoded::byte_serialize(id.as_bytes()).collect();
    format!("{CHANNELS}/{id}?application_id=app")
}

async fn ask(bench: &Bench, method: Method, path: &str) -> Seen {
    seen(bench.relay.client.request(method, bench.relay.url(path))).await
}

async fn list(bench: &Bench) -> Vec<String> {
    let answer = ask(bench, Method::GET, "/channels?application_id=app").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_value(answer.json()["channels"].clone()).unwrap()
}

async fn broadcast(bench: &Bench, id: &str, fields: &[(&str, &str)]) -> Seen {
    let call = [("application_id", "app"), ("channel_id", id)];
    bench.send(&[&call[..], fields].concat()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_is_made_looked_up_listed_and_deleted() {
    let bench = bench(|_| ()).await;

    let made = create(&bench, &[]).await;
    let id = made.json()["channel_id"].as_str().unwrap().to_owned();
    assert_eq!(made.json(), json!({"channel_id": id, "message_storage_policy": 0}));
    let body = r#"{"message-storage-policy":0,"push-type":"LiveActivity"}"#;
    let arrived = bench.arrived();
    assert_eq!((arrived.payload, arrived.topic.as_deref()), (body.into(), Some(TOPIC)));
    let other = channel(&bench, "1").await;

    let mut all = vec![id.clone(), other.clone()];
    all.sort();
    assert_eq!(list(&bench).await, all);
    let found = ask(&bench, Method::GET, &path(&other)).await;
    let expected = format!(
        "{{\"channel_id\":\"{other}\",\"message_storage_policy\":1,\"push_type\":\"LiveActivity\"}}"
    );
    assert_eq!(found.told(), (200, expected));
    assert_eq!(ask(&bench, Method::DELETE, &path(&id)).await.told(), ok());
    assert_eq!(list(&bench).await, [other]);
    let gone = ask(&bench, Method::GET, &path(&id)).await;
    assert_eq!(gone.code(), code(404, "channel_not_found"));
    assert_eq!(gone.json()["reason"], "ChannelNotRegistered");
    assert_eq!(ask(&bench, Method::DELETE, &path(&id)).await.code(), gone.code());
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_goes_to_its_channel() {
    let bench = bench(|_| ()).await;
    let id = channel(&bench, "1").await;
    bench.peer.simulator.clear();

    let answer = broadcast(&bench, &id, &UPDATE).await;

    assert_eq!(answer.told(), ok());
    let message = bench.arrived();
    assert_eq!(message.channel_id.as_deref(), Some(&*id));
    assert_eq!((message.device_token.as_str(), message.topic.as_deref()), ("", Some(TOPIC)));
    assert_eq!(message.push_type.as_deref(), Some("liveactivity"));
    assert_eq!(
        (message.priority.as_deref(), message.expiration.as_deref()),
        (Some("10"), Some("0"))
    );
    assert_eq!(message.apns_id.as_deref(), answer.header("apns-id"));
    let payload =
        r#"{"aps":{"timestamp":1685952000,"event":"update","content-state":{"n" : 1.0}}}"#;
    assert_eq!(message.payload, payload);

    let uuid = "123e4567-e89b-42d3-a456-426614174000";
    let fields =
        [("event", "end"), ("priority", "1"), ("expiration", "2000000000"), ("apns_id", uuid)];
    assert_eq!(broadcast(&bench, &id, &fields).await.told(), ok());
    let message = bench.arrived();
    assert_eq!(
        (message.priority.as_deref(), message.expiration.as_deref()),
        (Some("1"), Some("2000000000"))
    );
    assert_eq!(message.apns_id.as_deref(), Some(uuid));
    bench.stop().await;
}

/// Under the channel's own path it is the same message, and a call like any other.
#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_has_a_path_of_its_own() {
    let bench = bench(|_| ()).await;
    let id = channel(&bench, "0").await;
    let path = path(&id).replace("?application_id=app", "");
    bench.peer.simulator.clear();
    let post = |fields: &[(&str, &str)]| {
        bench.form(&path, &[&[("application_id", "app")], &UPDATE[..], fields].concat())
    };

    let first = seen(post(&[]).header("idempotency-key", "k")).await;
    let again = seen(post(&[]).header("idempotency-key", "k")).await;

    assert_eq!((first.told(), again.told()), (ok(), ok()));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    let message = bench.arrived();
    assert_eq!(message.channel_id.as_deref(), Some(&*id));
    assert_eq!(message.apns_id.as_deref(), first.header("apns-id"));
    let json = json!({ "application_id": "app", "event": "end" }).to_string();
    assert_eq!(bench.json(&path, &json).await.told(), ok());
    let shown = seen(post(&[("preview", "1")])).await;
    assert_eq!(shown.json()["request"]["headers"]["apns-channel-id"], *id);
    for more in [("channel_id", &*id), ("device_token", TOKEN), ("device_tokens", "[\"ab\"]")] {
        let refused = seen(post(&[more])).await;
        assert_eq!(refused.code(), code(400, "conflicting_parameters"), "{more:?}");
    }
    let stream = bench.post(&path).header("content-type", "application/x-ndjson").body("{}\n");
    assert_eq!(seen(stream).await.code(), code(415, "unsupported_media_type"));
    let nothing = bench.form("/channels/a%20b", &[("application_id", "app"), ("event", "end")]);
    assert_eq!(seen(nothing).await.code(), code(400, "invalid_channel_id"));
    let unknown = bench.form("/channels/AAAA", &[("application_id", "app"), ("event", "end")]);
    assert_eq!(seen(unknown).await.code(), code(404, "channel_not_found"));
    bench.stop().await;
}

/// Each call about channels ends within the time that it names.
#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_a_call_is_the_callers_to_set() {
    let bench = bench(|_| ()).await;
    bench.peer.simulator.script(Rule::next(Answer::Never).forever());

    let made = create(&bench, &[("timeout_ms", "200")]).await;
    let listed = ask(&bench, Method::GET, "/channels?application_id=app&timeout_ms=200").await;

    for late in [made, listed] {
        let mut told = late.json();
        assert!(told["apns_id"].take().is_string(), "{told}");
        let expected = json!({
            "error": "apns_timeout",
            "message": "apple did not answer, and may have done what it was asked; look at the \
                        channels before you ask again",
            "apns_id": null,
            "delivery": "unknown",
        });
        assert_eq!((late.status, told), (504, expected));
    }
    bench.peer.simulator.clear_script();
    let zero = create(&bench, &[("timeout_ms", "0")]).await;
    assert_eq!(zero.code(), code(400, "invalid_timeout_ms"));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_about_channels_count_for_the_rate() {
    let bench = Bench::configured(|config| {
        let mut slow = credential("slow", "s", None);
        (slow.rate_limit, slow.rate_burst) = (Some(1), Some(1));
        config.auth.credentials = vec![slow];
    })
    .await;
    let fields =
        [("application_id", "app"), ("apns_key_id", "KEY1234567"), ("apns_team_id", "TEAM123456")];
    let upload = bench.upload("apns_p8", &signing_key_p8(), &fields);
    assert_eq!(seen(upload.basic_auth("slow", Some("s"))).await.status, 200);

    // However slow this machine is, a limit of one a second shows at some point.
    let mut answer = None;
    for _ in 0..50 {
        let path = format!("/channels?application_id=app&topic={TOPIC}");
        let list = bench.relay.client.get(bench.relay.url(&path));
        let listed = seen(list.basic_auth("slow", Some("s"))).await;
        if listed.status != 200 {
            answer = Some(listed);
            break;
        }
    }

    assert_eq!(answer.expect("there is a limit").code(), code(429, "rate_limited"));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_channel_takes_is_refused_before() {
    let bench = bench(|_| ()).await;
    let id = channel(&bench, "0").await;
    bench.peer.simulator.clear();

    let suffixed = format!("{TOPIC}.push-type.liveactivity");
    let start = [
        ("event", "start"),
        ("content_state", "{}"),
        ("attributes_type", "T"),
        ("attributes", "{}"),
        ("alert", "x"),
    ];
    for (fields, expected) in [
        (&start[..], "invalid_event"),
        (&[("alert", "x")], "invalid_event"),
        (&[("event", "end"), ("collapse_id", "c")], "conflicting_parameters"),
        (&[("event", "end"), ("device_token", TOKEN)], "conflicting_parameters"),
        (&[("event", "end"), ("push_type", "alert")], "invalid_push_type"),
        (&[("event", "end"), ("topic", &suffixed)], "invalid_topic"),
        (&[("event", "end"), ("topic", "a/b")], "invalid_topic"),
    ] {
        assert_eq!(broadcast(&bench, &id, fields).await.code(), code(400, expected), "{fields:?}");
    }
    let no_id = broadcast(&bench, "not base64!", &[("event", "end")]).await;
    assert_eq!(no_id.code(), code(400, "invalid_channel_id"));
    let shell = r#"{"aps":{"timestamp":1685952000,"event":"end","content-state":{"a":""}}}"#.len();
    for (size, expected) in [(5_120, code(200, "")), (5_121, code(413, "payload_too_large"))] {
        let state = format!("{{\"a\":\"{}\"}}", "x".repeat(size - shell));
        let fields = [("event", "end"), ("content_state", &*state), UPDATE[2]];
        assert_eq!(broadcast(&bench, &id, &fields).await.code(), expected, "{size}");
    }
    assert_eq!(bench.count(), 1);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_apple_says_of_a_channel_is_told() {
    let bench = bench(|_| ()).await;
    let id = channel(&bench, "0").await;

    let unknown = broadcast(&bench, "AAAA", &UPDATE).await;
    assert_eq!(unknown.code(), code(404, "channel_not_found"));
    let stored = [UPDATE[0], UPDATE[1], ("expiration", "2000000000")];
    let refused = broadcast(&bench, &id, &stored).await;
    assert_eq!(
        (refused.code(), refused.json()["reason"].as_str()),
        (code(400, "apns_rejected"), Some("BadExpirationDate"))
    );
    let elsewhere = [UPDATE[0], UPDATE[1], ("topic", "org.other")];
    let refused = broadcast(&bench, &id, &elsewhere).await;
    assert_eq!(
        (refused.code(), refused.json()["reason"].as_str()),
        (code(400, "apns_rejected"), Some("TopicMismatch"))
    );
    bench
        .peer
        .simulator
        .script(Rule::next(Answer::reject(StatusCode::BAD_REQUEST, "FeatureNotEnabled")));
    let refused = create(&bench, &[]).await;
    assert_eq!(
        (refused.code(), refused.json()["reason"].as_str()),
        (code(400, "apns_rejected"), Some("FeatureNotEnabled"))
    );
    assert_eq!(broadcast(&bench, &id, &UPDATE).await.told(), ok(), "the circuit stays closed");
    bench.stop().await;
}

/// A list is asked for again; a channel is not made twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_repeated_where_that_is_safe() {
    let bench = bench(|_| ()).await;
    bench.peer.simulator.script(Rule::next(Answer::Drop));
    assert_eq!(list(&bench).await, [""; 0]);
    assert_eq!(bench.count(), 2);

    bench.peer.simulator.script(Rule::next(Answer::Drop));
    let lost = create(&bench, &[]).await;
    assert_eq!(
        (lost.code(), lost.json()["delivery"].as_str()),
        (code(503, "apns_unavailable"), Some("unknown"))
    );
    assert_eq!(bench.count(), 1);

    bench
        .peer
        .simulator
        .script(Rule::next(Answer::reject(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable")));
    assert_eq!(create(&bench, &[]).await.status, 200);
    assert_eq!(bench.count(), 2);
    let form = || bench.form(CHANNELS, &[("application_id", "app")]).header("idempotency-key", "k");
    let (first, again) = (seen(form()).await, seen(form()).await);
    assert_eq!(first.told(), again.told());
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(bench.count(), 1);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signing_key_manages_channels_as_well() {
    let bench = Bench::start().await;
    let fields =
        [("application_id", "app"), ("apns_key_id", "KEY1234567"), ("apns_team_id", "TEAM123456")];
    let upload = bench.upload("apns_p8", &signing_key_p8(), &fields);
    assert_eq!(seen(upload).await.status, 200);

    assert_eq!(create(&bench, &[]).await.code(), code(400, "missing_topic"));
    let made = create(&bench, &[("topic", TOPIC)]).await;
    assert_eq!(made.status, 200, "{}", made.body);
    let arrived = bench.arrived();
    assert_eq!(arrived.authenticated_as.as_deref(), Some("key KEY1234567 of team TEAM123456"));
    bench.stop().await;
}

/// Two peers: each of Apple's environments has its own channels, and its own server for them.
#[tokio::test(flavor = "multi_thread")]
async fn channels_are_managed_in_the_environment_of_their_application() {
    let sandbox = Peer::start();
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::configured(|config| {
        let both = folder.path().join("both.pem");
        let production = std::fs::read(config.apns.ca_file.as_ref().unwrap()).unwrap();
        std::fs::write(&both, [&production, sandbox.simulator.ca_pem()].concat()).unwrap();
        config.apns.ca_file = Some(both);
        config.apns.sandbox_url = sandbox.config.apns.sandbox_url.clone();
        config.apns.sandbox_channels_url = sandbox.config.apns.sandbox_channels_url.clone();
    })
    .await;
    let register = |mode: &'static str| {
        let fields = [
            ("application_id", "app"),
            ("apns_key_id", "KEY1234567"),
            ("apns_team_id", "TEAM123456"),
            ("apns_topic", TOPIC),
            ("apns_mode", mode),
        ];
        seen(bench.upload("apns_p8", &signing_key_p8(), &fields))
    };

    for (mode, here, elsewhere) in [
        ("development", &sandbox.simulator, &bench.peer.simulator),
        ("production", &bench.peer.simulator, &sandbox.simulator),
    ] {
        assert_eq!(register(mode).await.status, 200);
        let id = channel(&bench, "0").await;
        assert_eq!(list(&bench).await, std::slice::from_ref(&id), "{mode}");
        assert_eq!(ask(&bench, Method::GET, &path(&id)).await.status, 200, "{mode}");
        assert_eq!(broadcast(&bench, &id, &UPDATE).await.told(), ok(), "{mode}");
        assert_eq!(ask(&bench, Method::DELETE, &path(&id)).await.told(), ok(), "{mode}");

        assert_eq!((here.received().len(), elsewhere.received().len()), (5, 0), "{mode}");
        here.clear();
    }
    sandbox.simulator.stop().await;
    bench.stop().await;
}

/// No connection and no answer of Apple's management server keeps messages from going out.
#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_port_costs_no_message() {
    let bench = bench(|config| {
        config.apns.production_channels_url = "https://localhost:1".parse().unwrap();
    })
    .await;

    let refused = create(&bench, &[]).await;

    assert_eq!(
        (refused.code(), refused.json()["delivery"].as_str()),
        (code(503, "apns_unavailable"), Some("not_sent"))
    );
    assert_eq!(bench.relay.send("app", TOKEN, "x").await.status, 200);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_checked_as_the_others_are() {
    let bench = Bench::configured(|config| {
        config.auth.credentials =
            vec![credential("a", "1", None), credential("b", "2", Some(&["other"]))];
    })
    .await;
    let get = |path: &'static str, name: &'static str, password: &'static str| {
        let request = bench.relay.client.get(bench.relay.url(path));
        seen(request.basic_auth(name, Some(password)))
    };

    assert_eq!(ask(&bench, Method::GET, "/channels/%2525?application_id=app").await.status, 401);
    assert_eq!(get("/channels", "a", "1").await.code(), code(400, "missing_application_id"));
    assert_eq!(
        get("/channels?application_id=app", "a", "1").await.code(),
        code(404, "application_not_found")
    );
    assert_eq!(get("/channels?application_id=app", "b", "2").await.code(), code(403, "forbidden"));
    assert_eq!(
        get("/channels?aplication_id=app", "a", "1").await.code(),
        code(400, "unknown_parameter")
    );
    let upload = bench.upload(
        "apns_p8",
        &signing_key_p8(),
        &[
            ("application_id", "app"),
            ("apns_key_id", "KEY1234567"),
            ("apns_team_id", "TEAM123456"),
            ("apns_topic", TOPIC),
        ],
    );
    assert_eq!(seen(upload.basic_auth("a", Some("1"))).await.status, 200);
    assert_eq!(
        get("/channels/a%20b?application_id=app", "a", "1").await.code(),
        code(400, "invalid_channel_id")
    );
    let new = bench.form(CHANNELS, &[("application_id", "app"), ("message_storage_policy", "2")]);
    assert_eq!(
        seen(new.basic_auth("a", Some("1"))).await.code(),
        code(400, "invalid_message_storage_policy")
    );
    let put = ask(&bench, Method::PUT, CHANNELS).await;
    assert_eq!(
        (put.code(), put.header("allow")),
        (code(405, "method_not_allowed"), Some("GET, POST"))
    );
    let patch = ask(&bench, Method::PATCH, "/channels/a").await;
    assert_eq!(
        (patch.code(), patch.header("allow")),
        (code(405, "method_not_allowed"), Some("DELETE, GET, POST"))
    );
    assert_eq!(bench.count(), 0);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_is_previewed() {
    let bench = bench(|_| ()).await;

    let shown =
        broadcast(&bench, "AAAA", &[UPDATE[0], UPDATE[1], UPDATE[2], ("dry_run", "1")]).await;

    let request = &shown.json()["request"];
    let url = format!("{}/4/broadcasts/apps/{TOPIC}", bench.peer.simulator.apns_url());
    assert_eq!((&request["url"], &request["limit"]), (&json!(url), &json!(5_120)));
    assert_eq!(request["headers"]["apns-channel-id"], "AAAA");
    assert_eq!(bench.count(), 0);
    assert_eq!(
        bench.text(SEND, "application_id=app&event=end").await.told(),
        refusal(
            400,
            "device_token_required",
            "device_token is required, which is registed with the application on your phone"
        )
    );
    bench.stop().await;
}
