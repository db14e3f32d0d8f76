//! Which settings a running relay takes over from another configuration, and which wait for the
//! next start.

use std::path::{Path, PathBuf};

use super::{Config, Mistakes, Server, open_door};
use crate::api::ops;
use crate::apps::preload::Source;
use crate::delivery::idempotency;
use crate::providers::gcm::AccountSource;
use crate::providers::{apns, fcm, gcm};
use crate::telemetry;
use crate::transport::proxy;

impl Config {
    /// This configuration for a relay that runs with `running`: what only a start can change has
    /// the value that it runs with. The names of those are given where the values differ.
    ///
    /// # Errors
    /// Both together would leave the relay open to anybody.
    pub fn for_running(mut self, running: &Self) -> Result<(Self, Vec<&'static str>), Mistakes> {
        let mut fixed = Fixed::default();
        // Each field is named here, so that nobody can add a setting without a decision.
        let Self {
            server,
            auth: _,
            apns,
            fcm,
            gcm,
            proxy,
            compat: _,
            feedback: _,
            idempotency,
            ops,
            log,
            applications: _,
        } = &mut self;
        fixed.server(server, &running.server);
        fixed.apns(apns, &running.apns);
        fixed.google(fcm, &running.fcm, gcm, &running.gcm);
        let idempotency::Settings { window, max_entries: _, max_bytes: _ } = idempotency;
        fixed.keep("idempotency.window", window, &running.idempotency.window);
        let ops::Settings { bind, open_metrics: _ } = ops;
        fixed.keep("ops.bind", bind, &running.ops.bind);
        let proxy::Settings { url, except } = proxy;
        fixed.keep("proxy.url", url, &running.proxy.url);
        fixed.keep("proxy.except", except, &running.proxy.except);
        let telemetry::Settings { format, level: _ } = log;
        fixed.keep("log.format", format, &running.log.format);
        let addresses =
            [Some(("server.bind", self.server.bind)), self.ops.bind.map(|b| ("ops.bind", b))];
        let doors = addresses.into_iter().flatten();
        let mistakes: Vec<_> =
            doors.filter_map(|(name, bind)| open_door(name, bind, &self.auth)).collect();
        if mistakes.is_empty() { Ok((self, fixed.names)) } else { Err(Mistakes(mistakes)) }
    }

    /// The files that it names and a reload reads anew.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let of_applications = self.applications.iter().flat_map(|application| {
            [
                &application.apns_p12,
                &application.apns_pem,
                &application.apns_p8,
                &application.fcm_service_account,
            ]
            .into_iter()
            .filter_map(|source| match source {
                Some(Source::File(path)) => Some(path.as_path()),
                Some(Source::Env(_) | Source::Text(_)) | None => None,
            })
        });
        let of_bridge = self.gcm.bridge.iter().filter_map(|entry| match &entry.service_account {
            AccountSource::File(path) => Some(path.as_path()),
            AccountSource::Text(_) => None,
        });
        let of_listener = [&self.server.tls_cert, &self.server.tls_key].into_iter().flatten();
        let of_listener = of_listener.map(PathBuf::as_path);
        of_applications.chain(of_bridge).chain(of_listener).map(Path::to_owned).collect()
    }
}

/// Settings that stay what they are until the next start.
#[derive(Default)]
struct Fixed {
    /// Those that should be something else now.
    names: Vec<&'static str>,
}

impl Fixed {
    fn keep<T: Clone + PartialEq>(&mut self, name: &'static str, new: &mut T, running: &T) {
        if new != running {
            new.clone_from(running);
            self.names.push(name);
        }
    }

    fn server(&mut self, new: &mut Server, running: &Server) {
        let Server {
            bind,
            max_body_bytes: _,
            max_batch: _,
            max_batch_bytes: _,
            read_timeout,
            write_timeout,
            max_applications: _,
            secret_key,
            previous_secret_keys,
            max_sealed_open,
            max_in_flight: _,
            max_in_flight_per_caller: _,
            workers,
            drain_delay,
            shutdown_timeout,
            tls_cert,
            tls_key,
            trusted_proxies: _,
        } = new;
        self.keep("server.bind", bind, &running.bind);
        self.keep("server.read_timeout", read_timeout, &running.read_timeout);
        self.keep("server.secret_key", secret_key, &running.secret_key);
        let previous = &running.previous_secret_keys;
        self.keep("server.previous_secret_keys", previous_secret_keys, previous);
        self.keep("server.max_sealed_open", max_sealed_open, &running.max_sealed_open);
        self.keep("server.write_timeout", write_timeout, &running.write_timeout);
        self.keep("server.workers", workers, &running.workers);
        self.keep("server.drain_delay", drain_delay, &running.drain_delay);
        self.keep("server.shutdown_timeout", shutdown_timeout, &running.shutdown_timeout);
        // Other files are read at once; a listener speaks either TLS or not.
        if tls_cert.is_some() != running.tls_cert.is_some() {
            self.keep("server.tls_cert", tls_cert, &running.tls_cert);
            self.keep("server.tls_key", tls_key, &running.tls_key);
        }
    }

    fn apns(&mut self, new: &mut apns::Settings, running: &apns::Settings) {
        let apns::Settings {
            production_url,
            sandbox_url,
            production_channels_url,
            sandbox_channels_url,
            ca_file,
            timeout: _,
            connect_timeout: _,
            connections_per_application: _,
            max_in_flight_per_application: _,
            keepalive_interval: _,
            keepalive_timeout: _,
            idle_timeout: _,
        } = new;
        self.keep("apns.production_url", production_url, &running.production_url);
        self.keep("apns.sandbox_url", sandbox_url, &running.sandbox_url);
        let channels = [
            (
                "apns.production_channels_url",
                production_channels_url,
                &running.production_channels_url,
            ),
            ("apns.sandbox_channels_url", sandbox_channels_url, &running.sandbox_channels_url),
        ];
        for (name, new, running) in channels {
            self.keep(name, new, running);
        }
        self.keep("apns.ca_file", ca_file, &running.ca_file);
    }

    fn google(
        &mut self,
        new_fcm: &mut fcm::Settings,
        fcm: &fcm::Settings,
        new_gcm: &mut gcm::Settings,
        gcm: &gcm::Settings,
    ) {
        let fcm::Settings { url, ca_file, timeout: _ } = new_fcm;
        self.keep("fcm.url", url, &fcm.url);
        self.keep("fcm.ca_file", ca_file, &fcm.ca_file);
        let gcm::Settings { legacy_url: _, timeout: _, drop_in_routes, bridge: _ } = new_gcm;
        self.keep("gcm.drop_in_routes", drop_in_routes, &gcm.drop_in_routes);
    }
}
