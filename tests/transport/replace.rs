//! Credentials are registered anew, and applications removed, under load and among faults.

use std::sync::atomic::{AtomicBool, Ordering};

use pushlet::apps::preload::{Preload, Source};

use super::{
    Bench, HUNDRED_STREAMS, assert_all, assert_true, count, eventually, meet, short, word,
};
use crate::support::keys::Authority;
use crate::support::relay::TOPIC;
use crate::support::scripted_peer::{Conn, ENHANCE_YOUR_CALM, REFUSED_STREAM, ScriptedPeer, Tls};

#[tokio::test(flavor = "multi_thread")]
async fn registering_anew_under_load_fails_no_send_and_closes_the_old_connections() {
    let (bench, peer) = meet(
        |_| (),
        |mut conn| async move {
            conn.settings(HUNDRED_STREAMS).await;
            while let Some(request) = conn.request().await {
                let answering = conn.answering();
                tokio::spawn(async move {
                    tokio::time::sleep(std::time::Duration::from_millis(30)).await;
                    answering.accept(&request).await;
                });
            }
        },
    )
    .await;

    let sending = async {
        let mut told = Vec::new();
        for _ in 0..20 {
            told.extend(bench.load(50).await);
        }
        told
    };
    let registering = async {
        for _ in 0..10 {
            tokio::time::sleep(std::time::Duration::from_millis(60)).await;
            bench.relay.register("app").await;
        }
    };
    let (mut told, ()) = tokio::join!(sending, registering);
    told.extend(bench.load(50).await);

    assert_all(&told, "ok");
    assert_true(&told, &peer.record);
    assert!(peer.record.connections() > 5, "{}", peer.record.connections());
    eventually("the old connections are closed", || peer.record.open() <= 4).await;
    // The rest belongs to the last credential: another one ends them as well.
    bench.relay.register("app").await;
    eventually("all connections are closed", || peer.record.open() == 0).await;
    assert_all(&bench.load(10).await, "ok");
    bench.relay.stop().await;
}

/// Each connection takes some calls, answers half of them and ends in its own way.
async fn fails(mut conn: Conn) {
    conn.settings(HUNDRED_STREAMS).await;
    let requests = conn.requests(7).await;
    for request in requests.iter().step_by(2) {
        conn.accept(request).await;
    }
    let last = requests.last().map_or(0, |request| request.stream);
    match conn.number % 4 {
        0 => conn.goaway(last, 0, "").await,
        1 => conn.reset(last, REFUSED_STREAM).await,
        2 => conn.goaway(0, ENHANCE_YOUR_CALM, "").await,
        // It breaks.
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replacing_and_removing_among_faults_tells_nobody_what_is_not_so() {
    let authority = Authority::new();
    let peer = ScriptedPeer::start(&Tls::new(&authority), fails).await;
    let folder = tempfile::tempdir().unwrap();
    let p12 = folder.path().join("app.p12");
    let fresh = || Authority::new().apple_certificate(TOPIC).build().p12("");
    std::fs::write(&p12, fresh()).unwrap();
    let named = Preload {
        application_id: "app".to_owned(),
        apns_p12: Some(Source::File(p12.clone())),
        ..Preload::default()
    };
    let bench = Bench::start(&authority, peer.address, |config| {
        short(config);
        config.applications = vec![named];
    })
    .await;

    let is_over = AtomicBool::new(false);
    let sending = async {
        let mut told = Vec::new();
        // Where the machine is slow, each registration may have been replaced before it connected.
        while !is_over.load(Ordering::Relaxed) || count(&told, "ok") == 0 && told.len() < 6_000 {
            told.extend(bench.load(30).await);
        }
        told
    };
    let changing = async {
        for round in 1..12 {
            tokio::time::sleep(std::time::Duration::from_millis(40)).await;
            match round % 4 {
                0 => {
                    bench.relay.reload(|config| config.applications.clear()).unwrap();
                    let removed = bench.send().await;
                    assert_eq!(word(&removed), "application_not_found", "{removed:?}");
                }
                2 => bench.relay.register("app").await,
                _ => {
                    std::fs::write(&p12, fresh()).unwrap();
                    drop(bench.relay.reload(|_| ()).unwrap());
                }
            }
        }
    };
    let changing = async {
        changing.await;
        is_over.store(true, Ordering::Relaxed);
    };
    let (told, ()) = tokio::join!(sending, changing);

    assert_true(&told, &peer.record);
    let known = ["ok", "not_sent", "unknown", "application_not_found"];
    for call in &told {
        assert!(known.contains(&word(call).as_str()), "{call:?}");
    }
    assert!(count(&told, "ok") > 0);
    bench.relay.stop().await;
}
