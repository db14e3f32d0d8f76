//! Connections on which nothing happens: what waiting costs, and what is made of a long silence.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::StatusCode;
use pushlet::transport::{Endpoint, Error, Homes, Pool, Request, Settings, Trust};
use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use url::Url;

use super::{HUNDRED_STREAMS, eventually};
use crate::support::keys::Authority;
use crate::support::scripted_peer::{Conn, ScriptedPeer, Tls};

const PAYLOAD: &[u8] = br#"{"aps":{"alert":"hello"}}"#;

pub(super) fn settings() -> Settings {
    Settings {
        connections: 4,
        connect_timeout: Duration::from_secs(5),
        keepalive_interval: Duration::from_secs(60),
        keepalive_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(300),
        max_waiting: 100,
        max_answer_bytes: 4_096,
    }
}

pub(super) fn request(endpoint: &Endpoint) -> Request {
    let head = http::Request::post(format!("https://{}/3/device/aa", endpoint.authority()));
    Request {
        head: head.body(()).unwrap(),
        body: Bytes::from_static(PAYLOAD),
        avoid: None,
        deadline: Instant::now() + Duration::from_secs(20),
    }
}

/// A pool whose way leads to `peer`.
pub(super) fn pool(
    authority: &Authority,
    peer: &ScriptedPeer,
    settings: Settings,
    homes: &Homes,
) -> (Pool, Endpoint) {
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, authority.pem()).unwrap();
    let trust = Trust::new(Some(&ca_file)).unwrap();
    let endpoint =
        Endpoint::of(&Url::parse(&format!("https://{}", peer.address)).unwrap()).unwrap();
    let settings = watch::channel(settings).1;
    (Pool::new(endpoint.clone(), trust, None, settings, Arc::default(), homes), endpoint)
}

/// CPU time of this thread, as Linux counts it; `None` where it does not say.
fn thread_cpu() -> Option<Duration> {
    let line = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    line.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

/// Runs the pool alone on this thread; the CPU time of half a second in which `open` requests wait
/// for their answers.
fn cost_of_waiting(open: usize, settings: Settings) -> Option<Duration> {
    let peers = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let authority = Authority::new();
    let peer = peers.block_on(ScriptedPeer::start(&Tls::new(&authority), |mut conn| async move {
        conn.settings(HUNDRED_STREAMS).await;
        let first = conn.request().await.expect("a first request");
        conn.accept(&first).await;
        conn.ignore_all().await;
    }));

    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let homes = Homes::new(Handle::current());
        let (pool, endpoint) = pool(&authority, &peer, settings, &homes);
        let first = pool.send(request(&endpoint)).unwrap().answer().await.unwrap();
        assert_eq!(first.status, StatusCode::OK);
        let flights: Vec<_> = (0..open).map(|_| pool.send(request(&endpoint)).unwrap()).collect();
        let until = Instant::now() + Duration::from_secs(10);
        while peer.record.arrived().len() < open + 1 {
            assert!(Instant::now() < until, "the requests arrive");
            sleep(Duration::from_millis(5)).await;
        }

        let before = thread_cpu()?;
        sleep(Duration::from_millis(500)).await;
        let spent = thread_cpu()? - before;

        drop(flights);
        Some(spent)
    })
}

#[test]
fn a_pool_that_waits_for_answers_does_not_spin() {
    let Some(spent) = cost_of_waiting(50, settings()) else { return };

    assert!(spent < Duration::from_millis(100), "{spent:?} of 500 ms");
}

#[test]
fn a_pool_that_waits_for_a_pong_does_not_spin() {
    let keepalive_interval = Duration::from_millis(100);
    let Some(spent) = cost_of_waiting(0, Settings { keepalive_interval, ..settings() }) else {
        return;
    };

    assert!(spent < Duration::from_millis(100), "{spent:?} of 500 ms");
}

/// The first connection takes what comes after its second answer and says nothing any more.
async fn goes_dead_after_two(mut conn: Conn) {
    conn.settings(HUNDRED_STREAMS).await;
    if conn.number > 0 {
        return conn.accept_all().await;
    }
    for request in conn.requests(1).await {
        conn.accept(&request).await;
    }
    for request in conn.requests(1).await {
        conn.fall_silent();
        conn.accept(&request).await;
    }
    conn.ignore_all().await;
}

/// Lets this much time pass on this thread's runtime, where the peer is not.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// Five minutes are enough for something on the way to have forgotten a connection. It is asked
/// together with what needs it, and has 2 s instead of the 3 + 5 that a busy one has.
#[test]
fn a_connection_that_was_idle_for_long_is_asked_together_with_the_next_requests() {
    let peers = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let authority = Authority::new();
    let peer = peers.block_on(ScriptedPeer::start(&Tls::new(&authority), goes_dead_after_two));
    // Otherwise it would be asked after a minute.
    let settings = Settings { keepalive_interval: Duration::from_secs(3_600), ..settings() };

    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let homes = Homes::new(Handle::current());
        let (pool, endpoint) = pool(&authority, &peer, settings, &homes);
        let send = async || pool.send(request(&endpoint)).unwrap().answer().await;
        let first = send().await.unwrap();
        pass(Duration::from_secs(299)).await;
        let second = send().await.unwrap();
        assert_eq!(second.connection, first.connection);
        assert_eq!(peer.record.pings(), 1, "that of a new connection");

        pass(Duration::from_secs(301)).await;
        assert_eq!(peer.record.pings(), 1, "it is not asked for its own sake");
        let start = Instant::now();
        let (lost, ()) = tokio::join!(join_all((0..50).map(|_| send())), async {
            eventually("all arrive", || peer.record.arrived().len() == 52).await;
            eventually("they come with a PING", || peer.record.pings() == 2).await;
            assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        });
        let took = start.elapsed();
        let next = send().await.unwrap();

        for lost in lost {
            assert!(matches!(lost, Err(Error::Unanswered { .. })), "it arrived: {lost:?}");
        }
        assert!((2_000..5_000).contains(&took.as_millis()), "{took:?}");
        assert_eq!(next.status, StatusCode::OK);
        assert_ne!(next.connection, first.connection);
    });
}
