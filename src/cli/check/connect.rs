//! Asking Apple and Google by the code that sends.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pushlet::outcome::{Cause, Failure, Fault, Outcome};
use pushlet::providers::apns::{self, Mode};
use pushlet::providers::gcm::Gcm;
use pushlet::providers::{Providers, fcm};
use serde::Serialize;
use tokio::time::Instant;

/// Further apart than this two clocks are worth a word.
const SKEW_WARNED: Duration = Duration::from_secs(60);
/// Provider tokens are up to 50 minutes old when they are shown, and Apple refuses them after an
/// hour.
const SKEW_HARMFUL: Duration = Duration::from_secs(600);

/// Who can be asked.
pub(super) struct Peers<'a> {
    pub(super) apns: &'a Arc<apns::Context>,
    pub(super) fcm: &'a Arc<fcm::Context>,
    pub(super) gcm: &'a Gcm,
}

/// What came of asking one of them.
#[derive(Serialize)]
pub(super) struct Answer {
    pub(super) url: String,
    pub(super) ok: bool,
    /// What it answered, for people.
    pub(super) answer: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tls: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_concurrent_streams: Option<usize>,
    #[serde(skip)]
    date: Option<Date>,
}

/// What a peer's clock showed, and ours at that moment.
type Date = (SystemTime, SystemTime);

impl Peers<'_> {
    /// Shows each side's credential to its peer.
    pub(super) async fn ask(&self, side: &Providers) -> (Option<Answer>, Option<Answer>) {
        let apple = async {
            let apns = side.apns.as_ref().filter(|apns| apns.problem().is_none())?;
            let probe = apns.probe(Instant::now() + apns.timeout()).await;
            Some(Answer::of_apple(self.apns.url(apns.mode()).as_str(), probe, true))
        };
        let google = async {
            let fcm = side.fcm.as_ref().filter(|fcm| fcm.project_id().is_some())?;
            let outcome = fcm.probe(Instant::now() + fcm.timeout()).await;
            Some(Answer::of_google(self.fcm.url().as_str(), &outcome))
        };
        tokio::join!(apple, google)
    }

    /// Asks those that need no credential to be reached: Google wherever it is used, for its clock,
    /// the legacy endpoint if there is one, and everybody if no application is known yet.
    pub(super) async fn ask_without_credentials(&self, sides: &[Providers]) -> Vec<Answer> {
        let mut answers = Vec::new();
        if sides.is_empty() {
            for mode in [Mode::Production, Mode::Development] {
                let probe = self.apns.probe(mode, Instant::now() + self.apns.timeout()).await;
                answers.push(Answer::of_apple(self.apns.url(mode).as_str(), probe, false));
            }
        }
        if sides.is_empty() || sides.iter().any(|side| side.fcm.is_some()) {
            let date = self.fcm.probe(Instant::now() + self.fcm.timeout()).await;
            answers.push(Answer::of_clock(self.fcm.url().as_str(), date));
        }
        if let Some(date) = self.gcm.probe(Instant::now() + self.gcm.timeout()).await {
            answers.push(Answer::of_clock("gcm.legacy_url", date));
        }
        answers
    }
}

impl Answer {
    /// `shown`: whether a credential was shown. Without one its lack is the answer to hope for.
    fn of_apple(url: &str, probe: apns::Probe, shown: bool) -> Self {
        let (ok, answer) = match &probe.outcome {
            Outcome::Rejected(rejection) if !shown && rejection.status.is_some() => {
                (true, "reached".to_owned())
            }
            Outcome::Accepted(_) => (true, TAKEN.to_owned()),
            Outcome::Rejected(rejection) => match rejection.fault {
                Fault::Token | Fault::Message => (true, TAKEN.to_owned()),
                Fault::Credentials => {
                    let reason = said(&rejection.reason, rejection.detail.as_deref());
                    (false, format!("refuses the credential or its topic: {reason}"))
                }
            },
            Outcome::Failed(failure) => (false, failed(failure)),
        };
        let streams = probe.connection.map(|connection| connection.max_concurrent_streams);
        Self {
            url: url.to_owned(),
            ok,
            answer,
            tls: probe.connection.map(|connection| connection.tls_version),
            max_concurrent_streams: streams.filter(|streams| *streams < usize::MAX),
            date: probe.date.map(|date| (date, SystemTime::now())),
        }
    }

