//! The applications of the configuration in the registry: put there at the start, kept true by each
//! reload.
//!
//! What the configuration says of an application comes before what was registered over HTTP. A
//! credential whose contents are what they were stays, with its connections; so does one whose
//! successor cannot be used. One that the configuration names no more goes, unless a registration
//! took its place.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use openssl::sha::Sha256;

use super::ApplicationId;
use super::preload::{Preload, Unusable};
use super::registry::{Change, Registry, Revision, is_same};
use super::webhook::Webhook;
use crate::providers::apns::credential::Raw;
use crate::providers::apns::{self, Apns};
use crate::providers::fcm::{self, Fcm};
use crate::secret::Secret;

/// What the configuration brought when it was last read.
#[derive(Debug, Default)]
pub struct Preloaded {
    entries: HashMap<ApplicationId, Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    apple: Option<Side<Apns>>,
    google: Option<Side<Fcm>>,
    webhook: Option<Arc<Webhook>>,
}

/// One credential of an entry.
#[derive(Debug)]
struct Side<T> {
    /// What tells its contents from others; `None` for one that cannot be used, which the next
    /// reload tries again.
    mark: Option<Mark>,
    /// What was put into the registry, and is dropped with it.
    ours: Weak<T>,
}

/// SHA-256 of all that makes a credential.
type Mark = Secret<[u8; 32]>;

/// What became of the applications of the configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Changes {
    /// How many are new.
    pub added: usize,
    /// How many have another credential than before.
    pub changed: usize,
    /// How many are named no more.
    pub removed: usize,
}

impl Preloaded {
    /// Brings the registry to what the configuration says now. It reads files and parses
    /// credentials: not to be called where others wait.
    pub fn apply(
        &mut self,
        entries: &[Preload],
        registry: &Registry,
        apns: &Arc<apns::Context>,
        fcm: &Arc<fcm::Context>,
    ) -> Changes {
        let mut former = std::mem::take(&mut self.entries);
        let mut changes = Changes::default();
        let mut revisions = Vec::new();
        let mut webhooks = Vec::new();
        for preload in entries {
            let Some(id) = ApplicationId::parse(&preload.application_id) else { continue };
            let entry = former.remove(&id).unwrap_or_default();
            webhooks.push((id.clone(), preload.webhook(), entry.webhook));
            let now = registry.find(id.as_str());
            let providers = now.as_ref().map(|now| &now.providers);
            let apple = Settling {
                id: &id,
                known: entry.apple,
                in_force: providers.and_then(|providers| providers.apns.as_ref()),
            };
            let (apple, apple_change) = apple.settle(
                preload.apple().map(|raw| raw.map(|raw| (mark_of_apple(preload, &raw), raw))),
                |raw| preload.apns(raw, apns),
                |why| preload.unusable_apns(why, apns),
            );
            let google = Settling {
                id: &id,
                known: entry.google,
                in_force: providers.and_then(|providers| providers.fcm.as_ref()),
            };
            let (google, google_change) = google.settle(
                preload.google().map(|file| file.map(|file| (mark(&[&file]), file))),
                |file| Preload::fcm(file, fcm),
                |why| Fcm::unusable(fcm, why.told.clone()),
            );
            self.entries.insert(id.clone(), Entry { apple, google, webhook: None });
            if matches!((&apple_change, &google_change), (Change::Keep, Change::Keep)) {
                continue;
            }
            match now {
                None => changes.added += 1,
                Some(_) => changes.changed += 1,
            }
            revisions.push(Revision { id, apns: apple_change, fcm: google_change });
        }
        changes.removed = former.len();
        revisions.extend(former.into_iter().map(|(id, entry)| {
            webhooks.push((id.clone(), None, entry.webhook));
            Revision { id, apns: taken(entry.apple), fcm: taken(entry.google) }
        }));
        registry.revise(revisions);
        for (id, found, known) in webhooks {
            let ours = settle_webhook(registry, &id, found, known);
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.webhook = ours;
            }
        }
        changes
    }
}

/// One credential of an application on its way from one reading of the configuration to the next.
struct Settling<'a, T> {
    id: &'a ApplicationId,
    /// What the configuration brought before.
    known: Option<Side<T>>,
    /// What messages are sent with now, whoever brought it.
    in_force: Option<&'a Arc<T>>,
}

