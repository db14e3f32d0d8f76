//! What the peer answers, in any order, form and time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::multipart::{Form, Part};
use tokio::time::{Instant, timeout};

use super::{
    HUNDRED_STREAMS, PATIENCE, Told, assert_all, assert_retried, assert_true, count, eventually,
    filler, meet, number, short, word,
};
use crate::support::keys::signing_key_p8;
use crate::support::relay::TOKEN;
use crate::support::scripted_peer::{Conn, STREAMS, ScriptedPeer};

#[tokio::test(flavor = "multi_thread")]
async fn answers_out_of_order_find_their_callers() {
    let (bench, peer) = meet(
        |_| (),
        |mut conn| async move {
            conn.settings(HUNDRED_STREAMS).await;
            let mut requests = conn.requests(100).await;
            requests.reverse();
            for request in &requests {
                if number(request).is_multiple_of(2) {
                    conn.accept(request).await;
                } else {
                    let reason = format!("Reason{}", number(request));
                    conn.refuse(request.stream, 400, &reason).await;
                }
            }
            conn.accept_all().await;
        },
    )
    .await;

    let told = bench.load(100).await;

    assert_true(&told, &peer.record);
    for (place, (_, answer)) in told.iter().enumerate() {
        let expected = if place % 2 == 0 { 200 } else { 400 };
        assert_eq!(answer.status, expected, "{place}: {}", answer.body);
        if expected == 400 {
            assert_eq!(answer.json()["reason"], format!("Reason{place}"));
        }
    }
    bench.relay.stop().await;
}

