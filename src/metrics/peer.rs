//! One provider: how long it takes, and the connections to it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus::{Histogram, HistogramOpts};

use super::page::Family;

/// The numbers of one provider.
#[derive(Debug, Default)]
pub struct Peer {
    /// From handing a message over to writing it: waiting for a connection, or for room on one.
    pub queue_wait: Timing,
    /// From writing a message to its answer.
    pub answers: Timing,
    /// From admitting a message to its end, repeats included.
    pub sends: Timing,
    /// The connections.
    pub connections: Connections,
}

/// How long something takes.
#[derive(Debug)]
pub struct Timing(Histogram);

/// From a millisecond, in which a neighbour answers, to the longest that a call may take.
const BUCKETS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0];

impl Default for Timing {
    #[expect(clippy::expect_used, reason = "the name is a name and the buckets stand in order")]
    fn default() -> Self {
        // Name and labels are given when it is told.
        let options = HistogramOpts::new("seconds", "seconds").buckets(BUCKETS.to_vec());
        Self(Histogram::with_opts(options).expect("a histogram of constants"))
    }
}

impl Timing {
    /// It took so long once more.
    pub fn observe(&self, took: Duration) {
        self.0.observe(took.as_secs_f64());
    }

    /// Of what never happened nothing is told.
    pub(super) fn write(&self, family: &mut Family, labels: &[(&str, &str)]) {
        if self.0.get_sample_count() > 0 {
            family.spread(labels, &self.0);
        }
    }
}

/// Why a connection ended: the label `cause`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// It was a day old, or had carried as many requests as one may.
    Age,
    /// It broke without a word.
    Broken,
    /// The peer asked to leave it (GOAWAY).
    Goaway,
    /// Nobody needed it for a while.
    Idle,
    /// A credential was refused on it, or an answer said that it is of no more use.
    Refused,
    /// Its application was registered anew, or is gone.
    Replaced,
    /// The peer gave no sign of life when it was asked for one.
    Silent,
    /// The peer lives, and answers no request on it.
    Stalled,
}

impl Closed {
    const ALL: [Self; 8] = [
        Self::Age,
        Self::Broken,
        Self::Goaway,
        Self::Idle,
        Self::Refused,
        Self::Replaced,
        Self::Silent,
        Self::Stalled,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Broken => "broken",
            Self::Goaway => "goaway",
            Self::Idle => "idle",
            Self::Refused => "refused",
            Self::Replaced => "replaced",
            Self::Silent => "silent",
            Self::Stalled => "stalled",
        }
    }
}

/// Connections as they come and go.
#[derive(Debug, Default)]
pub struct Connections {
    opened: AtomicU64,
    refused: AtomicU64,
    unreachable: AtomicU64,
    closed: [AtomicU64; Closed::ALL.len()],
}

impl Connections {
    /// One was made.
    pub fn open(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    /// One could not be made; `is_refused` when the peer would not have us.
    pub fn fail(&self, is_refused: bool) {
        let count = if is_refused { &self.refused } else { &self.unreachable };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// One ended.
    pub fn close(&self, cause: Closed) {
        if let Some(count) = self.closed.get(cause as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Of a provider that was never connected to nothing is told.
    pub(super) fn write(&self, families: &mut Families, provider: (&str, &str)) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let all = [&self.opened, &self.refused, &self.unreachable].map(read);
        if all == [0; 3] {
            return;
        }
        let [opened, refused, unreachable] = all;
        families.opened.count(&[provider], opened);
        families.failed.count(&[provider, ("cause", "refused")], refused);
        families.failed.count(&[provider, ("cause", "unreachable")], unreachable);
        for (cause, count) in Closed::ALL.into_iter().zip(&self.closed) {
            families.closed.count(&[provider, ("cause", cause.as_str())], read(count));
        }
    }
}

/// What [`Connections`] are told under.
pub(super) struct Families {
    pub(super) opened: Family,
    pub(super) failed: Family,
    pub(super) closed: Family,
}

impl Families {
    pub(super) fn new() -> Self {
        let failed = "Connections that could not be made: refused by the peer, or not reached.";
        Self {
            opened: Family::counter(
                "pushlet_connections_opened_total",
                "Connections that were made.",
            ),
            failed: Family::counter("pushlet_connections_failed_total", failed),
            closed: Family::counter(
                "pushlet_connections_closed_total",
                "Connections that ended, and why.",
            ),
        }
    }
}
