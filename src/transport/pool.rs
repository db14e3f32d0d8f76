//! The handle that callers hold, and one request on its way.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use super::homes::Home;
use super::owner::Owner;
use super::{Endpoint, Error, Homes, Identity, Settings, Trust};
use crate::metrics::Peer;

/// Names one connection of a pool, for as long as the process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionId(u64);

impl ConnectionId {
    /// One that can be taken no more.
    const GONE: Self = Self(u64::MAX);

    /// The next one.
    pub(super) fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

/// Connections to one authority under one TLS identity. The first request opens the first one.
/// When the pool is dropped its task finishes what is under way, within 30 s, and closes them.
#[derive(Debug)]
pub struct Pool {
    plan: Plan,
    /// How many tasks there were; each numbers its connections in a range of its own.
    tenants: AtomicU32,
    /// Guards the way to the task; read for each request, written when the task starts.
    tenant: RwLock<Option<Tenant>>,
}

/// What the task of a pool is made from.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) endpoint: Endpoint,
    pub(super) trust: Trust,
    pub(super) identity: Option<Arc<Identity>>,
    pub(super) settings: watch::Receiver<Settings>,
    pub(super) metrics: Arc<Peer>,
    pub(super) homes: Homes,
}

/// The way to the task of a pool.
#[derive(Debug)]
struct Tenant {
    commands: mpsc::Sender<Command>,
    /// How many connections there are; the owner writes it.
    open: Arc<AtomicUsize>,
    /// Whether it ends with a worker.
    is_of_worker: bool,
}

/// What the owner of the connections is asked for.
pub(super) enum Command {
    Describe(ConnectionId, oneshot::Sender<ConnectionFacts>),
    Retire(ConnectionId),
    Send(Box<Job>),
}

/// What the peer granted a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionFacts {
    /// Such as `TLSv1.3`.
    pub tls_version: &'static str,
    /// How many requests it may carry at a time, by the peer's SETTINGS.
    pub max_concurrent_streams: usize,
}

/// A request as a caller gives it.
pub struct Request {
    /// Method, URI and headers; `content-length` included.
    pub head: http::Request<()>,
    /// The whole body; empty for none.
    pub body: Bytes,
    /// A connection that failed this request before: another one is taken where there is one.
    pub avoid: Option<ConnectionId>,
    /// When nobody waits for the answer any more.
    pub deadline: Instant,
}

/// A request in the hands of the owner.
pub(super) struct Job {
    pub(super) request: Request,
    pub(super) claim: Arc<Claim>,
    pub(super) done: oneshot::Sender<Result<Answer, Error>>,
    /// When it was handed over.
    pub(super) queued: Instant,
}

/// What the peer answered.
#[derive(Debug)]
pub struct Answer {
    /// The connection that carried it.
    pub connection: ConnectionId,
    /// Status line.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// The body, cut after [`Settings::max_answer_bytes`]; what came of it when the stream broke after the headers.
    pub body: Bytes,
    /// Whether the stream lasted until the body's end, or its limit.
    pub is_whole: bool,
}

/// Whether a request was written or given up: exactly one side wins, so that "not sent" is true.
#[derive(Debug, Default)]
pub(super) struct Claim {
    state: AtomicU8,
    /// Whether `h2` has written all of the body, or never will.
    is_body_gone: AtomicBool,
}

impl Claim {
    const WAITING: u8 = 0;
    const WRITTEN: u8 = 1;
    const GIVEN_UP: u8 = 2;

    /// Called by the owner just before it writes; false when the caller has given up.
    pub(super) fn write(&self) -> bool {
        self.decide(Self::WRITTEN)
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.state.load(Ordering::Acquire) == Self::GIVEN_UP
    }

    pub(super) fn note_body_gone(&self) {
        self.is_body_gone.store(true, Ordering::Release);
    }

    pub(super) fn is_body_gone(&self) -> bool {
        self.is_body_gone.load(Ordering::Acquire)
    }

    fn give_up(&self) -> bool {
        self.decide(Self::GIVEN_UP)
    }

    fn decide(&self, state: u8) -> bool {
        let (waiting, ordering) = (Self::WAITING, Ordering::Acquire);
        self.state.compare_exchange(waiting, state, Ordering::AcqRel, ordering).is_ok()
    }
}

impl Pool {
    /// A pool without connections; its task starts with the first request, in one of `homes`, and
    /// counts in `metrics`. It heeds `settings` as they change, each time that it is awake; how many
    /// requests may wait grows no more.
    #[must_use]
    pub fn new(
        endpoint: Endpoint,
        trust: Trust,
        identity: Option<Identity>,
        settings: watch::Receiver<Settings>,
        metrics: Arc<Peer>,
        homes: &Homes,
    ) -> Self {
        let identity = identity.map(Arc::new);
        let plan = Plan { endpoint, trust, identity, settings, metrics, homes: homes.clone() };
        Self { plan, tenants: AtomicU32::new(0), tenant: RwLock::default() }
    }

    /// How many connections are open, those on their way out included.
    #[must_use]
    pub fn connections(&self) -> usize {
        let tenant = self.tenant.read().unwrap_or_else(PoisonError::into_inner);
        tenant.as_ref().map_or(0, |tenant| tenant.open.load(Ordering::Relaxed))
    }

