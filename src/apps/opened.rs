//! Sealed registrations that are open: each once, however many calls want it at the same time, and
//! no more than so many. The one that was used least lately makes room: its connections end when
//! the calls on them have ended.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use openssl::sha::Sha256;
use tokio::sync::OnceCell;

use super::registration::{Registrar, RegistrationError};
use super::registry::Registry;
use super::sealed::{Contents, MAX_BYTES, Seal};
use super::{Application, ApplicationId};
use crate::providers::Providers;

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How many may be open.
    pub open: usize,
    /// Of how many names the dead tokens are kept.
    pub names: usize,
}

/// Every sealed registration that this process has been shown, as far as there is room.
#[derive(Debug)]
pub struct Opened {
    seal: Seal,
    limits: Limits,
    registrar: Arc<Registrar>,
    registry: Arc<Registry>,
    /// Guards the map; looked into for each send, written when one is opened.
    slots: RwLock<HashMap<Digest, Arc<Slot>>>,
    /// Guards what is left of applications whose connections have ended, by name: their dead
    /// tokens and their counts. Looked into when one is opened.
    remains: Mutex<HashMap<ApplicationId, Remains>>,
    /// Goes up with each use.
    clock: AtomicU64,
}

/// SHA-256 of the sealed text, which is kept nowhere.
type Digest = [u8; 32];

#[derive(Debug, Default)]
struct Slot {
    application: OnceCell<Arc<Application>>,
    used: AtomicU64,
}

#[derive(Debug)]
struct Remains {
    /// Without credentials.
    application: Arc<Application>,
    opened: u64,
}

/// A sealed registration that is ours.
#[derive(Debug)]
pub enum Found {
    /// Nobody has used it lately.
    Closed(Box<Closed>),
    /// It can be used.
    Open(Arc<Application>),
}

/// A sealed registration on its way to be opened.
#[derive(Debug)]
pub struct Closed {
    digest: Digest,
    name: ApplicationId,
    contents: Contents,
}

impl Found {
    /// The name of its application.
    #[must_use]
    pub fn name(&self) -> &ApplicationId {
        match self {
            Self::Closed(closed) => &closed.name,
            Self::Open(application) => &application.id,
        }
    }
}

impl Opened {
    /// None is open yet.
    #[must_use]
    pub fn new(
        seal: Seal,
        limits: Limits,
        registrar: Arc<Registrar>,
        registry: Arc<Registry>,
    ) -> Self {
        let (slots, remains) = (RwLock::default(), Mutex::default());
        Self { seal, limits, registrar, registry, slots, remains, clock: AtomicU64::new(0) }
    }

    /// What seals.
    #[must_use]
    pub fn seal(&self) -> &Seal {
        &self.seal
    }

    /// The registration of this text; `None` if it is not ours.
    #[must_use]
    pub fn find(&self, text: &str) -> Option<Found> {
        // A long text costs nothing: it is not even hashed.
        if text.len() > MAX_BYTES {
            return None;
        }
        let digest = digest(text);
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(&digest)
            && let Some(application) = slot.application.get()
        {
            slot.used.store(self.tick(), Ordering::Relaxed);
            return Some(Found::Open(Arc::clone(application)));
        }
        drop(slots);
        let contents = self.seal.open(text)?;
        let name = ApplicationId::parse(&contents.name)?;
        Some(Found::Closed(Box::new(Closed { digest, name, contents })))
    }

    /// The application of a registration, which is read if need be.
    ///
    /// # Errors
    /// [`RegistrationError::Busy`]: too many others wait to be read.
    ///
    /// # Cancel safety
    /// Dropped, another caller who waits for the same one reads it.
    pub async fn open(&self, found: Found) -> Result<Arc<Application>, RegistrationError> {
        let closed = match found {
            Found::Closed(closed) => *closed,
            Found::Open(application) => return Ok(application),
        };
        let Closed { digest, name, contents } = closed;
        let slot = self.slot(digest);
        let read = || async {
            let providers = self.registrar.open(contents).await?;
            tracing::debug!(app.id = name.as_str(), "a sealed registration was opened");
            Ok(Arc::new(self.adopt(name, providers)))
        };
        slot.application.get_or_try_init(read).await.cloned()
    }

    /// Those that are open now, in no order; of several that share a name, the one that was used
    /// last.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Application>> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let mut newest = HashMap::<&ApplicationId, (u64, &Arc<Application>)>::new();
        for slot in slots.values() {
            let Some(application) = slot.application.get() else { continue };
            let used = slot.used.load(Ordering::Relaxed);
            let known = newest.entry(&application.id).or_insert((used, application));
            if known.0 < used {
                *known = (used, application);
            }
        }
        newest.into_values().map(|(_, application)| Arc::clone(application)).collect()
    }

    /// The place of a registration, for which another one may have to go.
    fn slot(&self, digest: Digest) -> Arc<Slot> {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let slot = Arc::clone(slots.entry(digest).or_default());
        slot.used.store(self.tick(), Ordering::Relaxed);
        while slots.len() > self.limits.open.max(1) {
            let age = |(_, slot): &(&Digest, &Arc<Slot>)| slot.used.load(Ordering::Relaxed);
            let Some(oldest) = slots.iter().min_by_key(age).map(|(digest, _)| *digest) else {
                break;
            };
            slots.remove(&oldest);
        }
        slot
    }

    /// The application of this name with these credentials, and with what is left of the one
    /// before it.
    fn adopt(&self, name: ApplicationId, providers: Providers) -> Application {
        let mut remains = self.remains.lock().unwrap_or_else(PoisonError::into_inner);
        let opened = self.tick();
        if !remains.contains_key(&name) && remains.len() >= self.limits.names {
            bury(&mut remains);
        }
        let kept = remains.entry(name.clone()).or_insert_with(|| {
            let nothing = Providers::default();
            let application = Arc::new(self.registry.successor(None, name.clone(), nothing));
            Remains { application, opened }
        });
        kept.opened = opened;
        self.registry.successor(Some(&kept.application), name, providers)
    }

    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }
}

/// Unlike `openssl::sha::sha256`, which looks the algorithm up by its name each time.
fn digest(text: &str) -> Digest {
    let mut hash = Sha256::new();
    hash.update(text.as_bytes());
    hash.finish()
}

/// Makes room: by what nobody would miss, or else by the dead tokens of the name that was opened
/// longest ago.
fn bury(remains: &mut HashMap<ApplicationId, Remains>) {
    let before = remains.len();
    remains.retain(|_, kept| {
        let feedback = &kept.application.feedback;
        feedback.count() > 0 || Arc::strong_count(feedback) > 1
    });
    if remains.len() < before {
        return;
    }
    let oldest = remains.iter().min_by_key(|(_, kept)| kept.opened).map(|(name, _)| name.clone());
    if let Some(name) = oldest
        && let Some(kept) = remains.remove(&name)
    {
        tracing::warn!(
            app.id = name.as_str(),
            dead_tokens = kept.application.feedback.count(),
            "the dead tokens of a sealed registration were dropped; raise server.max_applications"
        );
    }
}
