//! What wakes a task on behalf of the futures that it polls itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use futures_util::task::AtomicWaker;

/// Stands between a task and futures that it owns. Most of them become ready while the task runs, by
/// what it does: a request that is written wakes the driver of its connection, and an answer that the
/// driver reads wakes its stream. Such a wake is only noted, for the task looks after all of them
/// before it rests. Passed on to the runtime, each would cost another poll of the whole task.
#[derive(Debug, Default)]
pub(super) struct Nudge {
    is_running: AtomicBool,
    is_noted: AtomicBool,
    task: AtomicWaker,
}

impl Nudge {
    /// The task runs: wakes are noted until [`Self::rest`].
    pub(super) fn run(&self, cx: &Context<'_>) {
        self.task.register(cx.waker());
        self.is_running.store(true, Ordering::SeqCst);
    }

    /// Whether there was a wake that the task did not see to yet.
    pub(super) fn is_noted(&self) -> bool {
        self.is_noted.load(Ordering::SeqCst)
    }

    /// The task sees to the wakes so far, now.
    pub(super) fn take(&self) -> bool {
        self.is_noted.swap(false, Ordering::SeqCst)
    }

    /// The task rests: a wake that it did not see to is passed on, and so are those to come.
    ///
    /// A wake notes itself and then looks whether the task runs; this does both the other way round,
    /// so one of the two sees the other.
    pub(super) fn rest(&self) {
        self.is_running.store(false, Ordering::SeqCst);
        if self.take() {
            self.task.wake();
        }
    }

    pub(super) fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(Arc::clone(self))
    }
}

impl Wake for Nudge {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_noted.store(true, Ordering::SeqCst);
        if !self.is_running.load(Ordering::SeqCst) {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn wakes_reach_the_task_once_it_rests() {
        let (count, nudge) = (Arc::<Count>::default(), Arc::<Nudge>::default());
        let (task, waker) = (Waker::from(Arc::clone(&count)), nudge.waker());
        let woken = || count.0.load(Ordering::SeqCst);

        nudge.run(&Context::from_waker(&task));
        waker.wake_by_ref();
        assert!(nudge.take(), "the task can see to it");
        nudge.rest();
        assert_eq!(woken(), 0, "it did");

        nudge.run(&Context::from_waker(&task));
        waker.wake_by_ref();
        nudge.rest();
        assert_eq!(woken(), 1, "it did not");

        nudge.run(&Context::from_waker(&task));
        nudge.rest();
        waker.wake_by_ref();
        assert_eq!(woken(), 2, "it rests");
    }

    #[test]
    fn no_wake_is_lost_between_running_and_resting() {
        let (count, nudge) = (Arc::<Count>::default(), Arc::<Nudge>::default());
        let task = Waker::from(Arc::clone(&count));
        let other = nudge.waker();
        let (sent, seen) = (Arc::<AtomicUsize>::default(), AtomicUsize::new(0));
        let wakes = Arc::clone(&sent);
        let thread = std::thread::spawn(move || {
            for _ in 0..20_000 {
                wakes.fetch_add(1, Ordering::SeqCst);
                other.wake_by_ref();
            }
        });

        // The task sees everything that was sent before it looked. It looks once more than it has to
        // and never less.
        let mut woken = usize::MAX;
        while !thread.is_finished() || count.0.load(Ordering::SeqCst) != woken {
            woken = count.0.load(Ordering::SeqCst);
            nudge.run(&Context::from_waker(&task));
            nudge.take();
            seen.store(sent.load(Ordering::SeqCst), Ordering::SeqCst);
            nudge.rest();
        }

        thread.join().unwrap_or_else(|_| panic!("the other thread ends"));
        assert_eq!(seen.load(Ordering::SeqCst), 20_000);
    }
}
