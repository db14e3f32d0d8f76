//! Where the tasks of pools run.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// The runtimes that connections may live on. The task of a pool lives on that of a worker: most
/// messages of a small relay then stay on the thread that read their call, and those of one pass
/// through the worker's loop go out in one write. On a thread of its own a pool costs each message
/// two wake-ups of another thread. Pools take the workers in turn.
///
/// Where there is no worker, as on the command line, they live on the runtime of the process; and so
/// do those that are needed when the workers are about to stop, since a worker takes the tasks on its
/// runtime with it.
#[derive(Debug, Clone)]
pub struct Homes(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    process: Handle,
    /// Guards the runtimes of workers; read when a pool starts.
    workers: Mutex<Vec<Handle>>,
    next: AtomicUsize,
    is_closed: AtomicBool,
    dials: Semaphore,
}

/// How many connections are in the making at a time, of all pools together: a relay with thousands of
/// applications that wakes up must not look like an attack, nor spend all of its time on handshakes.
const DIALS: usize = 100;
/// How long a pool waits for its turn to make one. Then it makes it all the same: those before it may
/// all be on their way to a peer that never answers, which is nobody else's fault.
const DIAL_WAIT: Duration = Duration::from_secs(1);

/// Where one pool lives.
pub(super) struct Home {
    pub(super) runtime: Handle,
    /// Whether it ends with a worker.
    pub(super) is_of_worker: bool,
}

impl Homes {
    /// No workers yet.
    #[must_use]
    pub fn new(process: Handle) -> Self {
        Self(Arc::new(Shared {
            process,
            workers: Mutex::default(),
            next: AtomicUsize::new(0),
            is_closed: AtomicBool::new(false),
            dials: Semaphore::new(DIALS),
        }))
    }

    /// The runtime of the process.
    #[must_use]
    pub fn process(&self) -> &Handle {
        &self.0.process
    }

    /// A worker has started; this is its runtime.
    pub fn join(&self, worker: Handle) {
        self.0.workers.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
    }

    /// The workers are about to stop: from now on requests go out over connections that live on the
    /// runtime of the process. Those on workers end what is under way.
    pub fn close(&self) {
        self.0.is_closed.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.0.is_closed.load(Ordering::SeqCst)
    }

    /// Waits for the turn to make a connection, for a while; it lasts until what this gives is dropped.
    pub(super) async fn turn_to_dial(&self) -> Option<SemaphorePermit<'_>> {
        timeout(DIAL_WAIT, self.0.dials.acquire()).await.ok()?.ok()
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.workers.lock().unwrap_or_else(PoisonError::into_inner).len().saturating_add(1)
    }

    /// A worker has ended.
    pub(super) fn leave(&self, worker: &Handle) {
        let mut workers = self.0.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.retain(|other| other.id() != worker.id());
    }

    pub(super) fn pick(&self) -> Home {
        let workers = self.0.workers.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = self.0.next.fetch_add(1, Ordering::Relaxed);
        let worker = turn.checked_rem(workers.len()).and_then(|place| workers.get(place));
        match worker.filter(|_| !self.is_closed()) {
            Some(worker) => Home { runtime: worker.clone(), is_of_worker: true },
            None => Home { runtime: self.0.process.clone(), is_of_worker: false },
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pool_waits_for_its_turn_to_dial_and_not_forever() {
        let homes = Homes::new(Handle::current());
        let mut others: Vec<_> = (0..DIALS).map(|_| homes.turn_to_dial().now_or_never()).collect();
        assert!(others.iter().all(|turn| turn.as_ref().is_some_and(Option::is_some)));

        let mut waits = Box::pin(homes.turn_to_dial());
        assert!((&mut waits).now_or_never().is_none());
        others.pop();
        assert!(waits.await.is_some_and(|_turn| true), "somebody is through");

        let start = Instant::now();
        others.push(homes.turn_to_dial().now_or_never());
        assert!(homes.turn_to_dial().await.is_none());
        assert_eq!(start.elapsed(), DIAL_WAIT, "nobody is, and it goes on");
    }
}
