//! Where connections live: with a worker while it lasts, and never lost with it.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use http::StatusCode;
use pushlet::transport::{Error, Homes};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::idle::{pool, request, settings};
use super::{HUNDRED_STREAMS, PATIENCE};
use crate::support::keys::Authority;
use crate::support::scripted_peer::{ScriptedPeer, Tls};

/// A runtime with a thread of its own, as a worker has it.
struct Worker {
    handle: Handle,
    stop: oneshot::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl Worker {
    fn start() -> Self {
        let (told, runtime) = mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            told.send(runtime.handle().clone()).unwrap();
            let _ = runtime.block_on(stopped);
        });
        Self { handle: runtime.recv().unwrap(), stop, thread }
    }

    async fn stop(self) {
        let _ = self.stop.send(());
        tokio::task::spawn_blocking(|| self.thread.join().unwrap()).await.unwrap();
    }
}

/// A peer that answers the first request of each connection, and no other.
async fn peer(authority: &Authority) -> ScriptedPeer {
    ScriptedPeer::start(&Tls::new(authority), |mut conn| async move {
        conn.settings(HUNDRED_STREAMS).await;
        let first = conn.request().await.expect("a first request");
        conn.accept(&first).await;
        conn.ignore_all().await;
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_ends_costs_what_was_written_and_no_more() {
    let authority = Authority::new();
    let peer = peer(&authority).await;
    let homes = Homes::new(Handle::current());
    let worker = Worker::start();
    homes.join(worker.handle.clone());
    let (pool, endpoint) = pool(&authority, &peer, settings(), &homes);
    let first = pool.send(request(&endpoint)).unwrap().answer().await.unwrap();
    assert_eq!(first.status, StatusCode::OK);
    let mut written = pool.send(request(&endpoint)).unwrap();
    let arrives = async {
        while peer.record.arrived().len() < 2 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, arrives).await.expect("the request arrives");

    worker.stop().await;

    let lost = timeout(PATIENCE, written.answer()).await.unwrap();
    assert!(matches!(lost, Err(Error::Unanswered { .. })), "it may have arrived: {lost:?}");
    let next = timeout(PATIENCE, pool.send(request(&endpoint)).unwrap().answer()).await.unwrap();
    let next = next.expect("another home is found");
    assert_eq!(next.status, StatusCode::OK);
    assert_ne!(next.connection, first.connection, "names of connections are not used twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_are_about_to_stop_get_nothing_new() {
    let authority = Authority::new();
    let peer = peer(&authority).await;
    let homes = Homes::new(Handle::current());
    let worker = Worker::start();
    homes.join(worker.handle.clone());
    let (pool, endpoint) = pool(&authority, &peer, settings(), &homes);
    let first = pool.send(request(&endpoint)).unwrap().answer().await.unwrap();

    homes.close();
    let next = pool.send(request(&endpoint)).unwrap().answer().await.unwrap();
    worker.stop().await;

    assert_eq!((first.status, next.status), (StatusCode::OK, StatusCode::OK));
    assert_eq!(pool.connections(), 1, "that on the runtime of the process");
}
