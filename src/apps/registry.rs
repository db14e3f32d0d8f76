//! Who is registered.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, Weak};

use time::OffsetDateTime;
use url::Url;

use super::expiry;
use super::feedback::{self, Feedback};
use super::webhook::Hosts;
use super::{Application, ApplicationId};
use crate::providers::Providers;
use crate::providers::apns::Apns;
use crate::providers::fcm::Fcm;

/// The applications of this process, by name.
#[derive(Debug)]
pub struct Registry {
    max_applications: AtomicUsize,
    /// How many dead tokens the list of a new application may hold.
    max_tokens: AtomicUsize,
    /// Guards what of the configuration says where callers may have dead tokens reported.
    hosts: RwLock<Hosts>,
    /// Guards the map; looked into for each send, written by registrations.
    applications: RwLock<HashMap<Arc<str>, Arc<Application>>>,
}

/// What the configuration wants of one application.
#[derive(Debug)]
pub struct Revision {
    /// Which one; it need not be there yet.
    pub id: ApplicationId,
    /// Its side at Apple.
    pub apns: Change<Apns>,
    /// Its side at Google.
    pub fcm: Change<Fcm>,
}

/// What becomes of one side of an application.
#[derive(Debug)]
pub enum Change<T> {
    /// It stays, if there is one.
    Keep,
    /// This one takes its place.
    Put(Arc<T>),
    /// It goes, unless another one took its place meanwhile.
    Take(Weak<T>),
}

impl<T> Change<T> {
    fn of(self, old: Option<Arc<T>>) -> Option<Arc<T>> {
        match self {
            Self::Keep => old,
            Self::Put(new) => Some(new),
            Self::Take(gone) => old.filter(|old| !is_same(&gone, old)),
        }
    }
}

/// Whether both are the same one, and not merely equal.
pub(super) fn is_same<T>(weak: &Weak<T>, strong: &Arc<T>) -> bool {
    std::ptr::eq(weak.as_ptr(), Arc::as_ptr(strong))
}

/// There is no room for another application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Registry {
    /// A registry without applications.
    #[must_use]
    pub fn new(max_applications: usize, feedback: &feedback::Settings) -> Self {
        Self {
            max_applications: max_applications.into(),
            max_tokens: feedback.max_tokens.into(),
            hosts: RwLock::new(Hosts::new(&feedback.webhook_hosts)),
            applications: RwLock::default(),
        }
    }

    /// Lets other limits apply from now on. Who is registered stays, whatever the limit.
    pub fn change_limits(&self, max_applications: usize, feedback: &feedback::Settings) {
        self.max_applications.store(max_applications, Ordering::Relaxed);
        self.max_tokens.store(feedback.max_tokens, Ordering::Relaxed);
        *self.hosts.write().unwrap_or_else(PoisonError::into_inner) =
            Hosts::new(&feedback.webhook_hosts);
        for application in self.read().values() {
            application.feedback.change_limits(feedback);
        }
    }

    /// Whether a caller may have dead tokens reported there.
    #[must_use]
    pub fn takes_webhook(&self, url: &Url) -> bool {
        self.hosts.read().unwrap_or_else(PoisonError::into_inner).allow(url)
    }

    /// The application of this name.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<Arc<Application>> {
        self.read().get(id).cloned()
    }

    /// Whether a registration under this name has room.
    #[must_use]
    pub fn has_room_for(&self, id: &ApplicationId) -> bool {
        let applications = self.read();
        applications.len() < self.max_applications() || applications.contains_key(id.as_str())
    }

    /// Puts an application in place. Of one that is there already, each side that `providers` has
    /// is replaced and the other kept, and so are its dead tokens and its numbers. Calls in flight
    /// end on what they began with.
    ///
    /// # Errors
    /// [`Full`], for a new name.
    pub fn register(&self, id: ApplicationId, providers: Providers) -> Result<(), Full> {
        let mut applications = self.applications.write().unwrap_or_else(PoisonError::into_inner);
        let old = applications.get(id.as_str());
        if old.is_none() && applications.len() >= self.max_applications() {
            return Err(Full);
        }
        let kept = old.map(|old| old.providers.clone()).unwrap_or_default();
        let providers = Providers {
            apns: providers.apns.or(kept.apns),
            fcm: providers.fcm.or(kept.fcm),
            gcm: providers.gcm.or(kept.gcm),
        };
        let application = Arc::new(self.successor(old, id, providers));
        applications.insert(Arc::clone(&application.id.0), Arc::clone(&application));
        drop(applications);
        expiry::check(&application, OffsetDateTime::now_utc());
        Ok(())
    }

    /// Carries out what the configuration says, all of it at once and whatever the limit: who runs
    /// the relay says how much it holds. Calls in flight end on what they began with, as above. An
    /// application that is left without a credential goes.
    pub fn revise(&self, revisions: Vec<Revision>) {
        let mut applications = self.applications.write().unwrap_or_else(PoisonError::into_inner);
        let mut revised = Vec::new();
        for Revision { id, apns, fcm } in revisions {
            let old = applications.get(id.as_str());
            let kept = old.map(|old| old.providers.clone()).unwrap_or_default();
            let providers =
                Providers { apns: apns.of(kept.apns), fcm: fcm.of(kept.fcm), gcm: kept.gcm };
            if providers.is_empty() {
                applications.remove(id.as_str());
                continue;
            }
            let application = Arc::new(self.successor(old, id, providers));
            applications.insert(Arc::clone(&application.id.0), Arc::clone(&application));
            revised.push(application);
        }
        drop(applications);
        let now = OffsetDateTime::now_utc();
        revised.iter().for_each(|application| expiry::check(application, now));
    }

    /// An application with other providers, and all that outlives those of `old`.
    pub(super) fn successor(
        &self,
        old: Option<&Arc<Application>>,
        id: ApplicationId,
        providers: Providers,
    ) -> Application {
        let max_tokens = self.max_tokens.load(Ordering::Relaxed);
        let empty = || Arc::new(Feedback::with_room_for(max_tokens));
        Application {
            id,
            providers,
            feedback: old.map_or_else(empty, |old| Arc::clone(&old.feedback)),
            in_flight: old.map(|old| Arc::clone(&old.in_flight)).unwrap_or_default(),
            repeats: old.map(|old| Arc::clone(&old.repeats)).unwrap_or_default(),
            record: old.map(|old| Arc::clone(&old.record)).unwrap_or_default(),
        }
    }

    fn max_applications(&self) -> usize {
        self.max_applications.load(Ordering::Relaxed)
    }

    /// Every application as it is now, in no order.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Application>> {
        self.read().values().cloned().collect()
    }

    /// How many applications there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.read().len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.read().is_empty()
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<Arc<str>, Arc<Application>>> {
        self.applications.read().unwrap_or_else(PoisonError::into_inner)
    }
}
