//! An HTTP proxy stands in between: CONNECT (RFC 9110 §9.3.6).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pushlet::simulator::Options;
use pushlet::transport::proxy::{Proxy, Settings};

use super::{Bench, PATIENCE, assert_all, assert_true, healthy, short};
use crate::support::connect_proxy::{ConnectProxy, Manner};
use crate::support::google::Google;
use crate::support::keys::Authority;
use crate::support::process::Process;
use crate::support::relay::{Peer, TOKEN, TOPIC};
use crate::support::scripted_peer::{ScriptedPeer, Tls};
use crate::support::wire;

fn through(proxy: &ConnectProxy) -> Settings {
    let url = Proxy::parse(&format!("http://relay:p%20w@{}", proxy.address));
    Settings { url: Some(url.unwrap()), except: Vec::new() }
}

/// A relay whose proxy treats it so, and the healthy peer behind that.
async fn behind(manners: &[Manner]) -> (Bench, ScriptedPeer, ConnectProxy) {
    let authority = Authority::new();
    let peer = ScriptedPeer::start(&Tls::new(&authority), healthy).await;
    let proxy = ConnectProxy::start(manners).await;
    let bench = Bench::start(&authority, peer.address, |config| {
        short(config);
        config.proxy = through(&proxy);
    })
    .await;
    (bench, peer, proxy)
}

