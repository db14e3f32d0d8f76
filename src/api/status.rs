//! The body of `GET /status`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use actix_web::http::StatusCode;
use serde::Serialize;
use time::OffsetDateTime;

use super::auth::Caller;
use super::credentials::apple;
use super::error::Details;
use super::{Snapshot, ops, outcome, timestamp};
use crate::apps::Application;
use crate::apps::record::{LastFailure, Record};
use crate::metrics::{Fate, Provider};

/// What a caller may see, to be written down.
pub(super) struct Report {
    api: Snapshot,
    /// Sorted by id.
    applications: Vec<Arc<Application>>,
    shows_keys: bool,
}

impl Report {
    pub(super) fn new(api: Snapshot, caller: &Caller<'_>) -> Self {
        let applications = ops::applications(&api, caller);
        Self { api, applications, shows_keys: caller.owns_keys() }
    }

    /// `None` only by a bug.
    pub(super) fn json(&self) -> Option<String> {
        let now = OffsetDateTime::now_utc();
        let applications: Vec<_> =
            self.applications.iter().map(|app| self.application(app, now)).collect();
        let keys = self.shows_keys.then(|| self.keys()).flatten();
        let by_keys = keys.as_ref().map_or(0, |keys| keys.in_flight);
        let status = Status {
            version: env!("CARGO_PKG_VERSION"),
            state: ops::state(&self.api),
            started_at: timestamp(self.api.started.at),
            uptime_seconds: self.api.started.instant.elapsed().as_secs(),
            in_flight: applications.iter().map(|app| app.in_flight).sum::<usize>() + by_keys,
            applications,
            gcm_api_key: keys,
            clock_skew_seconds: self.api.registrar.context().clock_skew_secs(),
        };
        serde_json::to_string(&status).ok()
    }

    fn application<'a>(&self, app: &'a Application, now: OffsetDateTime) -> OfApplication<'a> {
        let is_sealed = self.api.registry.find(app.id.as_str()).is_none();
        let apns = app.providers.apns.as_deref();
        let fcm = app.providers.fcm.as_deref();
        let mut warnings = Vec::new();
        let is_known = apns.filter(|apns| apns.problem().is_none());
        let apple = is_known.map(|apns| apple(apns, now, &mut warnings));
        let problems = [
            ("apple", apns.and_then(|apns| apns.problem())),
            ("google", fcm.and_then(|fcm| fcm.problem())),
        ];
        for (peer, problem) in problems {
            warnings.extend(problem.map(|problem| {
                format!("the credential for {peer} cannot be used; register another one: {problem}")
            }));
        }
        let days_left = apple.as_ref().and_then(|apple| apple.days_left);
        let state = match days_left {
            _ if problems.iter().any(|(_, problem)| problem.is_some()) => "unusable",
            Some(..0) => "expired",
            Some(_) | None => "ready",
        };
        OfApplication {
            application_id: app.id.as_str(),
            sealed: is_sealed.then_some(true),
            state,
            providers: [apns.map(|_| "apns"), fcm.map(|_| "fcm")].into_iter().flatten().collect(),
            environment: apns.map(|apns| apns.mode().as_str()),
            credential: is_known.map(|apns| match apns.certificate() {
                Some(_) => "certificate",
                None => "token",
            }),
            days_left,
            not_after: apple.as_ref().and_then(|apple| apple.not_after.clone()),
            topics: apple.map(|apple| apple.topics),
            fcm_project: fcm.and_then(|fcm| fcm.project()),
            connections: apns.map(|apns| apns.connections()),
            in_flight: app.in_flight.load(Ordering::Relaxed),
            dead_tokens: app.feedback.count(),
            circuit: apns.map(|_| self.api.dispatcher.circuit(app).as_str()),
            history: History::of(&app.record),
            warnings,
        }
    }

    /// Those who send with a `gcm_api_key`, if anybody did.
    fn keys(&self) -> Option<OfKeys> {
        let history = History::of(&self.api.bare_keys.record);
        let in_flight = ops::in_flight_by_keys(&self.api);
        let is_used = in_flight > 0 || history.accepted + history.rejected + history.failed > 0;
        is_used.then_some(OfKeys { in_flight, history })
    }
}

#[derive(Serialize)]
struct Status<'a> {
    version: &'static str,
    state: &'static str,
    started_at: String,
    uptime_seconds: u64,
    in_flight: usize,
    applications: Vec<OfApplication<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gcm_api_key: Option<OfKeys>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clock_skew_seconds: Option<i64>,
}

#[derive(Serialize)]
struct OfApplication<'a> {
    application_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sealed: Option<bool>,
    state: &'static str,
    providers: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topics: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_after: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    days_left: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fcm_project: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connections: Option<usize>,
    in_flight: usize,
    dead_tokens: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    circuit: Option<&'static str>,
    #[serde(flatten)]
    history: History,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct OfKeys {
    in_flight: usize,
    #[serde(flatten)]
    history: History,
}

/// What became of the messages so far, in the numbers of `/metrics`.
#[derive(Serialize)]
struct History {
    accepted: u64,
    rejected: u64,
    /// No final answer: not sent, unknown, or given up by the caller.
    failed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_success: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_failure: Option<Failed>,
}

#[derive(Serialize)]
struct Failed {
    at: String,
    provider: &'static str,
    outcome: &'static str,
    error: String,
    message: String,
    #[serde(flatten)]
    details: Details,
}

impl History {
    fn of(record: &Record) -> Self {
        let mut history = Self {
            accepted: 0,
            rejected: 0,
            failed: 0,
            last_success: record.tally.last_success().map(timestamp),
            last_failure: record.last_failure().and_then(Failed::of),
        };
        for sends in record.tally.sends() {
            let count = match sends.outcome {
                Fate::Accepted => &mut history.accepted,
                Fate::Rejected => &mut history.rejected,
                Fate::Abandoned | Fate::FailedNotSent | Fate::Unknown => &mut history.failed,
            };
            *count = count.saturating_add(sends.count);
        }
        history
    }
}

impl Failed {
    fn of(failure: LastFailure) -> Option<Self> {
        let LastFailure { at, provider, fate, outcome } = failure;
        let status = match provider {
            Provider::Apns | Provider::Fcm => StatusCode::BAD_GATEWAY,
            Provider::Gcm => StatusCode::FORBIDDEN,
        };
        let (code, message, details) = outcome::tell(outcome, provider, status).err()?.into_parts();
        Some(Self {
            at: timestamp(at),
            provider: provider.as_str(),
            outcome: fate.as_str(),
            error: code,
            message,
            details,
        })
    }
}
