//! A credential is registered anew under load.

use super::{HUNDRED_STREAMS, assert_all, assert_true, eventually, meet};

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