#[tokio::test(flavor = "multi_thread")]
async fn apple_is_reached_through_the_proxy_with_its_user_name_and_password() {
    let (bench, peer, proxy) = behind(&[Manner::Forward]).await;

    let told = bench.load(200).await;

    assert_all(&told, "ok");
    assert_true(&told, &peer.record);
    let asked = proxy.asked();
    assert_eq!(asked.len(), peer.record.connections(), "no connection goes past it");
    let expected = format!(
        "CONNECT {at} HTTP/1.1\r\nhost: {at}\r\nproxy-authorization: Basic {}\r\n\r\n",
        STANDARD.encode("relay:p w"),
        at = peer.address
    );
    assert_eq!(asked[0], expected.to_lowercase());
    bench.relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_refuses_sends_nothing_and_is_named() {
    for (answer, sentence) in [
        (
            "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 2\r\n\r\nno",
            "the proxy PROXY wants another user name and password (407); check proxy.url",
        ),
        (
            "HTTP/1.1 403 Forbidden\r\n\r\n",
            "the proxy PROXY lets nobody through to PEER (403 Forbidden); let it allow CONNECT to \
             that",
        ),
        (
            "HTTP/1.0 502 Bad Gateway\r\n\r\n<html>",
            "the proxy PROXY found no way to PEER (502 Bad Gateway)",
        ),
        ("SSH-2.0-OpenSSH\r\n\r\n", "what answers at PROXY is no HTTP proxy; check proxy.url"),
        (
            "HTTP/1.1 200 OK\r\n\r\nwhat nobody asked for",
            "what answers at PROXY is no HTTP proxy; check proxy.url",
        ),
        ("", "the proxy PROXY closed the connection without an answer"),
        ("HTTP/1.1 200", "the proxy PROXY closed the connection without an answer"),
    ] {
        let (bench, peer, proxy) = behind(&[Manner::Say(answer)]).await;

        let told = bench.send().await;

        assert_all(std::slice::from_ref(&told), "not_sent");
        assert_eq!(told.1.error(), "apns_unavailable");
        let message = told.1.json()["message"].as_str().unwrap().to_owned();
        let message = message.replace(&proxy.address.to_string(), "PROXY");
        let message = message.replace(&peer.address.to_string(), "PEER");
        assert!(message.contains(sentence), "{answer:?}: {message}");
        assert_eq!(peer.record.connections(), 0);
        bench.relay.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_stalls_or_is_not_there_holds_nobody_up() {
    let (bench, peer, proxy) = behind(&[Manner::Stall]).await;
    assert_all(&bench.load(50).await, "not_sent");
    assert!(!proxy.asked().is_empty());
    drop(proxy);
    let told = bench.load(50).await;
    assert_all(&told, "not_sent");
    assert_eq!(peer.record.connections(), 0);
    bench.relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_cuts_a_connection_is_survived() {
    let manners =
        [Manner::Say("HTTP/1.1 503 Busy\r\n\r\n"), Manner::CutAfter(6_000), Manner::Forward];
    let (bench, peer, _proxy) = behind(&manners).await;

    let mut told = bench.load(50).await;
    told.extend(bench.recovers().await);
    told.extend(bench.load(50).await);

    assert_true(&told, &peer.record);
    assert_all(&told[told.len() - 50..], "ok");
    bench.relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_excepted_is_reached_without_the_proxy() {
    let authority = Authority::new();
    let peer = ScriptedPeer::start(&Tls::new(&authority), healthy).await;
    let proxy = ConnectProxy::start(&[Manner::Say("")]).await;
    let bench = Bench::start(&authority, peer.address, |config| {
        config.proxy = Settings { except: vec!["127.0.0.1".to_owned()], ..through(&proxy) };
    })
    .await;

    assert_all(&bench.load(20).await, "ok");

    assert_eq!(proxy.asked(), Vec::<String>::new());
    bench.relay.stop().await;
}

/// Access tokens and messages.
#[tokio::test(flavor = "multi_thread")]
async fn google_is_reached_through_the_proxy() {
    let proxy = ConnectProxy::start(&[Manner::Forward]).await;
    let settings = through(&proxy);
    let google = Google::with(Options::default(), |config| config.proxy = settings).await;
    google.register().await;
    let send = async || {
        let fields = [("application_id", "app"), ("device_token", "42"), ("alert", "x")];
        google.bench.send(&fields).await.json()
    };

    let answer = send().await;

    assert_eq!(answer["success"], 1, "{answer}");
    let asked = proxy.asked();
    let port = google.bench.relay.config.fcm.url.port().unwrap();
    let connect = format!("connect localhost:{port} http/1.1\r\n");
    assert_eq!(asked.len(), 2, "one for access tokens and one for messages: {asked:?}");
    let authorization = format!("proxy-authorization: basic {}", STANDARD.encode("relay:p w"));
    for asked in asked {
        assert!(asked.starts_with(&connect), "{asked}");
        assert!(asked.contains(&authorization.to_lowercase()), "{asked}");
    }
    assert_eq!(google.fcm().len(), 1);
    google.stop().await;
}

/// Messages and channels, which have a server of their own.
#[tokio::test(flavor = "multi_thread")]
async fn channels_are_managed_through_the_proxy() {
    let proxy = ConnectProxy::start(&[Manner::Forward]).await;
    let settings = through(&proxy);
    let bench = wire::Bench::configured(|config| config.proxy = settings).await;
    bench.relay.register("app").await;

    assert_eq!(bench.relay.send("app", TOKEN, "x").await.status, 200);
    let made = bench.relay.form("/channels", &[("application_id", "app")]).await;

    assert_eq!(made.status, 200, "{}", made.body);
    let apns = &bench.relay.config.apns;
    let expected = [&apns.production_url, &apns.production_channels_url]
        .map(|url| format!("connect localhost:{} http/1.1", url.port().unwrap()));
    let asked: Vec<_> =
        proxy.asked().iter().map(|head| head.lines().next().unwrap().to_owned()).collect();
    assert_eq!(asked, expected);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn googles_access_tokens_are_not_had_past_a_proxy_that_refuses() {
    let proxy = ConnectProxy::start(&[Manner::Say("HTTP/1.1 407 No\r\n\r\n")]).await;
    let settings = through(&proxy);
    let google = Google::with(Options::default(), |config| config.proxy = settings).await;
    google.register().await;

    let fields = [("application_id", "app"), ("device_token", "42"), ("alert", "x")];
    let answer = google.bench.send(&fields).await.json();

    assert_eq!(answer["results"][0]["error"], "Unavailable", "{answer}");
    assert_eq!((google.fcm().len(), google.token_requests()), (0, 0));
    google.stop().await;
}

/// A variable that was meant for other programs must not send anything anywhere.
#[tokio::test(flavor = "multi_thread")]
async fn variables_of_the_environment_name_no_proxy() {
    let (peer, proxy) = (Peer::start(), ConnectProxy::start(&[Manner::Forward]).await);
    let url = format!("http://{}", proxy.address);
    let names =
        ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"];
    let environment: Vec<_> = names.iter().map(|name| (*name, url.as_str())).collect();
    let process = Process::serve_before(&peer, &environment);
    let p12 = STANDARD.encode(Authority::new().apple_certificate(TOPIC).build().p12(""));
    let calls = [
        ("/register_application", format!(r#"{{"application_id":"app","apns_p12":"{p12}"}}"#)),
        (
            "/send_notification",
            format!(r#"{{"application_id":"app","device_token":"{TOKEN}","alert":"x"}}"#),
        ),
        (
            "/send_notification",
            r#"{"gcm_api_key":"key","device_token":"42","alert":"x"}"#.to_owned(),
        ),
    ];
    let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
    for (path, body) in calls {
        let call = client.post(format!("http://{}{path}", process.address())).body(body);
        let answer = call.header("content-type", "application/json").send().await.unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    }

    assert_eq!(proxy.asked(), Vec::<String>::new());
}
