//! The sections: which keys there are, of which kind, and what goes together.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::api::{Compat, auth, ops};
use crate::apps::feedback;
use crate::config::Server;
use crate::config::reader::{Found, JsonOrPath, Table};
use crate::config::values::{self, boolean, duration, integer, word};
use crate::delivery::idempotency;
use crate::providers::fcm::message::FcmTarget;
use crate::providers::gcm::{AccountSource, Bridge, KeyHash};
use crate::providers::{apns, fcm, gcm};
use crate::telemetry;
use crate::transport::proxy;

pub(super) fn server(table: &mut Table) -> Server {
    let default = Server::default();
    for (given, other) in [("tls_cert", "tls_key"), ("tls_key", "tls_cert")] {
        if table.has(given) && !table.has(other) {
            table.wrong(&format!("has `{given}` without `{other}`; give both or none"));
        }
    }
    Server {
        bind: table.take("bind", values::address).unwrap_or(default.bind),
        max_body_bytes: table
            .take("max_body_bytes", integer(1024..=64 * 1024 * 1024))
            .unwrap_or(default.max_body_bytes),
        max_batch: table.take("max_batch", integer(1..=10_000)).unwrap_or(default.max_batch),
        max_batch_bytes: table
            .take("max_batch_bytes", integer(1024..=64 * 1024 * 1024))
            .unwrap_or(default.max_batch_bytes),
        read_timeout: table
            .take("read_timeout", duration(TENTH_OF_A_SECOND..=Duration::from_secs(600)))
            .unwrap_or(default.read_timeout),
        write_timeout: table
            .take("write_timeout", duration(TENTH_OF_A_SECOND..=Duration::from_secs(600)))
            .unwrap_or(default.write_timeout),
        max_applications: table
            .take("max_applications", integer(1..=1_000_000))
            .unwrap_or(default.max_applications),
        secret_key: table.take("secret_key", values::key),
        previous_secret_keys: table
            .take("previous_secret_keys", values::keys)
            .unwrap_or(default.previous_secret_keys),
        max_sealed_open: table
            .take("max_sealed_open", integer(1..=100_000))
            .unwrap_or(default.max_sealed_open),
        max_in_flight: table
            .take("max_in_flight", integer(1..=1_000_000))
            .unwrap_or(default.max_in_flight),
        max_in_flight_per_caller: table.take("max_in_flight_per_caller", integer(1..=1_000_000)),
        workers: table.take("workers", integer(0..=1024)).unwrap_or(default.workers),
        drain_delay: table
            .take("drain_delay", duration(Duration::ZERO..=Duration::from_secs(600)))
            .unwrap_or(default.drain_delay),
        shutdown_timeout: table
            .take("shutdown_timeout", duration(Duration::ZERO..=Duration::from_secs(600)))
            .unwrap_or(default.shutdown_timeout),
        tls_cert: table.take_path("tls_cert"),
        tls_key: table.take_path("tls_key"),
        trusted_proxies: table
            .take("trusted_proxies", values::proxies)
            .unwrap_or(default.trusted_proxies),
    }
}

/// The section and, as one more credential, `PUSHLET_USERNAME` with `PUSHLET_PASSWORD`.
pub(super) fn auth(table: &mut Table, environment: &BTreeMap<String, String>) -> auth::Settings {
    let allow_anonymous = table.take("allow_anonymous", boolean).unwrap_or_default();
    let mut credentials = Vec::<auth::Credential>::new();
    let listed =
        table.entries("credentials").into_iter().map(|entry| (entry, ["username", "password"]));
    let named = environment_entry(environment).map(|entry| (entry, CREDENTIAL_VARIABLES));
    for (mut entry, names) in listed.chain(named) {
        if let Some(credential) = credential(&mut entry, names) {
            if credentials.iter().any(|known| known.username == credential.username) {
                entry.wrong("has the user name of a credential before it; give each its own");
            }
            credentials.push(credential);
        }
        table.append(entry.finish());
    }
    auth::Settings { credentials, allow_anonymous }
}

