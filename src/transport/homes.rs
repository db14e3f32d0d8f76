//! Where the tasks of pools run.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;

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
}

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
