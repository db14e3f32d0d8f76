//! Another configuration for a relay that runs.

use std::sync::Arc;

use super::state::{self, Parts};
use crate::api::auth::Door;
use crate::api::current::Current;
use crate::api::{Api, ops};
use crate::apps::preloaded::Changes;
use crate::config::Config;

/// Brings another configuration into a running relay: all of it, or nothing.
pub struct Reloader {
    /// What the relay runs with.
    running: Config,
    loopback: bool,
    current: Arc<Current>,
    parts: Parts,
}

/// What a reload did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloaded {
    /// What became of `[[applications]]`.
    pub applications: Changes,
    /// Settings that have another value now, and that only a start can change: they stay as they
    /// were.
    pub left: Vec<&'static str>,
}

impl Reloader {
    pub(super) fn new(
        running: Config,
        loopback: bool,
        current: Arc<Current>,
        parts: Parts,
    ) -> Self {
        Self { running, loopback, current, parts }
    }

    /// Takes over what can change while calls are under way: they end as they began, and the next
    /// ones see all of it. Files of credentials are read and parsed here, which may take seconds:
    /// not to be called where others wait.
    ///
    /// # Errors
    /// Everything that is wrong, one sentence a line. Nothing was changed then.
    pub fn reload(&mut self, config: Config) -> Result<Reloaded, String> {
        let (config, left) =
            config.for_running(&self.running).map_err(|mistakes| mistakes.to_string())?;
        if let Some(mistake) = state::too_many(&config) {
            return Err(mistake);
        }
        let applications = self.take_over(&config);
        self.running = config;
        Ok(Reloaded { applications, left })
    }

    /// Nothing fails from here on.
    fn take_over(&mut self, config: &Config) -> Changes {
        let now = self.current.api();
        let Parts { apns, fcm, preloaded, bridge, shown, homes } = &mut self.parts;
        if let Some(shown) = shown {
            shown.reread(&config.server);
        }
        apns.change_limits(&config.apns);
        fcm.change_limits(&config.fcm);
        now.dispatcher.change_limits(&state::admission(config));
        now.idempotency.change_limits(&config.idempotency);
        now.dispatcher.webhooks().change(&config.feedback);
        now.registry.change_limits(config.server.max_applications, &config.feedback);
        let changes = preloaded.apply(&config.applications, &now.registry, apns, fcm);
        let is_same_gcm = config.gcm.legacy_url == self.running.gcm.legacy_url
            && config.gcm.timeout == self.running.gcm.timeout;
        self.current.replace(Api {
            door: Door::new(&config.auth, self.loopback).behind(&config.server.trusted_proxies),
            body: state::limits(config),
            batch: state::batch(config),
            compat: config.compat.clone(),
            ops: Arc::new(
                ops::Access::new(&config.ops, &config.auth).behind(&config.server.trusted_proxies),
            ),
            bare_keys: if is_same_gcm {
                Arc::clone(&now.bare_keys)
            } else {
                state::bare_keys(config, homes.process(), &now.metrics, &bridge.record)
            },
            bridge: bridge.apply(&config.gcm.bridge, fcm),
            ..Api::clone(&now)
        });
        changes
    }
}
