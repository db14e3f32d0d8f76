//! Who may call.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pushlet::api::proxies::Proxies;
use pushlet::config::Config;

use crate::support::relay::{TOKEN, credential};
use crate::support::wire::{Bench, CALLS, FEEDBACK, REGISTER, SEND, Seen, code, refusal, seen};

const KEY: &str = "AIzaSample";

fn basic(user_and_password: &str) -> String {
    format!("Basic {}", STANDARD.encode(user_and_password))
}

fn unauthorized() -> (u16, String) {
    let message = "this relay wants a user name and password; send them by HTTP Basic";
    refusal(401, "unauthorized", message)
}

fn several(config: &mut Config) {
    config.auth.credentials = vec![
        credential("all", "p:ss wörd", None),
        credential("shop", "s", Some(&["shop", "news-*", "gcm"])),
        credential("glob", "g", Some(&["*"])),
    ];
}

async fn call(bench: &Bench, user: &str, path: &str, fields: &[(&str, &str)]) -> Seen {
    seen(bench.form(path, fields).header("authorization", basic(user))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_or_wrong_credentials_are_401_on_every_call() {
    let bench = Bench::configured(several).await;

    let wrong = [
        "",
        "Basic",
        "Basic !!!",
        "Bearer YWxsOnA=",
        &basic("all"),
        &basic("all:"),
        &basic("all:s"),
        &basic("shop:p:ss wörd"),
        &basic("ALL:p:ss wörd"),
        &basic("all:p:ss wörd "),
    ];
    for path in CALLS {
        for authorization in [None].into_iter().chain(wrong.map(Some)) {
            let request = bench.form(path, &[]);
            let request = match authorization {
                Some(value) => request.header("authorization", value),
                None => request,
            };
            let answer = seen(request).await;

            assert_eq!(answer.told(), unauthorized(), "{path} {authorization:?}");
            assert_eq!(answer.header("www-authenticate"), Some("Basic realm=\"pushlet\""));
        }
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_several_credentials_is_let_in() {
    let bench = Bench::configured(several).await;

    for user in ["all:p:ss wörd", "shop:s", "glob:g"] {
        let answer = call(&bench, user, FEEDBACK, &[]).await;

        assert_eq!(answer.code(), code(400, "missing_application_id"), "{user}");
    }
    bench.stop().await;
}

/// RFC 9110 §11.1: the scheme is a token without regard to case.
#[tokio::test(flavor = "multi_thread")]
async fn the_scheme_may_be_spelt_in_any_case() {
    let bench = Bench::configured(several).await;

    for scheme in ["basic", "BASIC", "bAsIc"] {
        let authorization = basic("shop:s").replace("Basic", scheme);
        let answer = seen(bench.form(FEEDBACK, &[]).header("authorization", authorization)).await;

        assert_eq!(answer.code(), code(400, "missing_application_id"), "{scheme}");
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_is_held_to_its_applications() {
    let bench = Bench::configured(several).await;
    let forbidden = |message| refusal(403, "forbidden", message);
    let foreign = "this credential may not use that application; use one that may";
    let p12 = [("apns_p12", "MAAA")];

    for id in ["other", "sho", "shopp", "Shop", "news", "gcm2", "*"] {
        let own = [("application_id", id)];
        let send = [("application_id", id), ("device_token", TOKEN)];
        for (path, fields) in [(FEEDBACK, &own[..]), (SEND, &send), (REGISTER, &[own[0], p12[0]])] {
            let answer = call(&bench, "shop:s", path, fields).await;

            assert_eq!(answer.told(), forbidden(foreign), "{path} {id}");
        }
    }
    for id in ["shop", "news-", "news-eu"] {
        let answer = call(&bench, "shop:s", FEEDBACK, &[("application_id", id)]).await;

        assert_eq!(answer.code(), code(404, "application_not_found"), "{id}");
    }
    let answer = call(&bench, "shop:s", REGISTER, &p12).await;
    let nameless = "this credential may register certain applications only; give application_id";
    assert_eq!(answer.told(), forbidden(nameless));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limited_credential_uses_keys_only_if_its_list_holds_gcm() {
    let bench = Bench::configured(several).await;
    let key = [("gcm_api_key", KEY), ("device_token", "42")];

    assert_eq!(call(&bench, "all:p:ss wörd", SEND, &key).await.status, 200);
    assert_eq!(call(&bench, "shop:s", SEND, &key).await.status, 200);
    assert_eq!(
        call(&bench, "glob:g", SEND, &key).await.told(),
        refusal(
            403,
            "forbidden",
            "this credential may not use gcm_api_key; add gcm to its list of applications"
        )
    );
    assert_eq!(bench.count(), 2);
    bench.stop().await;
}

/// With both identifiers `type` decides, and only what it chose has to be the caller's.
#[tokio::test(flavor = "multi_thread")]
async fn the_scope_is_that_of_the_identifier_that_counts() {
    let bench = Bench::configured(several).await;
    let both = |id, service| {
        [("gcm_api_key", KEY), ("application_id", id), ("device_token", "42"), ("type", service)]
    };

    assert_eq!(call(&bench, "shop:s", SEND, &both("other", "gcm")).await.status, 200);
    assert_eq!(
        call(&bench, "shop:s", SEND, &both("other", "apns")).await.code(),
        code(403, "forbidden")
    );
    assert_eq!(
        call(&bench, "glob:g", SEND, &both("other", "apns")).await.code(),
        code(404, "application_not_found")
    );
    bench.stop().await;
}

fn local_only() -> (u16, String) {
    refusal(
        403,
        "forbidden",
        "without credentials only this machine itself is served; configure a credential to serve \
         others",
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn without_credentials_only_this_machine_is_served() {
    let bench = Bench::start().await;

    for (name, value) in [
        ("host", "relay.example"),
        ("host", "192.168.1.7:9292"),
        ("host", "localhost.example"),
        ("host", "127.0.0.1.example"),
        ("forwarded", "for=127.0.0.1"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", "localhost"),
        ("x-forwarded-proto", "http"),
        ("X-Forwarded-Anything", ""),
    ] {
        for path in CALLS {
            let answer = seen(bench.form(path, &[]).header(name, value)).await;

            assert_eq!(answer.told(), local_only(), "{path} {name}: {value}");
        }
    }
    for host in ["localhost", "LOCALHOST:9292", "127.0.0.1", "127.8.8.8:1", "[::1]:9292"] {
        let answer = seen(bench.form(FEEDBACK, &[]).header("host", host)).await;

        assert_eq!(answer.code(), code(400, "missing_application_id"), "{host}");
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_credentials_any_host_and_proxy_is_served() {
    let bench = Bench::configured(several).await;

    for (name, value) in [("host", "relay.example"), ("x-forwarded-for", "203.0.113.7")] {
        let request = bench.form(FEEDBACK, &[]).header("authorization", basic("shop:s"));
        let answer = seen(request.header(name, value)).await;

        assert_eq!(answer.code(), code(400, "missing_application_id"), "{name}");
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_page_is_refused_in_a_browser_that_is_logged_in() {
    let bench = Bench::configured(several).await;
    let page = "a page of another site may not call; call from a program or from this host";
    let call = |headers: &[(&str, &str)]| {
        let request = bench.form(FEEDBACK, &[]).header("authorization", basic("shop:s"));
        let request = request.header("host", "relay.example");
        seen(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)))
    };

    for headers in [
        [("sec-fetch-site", "cross-site")],
        [("sec-fetch-site", "same-site")],
        [("sec-fetch-site", "")],
        [("origin", "https://evil.example")],
        [("origin", "https://evil.relay.example")],
        [("origin", "null")],
        [("origin", "")],
    ] {
        assert_eq!(call(&headers).await.told(), refusal(403, "forbidden", page), "{headers:?}");
    }
    let mixed = [("sec-fetch-site", "same-origin"), ("origin", "https://evil.example")];
    assert_eq!(call(&mixed).await.code(), code(403, "forbidden"));
    for headers in [
        [("sec-fetch-site", "same-origin")],
        [("sec-fetch-site", "none")],
        [("origin", "http://relay.example")],
        [("origin", "https://RELAY.example")],
    ] {
        let answer = call(&headers).await;

        assert_eq!(answer.code(), code(400, "missing_application_id"), "{headers:?}");
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_page_is_refused_where_nobody_logs_in() {
    let bench = Bench::start().await;

    for path in CALLS {
        let answer = seen(bench.form(path, &[]).header("origin", "https://evil.example")).await;

        assert_eq!(answer.code(), code(403, "forbidden"), "{path}");
    }
    bench.stop().await;
}

fn loopback_is_trusted(config: &mut Config) {
    config.server.trusted_proxies = Proxies::parse(&["127.0.0.0/8"]).unwrap();
}

/// On loopback without credentials.
#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_says_who_calls_and_strangers_stay_out() {
    let bench = Bench::configured(loopback_is_trusted).await;
    let call = |headers: &[(&str, &str)]| {
        let request = bench.form(FEEDBACK, &[]);
        seen(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)))
    };

    for headers in [
        &[("x-forwarded-for", "203.0.113.9")][..],
        &[("x-forwarded-for", "127.0.0.1, 203.0.113.9")],
        &[("x-forwarded-for", "nonsense")],
        &[("x-forwarded-for", "127.0.0.1"), ("x-forwarded-host", "relay.example")],
        &[("x-forwarded-for", "127.0.0.1"), ("host", "relay.example")],
        &[("forwarded", "for=127.0.0.1")],
    ] {
        assert_eq!(call(headers).await.told(), local_only(), "{headers:?}");
    }
    for headers in [
        &[("x-forwarded-for", "127.0.0.1")][..],
        &[("x-forwarded-for", "::1"), ("x-forwarded-host", "localhost"), ("host", "inside")],
        &[("x-forwarded-proto", "https")],
    ] {
        assert_eq!(call(headers).await.code(), code(400, "missing_application_id"), "{headers:?}");
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_judged_by_the_host_that_a_trusted_proxy_names() {
    let with_credentials = |config: &mut Config| several(config);
    let trusting = Bench::configured(|config| {
        with_credentials(config);
        loopback_is_trusted(config);
    })
    .await;
    let doubting = Bench::configured(with_credentials).await;
    let call = |bench: &Bench, origin: &str| {
        let request = bench.form(FEEDBACK, &[]).header("authorization", basic("shop:s"));
        let request = request.header("host", "inside:9292").header("origin", origin);
        let request = request.header("x-forwarded-host", "relay.example");
        seen(request.header("x-forwarded-proto", "https"))
    };

    for (bench, origin, expected) in [
        (&trusting, "https://relay.example", code(400, "missing_application_id")),
        (&trusting, "http://relay.example", code(403, "forbidden")),
        (&trusting, "http://inside:9292", code(403, "forbidden")),
        (&doubting, "https://relay.example", code(403, "forbidden")),
        (&doubting, "http://inside:9292", code(400, "missing_application_id")),
    ] {
        assert_eq!(call(bench, origin).await.code(), expected, "{origin}");
    }
    trusting.stop().await;
    doubting.stop().await;
}
