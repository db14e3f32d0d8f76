//! One stream ends before its answer: `RST_STREAM` (RFC 9113 §6.4).

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use futures_util::future::join_all;
use uuid::Uuid;

use super::{HUNDRED_STREAMS, assert_all, assert_retried, assert_true, count, meet, number};
use crate::support::scripted_peer::{
    CANCEL, Conn, INTERNAL_ERROR, NO_ERROR, REFUSED_STREAM, STREAMS, WINDOW,
};

/// Resets the first try of every third message.
async fn resets(mut conn: Conn, code: u32, tried: Arc<Mutex<HashSet<String>>>) {
    conn.settings(HUNDRED_STREAMS).await;
    while let Some(request) = conn.request().await {
        let is_first = tried.lock().unwrap().insert(request.message.clone());
        if is_first && number(&request).is_multiple_of(3) {
            conn.reset(request.stream, code).await;
        } else {
            conn.accept(&request).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_stream_goes_out_again() {
    let tried = Arc::default();
    let (bench, peer) =
        meet(|_| (), move |conn| resets(conn, REFUSED_STREAM, Arc::clone(&tried))).await;

    let told = bench.load(150).await;

    assert_all(&told, "ok");
    assert_true(&told, &peer.record);
    assert_retried(50, &peer.record);
    bench.relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_reset_with_any_other_code_is_unknown_and_harms_no_other() {
    for code in [INTERNAL_ERROR, CANCEL, NO_ERROR, 0xffff] {
        let tried = Arc::default();
        let (bench, peer) = meet(|_| (), move |conn| resets(conn, code, Arc::clone(&tried))).await;

        let told = bench.load(60).await;

        assert_eq!((count(&told, "unknown"), count(&told, "ok")), (20, 40), "code {code}");
        assert_true(&told, &peer.record);
        assert_eq!(peer.record.connections(), 1);
        bench.relay.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unanswered_message_goes_out_once_more_if_its_caller_wants_that() {
    let tried = Arc::default();
    let (bench, peer) =
        meet(|_| (), move |conn| resets(conn, INTERNAL_ERROR, Arc::clone(&tried))).await;

    let calls = (0..30).map(|_| bench.send_with(&[("at_least_once", "true")]));
    let told = join_all(calls).await;

    assert_all(&told, "ok");
    assert_true(&told, &peer.record);
    assert_retried(10, &peer.record);
    bench.relay.stop().await;
}

/// RFC 9113 §8.1: a server may answer before it has the whole request, and then reset the stream
/// with `NO_ERROR`.
#[tokio::test(flavor = "multi_thread")]
async fn an_early_answer_followed_by_a_reset_is_an_answer() {
    let (bench, peer) = meet(
        |_| (),
        |mut conn| async move {
            conn.settings(HUNDRED_STREAMS).await;
            while let Some(head) = conn.opened().await {
                conn.refuse(head.stream, 400, "PayloadEmpty").await;
                conn.reset(head.stream, NO_ERROR).await;
            }
        },
    )
    .await;

    let told = bench.load(100).await;

    assert_all(&told, "apns_rejected");
    assert_true(&told, &peer.record);
    bench.relay.stop().await;
}

/// The first hundred are taken by their heads alone: their bodies find the window shut.
async fn takes_a_hundred_unread(mut conn: Conn, is_reset: bool) {
    conn.settings(&[(STREAMS, 100), (WINDOW, 0)]).await;
    let mut answered = HashSet::new();
    for _ in 0..100 {
        let Some(head) = conn.opened().await else { return };
        answered.insert(head.stream);
        conn.take_unread(&head);
        conn.status(head.stream, 200).await;
        if is_reset {
            conn.reset(head.stream, NO_ERROR).await;
        }
    }
    conn.settings(&[(WINDOW, 65_535)]).await;
    while let Some(request) = conn.request().await {
        // Without a reset a body may still come, and is of no interest.
        if !answered.contains(&request.stream) {
            conn.accept(&request).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_before_its_body_came_is_taken_and_its_connection_goes_on() {
    for is_reset in [true, false] {
        let change = |config: &mut pushlet::config::Config| {
            config.apns.connections_per_application = 1;
        };
        let (bench, peer) = meet(change, move |conn| takes_a_hundred_unread(conn, is_reset)).await;
        // The witness knows them by their ids, for it did not read their text.
        let early = (0..100).map(|_| async {
            let id = Uuid::new_v4().to_string();
            let (_, answer) = bench.send_with(&[("apns_id", &id)]).await;
            (id, answer)
        });

        let told = join_all(early).await;
        let later = bench.load(50).await;

        assert_all(&told, "ok");
        assert_all(&later, "ok");
        assert!(!is_reset || peer.record.arrived().len() == 50, "no body of the first ones came");
        assert_true(&[told, later].concat(), &peer.record);
        assert_eq!(peer.record.connections(), 1);
        bench.relay.stop().await;
    }
}

/// As many are answered as two times the streams that are allowed, and no body is ever read.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_answered_early_gives_its_stream_back() {
    let change = |config: &mut pushlet::config::Config| {
        super::short(config);
        config.apns.connections_per_application = 1;
    };
    let (bench, peer) = meet(change, |mut conn| async move {
        conn.settings(&[(STREAMS, 50), (WINDOW, 0)]).await;
        while let Some(head) = conn.opened().await {
            conn.refuse(head.stream, 400, "PayloadEmpty").await;
        }
    })
    .await;

    let told = bench.load(100).await;
    let later = bench.load(50).await;

    let told = [told, later].concat();
    assert_all(&told, "apns_rejected");
    assert_true(&told, &peer.record);
    assert_eq!(peer.record.connections(), 1);
    bench.relay.stop().await;
}

/// A refusal whose reason was lost: the message was not accepted, and whether its token is dead is
/// learnt by asking again.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_broke_off_is_asked_for_again() {
    let tried: Arc<Mutex<HashSet<String>>> = Arc::default();
    let script = move |mut conn: Conn| {
        let tried = Arc::clone(&tried);
        async move {
            conn.settings(HUNDRED_STREAMS).await;
            while let Some(request) = conn.request().await {
                if tried.lock().unwrap().insert(request.message.clone()) {
                    conn.half_answer(request.stream, 410, "{\"reason\":").await;
                    conn.reset(request.stream, INTERNAL_ERROR).await;
                } else {
                    conn.refuse(request.stream, 410, "Unregistered").await;
                }
            }
        }
    };
    let (bench, peer) = meet(|_| (), script).await;

    let told = bench.load(20).await;

    for (_, answer) in &told {
        let heard = (answer.status, answer.error());
        assert_eq!(heard, (410, "device_token_unregistered".to_owned()), "{}", answer.body);
    }
    assert_true(&told, &peer.record);
    bench.relay.stop().await;
}
