//! The peer leaves: GOAWAY (RFC 9113 §6.8) in all its forms.

use std::time::Duration;

use super::{
    HUNDRED_STREAMS, Told, assert_all, assert_retried, assert_true, count, eventually, meet, short,
    word,
};
use crate::support::scripted_peer::{Conn, ENHANCE_YOUR_CALM, LAST, NO_ERROR, REFUSED_STREAM};

/// Takes 40 requests, answers those up to the 20th after a GOAWAY that names the stream that
/// `last` gives for the 20th, and leaves; later connections accept everything.
async fn leaves_once(mut conn: Conn, last: fn(u32) -> u32) {
    conn.settings(HUNDRED_STREAMS).await;
    if conn.number > 0 {
        return conn.accept_all().await;
    }
    let requests = conn.requests(40).await;
    let middle = requests[19].stream;
    conn.goaway(last(middle), NO_ERROR, "").await;
    for request in requests.iter().filter(|request| request.stream <= middle) {
        conn.accept(request).await;
    }
    // Closing at once would reset the connection, and what was answered would be lost.
    let _ = tokio::time::timeout(Duration::from_millis(300), conn.ignore_all()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_goaway_leaves_out_goes_out_again() {
    let (bench, peer) = meet(|_| (), |conn| leaves_once(conn, |middle| middle)).await;

    let told = bench.load(100).await;

    assert_all(&told, "ok");
    assert_true(&told, &peer.record);
    assert_retried(20, &peer.record);
    bench.relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_goaway_includes_and_nobody_answers_is_unknown() {
    let (bench, peer) = meet(|_| (), |conn| leaves_once(conn, |_| LAST)).await;

    let told = bench.load(40).await;
    let later = bench.load(40).await;

    // Above the 20th nothing was said, though the GOAWAY included it.
    assert_eq!((count(&told, "unknown"), count(&told, "ok")), (20, 20));
    assert_all(&later, "ok");
    assert_true(&[told, later].concat(), &peer.record);
    bench.relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_goaway_below_everything_loses_nothing() {
    let (bench, peer) = meet(
        |_| (),
        |mut conn| async move {
            conn.settings(HUNDRED_STREAMS).await;
            if conn.number > 0 {
                return conn.accept_all().await;
            }
            conn.requests(40).await;
            conn.goaway(0, NO_ERROR, "").await;
            conn.ignore_all().await;
        },
    )
    .await;

    let told = bench.load(100).await;

    assert_all(&told, "ok");
    assert_true(&told, &peer.record);
    bench.relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graceful_pair_of_goaways_loses_nothing() {
    let (bench, peer) = meet(
        |_| (),
        |mut conn| async move {
            conn.settings(HUNDRED_STREAMS).await;
            if conn.number > 0 {
                return conn.accept_all().await;
            }
            let requests = conn.requests(40).await;
            conn.goaway(LAST, NO_ERROR, "").await;
            let answering = conn.answering();
            // What was on its way meanwhile counts as well.
            let late = tokio::time::timeout(Duration::from_millis(300), conn.requests(60)).await;
            assert!(late.is_err(), "new requests go elsewhere");
            let last = requests.last().map_or(0, |request| request.stream);
            answering.goaway(last, NO_ERROR, "").await;
            for request in &requests {
                answering.accept(request).await;
            }
            conn.ignore_all().await;
        },
    )
    .await;

    let told = bench.load(40).await;
    let later = bench.load(40).await;

    for told in [&told, &later] {
        assert_all(told, "ok");
        assert_true(told, &peer.record);
    }
    eventually("the old connection is closed", || peer.record.open() == 1).await;
    bench.relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_leaves_after_every_ten_requests_loses_nothing() {
    let (bench, peer) = meet(
        |_| (),
        |mut conn| async move {
            conn.settings(HUNDRED_STREAMS).await;
            let requests = conn.requests(10).await;
            let last = requests.last().map_or(0, |request| request.stream);
            conn.goaway(last, NO_ERROR, "").await;
            for request in &requests {
                conn.accept(request).await;
            }
            conn.ignore_all().await;
        },
    )
    .await;

    let mut told = Vec::new();
    for _ in 0..6 {
        told.extend(bench.load(30).await);
    }

    assert_all(&told, "ok");
    assert_true(&told, &peer.record);
    bench.relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_asks_for_calm_is_believed_about_what_it_took() {
    let (bench, peer) = meet(
        |_| (),
        |mut conn| async move {
            conn.settings(HUNDRED_STREAMS).await;
            if conn.number > 0 {
                return conn.accept_all().await;
            }
            let requests = conn.requests(40).await;
            for request in &requests[..10] {
                conn.accept(request).await;
            }
            conn.goaway(requests[9].stream, ENHANCE_YOUR_CALM, "too fast").await;
            conn.ignore_all().await;
        },
    )
    .await;

    let told = bench.load(100).await;

    assert_all(&told, "ok");
    assert_true(&told, &peer.record);
    bench.relay.stop().await;
}

/// Apple's word for more streams than it allows; the pool must not stay slow for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_was_overrun_gets_fewer_streams_and_not_one_at_a_time() {
    let change = |config: &mut pushlet::config::Config| {
        config.apns.connections_per_application = 1;
    };
    let (bench, peer) = meet(change, |mut conn| async move {
        conn.settings(&[(crate::support::scripted_peer::STREAMS, 1_000)]).await;
        if conn.number > 0 {
            // All of them at once, or none is answered.
            let requests = conn.requests(100).await;
            for request in &requests {
                conn.accept(request).await;
            }
            return conn.accept_all().await;
        }
        conn.requests(50).await;
        conn.goaway(0, REFUSED_STREAM, "Maximum active streams violated for this endpoint.").await;
        conn.ignore_all().await;
    })
    .await;

    let told = bench.load(100).await;

    assert_all(&told, "ok");
    assert_true(&told, &peer.record);
    bench.relay.stop().await;
}

fn assert_credentials_rejected(told: &[Told], reason: &str) {
    for (_, answer) in told {
        let json = answer.json();
        assert_eq!(
            (answer.status, json["error"].as_str(), json["reason"].as_str()),
            (502, Some("apns_credentials_rejected"), Some(reason)),
            "{json}"
        );
    }
}

/// The text that `transport/error.rs` reads is that of the `h2` in use.
#[tokio::test(flavor = "multi_thread")]
async fn a_goaway_about_our_certificate_gives_its_reason() {
    for (code, last) in [(NO_ERROR, 0), (2, 0), (NO_ERROR, LAST)] {
        let (bench, peer) = meet(short, move |mut conn| async move {
            conn.settings(HUNDRED_STREAMS).await;
            conn.requests(1).await;
            conn.goaway(last, code, r#"{"reason":"BadCertificateEnvironment"}"#).await;
            let _ = tokio::time::timeout(Duration::from_millis(300), conn.ignore_all()).await;
        })
        .await;

        let told = bench.load(20).await;

        assert_credentials_rejected(&told, "BadCertificateEnvironment");
        assert_true(&told, &peer.record);
        bench.relay.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_goaway_before_any_request_gives_its_reason() {
    let (bench, peer) = meet(
        |_| (),
        |conn| async move {
            conn.settings(HUNDRED_STREAMS).await;
            conn.fall_silent();
            conn.goaway(0, NO_ERROR, r#"{"reason":"BadCertificate"}"#).await;
            tokio::time::sleep(Duration::from_secs(5)).await;
        },
    )
    .await;

    let told = bench.load(20).await;

    assert_credentials_rejected(&told, "BadCertificate");
    assert!(peer.record.connections() < 5, "{}", peer.record.connections());
    bench.relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_goaway_for_another_reason_is_no_matter_of_the_credential() {
    let (bench, peer) = meet(
        |_| (),
        |mut conn| async move {
            conn.settings(HUNDRED_STREAMS).await;
            if conn.number > 0 {
                return conn.accept_all().await;
            }
            conn.requests(20).await;
            conn.goaway(0, NO_ERROR, r#"{"reason":"Shutdown"}"#).await;
            conn.ignore_all().await;
        },
    )
    .await;

    let told: Vec<Told> = bench.load(50).await;

    assert!(told.iter().all(|call| word(call) == "ok"), "{told:?}");
    assert_true(&told, &peer.record);
    bench.relay.stop().await;
}