    /// Hands a request over. It is written as soon as a connection has room for it.
    ///
    /// # Errors
    /// [`Error::Busy`] when too many requests wait already.
    pub fn send(&self, request: Request) -> Result<Flight, Error> {
        let (done, answer) = oneshot::channel();
        let claim = Arc::new(Claim::default());
        let deadline = request.deadline;
        let job = Job { request, claim: Arc::clone(&claim), done, queued: Instant::now() };
        self.hand_over(Command::Send(Box::new(job)))?;
        Ok(Flight { answer, claim, deadline })
    }

    /// Gives a command to the task, which is started first if it does not run. A home may end with its
    /// worker just then, so another one is tried.
    fn hand_over(&self, mut command: Command) -> Result<(), Error> {
        for _ in 0..=self.plan.homes.count() {
            command = match self.tell(command) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(_)) => return Err(Error::Busy),
                Err(TrySendError::Closed(command)) => command,
            };
            self.start();
        }
        Err(gone())
    }

    /// Gives a command to the task that runs.
    fn tell(&self, command: Command) -> Result<(), TrySendError<Command>> {
        let tenant = self.tenant.read().unwrap_or_else(PoisonError::into_inner);
        match tenant.as_ref().filter(|tenant| !self.is_leaving(tenant)) {
            Some(tenant) => tenant.commands.try_send(command),
            None => Err(TrySendError::Closed(command)),
        }
    }

    fn is_leaving(&self, tenant: &Tenant) -> bool {
        tenant.is_of_worker && self.plan.homes.is_closed()
    }

    /// Starts the task unless another caller just did. One whose worker is about to stop finishes
    /// what is under way.
    fn start(&self) {
        let mut tenant = self.tenant.write().unwrap_or_else(PoisonError::into_inner);
        let runs = |tenant: &Tenant| !tenant.commands.is_closed() && !self.is_leaving(tenant);
        if !tenant.as_ref().is_some_and(runs) {
            *tenant = Some(self.move_in());
        }
    }

    fn move_in(&self) -> Tenant {
        loop {
            let home = self.plan.homes.pick();
            let (tenant, is_refused) = self.move_into(&home);
            if !is_refused || !home.is_of_worker {
                return tenant;
            }
            self.plan.homes.leave(&home.runtime);
        }
    }

    /// The task, and whether its home had ended already, which drops it at once.
    fn move_into(&self, home: &Home) -> (Tenant, bool) {
        let (commands, receiver) = mpsc::channel(self.plan.settings.borrow().max_waiting.max(1));
        let open = Arc::<AtomicUsize>::default();
        let first = u64::from(self.tenants.fetch_add(1, Ordering::Relaxed)) << 32;
        let owner = Owner::new(receiver, self.plan.clone(), Arc::clone(&open), ConnectionId(first));
        let is_refused = home.runtime.spawn(owner).is_finished();
        (Tenant { commands, open, is_of_worker: home.is_of_worker }, is_refused)
    }

    /// What the peer granted a connection; `None` when it is gone.
    pub async fn describe(&self, connection: ConnectionId) -> Option<ConnectionFacts> {
        let (done, facts) = oneshot::channel();
        self.tell(Command::Describe(connection, done)).ok()?;
        facts.await.ok()
    }

    /// Takes a connection out of service: what is under way on it ends there, nothing new starts.
    pub fn retire(&self, connection: ConnectionId) {
        // A full queue may lose this. The connection then fails its next request the same way
        // and is retired again.
        let _ = self.tell(Command::Retire(connection));
    }
}

/// One request under way. Dropped before it was written, it is never written.
#[derive(Debug)]
pub struct Flight {
    answer: oneshot::Receiver<Result<Answer, Error>>,
    claim: Arc<Claim>,
    deadline: Instant,
}

impl Flight {
    /// Waits for the answer until the request's deadline. May be called again after
    /// [`Error::Deadline`] with `written`: the stream is left open for a while, and
    /// [`Flight::late_answer`] hears what still comes.
    ///
    /// # Errors
    /// See [`Error`].
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing; dropping the flight gives the request up.
    pub async fn answer(&mut self) -> Result<Answer, Error> {
        match timeout_at(self.deadline, &mut self.answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) if self.claim.give_up() => Err(gone()),
            Ok(Err(_)) => Err(cut_off()),
            Err(_) if self.claim.give_up() => Err(Error::Deadline { written: false }),
            Err(_) => Err(Error::Deadline { written: true }),
        }
    }

    /// Whether the request was written and may be answered late.
    #[must_use]
    pub fn is_written(&self) -> bool {
        !self.claim.give_up() && !self.claim.is_given_up()
    }

    /// The answer to a written request whenever it comes; `None` when none will.
    pub async fn late_answer(mut self) -> Option<Answer> {
        (&mut self.answer).await.ok()?.ok()
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let _ = self.claim.give_up();
    }
}

/// The owner ends only with its runtime: its worker has stopped, or the process is on its way out.
fn gone() -> Error {
    let detail = "the connection ended with its worker".to_owned();
    Error::Connect { detail, refusal: None }
}

/// The same, of a request that was written.
fn cut_off() -> Error {
    let detail = "the connection ended with its worker".to_owned();
    Error::Unanswered { connection: ConnectionId::GONE, detail, refusal: None }
}
