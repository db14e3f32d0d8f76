//! No connection: refused, no name, no answer.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::multipart::{Form, Part};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use url::Url;

use super::{
    Bench, HUNDRED_STREAMS, PATIENCE, assert_all, assert_true, count, healthy, meet, short,
};
use crate::support::keys::Authority;
use crate::support::process::Process;
use crate::support::relay::{TOKEN, TOPIC};
use crate::support::scripted_peer::{LAST, ScriptedPeer, Tls};
use crate::support::tools::require;
use crate::support::wire::{SEND, seen};

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_connection_sends_nothing_and_the_next_send_works() {
    let authority = Authority::new();
    // Bound and not listening: the port is ours, and whoever connects is refused.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let bench = Bench::start(&authority, socket.local_addr().unwrap(), short).await;

    let told = bench.load(100).await;
    assert_all(&told, "not_sent");
    assert_eq!(told[0].1.status, 503);

    let peer = ScriptedPeer::start_on(socket.listen(1024).unwrap(), &Tls::new(&authority), healthy);
    let later = bench.recovers().await;
    assert_true(&later, &peer.record);
    bench.relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_does_not_exist_sends_nothing() {
    let url = Url::parse("https://apple.invalid").unwrap();
    let bench = Bench::at(&Authority::new(), url, short).await;

    let told = bench.load(50).await;

    assert_all(&told, "not_sent");
    bench.relay.stop().await;
}

/// A name that nobody knows at first and everybody later. It is looked up in a file by a library
/// that is loaded before the system's.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_comes_to_exist_is_found_by_the_next_send() {
    const LIBRARY: &str = "libnss_wrapper.so";
    let probe = format!("! env LD_PRELOAD={LIBRARY} true 2>&1 | grep -q .");
    if !require("libnss-wrapper", &["sh", "-c", &probe]) {
        return;
    }
    let authority = Authority::new();
    let identity = authority.server_certificate(&["apple.invalid"]);
    let tls = Tls { identity, ..Tls::new(&authority) };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://apple.invalid:{}", listener.local_addr().unwrap().port());
    let peer = ScriptedPeer::start_on(listener, &tls, healthy);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.into_os_string().into_string().unwrap()
    };
    let (ca_file, hosts) = (file("ca.pem", &authority.pem()), file("hosts", b""));
    let relay = Process::serve(&[
        ("LD_PRELOAD", LIBRARY),
        ("NSS_WRAPPER_HOSTS", &hosts),
        ("PUSHLET_APNS__PRODUCTION_URL", &url),
        ("PUSHLET_APNS__CA_FILE", &ca_file),
        ("PUSHLET_APNS__TIMEOUT", "2s"),
    ]);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let at = format!("http://{}", relay.address());
    let certificate = authority.apple_certificate(TOPIC).build().p12("");
    let form = Form::new()
        .text("application_id", "app")
        .part("apns_p12", Part::bytes(certificate).file_name("cert.p12"));
    let registered = client.post(format!("{at}/register_application")).multipart(form);
    assert_eq!(seen(registered).await.status, 200);
    let send = |number: usize| {
        let alert = format!("message {number}");
        let body = format!("application_id=app&device_token={TOKEN}&alert={alert}");
        let request = client.post(format!("{at}{SEND}"));
        let form = ("content-type", "application/x-www-form-urlencoded");
        let call = seen(request.header(form.0, form.1).body(body));
        async move { (alert, timeout(PATIENCE, call).await.expect("an answer")) }
    };

    let told = join_all((0..50).map(send)).await;

    assert_all(&told, "not_sent");
    // The library takes notice of another file at once, and of another time of writing by the
    // second.
    std::fs::rename(file("hosts.new", b"127.0.0.1 apple.invalid\n"), hosts).unwrap();
    let mut later = vec![send(50).await];
    let until = Instant::now() + PATIENCE;
    while later.last().is_some_and(|(_, seen)| seen.status != 200) {
        assert!(Instant::now() < until, "it does not recover: {later:?}");
        sleep(Duration::from_millis(20)).await;
        later.push(send(50 + later.len()).await);
    }
    assert_true(&[told, later].concat(), &peer.record);
}

/// A listener whose backlog is full: the system drops what asks for a connection, as a firewall
/// does.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_black_hole_on_the_way_sends_nothing_and_the_next_send_works() {
    let authority = Authority::new();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut fillers = Vec::new();
    let connects = Duration::from_millis(300);
    while let Ok(filler) = timeout(connects, TcpStream::connect(address)).await {
        fillers.push(filler.unwrap());
        assert!(fillers.len() < 16, "the backlog is never full");
    }
    let bench = Bench::start(&authority, address, short).await;

    let start = Instant::now();
    let told = bench.load(100).await;

    assert_all(&told, "not_sent");
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    drop(fillers);
    let peer = ScriptedPeer::start_on(listener, &Tls::new(&authority), healthy);
    let later = bench.recovers().await;
    assert_true(&later, &peer.record);
    bench.relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_takes_connections_and_says_nothing_until_it_does_holds_nobody_up() {
    let authority = Authority::new();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let bench = Bench::start(&authority, silent.local_addr().unwrap(), short).await;

    let told = bench.load(100).await;

    assert_all(&told, "not_sent");
    let peer = ScriptedPeer::start_on(silent, &Tls::new(&authority), healthy);
    let mut later = bench.recovers().await;
    later.extend(bench.load(50).await);
    assert_all(&later[later.len() - 50..], "ok");
    assert_true(&[told, later].concat(), &peer.record);
    bench.relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_closes_every_connection_is_not_stormed() {
    let (bench, peer) = meet(short, |conn| async move {
        conn.settings(HUNDRED_STREAMS).await;
        conn.goaway(0, 0, "").await;
    })
    .await;

    let told = bench.load(100).await;

    assert_true(&told, &peer.record);
    assert_eq!(count(&told, "not_sent"), 100);
    // Without a growing pause it would be hundreds in these two seconds.
    assert!(peer.record.connections() < 30, "{} connections", peer.record.connections());
    bench.relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dial_that_takes_long_delays_and_loses_nothing() {
    let (bench, peer) = meet(
        |_| (),
        |mut conn| async move {
            sleep(Duration::from_millis(500)).await;
            conn.settings(HUNDRED_STREAMS).await;
            conn.accept_all().await;
        },
    )
    .await;

    let told = bench.load(100).await;

    assert_all(&told, "ok");
    assert_true(&told, &peer.record);
    bench.relay.stop().await;
}

/// Each connection takes calls and leaves without an answer: it must not count as a success.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_never_answers_before_it_leaves_is_not_stormed() {
    let (bench, peer) = meet(
        |_| (),
        |mut conn| async move {
            conn.settings(HUNDRED_STREAMS).await;
            conn.requests(1).await;
            conn.goaway(LAST, 0, "").await;
            // Meanwhile the next call is there, and finds the connection left.
            sleep(Duration::from_millis(50)).await;
        },
    )
    .await;

    let until = Instant::now() + Duration::from_secs(3);
    let calling = (0..4).map(|_| async {
        let mut told = Vec::new();
        while Instant::now() < until {
            told.push(bench.send().await);
        }
        told
    });
    let told = join_all(calling).await.concat();

    assert_true(&told, &peer.record);
    assert!(peer.record.connections() < 20, "{} connections", peer.record.connections());
    bench.relay.stop().await;
}
