//! The flow-control window is full (RFC 9113 §5.2): bodies are stuck, some of them half written.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{
    Bench, HUNDRED_STREAMS, Told, assert_all, assert_true, count, filler, healthy, meet, short,
};
use crate::support::scripted_peer::{Conn, ScriptedPeer};

/// The first connection takes what fits into its first window, and grants no more until it is told.
async fn grants_nothing(mut conn: Conn, mut is_open: watch::Receiver<bool>) {
    if conn.number > 0 {
        return healthy(conn).await;
    }
    conn.shut_window();
    conn.settings(HUNDRED_STREAMS).await;
    let answering = conn.answering();
    let opening = async { drop(is_open.wait_for(|is_open| *is_open).await) };
    tokio::pin!(opening);
    loop {
        tokio::select! {
            request = conn.request() => match request {
                Some(request) => answering.accept(&request).await,
                None => return,
            },
            () = &mut opening => break,
        }
    }
    conn.reopen_window(1 << 20).await;
    conn.accept_all().await;
}

/// A relay with two applications, the first of which has the first connection.
async fn two_applications(
    connections: usize,
) -> (Bench, ScriptedPeer, watch::Sender<bool>, Vec<Told>) {
    let (open, is_open) = watch::channel(false);
    let change = |config: &mut pushlet::config::Config| {
        short(config);
        config.apns.connections_per_application = connections;
    };
    let (bench, peer) = meet(change, move |conn| grants_nothing(conn, is_open.clone())).await;
    bench.relay.register("other").await;
    let first = bench.load(1).await;
    (bench, peer, open, first)
}

/// A hundred messages of an application, twice as many as the window has room for.
async fn fill(bench: &Bench, application_id: &str) -> Vec<Told> {
    let data = filler();
    let fields = [("data", &*data)];
    join_all((0..100).map(|_| bench.send_as(application_id, &fields))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_window_is_told_as_it_is_and_used_again_when_it_opens() {
    let (bench, peer, open, first) = two_applications(1).await;

    let (told, other) = tokio::join!(fill(&bench, "app"), fill(&bench, "other"));
    assert_all(&other, "ok");
    let stuck = count(&told, "unknown");
    assert!(stuck > 40, "{stuck} are under way");
    assert_eq!(count(&told, "ok") + stuck + count(&told, "not_sent"), 100);
    // What has no room to be written whole was not taken, and nobody was told that it was.
    let before = [first, told, other].concat();
    assert_true(&before, &peer.record);
    assert_eq!(peer.record.accepted().len(), count(&before, "ok"));

    open.send(true).unwrap();
    let mut later = bench.recovers().await;
    later.extend(fill(&bench, "app").await);

    assert_all(&later[later.len() - 100..], "ok");
    assert_true(&[before, later].concat(), &peer.record);
    assert_eq!(peer.record.connections(), 2, "one for each application");
    bench.relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_never_opens_is_left_for_another_connection() {
    let (bench, peer, _open, first) = two_applications(4).await;

    let (told, other) = tokio::join!(fill(&bench, "app"), fill(&bench, "other"));
    let mut later = Vec::new();
    let start = Instant::now();
    // Longer than the callers of what is stuck wait, and a while after that.
    while start.elapsed() < Duration::from_secs(6) {
        later.extend(fill(&bench, "app").await);
    }

    assert_all(&other, "ok");
    assert!(count(&told, "unknown") > 0, "{told:?}");
    assert_all(&later, "ok");
    assert_true(&[first, told, other, later].concat(), &peer.record);
    bench.relay.stop().await;
}
