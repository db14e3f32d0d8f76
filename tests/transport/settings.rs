//! How many streams the peer allows, and when it says so.

use std::time::Duration;

use super::{HUNDRED_STREAMS, assert_all, assert_true, count, eventually, healthy, meet, short};
use crate::support::scripted_peer::{Conn, STREAMS};

/// Accepts one request after the other, and fails the test when more than `limit` are open.
async fn accept_at_most(conn: &mut Conn, limit: usize) {
    let mut open = Vec::new();
    loop {
        let pause = tokio::time::sleep(Duration::from_millis(5));
        tokio::select! {
            biased;
            request = conn.request() => match request {
                Some(request) => open.push(request),
                None => return,
            },
            () = pause, if !open.is_empty() => {
                assert!(open.len() <= limit, "{} streams are open", open.len());
                for request in open.drain(..) {
                    conn.accept(&request).await;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_settings_nothing_is_sent() {
    let (bench, peer) = meet(short, |mut conn| async move {
        conn.fall_silent();
        conn.ignore_all().await;
    })
    .await;

    let told = bench.load(50).await;

    assert_all(&told, "not_sent");
    assert_eq!(peer.record.arrived(), Vec::<String>::new());
    bench.relay.stop().await;
}

/// It breaks RFC 9113 §3.4 and is served as far as that is safe: by one request at a time.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_answers_pings_and_sends_no_settings_gets_one_request_at_a_time() {
    let (bench, peer) =
        meet(|_| (), |mut conn| async move { accept_at_most(&mut conn, 1).await }).await;

    let told = bench.load(100).await;
    let later = bench.load(10).await;

    assert_all(&told, "ok");
    assert_all(&later, "ok");
    assert_true(&[told, later].concat(), &peer.record);
    bench.relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_answers_pings_and_nothing_else_costs_one_message_a_connection() {
    let change = |config: &mut pushlet::config::Config| {
        config.apns.timeout = Duration::from_secs(5);
    };
    let (bench, peer) = meet(change, |mut conn| async move {
        if conn.number >= 2 {
            return healthy(conn).await;
        }
        while let Some(request) = conn.request().await {
            conn.take(&request);
        }
    })
    .await;

    let told = bench.load(100).await;
    let later = bench.load(50).await;

    assert_eq!((count(&told, "unknown"), count(&told, "ok")), (2, 98));
    assert_all(&later, "ok");
    assert_true(&[told, later].concat(), &peer.record);
    bench.relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_stream_carries_all_one_after_the_other() {
    let (bench, peer) = meet(
        |_| (),
        |mut conn| async move {
            conn.settings(&[(STREAMS, 1)]).await;
            accept_at_most(&mut conn, 1).await;
        },
    )
    .await;

    let told = bench.load(100).await;

    assert_all(&told, "ok");
    assert_true(&told, &peer.record);
    assert!(peer.record.connections() <= 4);
    bench.relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_streams_means_nothing_is_sent() {
    let (bench, peer) = meet(short, |mut conn| async move {
        conn.settings(&[(STREAMS, 0)]).await;
        conn.ignore_all().await;
    })
    .await;

    let told = bench.load(50).await;

    assert_all(&told, "not_sent");
    assert_eq!(told[0].1.status, 504);
    assert_eq!(peer.record.arrived(), Vec::<String>::new());
    bench.relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_wait_while_no_streams_are_allowed_and_go_out_when_some_are() {
    let (bench, peer) = meet(
        |_| (),
        |mut conn| async move {
            conn.settings(&[(STREAMS, 0)]).await;
            tokio::time::sleep(Duration::from_millis(700)).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_shrinks_under_load_is_kept_and_one_that_grows_is_used() {
    let change = |config: &mut pushlet::config::Config| {
        config.apns.connections_per_application = 1;
    };
    let (bench, peer) = meet(change, |mut conn| async move {
        conn.settings(&[(STREAMS, 50)]).await;
        let open = conn.requests(50).await;
        conn.settings(&[(STREAMS, 1)]).await;
        for request in &open {
            conn.accept(request).await;
        }
        // What had left before the limit was known is allowed; then they come one by one.
        for _ in 0..20 {
            let Some(request) = conn.request().await else { return };
            conn.accept(&request).await;
        }
        conn.settings(&[(STREAMS, 0)]).await;
        conn.settings(&[(STREAMS, 30)]).await;
        let open = conn.requests(30).await;
        for request in &open {
            conn.accept(request).await;
        }
        accept_at_most(&mut conn, 30).await;
    })
    .await;

    let told = bench.load(300).await;

    assert_all(&told, "ok");
    assert_true(&told, &peer.record);
    eventually("one connection", || peer.record.connections() == 1).await;
    bench.relay.stop().await;
}
