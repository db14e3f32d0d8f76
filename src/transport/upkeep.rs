//! What a pool does as time passes: it asks quiet connections for a sign of life, closes what is of
//! no more use, and wakes up for it.

use std::future::Future;
use std::pin::pin;
use std::task::Context;
use std::time::Duration;

use tokio::task::coop::unconstrained;
use tokio::time::{Instant, sleep_until};

use super::owner::{DRAIN_LIMIT, Owner, STALL, is_stalled};
use crate::metrics::Closed;

/// How long a stalled connection has to answer, so that a dead one is given up before the calls on it are.
const STALL_ANSWER: Duration = Duration::from_secs(5);
/// A connection that answers PINGs and for so long no request takes no further ones.
const ANSWERS_NOTHING: Duration = Duration::from_secs(15);
/// A connection is replaced after a day, and before its stream ids run out.
const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);
const MAX_REQUESTS: u64 = 1 << 29;
/// How often waiting requests and open streams are looked through.
const SWEEP: Duration = Duration::from_millis(100);
const STREAM_SWEEP: Duration = Duration::from_secs(5);
/// The shortest time between two sweeps.
const SHORTEST: Duration = Duration::from_millis(10);

impl Owner {
    /// Looks at everything that only time changes.
    pub(super) fn sweep(&mut self, now: Instant) {
        self.waiting.retain(|job| !job.claim.is_given_up());
        if now >= self.next_stream_sweep {
            self.next_stream_sweep = now + STREAM_SWEEP;
            for stream in self.streams.iter_mut() {
                stream.close_if_late(now);
                if let Some((id, bytes)) = stream.overdue_bytes(now)
                    && let Some(conn) = self.conns.iter_mut().find(|conn| conn.id == id)
                {
                    conn.bytes = conn.bytes.saturating_sub(bytes);
                }
            }
        }
        let mut open = self.conns.iter().filter(|conn| conn.draining.is_none()).count();
        for conn in &mut self.conns {
            if conn.ping_due.is_some_and(|due| now >= due)
                || conn.draining.is_some_and(|since| now.duration_since(since) >= DRAIN_LIMIT)
            {
                conn.leaving.get_or_insert(Closed::Silent);
                conn.abort();
                open -= usize::from(conn.draining.is_none());
                continue;
            }
            if is_stalled(conn, now) {
                conn.ask(self.settings.keepalive_timeout.min(STALL_ANSWER));
            } else if now.duration_since(conn.seen.last_read()) >= self.settings.keepalive_interval
            {
                conn.ask(self.settings.keepalive_timeout);
            }
            if conn.draining.is_some() {
                continue;
            }
            let idle = conn.streams == 0
                && now.duration_since(conn.used) >= self.settings.idle_timeout
                && open > 1;
            let answers_nothing =
                conn.quiet_since.is_some_and(|since| now.duration_since(since) >= ANSWERS_NOTHING);
            let is_old = now >= conn.retire_at(MAX_AGE) || conn.sent >= MAX_REQUESTS;
            let cause =
                [(answers_nothing, Closed::Stalled), (is_old, Closed::Age), (idle, Closed::Idle)];
            if let Some((_, cause)) = cause.into_iter().find(|(holds, _)| *holds) {
                conn.drain(cause);
                open -= 1;
            }
        }
        // A drained connection without streams is of no more use.
        for conn in &mut self.conns {
            if conn.draining.is_some() && conn.streams == 0 {
                conn.abort();
            }
        }
    }

    /// When [`Owner::sweep`] is next needed.
    fn next_due(&self, now: Instant) -> Option<Instant> {
        let conns = self.conns.iter().flat_map(|conn| {
            let alive = conn.seen.last_read() + self.settings.keepalive_interval;
            let quiet = conn.quiet_since.map(|since| since.max(conn.seen.last_read()) + STALL);
            let asked = conn.ping_due.is_some();
            let drained = conn
                .draining
                .map(|since| if conn.streams == 0 { now + SWEEP } else { since + DRAIN_LIMIT });
            [
                conn.ping_due,
                (!asked).then_some(alive),
                quiet.filter(|_| !asked),
                drained,
                Some(conn.used + self.settings.idle_timeout).filter(|at| *at > now),
                Some(conn.retire_at(MAX_AGE)).filter(|at| *at > now),
            ]
        });
        let others = [
            (!self.waiting.is_empty()).then_some(now + SWEEP),
            (!self.streams.is_empty()).then_some(self.next_stream_sweep),
            self.closing,
        ];
        conns.chain(others).flatten().min()
    }

    /// Sets the alarm for the next sweep.
    pub(super) fn arm(&mut self, now: Instant, cx: &mut Context<'_>) {
        let Some(due) = self.next_due(now) else { return };
        // What a sweep could not settle must not keep the task running.
        let due = due.max(now + SHORTEST);
        // An earlier alarm than needed is left: it costs one sweep, setting costs a lock each time.
        if self.armed.is_some_and(|armed| armed <= due) {
            return;
        }
        self.armed = Some(due);
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        timer.as_mut().reset(due);
        // A task that had its share of this turn is told that nothing is ready, and would not be woken.
        if pin!(unconstrained(timer.as_mut())).poll(cx).is_ready() {
            // It went off meanwhile: the next poll finds it so, and sweeps.
            cx.waker().wake_by_ref();
        }
    }
}