pub(super) fn apns(table: &mut Table) -> apns::Settings {
    let default = apns::Settings::default();
    let keepalive_interval = duration(TENTH_OF_A_SECOND..=hours(1));
    let idle_timeout = duration(TENTH_OF_A_SECOND..=hours(24));
    apns::Settings {
        production_url: table
            .take("production_url", values::https_origin)
            .unwrap_or(default.production_url),
        sandbox_url: table.take("sandbox_url", values::https_origin).unwrap_or(default.sandbox_url),
        production_channels_url: table
            .take("production_channels_url", values::https_origin)
            .unwrap_or(default.production_channels_url),
        sandbox_channels_url: table
            .take("sandbox_channels_url", values::https_origin)
            .unwrap_or(default.sandbox_channels_url),
        ca_file: table.take_path("ca_file").or(default.ca_file),
        timeout: table.take("timeout", duration(CALL)).unwrap_or(default.timeout),
        connect_timeout: table
            .take("connect_timeout", duration(CALL))
            .unwrap_or(default.connect_timeout),
        connections_per_application: table
            .take("connections_per_application", integer(1..=64))
            .unwrap_or(default.connections_per_application),
        max_in_flight_per_application: table
            .take("max_in_flight_per_application", integer(1..=1_000_000))
            .unwrap_or(default.max_in_flight_per_application),
        keepalive_interval: table
            .take("keepalive_interval", keepalive_interval)
            .unwrap_or(default.keepalive_interval),
        keepalive_timeout: table
            .take("keepalive_timeout", duration(CALL))
            .unwrap_or(default.keepalive_timeout),
        idle_timeout: table.take("idle_timeout", idle_timeout).unwrap_or(default.idle_timeout),
    }
}

pub(super) fn gcm(table: &mut Table) -> gcm::Settings {
    let default = gcm::Settings::default();
    gcm::Settings {
        legacy_url: table.take("legacy_url", values::https_or_loopback).or(default.legacy_url),
        timeout: table.take("timeout", duration(CALL)).unwrap_or(default.timeout),
        drop_in_routes: table.take("drop_in_routes", boolean).unwrap_or_default(),
        bridge: bridge(table),
    }
}

pub(super) fn fcm(table: &mut Table) -> fcm::Settings {
    let default = fcm::Settings::default();
    fcm::Settings {
        url: table.take("url", values::base_url).unwrap_or(default.url),
        ca_file: table.take_path("ca_file").or(default.ca_file),
        timeout: table.take("timeout", duration(CALL)).unwrap_or(default.timeout),
    }
}

/// The list `[[gcm.bridge]]`, as far as it is right.
fn bridge(table: &mut Table) -> Vec<Bridge> {
    let mut bridge = Vec::<Bridge>::new();
    for mut entry in table.entries("bridge") {
        if let Some(one) = bridge_entry(&mut entry) {
            if bridge.iter().any(|known| known.api_key == one.api_key) {
                entry.wrong("has the key of an entry before it; give each its own");
            }
            bridge.push(one);
        }
        table.append(entry.finish());
    }
    bridge
}

fn bridge_entry(entry: &mut Table) -> Option<Bridge> {
    match (entry.has("api_key"), entry.has("api_key_sha256")) {
        (true, true) => entry.wrong("has `api_key` and `api_key_sha256`; keep one of them"),
        (false, false) => entry.wrong("has no `api_key` and no `api_key_sha256`; give one of them"),
        (true, false) | (false, true) => {}
    }
    if !entry.has("service_account") {
        entry.wrong("has no `service_account`; give the path of one, or the JSON itself");
    }
    let targets = [("token", FcmTarget::Token), ("fid", FcmTarget::Fid), ("auto", FcmTarget::Auto)];
    let key = entry.take("api_key", values::secret).map(|key| KeyHash::of(key.expose()));
    let hash = entry.take("api_key_sha256", values::sha256).map(KeyHash);
    let service_account = entry.take_json_or_path("service_account").map(|found| match found {
        JsonOrPath::Json(text) => AccountSource::Text(text),
        JsonOrPath::Path(path) => AccountSource::File(path),
    });
    let fcm_target = entry.take("fcm_target", word(&targets)).unwrap_or_default();
    Some(Bridge { api_key: key.or(hash)?, service_account: service_account?, fcm_target })
}

pub(super) fn proxy(table: &mut Table) -> proxy::Settings {
    proxy::Settings {
        url: table.take("url", values::proxy),
        except: table.take("except", values::hosts).unwrap_or_default(),
    }
}

pub(super) fn compat(table: &mut Table) -> Compat {
    Compat {
        always_200: table.take("always_200", boolean).unwrap_or_default(),
        ignore_unknown: table.take("ignore_unknown", boolean).unwrap_or_default(),
    }
}

