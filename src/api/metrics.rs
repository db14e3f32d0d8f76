//! The page of `GET /metrics`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use time::OffsetDateTime;

use super::auth::Caller;
use super::{Snapshot, ops};
use crate::apps::{Application, ApplicationId};
use crate::delivery::Circuit;
use crate::metrics::{Family, Fate, Page, Provider};

/// The label that names an application.
const APPLICATION: &str = "application";

/// What a caller may see, to be written down.
pub(super) struct Numbers {
    api: Snapshot,
    /// Sorted by id.
    applications: Vec<Arc<Application>>,
    shows_keys: bool,
    /// The process, and what all applications share.
    shows_all: bool,
}

impl Numbers {
    pub(super) fn of_caller(api: Snapshot, caller: &Caller<'_>) -> Self {
        let applications = ops::applications(&api, caller);
        Self { api, applications, shows_keys: caller.owns_keys(), shows_all: caller.owns_all() }
    }

    /// `None` only by a bug.
    pub(super) fn text(&self) -> Option<String> {
        let mut page = Page::default();
        self.relay(&mut page);
        self.messages(&mut page);
        self.state(&mut page);
        self.credentials(&mut page);
        if self.shows_all {
            self.api.metrics.write(&mut page);
        }
        page.text()
    }

    fn relay(&self, page: &mut Page) {
        let mut build = Family::gauge("pushlet_build_info", "The version that runs.");
        build.count(&[("version", env!("CARGO_PKG_VERSION"))], 1);
        page.push(build);
        let mut ready = Family::gauge("pushlet_ready", "1 while calls may be sent here, else 0.");
        let is_draining = self.api.draining.load(Ordering::Relaxed);
        ready.count(&[], u64::from(!is_draining));
        page.push(ready);
        let mut count = Family::gauge("pushlet_applications", "Registered applications.");
        count.count(&[], self.applications.len() as u64);
        page.push(count);
    }

    /// What became of messages. A service that an application has begins at 0.
    fn messages(&self, page: &mut Page) {
        let mut sends =
            Family::counter("pushlet_sends_total", "Messages by what became of them, and why.");
        let mut repeats = Family::counter(
            "pushlet_retries_total",
            "Messages that went out once more, by what stood in the way before.",
        );
        let mut by_circuit = Family::counter(
            "pushlet_circuit_answers_total",
            "Messages that were answered at once: Apple refused the credential, or was not there.",
        );
        for app in self.with_keys() {
            let label = (APPLICATION, app.id.as_str());
            let tally = &app.record.tally;
            let known = tally.sends();
            let has = [
                (Provider::Apns, app.providers.apns.is_some()),
                (Provider::Fcm, app.providers.fcm.is_some()),
            ];
            let is_known = |provider| {
                known.iter().any(|row| row.provider == provider && row.outcome == Fate::Accepted)
            };
            let mut send = |provider: Provider, outcome: Fate, reason: &str, count: u64| {
                let labels = [
                    label,
                    ("provider", provider.as_str()),
                    ("outcome", outcome.as_str()),
                    ("reason", reason),
                ];
                sends.count(&labels, count);
            };
            for (provider, _) in has.into_iter().filter(|(p, has)| *has && !is_known(*p)) {
                send(provider, Fate::Accepted, "", 0);
            }
            for row in &known {
                send(row.provider, row.outcome, row.reason, row.count);
            }
            for row in tally.repeats() {
                let (provider, cause) = (row.provider.as_str(), row.cause.as_str());
                repeats.count(&[label, ("provider", provider), ("cause", cause)], row.count);
            }
            if app.providers.apns.is_some() {
                by_circuit.count(&[label], tally.by_circuit());
            }
        }
        for family in [sends, repeats, by_circuit] {
            page.push(family);
        }
    }

    /// What goes up and down.
    fn state(&self, page: &mut Page) {
        let mut in_flight = Family::gauge("pushlet_in_flight", "Messages in flight or waiting.");
        let mut circuit = Family::gauge(
            "pushlet_circuit_open",
            "1 while messages to Apple are answered at once, else 0.",
        );
        let mut connections =
            Family::gauge("pushlet_connections_open", "Open connections to Apple.");
        let mut dead = Family::gauge("pushlet_feedback_tokens", "Dead tokens in the list.");
        let mut dropped = Family::counter(
            "pushlet_feedback_dropped_total",
            "Dead tokens that left the list because it was full.",
        );
        for app in &self.applications {
            let label = (APPLICATION, app.id.as_str());
            in_flight.count(&[label], app.in_flight.load(Ordering::Relaxed) as u64);
            if let Some(apns) = &app.providers.apns {
                let is_open = self.api.dispatcher.circuit(app) != Circuit::Closed;
                circuit.count(&[label], u64::from(is_open));
                connections.count(&[label], apns.connections() as u64);
            }
            dead.count(&[label], app.feedback.count() as u64);
            dropped.count(&[label], app.feedback.dropped());
        }
        if self.shows_keys {
            let count = ops::in_flight_by_keys(&self.api) as u64;
            in_flight.count(&[(APPLICATION, ApplicationId::bare_keys().as_str())], count);
        }
        for family in [in_flight, circuit, connections, dead, dropped] {
            page.push(family);
        }
    }

    fn credentials(&self, page: &mut Page) {
        let now = OffsetDateTime::now_utc();
        let mut days = Family::gauge(
            "pushlet_certificate_expiry_days",
            "Whole days until a certificate runs out; negative from the first second after.",
        );
        let mut usable = Family::gauge(
            "pushlet_credential_usable",
            "0 if a credential of the configuration cannot be used, else 1.",
        );
        for app in &self.applications {
            let label = (APPLICATION, app.id.as_str());
            let apns = app.providers.apns.as_deref();
            let fcm = app.providers.fcm.as_deref();
            if let Some(facts) = apns.and_then(|apns| apns.certificate()) {
                #[expect(clippy::cast_precision_loss, reason = "days are few")]
                days.add(&[label], facts.days_left(now) as f64);
            }
            let is_usable = [
                (Provider::Apns, apns.map(|apns| apns.problem().is_none())),
                (Provider::Fcm, fcm.map(|fcm| fcm.problem().is_none())),
            ];
            for (provider, is_usable) in is_usable {
                if let Some(is_usable) = is_usable {
                    let labels = [label, ("provider", provider.as_str())];
                    usable.count(&labels, u64::from(is_usable));
                }
            }
        }
        page.push(days);
        page.push(usable);
        if let (true, Some(secs)) = (self.shows_all, self.api.registrar.context().clock_skew_secs())
        {
            let mut skew = Family::gauge(
                "pushlet_clock_skew_seconds",
                "How far the clock of this machine is ahead of Apple's.",
            );
            #[expect(clippy::cast_precision_loss, reason = "seconds of this century")]
            skew.add(&[], secs as f64);
            page.push(skew);
        }
    }

    fn with_keys(&self) -> impl Iterator<Item = &Arc<Application>> {
        self.applications.iter().chain(self.shows_keys.then_some(&self.api.bare_keys))
    }
}
