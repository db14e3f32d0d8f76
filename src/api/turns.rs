//! Turns: a worker goes on with what it has begun before it begins more.
//!
//! A call is taken up twice, when its caller asks and when the service has answered. The runtime
//! looks after whatever is ready in the order in which it became so. With more callers than a
//! worker keeps up with, hundreds of calls would then be begun before the first answer is looked
//! at, and what belongs to each would have left the processor's caches by the time it is needed
//! again. So a worker begins a few, looks at its sockets, sees to all that came, and begins the
//! next few.

use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpRequest;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};
use tokio::task::yield_now;
use tokio::time::Instant;

/// How many calls are begun between two looks: enough for a connection to write their messages at
/// once where they all go to it, and few enough for the caches.
const AT_ONCE: usize = 8;
/// A call is begun for each of these that passed between two looks, if that is more: the messages
/// of batches may take much of a worker's time, and do not wait here. Longer than a call takes, so
/// that calls alone never get there.
const ONE_FOR_EACH: Duration = Duration::from_micros(250);

/// How long a call waited for its turn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waited(Duration);

impl Waited {
    /// Since when a call is under way whose body is here now: its caller did not choose to wait for
    /// the turn, and chose how long the body took.
    pub(super) fn since(self) -> Instant {
        let now = Instant::now();
        now.checked_sub(self.0).unwrap_or(now)
    }
}

/// The turns of one worker.
#[derive(Debug, Clone)]
pub struct Turns(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Those that are left before the next look.
    left: Semaphore,
    /// Told by who leaves none.
    taken: Notify,
}

impl Turns {
    /// Those of a worker, given out for as long as its runtime lives.
    #[must_use]
    pub fn start(worker: &Handle) -> Self {
        let turns = Self(Arc::new(Shared { left: Semaphore::new(AT_ONCE), taken: Notify::new() }));
        worker.spawn(turns.clone().give());
        turns
    }

    /// Waits for the turn of a call, behind those that came earlier.
    ///
    /// # Cancel safety
    /// Dropped, it leaves its place to the next one.
    pub(super) async fn of(request: &HttpRequest) -> Waited {
        let before = Instant::now();
        if let Some(turns) = request.app_data::<Self>() {
            turns.take().await;
        }
        Waited(before.elapsed())
    }

    async fn take(&self) {
        // It is never closed.
        if let Ok(turn) = self.0.left.acquire().await {
            turn.forget();
        }
        if self.0.left.available_permits() == 0 {
            self.0.taken.notify_one();
        }
    }

    async fn give(self) {
        loop {
            self.0.taken.notified().await;
            while self.0.left.available_permits() == 0 {
                let before = Instant::now();
                // It comes back after the runtime looked at its sockets, and behind what they woke.
                yield_now().await;
                self.0.left.add_permits(turns(before.elapsed()));
            }
        }
    }
}

/// How many there are after so much time.
fn turns(passed: Duration) -> usize {
    let earned = passed.as_micros() / ONE_FOR_EACH.as_micros();
    // The most that a semaphore holds is far beyond what a day earns.
    usize::try_from(earned.min(100_000)).unwrap_or(AT_ONCE).max(AT_ONCE)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use actix_web::test::TestRequest;
    use tokio::time::sleep;

    use super::*;

    /// So many calls that wait for their turns, and how many have had theirs.
    fn calls(turns: &Turns, count: usize) -> Arc<AtomicUsize> {
        let begun = Arc::<AtomicUsize>::default();
        for _ in 0..count {
            let (turns, begun) = (turns.clone(), Arc::clone(&begun));
            Handle::current().spawn(async move {
                turns.take().await;
                begun.fetch_add(1, Ordering::Relaxed);
            });
        }
        begun
    }

    /// Looks at the sockets so often, and says how many more have begun at each.
    async fn looks(begun: &AtomicUsize, count: usize) -> Vec<usize> {
        let mut steps = Vec::new();
        for _ in 0..count {
            let before = begun.load(Ordering::Relaxed);
            yield_now().await;
            steps.push(begun.load(Ordering::Relaxed) - before);
        }
        steps
    }

    // Time stands still, so that none is earned by it.
    #[tokio::test(start_paused = true)]
    async fn few_begin_between_two_looks_and_all_in_the_end() {
        let turns = Turns::start(&Handle::current());
        let begun = calls(&turns, 5 * AT_ONCE + 1);

        let steps = looks(&begun, 20).await;

        assert!(steps.iter().all(|step| *step <= AT_ONCE), "{steps:?}");
        assert_eq!(begun.load(Ordering::Relaxed), 5 * AT_ONCE + 1, "{steps:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn turns_are_given_out_when_there_are_none_and_then_no_more() {
        let turns = Turns::start(&Handle::current());
        for _ in 0..10 * AT_ONCE {
            turns.take().await;
        }

        looks(&AtomicUsize::new(0), 20).await;

        assert_eq!(turns.0.left.available_permits(), AT_ONCE);
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_takes_nobodys_turn() {
        let turns = Turns::start(&Handle::current());
        turns.0.left.forget_permits(AT_ONCE);
        let runtime = Handle::current();
        let mut waiting: Vec<_> =
            (0..4 * AT_ONCE).map(|_| runtime.spawn(turns.clone().taken())).collect();
        yield_now().await;
        // The first few have their turn, and do not know it yet.
        turns.0.left.add_permits(AT_ONCE);
        for leaves in waiting.drain(..2 * AT_ONCE) {
            leaves.abort();
        }

        for stays in waiting {
            stays.await.unwrap_or_else(|error| panic!("{error}"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_of_a_call_runs_while_it_waits() {
        let turns = Turns::start(&Handle::current());
        turns.0.left.forget_permits(AT_ONCE);
        let request = TestRequest::default().app_data(turns.clone()).to_http_request();
        let before = Instant::now();
        Handle::current().spawn(async move {
            sleep(Duration::from_millis(300)).await;
            turns.0.left.add_permits(AT_ONCE);
        });

        let waited = Turns::of(&request).await;

        assert_eq!(before.elapsed(), waited.0, "in a time that stands still but for the wait");
        assert!(waited.0 >= Duration::from_millis(300), "{waited:?}");
        sleep(Duration::from_secs(9)).await;
        assert_eq!(waited.since().elapsed(), waited.0, "the body may take what it takes");
    }

    #[test]
    fn a_long_look_earns_more() {
        assert_eq!(turns(Duration::ZERO), AT_ONCE);
        assert_eq!(turns(8 * ONE_FOR_EACH), 8);
        assert_eq!(turns(60 * ONE_FOR_EACH), 60);
        assert_eq!(turns(Duration::MAX), 100_000);
    }

    impl Turns {
        async fn taken(self) {
            self.take().await;
        }
    }
}
