//! The sections: which keys there are, of which kind, and what goes together.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::api::{Compat, auth};
use crate::apps::feedback;
use crate::config::Server;
use crate::config::reader::{Found, Table};
use crate::config::values::{self, boolean, duration, integer, word};
use crate::providers::{apns, gcm};
use crate::telemetry;

pub(super) fn server(table: &mut Table) -> Server {
    let default = Server::default();
    Server {
        bind: table.take("bind", values::address).unwrap_or(default.bind),
        max_body_bytes: table
            .take("max_body_bytes", integer(1024..=64 * 1024 * 1024))
            .unwrap_or(default.max_body_bytes),
        read_timeout: table
            .take("read_timeout", duration(TENTH_OF_A_SECOND..=Duration::from_secs(600)))
            .unwrap_or(default.read_timeout),
        max_applications: table
            .take("max_applications", integer(1..=1_000_000))
            .unwrap_or(default.max_applications),
        max_in_flight: table
            .take("max_in_flight", integer(1..=1_000_000))
            .unwrap_or(default.max_in_flight),
        workers: table.take("workers", integer(0..=1024)).unwrap_or(default.workers),
        shutdown_timeout: table
            .take("shutdown_timeout", duration(Duration::ZERO..=Duration::from_secs(600)))
            .unwrap_or(default.shutdown_timeout),
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
    feedback::Settings {
        max_tokens: table.take("max_tokens", integer(0..=10_000_000)).unwrap_or(default.max_tokens),
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
    Some(auth::Credential { username: username?, password: password?, applications })
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