pub(super) fn feedback(table: &mut Table) -> feedback::Settings {
    let default = feedback::Settings::default();
    let webhook_timeout = duration(Duration::from_secs(1)..=hours(24));
    check_webhook(table);
    feedback::Settings {
        max_tokens: table.take("max_tokens", integer(0..=10_000_000)).unwrap_or(default.max_tokens),
        webhook_url: table.take("webhook_url", values::https_or_loopback),
        webhook_secret: table.take("webhook_secret", values::secret),
        webhook_hosts: table
            .take("webhook_hosts", values::host_globs)
            .unwrap_or(default.webhook_hosts),
        webhook_timeout: table
            .take("webhook_timeout", webhook_timeout)
            .unwrap_or(default.webhook_timeout),
    }
}

/// A report that is not signed could be anybody's.
fn check_webhook(table: &mut Table) {
    for (key, other) in [("webhook_url", "webhook_secret"), ("webhook_secret", "webhook_url")] {
        if table.has(key) && !table.has(other) {
            table.append(vec![format!(
                "`feedback.{key}` stands without `feedback.{other}`; give both or none"
            )]);
        }
    }
}

pub(super) fn idempotency(table: &mut Table) -> idempotency::Settings {
    let default = idempotency::Settings::default();
    let window = duration(Duration::from_secs(1)..=hours(168));
    idempotency::Settings {
        window: table.take("window", window).unwrap_or(default.window),
        max_entries: table
            .take("max_entries", integer(1..=10_000_000))
            .unwrap_or(default.max_entries),
        max_bytes: table
            .take("max_bytes", integer(64 * 1024..=1 << 40))
            .unwrap_or(default.max_bytes),
    }
}

pub(super) fn ops(table: &mut Table) -> ops::Settings {
    ops::Settings {
        bind: table.take("bind", values::address),
        open_metrics: table.take("open_metrics", boolean).unwrap_or_default(),
    }
}

pub(super) fn log(table: &mut Table) -> telemetry::Settings {
    use telemetry::{Format, Level};
    let default = telemetry::Settings::default();
    let formats = [("text", Format::Text), ("json", Format::Json)];
    let levels = [
        ("error", Level::Error),
        ("warn", Level::Warn),
        ("info", Level::Info),
        ("debug", Level::Debug),
        ("trace", Level::Trace),
    ];
    telemetry::Settings {
        format: table.take("format", word(&formats)).unwrap_or(default.format),
        level: table.take("level", word(&levels)).unwrap_or(default.level),
    }
}

/// `names` is how user name and password are called where the entry stands.
fn credential(entry: &mut Table, names: [&str; 2]) -> Option<auth::Credential> {
    let [username, password] = names;
    for (key, name, other) in [("username", username, password), ("password", password, username)] {
        if !entry.has(key) {
            entry.wrong(&format!("has no `{name}`, which belongs to `{other}`; give both"));
        }
    }
    let username = entry.take("username", values::username);
    let password = entry.take("password", values::secret);
    let applications = entry.take("applications", values::globs);
    let per_sec = |found: &Found| integer(1..=1_000_000)(found).map(|number| number as u32);
    let rate_limit = entry.take("rate_limit", per_sec);
    let rate_burst = entry.take("rate_burst", per_sec);
    let weight = entry.take("weight", integer(1..=100)).map_or(1, |number| number as u32);
    Some(auth::Credential {
        username: username?,
        password: password?,
        applications,
        rate_limit,
        rate_burst,
        weight,
    })
}

fn environment_entry(environment: &BTreeMap<String, String>) -> Option<Table> {
    let mut entry = Table::of_environment("auth.credentials");
    let mut found = false;
    for (key, name) in ["username", "password"].into_iter().zip(CREDENTIAL_VARIABLES) {
        if let Some(text) = environment.get(name) {
            entry.add(key.to_owned(), Found::variable(name, text));
            found = true;
        }
    }
    found.then_some(entry)
}

fn hours(count: u64) -> Duration {
    Duration::from_secs(count.saturating_mul(3600))
}

/// How long anything may take that a caller waits for.
const CALL: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(25);

/// User name and password of one more credential.
const CREDENTIAL_VARIABLES: [&str; 2] = ["PUSHLET_USERNAME", "PUSHLET_PASSWORD"];

const TENTH_OF_A_SECOND: Duration = Duration::from_millis(100);
