//! What wakes a task on behalf of what it polls itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake};

use futures_util::task::AtomicWaker;

/// Stands between a task and what it owns. Most of that becomes ready while the task runs, by what it
/// does: a request that is written wakes the driver of its connection, and an answer that the driver
/// reads wakes its stream. Such a wake is only noted, for the task looks after all of them before it
/// rests. Passed on to the runtime, each would cost another poll of the whole task.
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

    /// The task sees to the wakes so far, now; true when there were any.
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

    /// The same for a task that knows itself of something that it did not see to.
    pub(super) fn rest_with_more_to_do(&self) {
        self.is_noted.store(true, Ordering::SeqCst);
        self.rest();
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

/// A nudge that also keeps whom it was for: one of several that the task would otherwise have to
/// look after all. Whoever takes the nudge looks at every note before the task rests.
#[derive(Debug)]
pub(super) struct Note {
    is_set: AtomicBool,
    nudge: Arc<Nudge>,
}

impl Note {
    /// One that is set: what it stands for was not looked after yet.
    pub(super) fn new(nudge: Arc<Nudge>) -> Arc<Self> {
        Arc::new(Self { is_set: AtomicBool::new(true), nudge })
    }

    pub(super) fn is_set(&self) -> bool {
        self.is_set.load(Ordering::SeqCst)
    }

    /// Whether it was set; it is not from now on.
    pub(super) fn take(&self) -> bool {
        self.is_set.swap(false, Ordering::SeqCst)
    }
}

impl Wake for Note {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    /// First the note and then the nudge: a task that took the nudge finds the note.
    fn wake_by_ref(self: &Arc<Self>) {
        self.is_set.store(true, Ordering::SeqCst);
        self.nudge.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Waker;

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
        let (task, waker) = (Waker::from(Arc::clone(&count)), Waker::from(Arc::clone(&nudge)));
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
    fn a_note_says_whom_the_wake_was_for() {
        let (count, nudge) = (Arc::<Count>::default(), Arc::<Nudge>::default());
        let task = Waker::from(Arc::clone(&count));
        let [one, other] = [(); 2].map(|()| Note::new(Arc::clone(&nudge)));
        assert!(one.take() && other.take(), "nobody looked after them yet");

        nudge.run(&Context::from_waker(&task));
        Waker::from(Arc::clone(&one)).wake();
        assert!(nudge.take() && one.is_set() && !other.is_set());
        nudge.rest();
        assert_eq!(count.0.load(Ordering::SeqCst), 0, "the task knows");
        assert!(one.take() && !one.take());

        Waker::from(other).wake();
        assert_eq!(count.0.load(Ordering::SeqCst), 1, "the task rests");

        nudge.run(&Context::from_waker(&task));
        nudge.rest_with_more_to_do();
        assert_eq!(count.0.load(Ordering::SeqCst), 2, "the task comes back");
    }

    #[test]
    fn no_wake_is_lost_between_running_and_resting() {
        let (count, nudge) = (Arc::<Count>::default(), Arc::<Nudge>::default());
        let task = Waker::from(Arc::clone(&count));
        let other = Waker::from(Arc::clone(&nudge));
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
