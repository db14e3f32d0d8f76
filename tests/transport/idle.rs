//! What waiting costs: nothing.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use pushlet::transport::{Endpoint, Homes, Pool, Request, Settings, Trust};
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use url::Url;

use super::HUNDRED_STREAMS;
use crate::support::keys::Authority;
use crate::support::scripted_peer::{ScriptedPeer, Tls};

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
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, authority.pem()).unwrap();
    let trust = Trust::new(Some(&ca_file)).unwrap();
    let endpoint =
        Endpoint::of(&Url::parse(&format!("https://{}", peer.address)).unwrap()).unwrap();

    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let homes = Homes::new(tokio::runtime::Handle::current());
        let pool = Pool::new(
            endpoint.clone(),
            trust,
            None,
            watch::channel(settings).1,
            Arc::default(),
            &homes,
        );
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
