//! Connections that break, stall and fall silent.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{
    Bench, HUNDRED_STREAMS, assert_all, assert_true, count, eventually, healthy, meet, short,
};
use crate::support::chaos_proxy::ChaosProxy;
use crate::support::keys::Authority;
use crate::support::scripted_peer::{Conn, STREAMS, ScriptedPeer, Tls, WINDOW};

/// A healthy peer, and a relay that reaches it through a network.
async fn through_a_network(
    change: impl FnOnce(&mut pushlet::config::Config),
) -> (Bench, ChaosProxy, ScriptedPeer) {
    let authority = Authority::new();
    let peer = ScriptedPeer::start(&Tls::new(&authority), healthy).await;
    let proxy = ChaosProxy::start(peer.address).await;
    let bench = Bench::start(&authority, proxy.address, change).await;
    (bench, proxy, peer)
}

#[derive(Debug, Clone, Copy)]
enum Break {
    AfterHeaders,
    BeforeHeaders,
    DuringHeaders,
    HalfABody,
    HalfARefusal,
}

/// The first connection takes 30 requests, answers 10 and breaks.
async fn breaks(mut conn: Conn, how: Break) {
    conn.settings(HUNDRED_STREAMS).await;
    if conn.number > 0 {
        return conn.accept_all().await;
    }
    let requests = conn.requests(30).await;
    for request in &requests[..10] {
        conn.accept(request).await;
    }
    for request in &requests[10..] {
        match how {
            Break::AfterHeaders => {
                conn.take(request);
                conn.half_answer(request.stream, 200, "").await;
            }
            Break::BeforeHeaders => {}
            Break::DuringHeaders => {
                conn.half_headers(request.stream).await;
                break;
            }
            Break::HalfABody => {
                conn.take(request);
                conn.half_answer(request.stream, 200, "{").await;
            }
            Break::HalfARefusal => conn.half_answer(request.stream, 400, "{\"reason\":").await,
        }
    }
}

