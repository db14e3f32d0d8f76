//! How many sends are in flight or waiting: past the limit a send is refused before anything of
//! it left.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Settings;

#[derive(Debug)]
pub(super) struct Admission {
    max_per_application: usize,
    max: usize,
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
            max_per_application: settings.max_in_flight_per_application,
            max: settings.max_in_flight,
            in_flight: AtomicUsize::new(0),
        }
    }

    /// A place for one more send of an application with this count; `None` when there is none.
    pub(super) fn admit(&self, application: &Arc<AtomicUsize>) -> Option<Permit<'_>> {
        if !take(&self.in_flight, self.max) {
            return None;
        }
        if !take(application, self.max_per_application) {
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
}
