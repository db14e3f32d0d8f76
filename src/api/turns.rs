//! Turns: a worker goes on with what it has begun before it begins more.
//!
//! A message is taken up twice, when its caller asks and when the service has answered. The runtime
//! looks after whatever is ready in the order in which it became so. With more callers than a worker
//! keeps up with, hundreds of messages would then be begun before the first answer is looked at, and
//! what belongs to each would have left the processor's caches by the time it is needed again. So a
//! worker begins a few, looks at its sockets, sees to all that came, and begins the next few.

use std::sync::Arc;

use actix_web::HttpRequest;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};
use tokio::task::yield_now;

/// How many messages are begun between two looks: enough for a connection that all of them go to to
/// write them at once, and few enough for the caches.
const AT_ONCE: usize = 8;

/// The turns of one worker.
#[derive(Debug, Clone)]
pub struct Turns(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Those that are left before the next look.
    left: Semaphore,
    /// Told when the last one was taken.
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
    pub(super) async fn of(request: &HttpRequest) {
        if let Some(turns) = request.app_data::<Self>() {
            turns.take().await;
        }
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
                // It comes back after the runtime looked at its sockets, and behind what they woke.
                yield_now().await;
                self.0.left.add_permits(AT_ONCE);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

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

    #[tokio::test]
    async fn few_begin_between_two_looks_and_all_in_the_end() {
        let turns = Turns::start(&Handle::current());
        let begun = calls(&turns, 5 * AT_ONCE + 1);
        let (mut before, mut looks) = (0, 0);

        while before < 5 * AT_ONCE + 1 {
            yield_now().await;
            let now = begun.load(Ordering::Relaxed);
            assert!(now - before <= AT_ONCE, "{now} after {before}");
            (before, looks) = (now, looks + 1);
            assert!(looks < 100, "{now} have begun");
        }
        assert!(looks >= 6, "{looks}");
    }

    #[tokio::test]
    async fn turns_that_were_left_over_are_there_for_the_next_ones() {
        let turns = Turns::start(&Handle::current());
        for _ in 0..10 * AT_ONCE {
            turns.take().await;
        }
        assert!(turns.0.left.available_permits() <= AT_ONCE);
    }

    #[tokio::test]
    async fn who_leaves_takes_nobodys_turn() {
        let turns = Turns::start(&Handle::current());
        turns.0.left.forget_permits(AT_ONCE);
        let runtime = Handle::current();
        let mut waiting: Vec<_> =
            (0..3 * AT_ONCE).map(|_| runtime.spawn(turns.clone().taken())).collect();
        yield_now().await;
        for leaves in waiting.drain(..2 * AT_ONCE) {
            leaves.abort();
            assert!(leaves.await.is_err());
        }
        turns.0.taken.notify_one();

        for stays in waiting {
            stays.await.unwrap_or_else(|error| panic!("{error}"));
        }
        // One look gave all of them out.
        assert_eq!(turns.0.left.available_permits(), 0);
    }

    impl Turns {
        async fn taken(self) {
            self.take().await;
        }
    }
}