/// A reset throws away what was answered and not read yet: nobody may be told that it was not sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_reset_leaves_nobody_in_the_dark() {
    for how in [
        Break::AfterHeaders,
        Break::BeforeHeaders,
        Break::DuringHeaders,
        Break::HalfABody,
        Break::HalfARefusal,
    ] {
        let authority = Authority::new();
        let tls = Tls { resets: true, ..Tls::new(&authority) };
        let peer = ScriptedPeer::start(&tls, move |conn| breaks(conn, how)).await;
        let bench = Bench::start(&authority, peer.address, |_| ()).await;

        let told = bench.load(30).await;
        let later = bench.load(30).await;

        let known = count(&told, "ok") + count(&told, "unknown");
        assert_eq!(known, 30, "{how:?}: {told:?}");
        if matches!(how, Break::BeforeHeaders | Break::DuringHeaders) {
            assert!(count(&told, "unknown") >= 20, "{how:?}: {told:?}");
        }
        assert_all(&later, "ok");
        assert_true(&[told, later].concat(), &peer.record);
        bench.relay.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_leaves_nobody_in_the_dark() {
    for (how, word) in [
        (Break::AfterHeaders, "ok"),
        (Break::BeforeHeaders, "unknown"),
        (Break::DuringHeaders, "unknown"),
        (Break::HalfABody, "ok"),
        // Not accepted, so it is asked again.
        (Break::HalfARefusal, "ok"),
    ] {
        let (bench, peer) = meet(|_| (), move |conn| breaks(conn, how)).await;

        let told = bench.load(30).await;
        let later = bench.load(30).await;

        let expected = if word == "ok" { (30, 0) } else { (10, 20) };
        let found = (count(&told, "ok"), told.len() - count(&told, "ok"));
        assert_eq!(found, expected, "{how:?}: {told:?}");
        assert_eq!(count(&told, word), 20 + 10 * usize::from(word == "ok"), "{how:?}: {told:?}");
        assert_all(&later, "ok");
        assert_true(&[told, later].concat(), &peer.record);
        bench.relay.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_cut_under_load_lie_to_nobody() {
    let (bench, proxy, peer) = through_a_network(|_| ()).await;
    proxy.delay(Duration::from_millis(10));

    let done = AtomicUsize::new(0);
    let sending = async {
        let mut told = Vec::new();
        for _ in 0..30 {
            told.extend(bench.load(40).await);
        }
        done.store(1, Ordering::SeqCst);
        told
    };
    let cutting = async {
        while done.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(400)).await;
            proxy.cut();
        }
    };
    let (told, ()) = tokio::join!(sending, cutting);

    assert_true(&told, &peer.record);
    assert!(count(&told, "ok") > 0, "none got through");
    bench.recovers().await;
    bench.relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_went_dead_while_idle_is_found_out_and_replaced() {
    let (bench, proxy, peer) = through_a_network(|config| {
        config.apns.keepalive_interval = Duration::from_millis(300);
        config.apns.keepalive_timeout = Duration::from_millis(300);
    })
    .await;
    assert_all(&bench.load(10).await, "ok");

    proxy.black_hole();
    let before = peer.record.connections();
    // The PING finds it out, with nobody waiting.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let told = bench.load(50).await;

    assert_all(&told, "ok");
    assert_true(&told, &peer.record);
    assert!(peer.record.connections() > before);
    bench.relay.stop().await;
}

/// Four that mostly wait, side by side.
#[tokio::test(flavor = "multi_thread")]
async fn silence_under_load_is_found_out() {
    tokio::join!(
        a_call_does_not_wait_for_connections_that_stall(),
        a_connection_that_goes_dead_under_load_is_given_up_before_the_calls_are(),
        a_peer_that_reads_no_more_is_left(),
        a_window_that_is_shut_holds_up_what_is_behind_it_and_nothing_else(),
    );
}

async fn a_connection_that_goes_dead_under_load_is_given_up_before_the_calls_are() {
    let (bench, proxy, peer) = through_a_network(|_| ()).await;
    assert_all(&bench.load(10).await, "ok");

    proxy.black_hole();
    let told = bench.load(50).await;

    // Not "timeout": the connection was found dead within the deadline of 10 s.
    assert_true(&told, &peer.record);
    for (_, answer) in &told {
        assert_eq!((answer.status, answer.error().as_str()), (503, "apns_unavailable"));
    }
    assert_all(&bench.load(50).await, "ok");
    bench.relay.stop().await;
}

async fn a_call_does_not_wait_for_connections_that_stall() {
    let (bench, proxy, peer) = through_a_network(|config| {
        config.apns.connections_per_application = 1;
    })
    .await;
    assert_all(&bench.load(10).await, "ok");

    proxy.black_hole();
    let (told, later) = tokio::join!(bench.load(20), async {
        // Until nothing was read for three seconds it cannot be known.
        tokio::time::sleep(Duration::from_millis(3_500)).await;
        let start = tokio::time::Instant::now();
        let told = bench.load(20).await;
        (told, start.elapsed())
    });

    assert_true(&[told, later.0.clone()].concat(), &peer.record);
    assert_all(&later.0, "ok");
    assert!(later.1 < Duration::from_secs(3), "{:?}", later.1);
    bench.relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_answers_no_ping_is_left() {
    let (bench, peer) = meet(
        |config| {
            config.apns.keepalive_interval = Duration::from_millis(200);
            config.apns.keepalive_timeout = Duration::from_millis(200);
        },
        |mut conn| async move {
            if conn.number >= 2 {
                return healthy(conn).await;
            }
            conn.settings(HUNDRED_STREAMS).await;
            let requests = conn.requests(10).await;
            for request in &requests {
                conn.accept(request).await;
            }
            conn.fall_silent();
            // What it takes now nobody hears of.
            while let Some(request) = conn.request().await {
                conn.take(&request);
            }
        },
    )
    .await;

    let idle = bench.load(10).await;
    eventually("the silent connection is closed", || peer.record.open() == 0).await;
    let busy = bench.load(50).await;
    let later = bench.load(10).await;

    assert_all(&idle, "ok");
    assert_eq!(count(&busy, "ok") + count(&busy, "unknown"), 50);
    assert!(count(&busy, "unknown") > 0, "what was taken in silence");
    assert_all(&later, "ok");
    assert_true(&[idle, busy, later].concat(), &peer.record);
    bench.relay.stop().await;
}

async fn a_window_that_is_shut_holds_up_what_is_behind_it_and_nothing_else() {
    let (bench, peer) = meet(short, |mut conn| async move {
        if conn.number > 0 {
            return healthy(conn).await;
        }
        conn.shut_window();
        conn.settings(&[(STREAMS, 100), (WINDOW, 10)]).await;
        conn.ignore_all().await;
    })
    .await;

    let told = bench.load(50).await;
    assert_all(&told, "unknown");

    // It answers PINGs, so it is not dead; after a while it gets no more calls all the same.
    let later = bench.recovers().await;
    assert_true(&[told, later].concat(), &peer.record);
    bench.relay.stop().await;
}

async fn a_peer_that_reads_no_more_is_left() {
    let (bench, peer) = meet(
        |_| (),
        |mut conn| async move {
            conn.settings(HUNDRED_STREAMS).await;
            if conn.number > 0 {
                return conn.accept_all().await;
            }
            let requests = conn.requests(10).await;
            for request in &requests {
                conn.accept(request).await;
            }
            conn.stop_reading();
            tokio::time::sleep(Duration::from_secs(30)).await;
        },
    )
    .await;
    assert_all(&bench.load(10).await, "ok");

    let told = bench.load(100).await;

    assert_true(&told, &peer.record);
    assert_all(&bench.load(50).await, "ok");
    bench.relay.stop().await;
}
