//! The one task of a pool: it owns the connections and everything that is under way on them.
//!
//! A hand-written future and not a loop of `select!`: whatever woke the task, each poll ends by
//! looking whether a waiting request can go out now. So a SETTINGS frame that allows more streams
//! needs no event of its own, and no lock is shared with anybody.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

use super::Settings;
use super::connection::{Conn, Fresh};
use super::error::{Error, Refusal};
use super::nudge::Nudge;
use super::pool::{Claim, Command, ConnectionId, Job, Plan};
use super::stream::{Landed, Stream, Upload, Written};
use crate::metrics::Closed;

/// Most streams on one connection, whatever the peer allows.
const STREAM_CAP: usize = 1_000;
/// Bytes of request bodies under way on one connection: APNs advertises a window of 65,535 bytes,
/// so more would only wait inside the connection, where no other one can take it over.
const BYTE_BUDGET: usize = 64 * 1024;
/// Nothing read for this long while answers are due: the connection is asked, and spared.
pub(super) const STALL: Duration = Duration::from_secs(3);
/// How long a draining connection, or a pool nobody holds, waits for answers.
pub(super) const DRAIN_LIMIT: Duration = Duration::from_secs(30);
/// A connection that was idle for this long is asked together with the next request.
const LONG_IDLE: Duration = Duration::from_secs(300);
/// How long it then has.
const LONG_IDLE_ANSWER: Duration = Duration::from_secs(2);

/// How often one poll looks after everything again because it changed something itself. Then the
/// runtime is asked for another poll, since other tasks have to have their turn.
const MAX_ROUNDS: usize = 4;

/// The state of making connections: one attempt at a time.
pub(super) enum Dial {
    Idle,
    Dialing(Pin<Box<dyn Future<Output = Result<Fresh, Error>> + Send>>),
}

/// Ends when the last handle of the pool is gone and what is under way has ended.
pub(super) struct Owner {
    commands: mpsc::Receiver<Command>,
    /// Set when the last handle is gone, with the time by which this task ends.
    pub(super) closing: Option<Instant>,
    pub(super) plan: Box<Plan>,
    /// Those of the plan, as they are now.
    pub(super) settings: Settings,

    pub(super) waiting: VecDeque<Box<Job>>,
    /// Since when requests wait although a connection is open.
    pub(super) full_since: Option<Instant>,
    pub(super) conns: Vec<Conn>,
    /// How many those are, for whoever holds the pool.
    open: Arc<AtomicUsize>,
    pub(super) streams: FuturesUnordered<Stream>,
    /// What wakes the task for connections and streams.
    pub(super) nudge: Arc<Nudge>,
    pub(super) next_stream_sweep: Instant,

    pub(super) dial: Dial,
    /// Dials and connections in a row that ended without an answered request.
    pub(super) failures: u32,
    pub(super) not_before: Instant,
    /// Halved when the peer says that it was overrun; grows again by one with each answer.
    pub(super) stream_cap: usize,
    pub(super) next_id: ConnectionId,

    pub(super) timer: Option<Pin<Box<Sleep>>>,
    pub(super) armed: Option<Instant>,
}

impl Owner {
    pub(super) fn new(
        commands: mpsc::Receiver<Command>,
        mut plan: Plan,
        open: Arc<AtomicUsize>,
        next_id: ConnectionId,
    ) -> Self {
        let now = Instant::now();
        let settings = plan.settings.borrow_and_update().clone();
        Self {
            commands,
            closing: None,
            plan: Box::new(plan),
            settings,
            waiting: VecDeque::new(),
            full_since: None,
            // Most pools have one connection, and each is large.
            conns: Vec::with_capacity(1),
            open,
            streams: FuturesUnordered::new(),
            nudge: Arc::default(),
            next_stream_sweep: now,
            dial: Dial::Idle,
            failures: 0,
            not_before: now,
            stream_cap: STREAM_CAP,
            next_id,
            timer: None,
            armed: None,
        }
    }
}

