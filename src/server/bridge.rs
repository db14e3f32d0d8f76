//! The old keys of `[[gcm.bridge]]` and what they stand for: read at the start, and anew by each
//! reload.

use std::collections::HashMap;
use std::sync::Arc;

use openssl::sha::sha256;

use super::state::nameless;
use crate::api::Bridged;
use crate::apps::record::Record;
use crate::providers::Providers;
use crate::providers::fcm::credential::Origin;
use crate::providers::fcm::{self, Fcm};
use crate::providers::gcm::{self, KeyHash};

/// What a caller is told of an account that is not where it was said to be.
const UNREAD: &str = "its service account could not be read by the relay, whose log says why";

/// The keys as they were last read.
#[derive(Default)]
pub(super) struct Bridge {
    keys: HashMap<KeyHash, Key>,
    /// One record for all keys, bridged or not, as the log has one name for them.
    pub(super) record: Arc<Record>,
}

struct Key {
    /// SHA-256 of the account; `None` for one that cannot be used, which is tried again.
    mark: Option<[u8; 32]>,
    bridged: Bridged,
}

impl Bridge {
    /// Reads the accounts. One whose contents are what they were stays, with its connections; so
    /// does one whose successor cannot be used. One that is new and cannot be used refuses the
    /// messages of its key, and keeps nobody else from running.
    pub(super) fn apply(
        &mut self,
        entries: &[gcm::Bridge],
        context: &Arc<fcm::Context>,
    ) -> HashMap<KeyHash, Bridged> {
        let mut former = std::mem::take(&mut self.keys);
        for entry in entries {
            let known = former.remove(&entry.api_key);
            let key = key(entry, known, context, &self.record);
            self.keys.insert(entry.api_key.clone(), key);
        }
        self.keys.iter().map(|(hash, key)| (hash.clone(), key.bridged.clone())).collect()
    }
}

fn key(
    entry: &gcm::Bridge,
    known: Option<Key>,
    context: &Arc<fcm::Context>,
    record: &Arc<Record>,
) -> Key {
    let contents = entry.service_account.contents();
    let mark = contents.as_ref().ok().map(|contents| sha256(contents));
    let known = match known {
        Some(known) if mark.is_some() && known.mark == mark => return kept(known, entry),
        known => known,
    };
    let read = contents.map_err(|reason| (reason, UNREAD.to_owned())).and_then(|contents| {
        context.read(&contents, Origin::Operator).map_err(|error| {
            let reason = error.to_string();
            (reason.clone(), reason)
        })
    });
    match (read, known) {
        (Ok(account), _) => fresh(mark, Fcm::new(context, account), entry, record),
        (Err((reason, _)), Some(known)) if known.mark.is_some() => {
            tracing::error!(
                reason,
                "a service account of [[gcm.bridge]] cannot be used; its key stands for the one \
                 that it stood for"
            );
            kept(known, entry)
        }
        (Err((reason, told)), _) => {
            tracing::error!(
                reason,
                "a service account of [[gcm.bridge]] cannot be used; the messages of its key are \
                 refused"
            );
            fresh(None, Fcm::unusable(context, told), entry, record)
        }
    }
}

fn kept(known: Key, entry: &gcm::Bridge) -> Key {
    let bridged = Bridged { fcm_target: entry.fcm_target, ..known.bridged };
    Key { bridged, ..known }
}

fn fresh(mark: Option<[u8; 32]>, fcm: Fcm, entry: &gcm::Bridge, record: &Arc<Record>) -> Key {
    let providers = Providers { fcm: Some(Arc::new(fcm)), ..Providers::default() };
    let application = nameless(providers, Arc::clone(record));
    let bridged = Bridged { application: Arc::new(application), fcm_target: entry.fcm_target };
    Key { mark, bridged }
}