impl<T> Settling<'_, T> {
    /// `found` is what the configuration has now, `None` for nothing of this kind.
    fn settle<C>(
        self,
        found: Option<Result<(Mark, C), Unusable>>,
        read: impl FnOnce(&C) -> Result<T, Unusable>,
        unusable: impl FnOnce(&Unusable) -> T,
    ) -> (Option<Side<T>>, Change<T>) {
        let Self { id, known, in_force } = self;
        let Some(found) = found else { return (None, taken(known)) };
        let ours = known.as_ref().filter(|known| in_force.is_some_and(|t| is_same(&known.ours, t)));
        let is_ours = ours.is_some();
        let in_use = ours.map(|ours| ours.mark.as_ref());
        if let (Ok((mark, _)), Some(Some(in_use))) = (&found, in_use)
            && mark == in_use
        {
            return (known, Change::Keep);
        }
        let fresh = found.and_then(|(mark, contents)| Ok((Some(mark), read(&contents)?)));
        let (mark, fresh) = match fresh {
            Ok(fresh) => {
                if in_force.is_some() && !is_ours {
                    tracing::warn!(
                        app.id = id.as_str(),
                        "a credential that was registered over HTTP gives way to the configuration"
                    );
                }
                fresh
            }
            // One that works comes before one that does not, whoever brought it.
            Err(why) if in_force.is_some() && in_use != Some(None) => {
                let (app_id, reason) = (id.as_str(), &why.reason);
                tracing::error!(
                    app.id = app_id,
                    reason,
                    "a credential of the configuration cannot be used; the application keeps the \
                     one that it has"
                );
                return (known, Change::Keep);
            }
            Err(why) => {
                let (app_id, reason) = (id.as_str(), &why.reason);
                tracing::error!(
                    app.id = app_id,
                    reason,
                    "an application of the configuration has no usable credential; its sends are \
                     refused until it is registered anew"
                );
                (None, unusable(&why))
            }
        };
        let fresh = Arc::new(fresh);
        (Some(Side { mark, ours: Arc::downgrade(&fresh) }), Change::Put(fresh))
    }
}

/// Lets dead tokens be reported where the configuration says, and gives what it brought.
fn settle_webhook(
    registry: &Registry,
    id: &ApplicationId,
    found: Option<Result<Webhook, String>>,
    known: Option<Arc<Webhook>>,
) -> Option<Arc<Webhook>> {
    let feedback = Arc::clone(&registry.find(id.as_str())?.feedback);
    match found {
        Some(Ok(webhook)) => {
            let webhook = Arc::new(webhook);
            feedback.report_to(Some(Arc::clone(&webhook)));
            Some(webhook)
        }
        Some(Err(reason)) => {
            let app_id = id.as_str();
            tracing::error!(
                app.id = app_id,
                reason,
                "the webhook of an application of the configuration cannot be used; its dead \
                 tokens are reported where they were"
            );
            known
        }
        None => {
            let in_force = feedback.webhook();
            // What a registration named stays.
            if let (Some(known), Some(in_force)) = (known, in_force)
                && Arc::ptr_eq(&known, &in_force)
            {
                feedback.report_to(None);
            }
            None
        }
    }
}

/// What the configuration brought goes, and what a registration put in its place stays.
fn taken<T>(known: Option<Side<T>>) -> Change<T> {
    known.map_or(Change::Keep, |known| Change::Take(known.ours))
}

fn mark_of_apple(preload: &Preload, raw: &Raw) -> Mark {
    let mode = preload.apns_mode.as_str().as_bytes();
    let has_topic: &[u8] = if preload.apns_topic.is_some() { b"1" } else { b"0" };
    let topic = preload.apns_topic.as_deref().unwrap_or_default().as_bytes();
    let parts: [&[u8]; 4] = match raw {
        Raw::P12 { der, password } => [b"p12", der, password.expose().as_bytes(), b""],
        Raw::P8 { text, key_id, team_id } => [b"p8", text, key_id.as_bytes(), team_id.as_bytes()],
        Raw::Pem { text, password } => [b"pem", text, password.expose().as_bytes(), b""],
    };
    let [kind, contents, first, second] = parts;
    mark(&[mode, has_topic, topic, kind, contents, first, second])
}

/// Each part with its length before it, so that no two lists are the same text.
fn mark(parts: &[&[u8]]) -> Mark {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(&(part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    Secret::new(hash.finish())
}
