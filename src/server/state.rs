//! What all calls share: how it is built at the start, and what of it a reload changes.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::bridge::Bridge;
use super::tls::Shown;
use crate::api::auth::Door;
use crate::api::body::Limits;
use crate::api::{Api, Started, batch, ops};
use crate::apps::feedback::Feedback;
use crate::apps::opened::{self, Opened};
use crate::apps::preloaded::Preloaded;
use crate::apps::record::Record;
use crate::apps::registration::Registrar;
use crate::apps::registry::Registry;
use crate::apps::sealed::Seal;
use crate::apps::{Application, ApplicationId};
use crate::config::Config;
use crate::delivery::idempotency::Idempotency;
use crate::delivery::webhook::Webhooks;
use crate::delivery::{self, Dispatcher};
use crate::metrics::Metrics;
use crate::providers::gcm::Gcm;
use crate::providers::{Providers, apns, fcm};
use crate::transport::Homes;

/// What lives as long as the process, beside what every state holds.
pub(super) struct Parts {
    pub(super) apns: Arc<apns::Context>,
    pub(super) fcm: Arc<fcm::Context>,
    pub(super) preloaded: Preloaded,
    pub(super) bridge: Bridge,
    /// The certificate of the listener, if it speaks TLS.
    pub(super) shown: Option<Shown>,
    /// Where connections live; the workers of the listener join.
    pub(super) homes: Homes,
}

/// The state of a relay that starts; `loopback` says that it listens on loopback alone.
pub(super) fn first(
    config: &Config,
    loopback: bool,
    runtime: &Handle,
) -> Result<(Api, Parts), String> {
    let metrics = Arc::<Metrics>::default();
    let homes = Homes::new(runtime.clone());
    let apns = apns::Context::new(config.apns.clone(), homes.clone())?.metered(&metrics);
    let apns = Arc::new(apns.through(&config.proxy));
    let fcm = fcm::Context::new(config.fcm.clone(), homes.clone())?.metered(&metrics);
    let fcm = Arc::new(fcm.through(&config.proxy));
    let registry = Registry::new(config.server.max_applications, &config.feedback);
    if let Some(mistake) = too_many(config) {
        return Err(mistake);
    }
    let mut preloaded = Preloaded::default();
    preloaded.apply(&config.applications, &registry, &apns, &fcm);
    let webhooks = Webhooks::new(&config.feedback, runtime.clone(), Arc::clone(&metrics.reports));
    let mut bridge = Bridge::default();
    let registrar = Registrar::start(Arc::clone(&apns), Arc::clone(&fcm))
        .map_err(|error| format!("no thread for credentials: {error}"))?;
    let (registry, registrar) = (Arc::new(registry), Arc::new(registrar));
    let opened = opened(config, &registry, &registrar)?;
    let api = Api {
        door: Door::new(&config.auth, loopback).behind(&config.server.trusted_proxies),
        body: limits(config),
        batch: batch(config),
        compat: config.compat.clone(),
        registry,
        opened: Arc::new(opened),
        registrar,
        dispatcher: Arc::new(Dispatcher::new(&admission(config), webhooks).metered(&metrics)),
        idempotency: Arc::new(Idempotency::new(&config.idempotency, runtime.clone())),
        bare_keys: bare_keys(config, runtime, &metrics, &bridge.record),
        bridge: bridge.apply(&config.gcm.bridge, &fcm),
        metrics,
        ops: Arc::new(
            ops::Access::new(&config.ops, &config.auth).behind(&config.server.trusted_proxies),
        ),
        started: Started::now(),
        runtime: runtime.clone(),
        draining: Arc::default(),
    };
    Ok((api, Parts { apns, fcm, preloaded, bridge, shown: None, homes }))
}

/// The sealed registrations of a relay that starts.
fn opened(
    config: &Config,
    registry: &Arc<Registry>,
    registrar: &Arc<Registrar>,
) -> Result<Opened, String> {
    let server = &config.server;
    let seal = Seal::new(server.secret_key.as_ref(), &server.previous_secret_keys)?;
    let limits = opened::Limits { open: server.max_sealed_open, names: server.max_applications };
    Ok(Opened::new(seal, limits, Arc::clone(registrar), Arc::clone(registry)))
}

/// The mistake of a configuration that names more applications than it allows.
pub(super) fn too_many(config: &Config) -> Option<String> {
    let (count, max) = (config.applications.len(), config.server.max_applications);
    (count > max).then(|| {
        format!(
            "`[[applications]]` has {count} entries, more than `server.max_applications` allows; \
             raise it"
        )
    })
}

pub(super) fn limits(config: &Config) -> Limits {
    Limits { size_bytes: config.server.max_body_bytes, time: config.server.read_timeout }
}

pub(super) fn batch(config: &Config) -> batch::Limits {
    batch::Limits { messages: config.server.max_batch, size_bytes: config.server.max_batch_bytes }
}

pub(super) fn admission(config: &Config) -> delivery::Settings {
    let max_in_flight = config.server.max_in_flight;
    let are_several = config.auth.credentials.len() > 1;
    let left_to_others = if are_several { max_in_flight / 8 } else { 0 };
    delivery::Settings {
        max_in_flight_per_application: config.apns.max_in_flight_per_application,
        max_in_flight_per_caller: config
            .server
            .max_in_flight_per_caller
            .unwrap_or(max_in_flight.saturating_sub(left_to_others)),
        max_in_flight,
    }
}

/// Stands for everybody who sends with a `gcm_api_key` of his own.
pub(super) fn bare_keys(
    config: &Config,
    runtime: &Handle,
    metrics: &Metrics,
    record: &Arc<Record>,
) -> Arc<Application> {
    let gcm = Gcm::new(&config.gcm, runtime.clone()).metered(metrics).through(&config.proxy);
    let providers = Providers { gcm: Some(Arc::new(gcm)), ..Providers::default() };
    Arc::new(nameless(providers, Arc::clone(record)))
}

/// Stands for those who send with a `gcm_api_key`: no list of dead tokens is kept for them.
pub(super) fn nameless(providers: Providers, record: Arc<Record>) -> Application {
    Application {
        id: ApplicationId::bare_keys(),
        providers,
        feedback: Arc::new(Feedback::with_room_for(0)),
        in_flight: Arc::default(),
        repeats: Arc::default(),
        record,
    }
}
