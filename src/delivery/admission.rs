//! How many sends are in flight or waiting: past the limit a send is refused before anything of
//! it left.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Settings;

#[derive(Debug)]
pub(super) struct Admission {
    max_per_application: AtomicUsize,
    max: AtomicUsize,
    in_flight: AtomicUsize,
}

/// A place among those in flight; given back when dropped.
pub(super) struct Permit<'a> {
    all: &'a AtomicUsize,
    application: Arc<AtomicUsize>,
}

impl Admission {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            max_per_application: settings.max_in_flight_per_application.into(),
            max: settings.max_in_flight.into(),
            in_flight: AtomicUsize::new(0),
        }
    }

    /// Other limits from now on; who is in keeps the place.
    pub(super) fn change(&self, settings: &Settings) {
        self.max_per_application.store(settings.max_in_flight_per_application, Ordering::Relaxed);
        self.max.store(settings.max_in_flight, Ordering::Relaxed);
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// A place for one more send of an application with this count; `None` when there is none.
    pub(super) fn admit(&self, application: &Arc<AtomicUsize>) -> Option<Permit<'_>> {
        if !take(&self.in_flight, self.max.load(Ordering::Relaxed)) {
            return None;
        }
        if !take(application, self.max_per_application.load(Ordering::Relaxed)) {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Permit { all: &self.in_flight, application: Arc::clone(application) })
    }
}

fn take(count: &AtomicUsize, max: usize) -> bool {
    let taken = count.fetch_add(1, Ordering::Relaxed) < max;
    if !taken {
        count.fetch_sub(1, Ordering::Relaxed);
    }
    taken
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.application.fetch_sub(1, Ordering::Relaxed);
        self.all.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_given_back_whichever_limit_was_met() {
        let settings = Settings { max_in_flight_per_application: 1, max_in_flight: 2 };
        let admission = Admission::new(&settings);
        let (a, b, c) = (Arc::default(), Arc::default(), Arc::default());

        let first = admission.admit(&a);
        assert!(first.is_some());
        assert!(admission.admit(&a).is_none(), "the application is full");
        let second = admission.admit(&b);
        assert!(second.is_some());
        assert!(admission.admit(&c).is_none(), "all is full");

        drop(first);
        assert!(admission.admit(&c).is_some());
        drop(second);
        assert_eq!(admission.in_flight.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn limits_that_change_bind_who_comes_next() {
        let settings = |max| Settings { max_in_flight_per_application: max, max_in_flight: max };
        let admission = Admission::new(&settings(2));
        let a = Arc::default();

        let held = [admission.admit(&a), admission.admit(&a)];
        assert!(held.iter().all(Option::is_some));
        admission.change(&settings(1));
        assert!(admission.admit(&a).is_none());
        drop(held);
        assert!(admission.admit(&a).is_some_and(|_first| admission.admit(&a).is_none()));
        admission.change(&settings(3));
        assert!(admission.admit(&a).is_some_and(|_first| admission.admit(&a).is_some()));
    }
}