impl Future for Owner {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let now = Instant::now();
        if this.plan.settings.has_changed().unwrap_or(false) {
            this.settings = this.plan.settings.borrow_and_update().clone();
        }
        let has_left_some = this.take_commands(now, cx);
        if this.armed.is_some_and(|at| now >= at)
            && let Some(timer) = &mut this.timer
            && timer.as_mut().poll(cx).is_ready()
        {
            this.armed = None;
            this.sweep(now);
        }
        this.serve(now, cx);
        if has_left_some && this.waiting.len() < this.settings.max_waiting {
            cx.waker().wake_by_ref();
        }
        this.open.store(this.conns.len(), Ordering::Relaxed);
        if this.is_finished(now) {
            return Poll::Ready(());
        }
        this.arm(now, cx);
        Poll::Pending
    }
}

/// Connections end with their task, also where that ends with its runtime.
impl Drop for Owner {
    fn drop(&mut self) {
        self.open.store(0, Ordering::Relaxed);
        for conn in &self.conns {
            self.plan.metrics.connections.close(conn.leaving.unwrap_or(Closed::Replaced));
        }
    }
}

/// Requests.
impl Owner {
    /// Looks after everything that can go on now.
    fn serve(&mut self, now: Instant, cx: &mut Context<'_>) {
        self.nudge.run(cx);
        let mut rounds = 0..MAX_ROUNDS;
        while rounds.next().is_some() {
            self.poll_dial(now, cx);
            self.assign(now, cx);
            self.poll_drivers(now, cx);
            self.notice_departures(now, cx);
            self.poll_streams(now);
            self.poll_pongs(cx);
            // Answers made room, or SETTINGS did; or drivers have to say that answers were read.
            if !(self.assign(now, cx) || self.starts_dialing(now) || self.has_woken_drivers()) {
                return self.nudge.rest();
            }
        }
        self.nudge.rest_with_more_to_do();
    }

    fn has_woken_drivers(&self) -> bool {
        self.conns.iter().any(|conn| conn.note.is_set())
    }

    fn is_finished(&self, now: Instant) -> bool {
        self.closing.is_some_and(|until| {
            now >= until || (self.waiting.is_empty() && self.streams.is_empty())
        })
    }

    /// True when there may be more, and no room for them: nobody will wake this task for those.
    fn take_commands(&mut self, now: Instant, cx: &mut Context<'_>) -> bool {
        while self.closing.is_none() && self.waiting.len() < self.settings.max_waiting {
            match self.commands.poll_recv(cx) {
                Poll::Ready(Some(Command::Describe(id, done))) => {
                    if let Some(conn) = self.conns.iter().find(|conn| conn.id == id) {
                        // Who asked may have stopped waiting.
                        let _ = done.send(conn.facts());
                    }
                }
                Poll::Ready(Some(Command::Send(job))) => self.waiting.push_back(job),
                Poll::Ready(Some(Command::Retire(id))) => {
                    if let Some(conn) = self.conns.iter_mut().find(|conn| conn.id == id) {
                        conn.drain(Closed::Refused);
                    }
                }
                Poll::Ready(None) => self.closing = Some(now + DRAIN_LIMIT),
                Poll::Pending => return false,
            }
        }
        self.closing.is_none()
    }

    /// Sends what can be sent; true when anything was.
    fn assign(&mut self, now: Instant, cx: &mut Context<'_>) -> bool {
        let mut sent = false;
        while let Some(job) = self.waiting.front() {
            if job.claim.is_given_up() {
                self.waiting.pop_front();
                continue;
            }
            let size = job.request.body.len();
            let Some(place) = self.choose(size, job.request.avoid, now, cx) else { break };
            let (Some(job), Some(conn)) = (self.waiting.pop_front(), self.conns.get_mut(place))
            else {
                break;
            };
            let queued = job.queued;
            if let Some(stream) = write(conn, job, self.settings.max_answer_bytes, now) {
                self.plan.metrics.queue_wait.observe(now.saturating_duration_since(queued));
                self.streams.push(stream);
                sent = true;
            }
        }
        if self.waiting.is_empty() {
            self.full_since = None;
        }
        sent
    }

