//! What every call has in common: routes, the form of errors, the order of checks.

use reqwest::Method;

use crate::support::relay::{TOKEN, credential};
use crate::support::wire::{
    Bench, CALLS, FEEDBACK, FORM, REGISTER, SEND, code, encoded, ok, raw, refusal, seen,
};

#[tokio::test(flavor = "multi_thread")]
async fn another_method_is_405_and_names_the_one() {
    let bench = Bench::start().await;

    for path in CALLS {
        for method in ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let request = bench.relay.client.request(method.clone(), bench.relay.url(path));
            let answer = seen(request).await;

            let message = "this path takes POST only; repeat the call with that method";
            let expected = refusal(405, "method_not_allowed", message);
            assert_eq!(answer.told(), expected, "{method} {path}");
            assert_eq!(answer.header("allow"), Some("POST"));
        }
        let head = seen(bench.relay.client.head(bench.relay.url(path))).await;
        assert_eq!((head.status, head.header("allow")), (405, Some("POST")));
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_path_is_404_in_json() {
    let bench = Bench::start().await;
    let message = "there is no such path; the calls are /register_application, /send_notification \
                   and /application_feedback";

    for path in ["/", "/send", "/send_notification/", "/Send_Notification", "/a/b?c=d", "/%00"] {
        for method in [Method::GET, Method::POST] {
            let request = bench.relay.client.request(method, bench.relay.url(path));
            let answer = seen(request).await;

            assert_eq!(answer.told(), refusal(404, "not_found", message), "{path}");
            assert_eq!(answer.header("content-type"), Some("application/json"));
        }
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_answers_are_json_and_carry_a_request_id() {
    let bench = Bench::start().await;
    bench.relay.register("app").await;
    let answers = [
        bench.send(&[("application_id", "app"), ("device_token", TOKEN), ("alert", "x")]).await,
        bench.send(&[("gcm_api_key", "AIza"), ("device_token", "42")]).await,
        seen(bench.form(FEEDBACK, &[("application_id", "app")])).await,
        seen(bench.form(REGISTER, &[])).await,
        bench.json(SEND, "{").await,
        seen(bench.post(SEND).header("content-type", "text/plain").body("x")).await,
    ];

    let mut ids: Vec<_> = answers.iter().map(|a| a.header("x-request-id").unwrap()).collect();

    for answer in &answers {
        assert_eq!(answer.header("content-type"), Some("application/json"), "{answer:?}");
        answer.json();
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), answers.len(), "each call has its own");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sane_request_id_is_echoed_and_another_replaced() {
    let bench = Bench::start().await;
    let call = |id: &[u8]| {
        let id = http::HeaderValue::from_bytes(id).unwrap();
        seen(bench.form(FEEDBACK, &[]).header("x-request-id", id))
    };

    let longest = "x".repeat(128);
    for id in ["1", "7f3c!~", &longest] {
        assert_eq!(call(id.as_bytes()).await.header("x-request-id"), Some(id));
    }
    let too_long = "x".repeat(129);
    for id in ["", "a b", "\u{e9}", "a\tb", &too_long] {
        let answer = call(id.as_bytes()).await;
        let made = answer.header("x-request-id").unwrap();
        assert_eq!(made.len(), 36, "a UUID for {id:?}");
    }
    for (method, path) in [(Method::GET, SEND), (Method::POST, "/nowhere")] {
        let request = bench.relay.client.request(method, bench.relay.url(path));
        assert_eq!(
            seen(request.header("x-request-id", "7")).await.header("x-request-id"),
            Some("7")
        );
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_name_is_refused_with_the_nearest_known_one() {
    let bench = Bench::start().await;
    let unknown = |name: &str, nearest: &str| {
        let message =
            format!("there is no parameter `{name}` in this call; did you mean {nearest}?");
        refusal(400, "unknown_parameter", &message)
    };

    for (path, name, nearest) in [
        (SEND, "devicetoken", "device_token"),
        (SEND, "Alert", "alert"),
        (SEND, "badges", "badge"),
        (SEND, "contentAvailable", "content_available"),
        (SEND, "application", "application_id"),
        (REGISTER, "apns_p12_password", "apns_p12_pass"),
        (REGISTER, "apns_pm", "apns_pem"),
        (FEEDBACK, "app_id", "application_id"),
        (FEEDBACK, "keeep", "keep"),
    ] {
        assert_eq!(seen(bench.form(path, &[(name, "x")])).await.told(), unknown(name, nearest));
        let json = format!("{{\"{name}\":1}}");
        assert_eq!(bench.json(path, &json).await.told(), unknown(name, nearest));
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_of_the_other_service_says_so() {
    let bench = Bench::start().await;
    bench.relay.register("app").await;
    let apns = [("application_id", "app"), ("device_token", TOKEN)];
    let gcm = [("gcm_api_key", "AIza"), ("device_token", "42")];

    for name in ["subtitle", "identifier", "payload", "topic", "apns_id", "thread_id"] {
        let message =
            format!("{name} is a parameter of apns, and this message goes to gcm; leave it out");
        let answer = bench.send(&[gcm[0], gcm[1], (name, "1")]).await;
        assert_eq!(answer.told(), refusal(400, "unknown_parameter", &message));
    }
    for name in ["registration_ids", "to", "condition", "message"] {
        let message =
            format!("{name} is a parameter of gcm, and this message goes to apns; leave it out");
        let answer = bench.send(&[apns[0], (name, "1")]).await;
        assert_eq!(answer.told(), refusal(400, "unknown_parameter", &message));
    }
    assert_eq!(bench.count(), 0);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ignore_unknown_restores_the_originals_silence() {
    let bench = Bench::configured(|config| config.compat.ignore_unknown = true).await;
    bench.relay.register("app").await;
    let apns = [("application_id", "app"), ("device_token", TOKEN), ("alert", "x")];
    let gcm = [("gcm_api_key", "AIza"), ("device_token", "42"), ("subtitle", "s")];

    let twice = encoded(&[apns[0], apns[1], apns[2], ("colour", "red"), ("colour", "red")]);
    assert_eq!(bench.text(SEND, &twice).await.told(), ok());
    assert_eq!(bench.arrived().payload, r#"{"aps":{"alert":"x"}}"#);
    assert_eq!(bench.send(&gcm).await.status, 200);
    assert_eq!(bench.arrived().payload, r#"{"registration_ids":["42"]}"#);
    let feedback = [("application_id", "app"), ("colour", "red")];
    assert_eq!(seen(bench.form(FEEDBACK, &feedback)).await.status, 200);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn always_200_hides_the_status_of_errors_about_notifications_only() {
    let bench = Bench::configured(|config| {
        config.compat.always_200 = true;
        config.server.max_body_bytes = 1024;
        config.auth.credentials = vec![credential("u", "p", Some(&["app"]))];
    })
    .await;
    let call = |path, fields| bench.form(path, fields).basic_auth("u", Some("p"));

    for (path, fields, error) in [
        (REGISTER, &[("application_id", "app")][..], "missing_apns_certificate"),
        (REGISTER, &[("application_id", "app"), ("apns_p12", "MAAA")], "invalid_apns_p12"),
        (SEND, &[], "missing_identifier"),
        (SEND, &[("application_id", "app")], "device_token_required"),
        (FEEDBACK, &[], "missing_application_id"),
        (FEEDBACK, &[("application_id", "app")], "application_not_found"),
    ] {
        assert_eq!(seen(call(path, fields)).await.code(), code(200, error), "{path}");
    }
    let foreign = [("application_id", "foreign")];
    assert_eq!(seen(call(FEEDBACK, &foreign)).await.code(), code(403, "forbidden"));
    let long = [("alert", &*"x".repeat(1025))];
    assert_eq!(seen(call(SEND, &long)).await.code(), code(413, "request_too_large"));
    let text = call(SEND, &[]).header("content-encoding", "gzip");
    assert_eq!(seen(text).await.code(), code(415, "unsupported_media_type"));
    assert_eq!(bench.text(SEND, "").await.code(), code(401, "unauthorized"));
    assert_eq!(seen(bench.post("/")).await.code(), code(404, "not_found"));
    let get = bench.relay.client.get(bench.relay.url(SEND));
    assert_eq!(seen(get).await.code(), code(405, "method_not_allowed"));
    bench.stop().await;
}

/// One call that is wrong in every way; each step puts right what was told.
#[expect(clippy::too_many_lines, reason = "it is a table with steps between")]
#[tokio::test(flavor = "multi_thread")]
async fn checks_are_made_in_the_documented_order() {
    let bench = Bench::configured(|config| {
        config.server.max_body_bytes = 1024;
        config.auth.credentials = vec![credential("u", "p", Some(&["app", "other"]))];
    })
    .await;
    let long = format!("%zz{}", "x".repeat(1100));
    let login = "Authorization: Basic dTpw\r\n";
    let typed = format!("{login}Content-Type: {FORM}\r\n");
    let page = "Origin: https://evil.example\r\n";
    let gzip = "Content-Encoding: gzip\r\n";
    let call = |method: &str, path: &str, headers: &str, body: &str| {
        let length = body.len();
        let answer = raw(
            bench.relay.address,
            format!(
                "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\
                 Content-Length: {length}\r\n\r\n{body}"
            )
            .as_bytes(),
        );
        let body = answer.split("\r\n\r\n").nth(1).unwrap();
        let error: serde_json::Value = serde_json::from_str(body).unwrap();
        (answer[9..12].parse().unwrap(), error["error"].as_str().unwrap().to_owned())
    };
    let query = "/send_notification?alert=x";
    let post = |headers: &str, body: &str| call("POST", SEND, headers, body);

    assert_eq!(call("GET", "/send", page, &long), code(404, "not_found"));
    assert_eq!(call("GET", query, page, &long), code(405, "method_not_allowed"));
    let untyped = format!("{page}{gzip}Content-Type: text/plain\r\n");
    assert_eq!(call("POST", query, &untyped, &long), code(401, "unauthorized"));
    let untyped = format!("{login}{untyped}");
    assert_eq!(call("POST", query, &untyped, &long), code(403, "forbidden"));
    let untyped = format!("{login}Content-Type: text/plain\r\n");
    assert_eq!(call("POST", query, &untyped, &long), code(415, "unsupported_media_type"));
    let packed = format!("{typed}{gzip}");
    assert_eq!(call("POST", query, &packed, &long), code(415, "unsupported_media_type"));
    assert_eq!(call("POST", query, &typed, &long), code(413, "request_too_large"));
    let body = "colour=%zz";
    assert_eq!(call("POST", query, &typed, body), code(400, "invalid_request"));
    assert_eq!(post(&typed, body), code(400, "invalid_request"));
    let body = "colour=1&type=x&badge=x&push_type=voip&topic=a";
    assert_eq!(post(&typed, body), code(400, "unknown_parameter"));
    let body = "badge=1&type=x&badge=x&push_type=voip&topic=a";
    assert_eq!(post(&typed, body), code(400, "conflicting_parameters"));
    let body = "badge=x&type=x&push_type=voip&topic=a";
    assert_eq!(post(&typed, body), code(400, "missing_identifier"));
    let named = |id: &str| format!("{body}&application_id={id}");
    assert_eq!(post(&typed, &named("foreign")), code(400, "device_token_required"));
    let named = |id: &str| format!("{body}&application_id={id}&device_token=zz");
    assert_eq!(post(&typed, &named("foreign")), code(403, "forbidden"));
    assert_eq!(post(&typed, &named("other")), code(404, "application_not_found"));
    register(&bench).await;
    assert_eq!(post(&typed, &named("app")), code(400, "invalid_type"));
    let rest = |token: &str, more: &str| {
        format!("application_id=app&device_token={token}&alert={}{more}", "x".repeat(40))
    };
    let wrong = "&badge=x&push_type=voip&topic=a";
    assert_eq!(post(&typed, &rest("zz", wrong)), code(400, "invalid_device_token"));
    assert_eq!(post(&typed, &rest(TOKEN, wrong)), code(400, "invalid_badge"));
    let wrong = "&badge=1&push_type=voip&topic=a";
    assert_eq!(post(&typed, &rest(TOKEN, wrong)), code(400, "invalid_topic"));
    assert_eq!(bench.count(), 0, "nothing was sent before all of it held");
    bench.stop().await;
}

/// Registers `app` with a signing key, which is short.
async fn register(bench: &Bench) {
    let key = crate::support::keys::signing_key_p8();
    let key = String::from_utf8(key).unwrap();
    let fields = [
        ("application_id", "app"),
        ("apns_p8", &key),
        ("apns_key_id", "KEY1234567"),
        ("apns_team_id", "TEAM123456"),
    ];
    let answer = seen(bench.form(REGISTER, &fields).basic_auth("u", Some("p"))).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}
