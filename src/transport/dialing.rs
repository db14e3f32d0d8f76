//! How the connections of a pool come and go: dials with their pauses, and what the peer says when
//! it leaves.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::connection::{Conn, dial, random_below};
use super::error::{Error, goaway_reason};
use super::nudge::Note;
use super::owner::{Dial, Owner, is_most_likely_dead, is_usable};
use crate::metrics::Closed;

/// How long requests must have waited before a further connection is opened for them.
const GROW_AFTER: Duration = Duration::from_millis(100);
/// The longest pause between two dials, and the longest while somebody waits.
const MAX_BACKOFF: Duration = Duration::from_secs(60);
const MAX_BACKOFF_WAITED: Duration = Duration::from_secs(2);
/// How many connections may be on their way out, draining or dead, beside those in use. A peer
/// that ends connection after connection and leaves calls unanswered must not fill our memory.
const MAX_LEAVING: usize = 16;

impl Owner {
    pub(super) fn poll_dial(&mut self, now: Instant, cx: &mut Context<'_>) {
        let Dial::Dialing(attempt) = &mut self.dial else { return };
        let Poll::Ready(result) = attempt.as_mut().poll(cx) else { return };
        self.dial = Dial::Idle;
        match result {
            Ok(fresh) => {
                let id = self.next_id;
                self.next_id = id.next();
                self.conns.push(Conn::new(id, fresh, Note::new(Arc::clone(&self.nudge))));
                self.plan.metrics.connections.open();
            }
            Err(error) => {
                let is_refused = matches!(error, Error::Connect { refusal: Some(_), .. });
                self.plan.metrics.connections.fail(is_refused);
                self.note_failure(now);
                let alone = !self.conns.iter().any(|conn| is_usable(conn, now));
                if alone {
                    for job in self.waiting.drain(..) {
                        let _ = job.done.send(Err(error.clone()));
                    }
                }
            }
        }
    }

    /// A pause of 0, then up to half a second, doubling, to a minute (full jitter).
    fn note_failure(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        let doubled = self.failures.saturating_sub(2).min(7);
        let longest = (Duration::from_millis(500) * (1 << doubled)).min(MAX_BACKOFF);
        let millis = usize::try_from(longest.as_millis()).unwrap_or(usize::MAX);
        let pause = if self.failures < 2 { 0 } else { random_below(millis) };
        self.not_before = now + Duration::from_millis(pause as u64);
    }

    /// Starts a dial if one is wanted and allowed now; true when it did.
    pub(super) fn starts_dialing(&mut self, now: Instant) -> bool {
        if self.waiting.is_empty() || matches!(self.dial, Dial::Dialing(_)) {
            return false;
        }
        let usable = self.conns.iter().filter(|conn| is_usable(conn, now)).count();
        // One that is most likely dead holds nobody's place.
        let holds_a_place =
            |conn: &&Conn| conn.draining.is_none() && !is_most_likely_dead(conn, now);
        let open = self.conns.iter().filter(holds_a_place).count();
        let leaving = self.conns.len() - open;
        if open >= self.settings.connections || leaving >= MAX_LEAVING {
            return false;
        }
        if usable > 0 {
            let since = *self.full_since.get_or_insert(now);
            if now.duration_since(since) < GROW_AFTER {
                return false;
            }
            self.full_since = Some(now);
        }
        self.not_before = self.not_before.min(now + MAX_BACKOFF_WAITED);
        if now < self.not_before {
            return false;
        }
        let plan = self.plan.clone();
        let limit = self.settings.connect_timeout;
        self.dial = Dial::Dialing(Box::pin(async move {
            let _turn = plan.homes.turn_to_dial().await;
            dial(&plan, limit).await
        }));
        true
    }

    /// Takes connections out of service that the peer is leaving (GOAWAY) or that broke, and keeps
    /// the peer's word.
    pub(super) fn notice_departures(&mut self, now: Instant, cx: &mut Context<'_>) {
        let mut unanswered = 0;
        for conn in self.conns.iter_mut().filter(|conn| conn.refusal.is_none()) {
            let Poll::Ready(Err(error)) = conn.send.poll_ready(cx) else { continue };
            conn.refusal = goaway_reason(&error);
            if conn.draining.is_some() {
                continue;
            }
            conn.drain(if error.is_go_away() { Closed::Goaway } else { Closed::Broken });
            unanswered += usize::from(!conn.answered);
            if error.is_remote() && error.reason() == Some(h2::Reason::REFUSED_STREAM) {
                self.stream_cap = (self.stream_cap / 2).max(1);
            }
        }
        for _ in 0..unanswered {
            self.note_failure(now);
        }
    }

    /// Lets connections go on that something woke, and removes those that have ended.
    pub(super) fn poll_drivers(&mut self, now: Instant, cx: &mut Context<'_>) {
        let mut place = 0;
        while let Some(conn) = self.conns.get_mut(place) {
            if conn.drive().is_pending() {
                place += 1;
                continue;
            }
            // Its streams are told by `h2`; they need the last word of the peer.
            self.notice_departures(now, cx);
            self.poll_streams(now);
            let conn = self.conns.swap_remove(place);
            self.plan.metrics.connections.close(conn.leaving.unwrap_or(Closed::Broken));
        }
    }

    pub(super) fn poll_pongs(&mut self, cx: &mut Context<'_>) {
        for conn in &mut self.conns {
            if conn.ping_due.is_some() && conn.ping.poll_pong(cx).is_ready() {
                conn.ping_due = None;
            }
        }
    }
}