    /// The connection with the fewest bytes under way that has room for `size` more.
    fn choose(
        &mut self,
        size: usize,
        avoid: Option<ConnectionId>,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> Option<usize> {
        let cap = self.stream_cap;
        self.conns
            .iter_mut()
            .enumerate()
            .filter_map(|(place, conn)| {
                let is_open = is_usable(conn, now) && has_room(conn, size, cap);
                // Not ready: a request that `h2` took is not written yet, since the limit of
                // streams went down meanwhile.
                (is_open && matches!(conn.send.poll_ready(cx), Poll::Ready(Ok(()))))
                    .then_some((place, (Some(conn.id) == avoid, conn.bytes, conn.streams)))
            })
            .min_by_key(|(_, load)| *load)
            .map(|(place, _)| place)
    }

    pub(super) fn poll_streams(&mut self, now: Instant) {
        self.nudge.take();
        let waker = Waker::from(Arc::clone(&self.nudge));
        let cx = &mut Context::from_waker(&waker);
        while let Poll::Ready(Some(landed)) = self.streams.poll_next_unpin(cx) {
            self.land(landed, now);
        }
    }

    fn land(&mut self, landed: Landed, now: Instant) {
        let mut refusal = None;
        if let Some(conn) = self.conns.iter_mut().find(|conn| conn.id == landed.connection) {
            conn.streams = conn.streams.saturating_sub(1);
            conn.bytes = conn.bytes.saturating_sub(landed.bytes);
            conn.quiet_since = (conn.streams > 0).then_some(now);
            conn.used = now;
            conn.spent.extend(landed.spent);
            refusal = conn.seen.alert().map(Refusal::Alert).or_else(|| conn.refusal.clone());
            if landed.result.is_ok() {
                conn.answered = true;
                self.plan.metrics.answers.observe(now.saturating_duration_since(landed.written));
                self.failures = 0;
                self.stream_cap = STREAM_CAP.min(self.stream_cap.saturating_add(1));
            }
        }
        let result =
            landed.result.map_err(|error| Error::of_stream(&error, landed.connection, refusal));
        // Nobody waits any more when the caller's deadline is past.
        let _ = landed.done.send(result);
    }
}

pub(super) fn is_usable(conn: &Conn, now: Instant) -> bool {
    conn.draining.is_none() && !is_stalled(conn, now)
}

/// Answers are due, and for a while nothing at all was read.
pub(super) fn is_stalled(conn: &Conn, now: Instant) -> bool {
    is_quiet_for(conn, STALL, now)
}

/// It was asked for a sign of life when it stalled, and for a second that did not come.
pub(super) fn is_most_likely_dead(conn: &Conn, now: Instant) -> bool {
    is_quiet_for(conn, STALL + Duration::from_secs(1), now)
}

fn is_quiet_for(conn: &Conn, limit: Duration, now: Instant) -> bool {
    conn.quiet_since.is_some_and(|since| now.duration_since(since) >= limit)
        && now.duration_since(conn.seen.last_read()) >= limit
}

fn has_room(conn: &Conn, size: usize, cap: usize) -> bool {
    let limit = conn.send.current_max_send_streams().min(cap);
    conn.streams < limit && (conn.bytes == 0 || conn.bytes + size <= BYTE_BUDGET)
}

/// Writes one request; `None` when it was given up, or the connection failed and it was told so.
fn write(conn: &mut Conn, job: Box<Job>, max_answer_bytes: usize, now: Instant) -> Option<Stream> {
    let Job { request, claim, done, .. } = *job;
    if !claim.write() {
        return None;
    }
    if now.duration_since(conn.used.max(conn.seen.last_read())) >= LONG_IDLE {
        conn.ask(LONG_IDLE_ANSWER);
    }
    let bytes = request.body.len();
    match open(conn, request.head, request.body, claim) {
        Ok((response, upload)) => {
            conn.streams += 1;
            conn.bytes += bytes;
            conn.sent += 1;
            conn.used = now;
            conn.quiet_since.get_or_insert(now);
            let deadline = request.deadline;
            let written = Written { connection: conn.id, bytes, at: now, deadline };
            Some(Stream::new(written, response, upload, max_answer_bytes, done))
        }
        Err(error) => {
            // Nothing of it left: `h2` refused to take it.
            conn.drain(Closed::Broken);
            let detail = super::error::describe(&error);
            let lost = Error::NotProcessed { connection: conn.id, detail, refusal: None };
            let _ = done.send(Err(lost));
            None
        }
    }
}

fn open(
    conn: &mut Conn,
    head: http::Request<()>,
    body: Bytes,
    claim: Arc<Claim>,
) -> Result<(h2::client::ResponseFuture, Upload), h2::Error> {
    // `h2` gives the new stream the place of one that is gone.
    conn.spent.clear();
    let (response, stream) = conn.send.send_request(head, body.is_empty())?;
    Ok((response, Upload::start(stream, body, claim)?))
}
