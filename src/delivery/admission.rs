//! How many sends are in flight or waiting. A message that comes alone is refused past the limit,
//! before anything of it left; one of many waits for its turn.
//!
//! What waits stands in lanes, one for each caller and application. A message of many may go if its
//! application holds fewer places for such messages than are free, in all and of its own. So one
//! that holds its places for long, since its peer does not answer, gets half of them at most, two of
//! them a third each, and a newcomer finds free places; a message that comes alone does too. A caller
//! of weight 3 counts as three in this. That there are free places whatever one caller has registered,
//! a caller leaves one in eight to others, with messages of either kind.

use std::collections::{HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::Settings;
use crate::apps::{Application, ApplicationId};

/// What one caller holds of the places; the same one for all of its calls. Clones are one.
#[derive(Debug, Clone)]
pub struct Share(Arc<Held>);

#[derive(Debug)]
struct Held {
    /// How many places it is given while another one of weight 1 is given one, where they wait.
    weight: u32,
    in_flight: AtomicUsize,
}

#[derive(Debug)]
pub(super) struct Admission(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    max_per_application: AtomicUsize,
    max_per_caller: AtomicUsize,
    max: AtomicUsize,
    in_flight: AtomicUsize,
    /// How many wait for their turn, so that in good times giving a place back takes no lock.
    waiting: AtomicUsize,
    /// Guards the lanes; held to take a place, to give one back and to choose who is next.
    turns: Mutex<Turns>,
}

type LaneKey = (Share, ApplicationId);

/// The places of messages that come with others.
#[derive(Debug, Default)]
struct Turns {
    lanes: HashMap<LaneKey, Lane>,
    /// How many places each application holds; no entry is none.
    applications: HashMap<ApplicationId, usize>,
    /// Counts the turns.
    clock: u64,
}

/// One caller's messages for one application.
#[derive(Debug)]
struct Lane {
    in_flight: Arc<AtomicUsize>,
    held: usize,
    /// When it had its last turn.
    served: u64,
    waiters: VecDeque<oneshot::Sender<Permit>>,
    /// So many waiters are looked through for those who left.
    purge_at: usize,
}

/// A place among those in flight; given back when dropped.
#[derive(Debug)]
pub(super) struct Permit {
    shared: Arc<Shared>,
    application: Arc<AtomicUsize>,
    holder: Holder,
}

#[derive(Debug)]
enum Holder {
    /// A message that came alone, of this caller if it is anybody's in particular.
    Alone(Option<Share>),
    /// One of many messages.
    Lane(LaneKey),
}

/// A caller holds at most so many times the places that it leaves free.
const CALLER_SHARE: usize = 7;
/// Fewer waiters are not looked through: they are served or gone soon.
const PURGE_AT_LEAST: usize = 64;

impl Share {
    /// That of a caller who holds nothing. Of weight 3 it gets three places while one of weight 1 gets
    /// one, where their messages wait; at least 1.
    #[must_use]
    pub fn new(weight: u32) -> Self {
        Self(Arc::new(Held { weight, in_flight: AtomicUsize::new(0) }))
    }

    fn held(&self) -> usize {
        self.0.in_flight.load(Ordering::SeqCst)
    }
}

impl Eq for Share {}

impl Hash for Share {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

impl PartialEq for Share {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Admission {
    pub(super) fn new(settings: &Settings) -> Self {
        Self(Arc::new(Shared {
            max_per_application: settings.max_in_flight_per_application.into(),
            max_per_caller: settings.max_in_flight_per_caller.into(),
            max: settings.max_in_flight.into(),
            in_flight: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            turns: Mutex::default(),
        }))
    }

    /// Other limits from now on; who is in keeps the place.
    pub(super) fn change(&self, settings: &Settings) {
        let shared = &self.0;
        let own = settings.max_in_flight_per_application;
        shared.max_per_application.store(own, Ordering::SeqCst);
        shared.max_per_caller.store(settings.max_in_flight_per_caller, Ordering::SeqCst);
        shared.max.store(settings.max_in_flight, Ordering::SeqCst);
        shared.serve(shared.lock());
    }

    pub(super) fn in_flight(&self) -> usize {
        self.0.in_flight.load(Ordering::SeqCst)
    }

    /// A place for one more send of an application with this count; `None` when there is none. With no
    /// caller it is nobody's in particular.
    pub(super) fn admit(
        &self,
        caller: Option<&Share>,
        application: &Arc<AtomicUsize>,
    ) -> Option<Permit> {
        let shared = &self.0;
        if !take(&shared.in_flight, shared.max()) {
            return None;
        }
        if !take(application, shared.max_per_application.load(Ordering::Relaxed)) {
            shared.in_flight.fetch_sub(1, Ordering::SeqCst);
            return None;
        }
        let max_per_caller = shared.max_per_caller.load(Ordering::Relaxed);
        if caller.is_some_and(|caller| !take(&caller.0.in_flight, max_per_caller)) {
            application.fetch_sub(1, Ordering::SeqCst);
            shared.in_flight.fetch_sub(1, Ordering::SeqCst);
            return None;
        }
        Some(Permit {
            shared: Arc::clone(shared),
            application: Arc::clone(application),
            holder: Holder::Alone(caller.cloned()),
        })
    }

    /// Waits for a place for one of many messages.
    ///
    /// # Cancel safety
    /// Dropped, it leaves the lane.
    pub(super) async fn turn(&self, caller: &Share, application: &Application) -> Permit {
        let (permit, turn) = oneshot::channel();
        self.0.join((caller.clone(), application.id.clone()), &application.in_flight, permit);
        match turn.await {
            Ok(permit) => permit,
            // Nobody drops the other end while this one lives.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Shared {
    fn max(&self) -> usize {
        self.max.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(
        self: &Arc<Self>,
        key: LaneKey,
        in_flight: &Arc<AtomicUsize>,
        waiter: oneshot::Sender<Permit>,
    ) {
        let mut turns = self.lock();
        // Before anybody looks for a place: who gives one back meanwhile sees that somebody waits.
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let clock = turns.clock;
        let lane = turns.lanes.entry(key).or_insert_with(|| Lane {
            in_flight: Arc::clone(in_flight),
            held: 0,
            served: clock,
            waiters: VecDeque::new(),
            purge_at: PURGE_AT_LEAST,
        });
        if lane.waiters.len() >= lane.purge_at {
            let before = lane.waiters.len();
            lane.waiters.retain(|waiter| !waiter.is_closed());
            let gone = before.saturating_sub(lane.waiters.len());
            self.waiting.fetch_sub(gone, Ordering::SeqCst);
            lane.purge_at = lane.waiters.len().saturating_mul(2).max(PURGE_AT_LEAST);
        }
        lane.waiters.push_back(waiter);
        self.serve(turns);
    }

    /// Gives places to those who wait, as long as there are some. The lane that holds the fewest for the
    /// weight of its caller is first; of equals the one that has waited longest.
    fn serve(self: &Arc<Self>, mut turns: MutexGuard<'_, Turns>) {
        // A place whose waiter has just left is given back when nothing is locked.
        let mut left = Vec::new();
        while let Some(key) = self.next(&turns) {
            let Some((waiter, in_flight)) = turns.serve(&key) else { break };
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            if waiter.is_closed() {
                turns.forget_if_empty(&key);
                continue;
            }
            if !take(&self.in_flight, self.max()) {
                turns.put_back(&key, waiter);
                self.waiting.fetch_add(1, Ordering::SeqCst);
                break;
            }
            in_flight.fetch_add(1, Ordering::SeqCst);
            turns.hold(&key);
            key.0.0.in_flight.fetch_add(1, Ordering::SeqCst);
            let holder = Holder::Lane(key);
            let permit = Permit { shared: Arc::clone(self), application: in_flight, holder };
            if let Err(permit) = waiter.send(permit) {
                left.push(permit);
            }
        }
        drop(turns);
        drop(left);
    }

    fn next(&self, turns: &Turns) -> Option<LaneKey> {
        let free = self.max().saturating_sub(self.in_flight.load(Ordering::SeqCst));
        let max_own = self.max_per_application.load(Ordering::Relaxed);
        let max_of_caller = self.max_per_caller.load(Ordering::Relaxed);
        let waiting = turns.lanes.iter().filter(|(_, lane)| !lane.waiters.is_empty());
        let ready = waiting.filter(|((caller, application), lane)| {
            let in_flight = lane.in_flight.load(Ordering::SeqCst);
            let own = max_own.saturating_sub(in_flight);
            let held = turns.applications.get(application).copied().unwrap_or_default();
            let of_caller = caller.held();
            held < own
                && held < free.saturating_mul(caller.0.weight as usize)
                && of_caller < max_of_caller.min(free.saturating_mul(CALLER_SHARE))
        });
        let first = ready.min_by(|((one, _), a), ((other, _), b)| {
            // As a/one against b/other, without a remainder.
            let weighed = |held: usize, weight: u32| held.saturating_mul(weight as usize);
            let shares = weighed(a.held, other.0.weight).cmp(&weighed(b.held, one.0.weight));
            shares.then(a.served.cmp(&b.served))
        });
        first.map(|(key, _)| key.clone())
    }

    fn give_back(self: &Arc<Self>, application: &AtomicUsize, holder: &Holder) {
        application.fetch_sub(1, Ordering::SeqCst);
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        match holder {
            Holder::Alone(caller) => {
                if let Some(caller) = caller {
                    caller.0.in_flight.fetch_sub(1, Ordering::SeqCst);
                }
                if self.waiting.load(Ordering::SeqCst) > 0 {
                    self.serve(self.lock());
                }
            }
            Holder::Lane(key) => {
                key.0.0.in_flight.fetch_sub(1, Ordering::SeqCst);
                let mut turns = self.lock();
                turns.let_go(key);
                self.serve(turns);
            }
        }
    }
}

impl Turns {
    /// The first who waits in a lane.
    fn serve(&mut self, key: &LaneKey) -> Option<(oneshot::Sender<Permit>, Arc<AtomicUsize>)> {
        self.clock = self.clock.wrapping_add(1);
        let lane = self.lanes.get_mut(key)?;
        lane.served = self.clock;
        Some((lane.waiters.pop_front()?, Arc::clone(&lane.in_flight)))
    }

    fn put_back(&mut self, key: &LaneKey, waiter: oneshot::Sender<Permit>) {
        if let Some(lane) = self.lanes.get_mut(key) {
            lane.waiters.push_front(waiter);
        }
    }

    fn hold(&mut self, key: &LaneKey) {
        if let Some(lane) = self.lanes.get_mut(key) {
            lane.held = lane.held.saturating_add(1);
        }
        let (_, application) = key;
        let count = self.applications.entry(application.clone()).or_default();
        *count = count.saturating_add(1);
    }

    /// Counts a place as given back. What counts nothing any more is forgotten.
    fn let_go(&mut self, key: &LaneKey) {
        if let Some(lane) = self.lanes.get_mut(key) {
            lane.held = lane.held.saturating_sub(1);
        }
        self.forget_if_empty(key);
        let (_, application) = key;
        if let Some(count) = self.applications.get_mut(application) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.applications.remove(application);
            }
        }
    }

    fn forget_if_empty(&mut self, key: &LaneKey) {
        if self.lanes.get(key).is_some_and(|lane| lane.held == 0 && lane.waiters.is_empty()) {
            self.lanes.remove(key);
        }
    }
}

fn take(count: &AtomicUsize, max: usize) -> bool {
    let taken = count.fetch_add(1, Ordering::SeqCst) < max;
    if !taken {
        count.fetch_sub(1, Ordering::SeqCst);
    }
    taken
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shared.give_back(&self.application, &self.holder);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::apps::feedback::{self, Feedback};
    use crate::providers::Providers;

    fn admission(max_in_flight_per_application: usize, max_in_flight: usize) -> Admission {
        Admission::new(&Settings {
            max_in_flight_per_application,
            max_in_flight_per_caller: max_in_flight,
            max_in_flight,
        })
    }

    fn caller() -> Share {
        Share::new(1)
    }

    fn application(id: &str) -> Application {
        Application {
            id: ApplicationId::parse(id).unwrap_or_else(|| panic!("{id}")),
            providers: Providers::default(),
            feedback: Arc::new(Feedback::new(&feedback::Settings {
                max_tokens: 0,
                ..feedback::Settings::default()
            })),
            in_flight: Arc::default(),
            repeats: Arc::default(),
            record: Arc::default(),
        }
    }

    /// As many places as it gets at once.
    fn fill(admission: &Admission, caller: &Share, application: &Application) -> Vec<Permit> {
        let turn = || admission.turn(caller, application).now_or_never();
        std::iter::from_fn(turn).collect()
    }

    #[test]
    fn one_caller_leaves_places_with_messages_that_come_alone_too() {
        let admission = Admission::new(&Settings {
            max_in_flight_per_application: 100,
            max_in_flight_per_caller: 7,
            max_in_flight: 8,
        });
        let (one, other, app) = (caller(), caller(), application("a"));

        let mut held: Vec<_> =
            (0..8).filter_map(|_| admission.admit(Some(&one), &app.in_flight)).collect();
        assert_eq!(held.len(), 7);
        assert!(admission.admit(Some(&other), &app.in_flight).is_some());
        let mut many = Box::pin(admission.turn(&one, &app));
        assert!((&mut many).now_or_never().is_none(), "both kinds count");

        held.truncate(3);
        assert!((&mut many).now_or_never().is_some());
        drop(held);
        assert_eq!((one.held(), app.in_flight.load(Ordering::SeqCst)), (0, 0));
        assert_eq!(admission.0.in_flight.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_place_is_given_back_whichever_limit_was_met() {
        let admission = admission(1, 2);
        let (a, b, c) = (Arc::default(), Arc::default(), Arc::default());

        let first = admission.admit(None, &a);
        assert!(first.is_some());
        assert!(admission.admit(None, &a).is_none(), "the application is full");
        let second = admission.admit(None, &b);
        assert!(second.is_some());
        assert!(admission.admit(None, &c).is_none(), "all is full");

        drop(first);
        assert!(admission.admit(None, &c).is_some());
        drop(second);
        assert_eq!(admission.0.in_flight.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn limits_that_change_bind_who_comes_next() {
        let admission = admission(2, 2);
        let settings = |max| Settings {
            max_in_flight_per_application: max,
            max_in_flight_per_caller: max,
            max_in_flight: max,
        };
        let a = Arc::default();

        let held = [admission.admit(None, &a), admission.admit(None, &a)];
        assert!(held.iter().all(Option::is_some));
        admission.change(&settings(1));
        assert!(admission.admit(None, &a).is_none());
        drop(held);
        assert!(
            admission.admit(None, &a).is_some_and(|_first| admission.admit(None, &a).is_none())
        );
        admission.change(&settings(3));
        assert!(
            admission.admit(None, &a).is_some_and(|_first| admission.admit(None, &a).is_some())
        );
    }

    #[test]
    fn a_limit_that_rises_lets_in_who_waits() {
        let caller = caller();
        let admission = admission(1, 1);
        let app = application("a");
        let held = fill(&admission, &caller, &app);
        assert_eq!(held.len(), 1);
        let mut next = Box::pin(admission.turn(&caller, &app));
        assert!((&mut next).now_or_never().is_none());

        admission.change(&Settings {
            max_in_flight_per_application: 4,
            max_in_flight_per_caller: 4,
            max_in_flight: 4,
        });

        assert!((&mut next).now_or_never().is_some());
    }

    #[test]
    fn many_messages_leave_places_for_others() {
        let admission = admission(100, 120);
        let [a, b, c] = ["a", "b", "c"].map(application);

        let of_a = fill(&admission, &caller(), &a);
        assert_eq!(of_a.len(), 50, "half of the application's own");
        let of_b = fill(&admission, &caller(), &b);
        assert_eq!(of_b.len(), 35, "half of what is left in all");
        let of_c = fill(&admission, &caller(), &c);
        assert_eq!(of_c.len(), 18);
        assert!(admission.admit(None, &a.in_flight).is_some(), "a message alone finds a place");

        drop((of_a, of_b, of_c));
        assert_eq!(admission.0.in_flight.load(Ordering::SeqCst), 0);
        assert_eq!(admission.0.waiting.load(Ordering::SeqCst), 0, "who left does not wait");
        assert!(admission.0.lock().lanes.is_empty());
        assert!(admission.0.lock().applications.is_empty());
    }

    #[test]
    fn one_caller_with_many_applications_leaves_places_too() {
        let admission = admission(100, 100);
        let (caller, other) = (caller(), caller());
        let applications: Vec<_> =
            (0..50).map(|number| application(&format!("a{number}"))).collect();

        let held: Vec<_> =
            applications.iter().flat_map(|one| fill(&admission, &caller, one)).collect();

        assert_eq!(held.len(), 88);
        assert!(admission.turn(&other, &application("b")).now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_place_that_is_free_goes_to_the_lane_with_the_fewest() {
        let (one, other) = (caller(), caller());
        let admission = admission(10, 12);
        let [a, b] = ["a", "b"].map(application);
        let mut of_a = fill(&admission, &one, &a);
        let of_b = fill(&admission, &other, &b);
        assert_eq!((of_a.len(), of_b.len()), (5, 4));
        let mut next_a = Box::pin(admission.turn(&one, &a));
        let mut next_b = Box::pin(admission.turn(&other, &b));
        assert!((&mut next_a).now_or_never().is_none());
        assert!((&mut next_b).now_or_never().is_none());

        of_a.pop();
        assert!((&mut next_a).now_or_never().is_none(), "it has as many already");
        let another = (&mut next_b).now_or_never();
        assert!(another.is_none(), "four are held and three would be left");
        of_a.pop();
        assert!((&mut next_a).now_or_never().is_some() ^ (&mut next_b).now_or_never().is_some());
    }

    #[tokio::test]
    async fn who_left_the_lane_is_passed_over() {
        let caller = caller();
        let admission = admission(1, 1);
        let app = application("a");
        let only = admission.turn(&caller, &app).await;
        let gone = Box::pin(admission.turn(&caller, &app));
        let mut gone = gone;
        assert!((&mut gone).now_or_never().is_none());
        let mut next = Box::pin(admission.turn(&caller, &app));
        assert!((&mut next).now_or_never().is_none());

        drop(gone);
        drop(only);

        assert!((&mut next).now_or_never().is_some());
    }

    #[tokio::test]
    async fn waiters_who_leave_do_not_pile_up() {
        let caller = caller();
        let admission = admission(1, 1);
        let app = application("a");
        let only = admission.turn(&caller, &app).await;

        for _ in 0..10_000 {
            assert!(admission.turn(&caller, &app).now_or_never().is_none());
        }

        let waiting = admission.0.waiting.load(Ordering::SeqCst);
        assert!(waiting <= PURGE_AT_LEAST + 1, "{waiting}");
        drop(only);
    }

    #[test]
    fn a_caller_of_weight_three_gets_three_places_for_one() {
        let admission = admission(100, 10);
        let [a, b, other] = ["a", "b", "c"].map(application);
        let taken: Vec<_> = (0..10).map(|_| admission.admit(None, &other.in_flight)).collect();
        assert!(taken.iter().all(Option::is_some));
        let wait = |caller: &Share, application: &Application| -> Vec<_> {
            let line = |_| {
                let (permit, turn) = oneshot::channel();
                let key = (caller.clone(), application.id.clone());
                admission.0.join(key, &application.in_flight, permit);
                turn
            };
            (0..20).map(line).collect()
        };
        let light = wait(&caller(), &b);
        let heavy = wait(&Share::new(3), &a);

        drop(taken);

        let served = |turns: Vec<oneshot::Receiver<Permit>>| -> Vec<Permit> {
            turns.into_iter().filter_map(|mut turn| turn.try_recv().ok()).collect()
        };
        let (light, heavy) = (served(light), served(heavy));
        assert_eq!((light.len(), heavy.len()), (2, 6), "and two are left for others");
    }
}
