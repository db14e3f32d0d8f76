//! Who is registered.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use super::feedback::{self, Feedback};
use super::{Application, ApplicationId};
use crate::providers::Providers;

/// The applications of this process, by name.
#[derive(Debug)]
pub struct Registry {
    max_applications: usize,
    feedback: feedback::Settings,
    /// Guards the map; looked into for each send, written by registrations.
    applications: RwLock<HashMap<Arc<str>, Arc<Application>>>,
}

/// There is no room for another application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Registry {
    /// A registry without applications.
    #[must_use]
    pub fn new(max_applications: usize, feedback: feedback::Settings) -> Self {
        Self { max_applications, feedback, applications: RwLock::default() }
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
        applications.len() < self.max_applications || applications.contains_key(id.as_str())
    }

    /// Puts an application in place. Of one that is there already, each side that `providers` has
    /// is replaced and the other kept, and so are its dead tokens. Calls in flight end on what
    /// they began with.
    ///
    /// # Errors
    /// [`Full`], for a new name.
    pub fn register(&self, id: ApplicationId, providers: Providers) -> Result<(), Full> {
        let mut applications = self.applications.write().unwrap_or_else(PoisonError::into_inner);
        let old = applications.get(id.as_str());
        if old.is_none() && applications.len() >= self.max_applications {
            return Err(Full);
        }
        let kept = old.map(|old| old.providers.clone()).unwrap_or_default();
        let application = Application {
            providers: Providers {
                apns: providers.apns.or(kept.apns),
                fcm: providers.fcm.or(kept.fcm),
                gcm: providers.gcm.or(kept.gcm),
            },
            feedback: old.map_or_else(
                || Arc::new(Feedback::new(&self.feedback)),
                |old| Arc::clone(&old.feedback),
            ),
            in_flight: old.map(|old| Arc::clone(&old.in_flight)).unwrap_or_default(),
            repeats: old.map(|old| Arc::clone(&old.repeats)).unwrap_or_default(),
            id,
        };
        applications.insert(Arc::clone(&application.id.0), Arc::new(application));
        Ok(())
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