    fn of_google(url: &str, outcome: &Outcome) -> Self {
        let (ok, answer) = match outcome {
            Outcome::Accepted(_) => (true, TAKEN.to_owned()),
            Outcome::Rejected(rejection) => match rejection.fault {
                Fault::Token | Fault::Message => (true, TAKEN.to_owned()),
                Fault::Credentials => {
                    let reason = said(&rejection.reason, rejection.detail.as_deref());
                    (false, format!("refuses the service account: {reason}"))
                }
            },
            Outcome::Failed(failure) => (false, failed(failure)),
        };
        Self::plain(url, ok, answer)
    }

    fn of_clock(url: &str, date: Result<Option<SystemTime>, String>) -> Self {
        match date {
            Ok(date) => Self {
                date: date.map(|date| (date, SystemTime::now())),
                ..Self::plain(url, true, "reached".to_owned())
            },
            Err(sentence) => Self::plain(url, false, format!("could not be reached: {sentence}")),
        }
    }

    fn plain(url: &str, ok: bool, answer: String) -> Self {
        let (tls, max_concurrent_streams) = (None, None);
        Self { url: url.to_owned(), ok, answer, tls, max_concurrent_streams, date: None }
    }
}

const TAKEN: &str = "takes the credential";

/// The provider's word and what we know of it.
fn said(reason: &str, detail: Option<&str>) -> String {
    match (reason, detail) {
        ("", Some(detail)) => detail.to_owned(),
        ("", None) => "it gave no reason".to_owned(),
        (reason, None) => reason.to_owned(),
        (reason, Some(detail)) => format!("{reason} ({detail})"),
    }
}

fn failed(failure: &Failure) -> String {
    match &failure.cause {
        Cause::Busy => "was not asked: too much is under way".to_owned(),
        Cause::Deadline => "did not answer in time".to_owned(),
        Cause::Nonsense { status, reason } => {
            format!("is not who it should be: status {status} {reason}")
        }
        Cause::Provider { status, reason } | Cause::Throttled { status, reason } => {
            format!("cannot say now: status {status} {reason}")
        }
        Cause::Unanswered { detail } => format!("did not answer: {detail}"),
        Cause::Unreachable { detail } => format!("could not be reached: {detail}"),
    }
}

/// The clocks of all who told theirs.
#[derive(Default)]
pub(super) struct Clocks(Vec<(String, Date)>);

/// The clock that is furthest from ours.
#[derive(Serialize)]
pub(super) struct Clock {
    pub(super) url: String,
    /// How far ours is ahead of it, in seconds.
    pub(super) ahead_seconds: i64,
    #[serde(skip)]
    pub(super) is_harmful: bool,
    #[serde(skip)]
    pub(super) is_off: bool,
}

impl Clocks {
    pub(super) fn add(&mut self, answer: &Answer) {
        self.0.extend(answer.date.map(|date| (answer.url.clone(), date)));
    }

    pub(super) fn worst(self) -> Option<Clock> {
        let clocks = self.0.into_iter().map(|(url, (theirs, ours))| {
            let (ahead, behind) = (ours.duration_since(theirs), theirs.duration_since(ours));
            let apart = ahead.clone().or(behind).unwrap_or_default();
            let secs = i64::try_from(apart.as_secs()).unwrap_or(i64::MAX);
            Clock {
                url,
                ahead_seconds: if ahead.is_ok() { secs } else { secs.saturating_neg() },
                is_harmful: apart >= SKEW_HARMFUL,
                is_off: apart > SKEW_WARNED,
            }
        });
        clocks.max_by_key(|clock| clock.ahead_seconds.saturating_abs())
    }
}