/// So many calls at once and one later, each of which is first answered so; a second try is accepted,
/// unless it comes too soon.
async fn answered_once(
    calls: usize,
    status: u16,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
) -> (Vec<Told>, ScriptedPeer) {
    let tried = Arc::<Mutex<HashMap<String, Instant>>>::default();
    let retry_after = headers.iter().find(|(name, _)| *name == "retry-after");
    let pause = Duration::from_secs(retry_after.map_or(0, |(_, secs)| secs.parse().unwrap()));
    let (bench, peer) = meet(
        |_| (),
        move |mut conn: Conn| {
            let tried = Arc::clone(&tried);
            async move {
                conn.settings(HUNDRED_STREAMS).await;
                while let Some(request) = conn.request().await {
                    let now = Instant::now();
                    let first = tried.lock().unwrap().insert(request.message.clone(), now);
                    match first {
                        None => conn.answer(request.stream, status, headers, body).await,
                        Some(first) if now - first < pause => {
                            conn.refuse(request.stream, 400, "TooSoon").await;
                        }
                        Some(_) => conn.accept(&request).await,
                    }
                }
            }
        },
    )
    .await;

    let mut told = bench.load(calls).await;
    told.push(bench.send().await);

    assert_true(&told, &peer.record);
    bench.relay.stop().await;
    (told, peer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_cannot_now_is_asked_once_more() {
    let unavailable = r#"{"reason":"ServiceUnavailable"}"#;
    for (status, headers, body) in [
        (500, &[][..], r#"{"reason":"InternalServerError"}"#),
        (500, &[], ""),
        (503, &[], ""),
        (503, &[], unavailable),
        (503, &[], r#"{"reason":"Shutdown"}"#),
        (503, &[("retry-after", "1")], unavailable),
        (503, &[("retry-after", "1")], ""),
        (500, &[("retry-after", "1")], r#"{"reason":"InternalServerError"}"#),
        (500, &[("retry-after", "1")], ""),
    ] {
        // As many repeats as an application has without having earned any.
        let (told, peer) = answered_once(10, status, headers, body).await;
        assert_all(&told, "ok");
        assert_retried(11, &peer.record);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_in_trouble_is_not_sent_twice_the_load() {
    let (told, _) = answered_once(100, 503, &[], "").await;

    let (ok, rest): (Vec<_>, Vec<_>) =
        told.into_iter().partition(|(_, answer)| answer.status == 200);
    assert!((10..50).contains(&ok.len()), "{} were repeated", ok.len());
    assert_all(&rest, "not_sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_answered_is_what_the_caller_hears() {
    let gone = r#"{"reason":"Unregistered","timestamp":1454948015990}"#;
    let many = r#"{"reason":"TooManyRequests"}"#;
    for (status, headers, body, expected) in [
        (410, &[][..], gone, (410, "device_token_unregistered")),
        (429, &[], many, (429, "apns_throttled")),
        (429, &[("retry-after", "7")], many, (429, "apns_throttled")),
        (429, &[], "", (429, "apns_throttled")),
        (400, &[], "<html>what?</html>", (502, "apns_protocol_error")),
        (404, &[], r#"{"reason":"BadPath"}"#, (502, "apns_protocol_error")),
        (403, &[], r#"{"reason":"InvalidProviderToken"}"#, (502, "apns_credentials_rejected")),
        // So long that it is no use to wait for it.
        (503, &[("retry-after", "3600")], "", (503, "apns_unavailable")),
        (500, &[("retry-after", "3600")], "", (503, "apns_unavailable")),
    ] {
        let (told, _) = answered_once(100, status, headers, body).await;
        for (_, answer) in told {
            let found = (answer.status, answer.error());
            assert_eq!(found, (expected.0, expected.1.to_owned()), "{}", answer.body);
        }
    }
}

/// Four times what we read at most: `h2` can't keep up the compression state then and ends the
/// connection (RFC 9113 §10.5.1). Its neighbours are not lied to, and the next send works.
#[tokio::test(flavor = "multi_thread")]
async fn headers_of_64_kib_are_no_answer() {
    let long: &'static str = "x".repeat(64 * 1024).leak();
    let (bench, peer) = meet(
        |_| (),
        move |mut conn| async move {
            conn.settings(HUNDRED_STREAMS).await;
            while let Some(request) = conn.request().await {
                if number(&request) % 10 == 5 {
                    conn.take(&request);
                    conn.answer(request.stream, 200, &[("x-long", long)], "{}").await;
                } else {
                    conn.accept(&request).await;
                }
            }
        },
    )
    .await;

    let told = bench.load(100).await;
    let later = bench.recovers().await;

    assert_eq!(count(&told, "ok") + count(&told, "unknown"), 100);
    assert!(count(&told, "unknown") >= 10);
    assert_true(&[told, later].concat(), &peer.record);
    bench.relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_answers_hold_up_nobody_else() {
    let (bench, peer) = meet(short, |mut conn| async move {
        conn.settings(HUNDRED_STREAMS).await;
        while let Some(request) = conn.request().await {
            if number(&request) % 10 == 9 {
                let answering = conn.answering();
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_secs(10)).await;
                    answering.status(request.stream, 200).await;
                });
            } else {
                conn.accept(&request).await;
            }
        }
    })
    .await;

    let told = bench.load(100).await;
    let later = bench.load(50).await;

    for told in [&told, &later] {
        assert_true(told, &peer.record);
        assert_eq!(count(told, "unknown"), told.len() / 10);
        assert_eq!(count(told, "ok"), told.len() * 9 / 10);
    }
    bench.relay.stop().await;
}

/// A case of every tenth answer coming late, by nearly or by more than the time that a call may take.
async fn every_tenth_is_late(by: Duration, expected: &str) {
    let (bench, peer) = meet(
        |_| (),
        move |mut conn| async move {
            conn.settings(HUNDRED_STREAMS).await;
            while let Some(request) = conn.request().await {
                if number(&request) >= 100 || number(&request) % 10 != 9 {
                    conn.accept(&request).await;
                    continue;
                }
                conn.take(&request);
                let answering = conn.answering();
                tokio::spawn(async move {
                    tokio::time::sleep(by).await;
                    answering.status(request.stream, 200).await;
                });
            }
        },
    )
    .await;
    assert_eq!(bench.relay.config.apns.timeout, Duration::from_secs(10), "the default");
    let timed = (0..100).map(|_| async {
        let start = Instant::now();
        (bench.send().await, start.elapsed())
    });

    let timed = join_all(timed).await;
    let later = bench.load(50).await;

    let mut told = Vec::new();
    for (place, (call, took)) in timed.into_iter().enumerate() {
        let is_late = place % 10 == 9;
        assert_eq!(word(&call), if is_late { expected } else { "ok" }, "{by:?}: {call:?}");
        assert!(is_late || took < Duration::from_secs(5), "{took:?}: nobody else waits for it");
        told.push(call);
    }
    assert_all(&later, "ok");
    assert_true(&[told, later].concat(), &peer.record);
    bench.relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_within_the_default_timeout_counts_and_one_after_it_is_unknown() {
    tokio::join!(
        every_tenth_is_late(Duration::from_secs(9), "ok"),
        every_tenth_is_late(Duration::from_secs(11), "unknown"),
    );
}

/// A connection on which a provider token was called expired answers nothing else any more. That
/// is also what a clock that is wrong looks like: then the second token is refused as well.
async fn wedge(mut conn: Conn, healthy_from: usize) {
    conn.settings(&[(STREAMS, 1)]).await;
    conn.settings(HUNDRED_STREAMS).await;
    while let Some(request) = conn.request().await {
        if conn.number >= healthy_from {
            conn.accept(&request).await;
        } else {
            conn.refuse(request.stream, 403, "ExpiredProviderToken").await;
        }
    }
}

async fn register_key(bench: &super::Bench) {
    let form = Form::new()
        .text("application_id", "app")
        .text("apns_key_id", "ABCDE12345")
        .text("apns_team_id", "TEAM123456")
        .text("apns_topic", "com.example.app")
        .part("apns_p8", Part::bytes(signing_key_p8()).file_name("key.p8"));
    let answer = bench.relay.multipart("/register_application", form).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_provider_token_is_replaced_and_its_connection_left() {
    let (bench, peer) = meet(|_| (), |conn| wedge(conn, 1)).await;
    register_key(&bench).await;

    let told = bench.load(50).await;

    assert_all(&told, "ok");
    assert_true(&told, &peer.record);
    bench.relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_wrong_costs_no_storm_of_tokens_and_connections() {
    let (bench, peer) = meet(|_| (), |conn| wedge(conn, usize::MAX)).await;
    register_key(&bench).await;

    let told = bench.load(50).await;

    assert_all(&told, "apns_credentials_rejected");
    assert!(peer.record.connections() < 60, "{}", peer.record.connections());
    bench.relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_never_answered_do_not_use_the_connection_up() {
    let change = |config: &mut pushlet::config::Config| {
        short(config);
        config.apns.connections_per_application = 1;
    };
    let (bench, peer) = meet(change, |mut conn| async move {
        conn.settings(&[(STREAMS, 1_000)]).await;
        while let Some(request) = conn.request().await {
            if number(&request) < 60 {
                conn.take(&request);
            } else {
                conn.accept(&request).await;
            }
        }
    })
    .await;
    let data = filler();
    let fields = [("data", &*data)];

    let told = join_all((0..60).map(|_| bench.send_with(&fields))).await;
    assert_eq!((count(&told, "unknown"), count(&told, "not_sent")), (48, 12));

    let until = Instant::now() + PATIENCE;
    let mut later = vec![bench.send_with(&fields).await];
    while later.last().is_some_and(|call| call.1.status != 200) {
        assert!(Instant::now() < until, "it does not recover: {later:?}");
        later.push(bench.send_with(&fields).await);
    }
    assert_true(&[told, later].concat(), &peer.record);
    assert_eq!(peer.record.connections(), 1);
    bench.relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_under_way_are_spread_and_connections_that_are_left_over_are_closed() {
    let change = |config: &mut pushlet::config::Config| {
        config.apns.idle_timeout = Duration::from_millis(500);
    };
    let (bench, peer) = meet(change, |mut conn| async move {
        conn.settings(&[(STREAMS, 1_000)]).await;
        let mut open = Vec::new();
        // Nothing is answered until nothing more comes.
        while let Ok(Some(request)) = timeout(Duration::from_millis(700), conn.request()).await {
            open.push(request);
        }
        assert!(open.len() <= 48, "{} requests are under way", open.len());
        for request in &open {
            conn.accept(request).await;
        }
        conn.accept_all().await;
    })
    .await;
    let data = filler();
    let fields = [("data", &*data)];

    let told = join_all((0..100).map(|_| bench.send_with(&fields))).await;

    assert_all(&told, "ok");
    assert_true(&told, &peer.record);
    assert!(peer.record.connections() >= 3, "{}", peer.record.connections());
    eventually("all but one are closed", || peer.record.open() == 1).await;
    let before = peer.record.connections();
    assert_all(&bench.load(20).await, "ok");
    assert_eq!(peer.record.connections(), before, "the last one was kept");
    bench.relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_token_is_noted_though_its_caller_has_stopped_waiting() {
    let change = |config: &mut pushlet::config::Config| {
        config.apns.timeout = Duration::from_secs(1);
    };
    let (bench, peer) = meet(change, |mut conn| async move {
        conn.settings(HUNDRED_STREAMS).await;
        let Some(request) = conn.request().await else { return };
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        conn.refuse(request.stream, 410, "Unregistered").await;
        conn.ignore_all().await;
    })
    .await;

    let told = [bench.send().await];
    assert_all(&told, "unknown");
    assert_true(&told, &peer.record);

    let until = Instant::now() + PATIENCE;
    loop {
        let answer = bench.relay.form("/application_feedback", &[("application_id", "app")]).await;
        if answer.json()["response"][0]["device_token"] == TOKEN {
            break;
        }
        assert!(Instant::now() < until, "{}", answer.body);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bench.relay.stop().await;
}
