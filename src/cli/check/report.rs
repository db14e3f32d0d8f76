//! What `pushlet check` found, for people and for programs.

use std::fmt::Write as _;

use pushlet::providers::Providers;
use pushlet::providers::apns::Apns;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::connect::{Answer, Clock, Clocks};
use crate::cli::plain;

/// A certificate that runs out within so many days is worth a warning.
const SOON_DAYS: i64 = 30;
const DAY_SECS: i64 = 24 * 60 * 60;

#[derive(Default, Serialize)]
pub(super) struct Report {
    ok: bool,
    pub(super) problems: Vec<String>,
    pub(super) warnings: Vec<String>,
    applications: Vec<Row>,
    /// Those who were asked without a credential.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    endpoints: Vec<Answer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clock: Option<Clock>,
    #[serde(skip)]
    is_timeless: bool,
}

/// One application, or one entry of `[[gcm.bridge]]`.
#[derive(Serialize)]
pub(super) struct Row {
    application_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    apns: Option<Apple>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fcm: Option<Google>,
    #[serde(skip)]
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct Apple {
    /// `certificate` or `token`.
    credential: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    team_id: Option<String>,
    topics: Vec<String>,
    environment: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_after: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    days_left: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<Answer>,
}

#[derive(Serialize)]
struct Google {
    project: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<Answer>,
}

impl Row {
    /// What is known of the sides that can be used.
    pub(super) fn of(name: &str, providers: &Providers, now: OffsetDateTime) -> Self {
        let mut warnings = Vec::new();
        let apns = providers.apns.as_ref().filter(|apns| apns.problem().is_none());
        let apns = apns.map(|apns| Apple::of(apns, now, &mut warnings));
        let project = providers.fcm.as_ref().and_then(|fcm| fcm.project_id());
        let fcm = project.map(|project| Google { project: project.to_owned(), peer: None });
        Self { application_id: name.to_owned(), apns, fcm, warnings }
    }
}

impl Apple {
    fn of(apns: &Apns, now: OffsetDateTime, warnings: &mut Vec<String>) -> Self {
        let facts = apns.certificate();
        let left = facts.map(|facts| (facts.not_after - now).whole_seconds().div_euclid(DAY_SECS));
        if let Some(days) = left.filter(|days| *days <= SOON_DAYS) {
            warnings.push(format!("the certificate runs out in {days} days; renew it"));
        }
        let environment = apns.mode().as_str();
        if facts.is_some_and(|facts| facts.excludes_mode) {
            warnings.push(format!(
                "the certificate is not for {environment}; give it the other apns_mode"
            ));
        }
        if apns.default_topic().is_none() {
            warnings.push(
                "it has no topic of its own; give it apns_topic, or topic with each message"
                    .to_owned(),
            );
        }
        let named = facts.map(|facts| facts.topics.clone()).filter(|topics| !topics.is_empty());
        let own = || apns.default_topic().map(str::to_owned).into_iter().collect();
        let signing_key = apns.signing_key();
        Self {
            credential: if facts.is_some() { "certificate" } else { "token" },
            key_id: signing_key.map(|(key_id, _)| key_id.to_owned()),
            team_id: signing_key.map(|(_, team_id)| team_id.to_owned()),
            topics: named.unwrap_or_else(own),
            environment,
            not_after: facts.map(|facts| facts.not_after.format(&Rfc3339).unwrap_or_default()),
            days_left: left,
            peer: None,
        }
    }

    fn sentence(&self) -> String {
        let mut sentence = match (&self.key_id, &self.team_id) {
            (Some(key_id), Some(team_id)) => format!("signing key {key_id} of team {team_id}"),
            _ => "certificate".to_owned(),
        };
        if !self.topics.is_empty() {
            // A text can always be written to.
            let _ = write!(sentence, " for {}", self.topics.join(", "));
        }
        let _ = write!(sentence, ", {}", self.environment);
        if let (Some(not_after), Some(days)) = (&self.not_after, self.days_left) {
            let _ = write!(sentence, ", until {not_after} ({days} days left)");
        }
        sentence
    }
}

impl Report {
    /// One more application, and what is wrong with its credentials.
    pub(super) fn add(&mut self, row: Row, problems: impl IntoIterator<Item = String>) {
        let name = &row.application_id;
        self.problems.extend(problems.into_iter().map(|problem| format!("{name}: {problem}")));
        self.warnings.extend(row.warnings.iter().map(|warning| format!("{name}: {warning}")));
        self.applications.push(row);
    }

    /// What the peers answered to the application at this place.
    pub(super) fn answered(
        &mut self,
        place: usize,
        apple: Option<Answer>,
        google: Option<Answer>,
        clocks: &mut Clocks,
    ) {
        let Some(row) = self.applications.get_mut(place) else { return };
        for answer in apple.iter().chain(&google) {
            clocks.add(answer);
            if !answer.ok {
                let (name, Answer { url, answer, .. }) = (&row.application_id, answer);
                self.problems.push(format!("{name}: {url} {answer}"));
            }
        }
        if let Some(apns) = &mut row.apns {
            apns.peer = apple;
        }
        if let Some(fcm) = &mut row.fcm {
            fcm.peer = google;
        }
    }

    /// What a peer answered that was shown no credential.
    pub(super) fn reached(&mut self, answer: Answer, clocks: &mut Clocks) {
        clocks.add(&answer);
        if !answer.ok {
            self.problems.push(format!("{} {}", answer.url, answer.answer));
        }
        self.endpoints.push(answer);
    }

    /// Says it when our clock is off.
    pub(super) fn compare(&mut self, clocks: Clocks) {
        self.clock = clocks.worst();
        self.is_timeless = self.clock.is_none();
        let Some(clock) = self.clock.as_ref().filter(|clock| clock.is_off) else { return };
        let seconds = clock.ahead_seconds.unsigned_abs();
        let place = if clock.ahead_seconds > 0 { "ahead of" } else { "behind" };
        let sentence = format!(
            "the clock of this machine is {seconds} s {place} that of {}; set it, tokens with a \
             wrong time are refused",
            clock.url
        );
        if clock.is_harmful {
            self.problems.push(sentence);
        } else {
            self.warnings.push(sentence);
        }
    }

    /// How many problems there are.
    pub(super) fn finish(&mut self) -> usize {
        self.ok = self.problems.is_empty();
        self.problems.len()
    }

    pub(super) fn sentences(&self) -> String {
        let mut lines = Vec::new();
        for row in &self.applications {
            lines.push(row.application_id.clone());
            if let Some(apns) = &row.apns {
                lines.push(format!("  apple   {}", plain(&apns.sentence())));
                lines.extend(apns.peer.as_ref().map(Answer::sentence));
            }
            if let Some(fcm) = &row.fcm {
                lines.push(format!("  google  project {}", fcm.project));
                lines.extend(fcm.peer.as_ref().map(Answer::sentence));
            }
        }
        lines.extend(self.endpoints.iter().map(|answer| answer.sentence().trim_start().to_owned()));
        lines.extend(self.clock.as_ref().map(|clock| {
            format!("clock   {:+} s from that of {}", clock.ahead_seconds, clock.url)
        }));
        if self.is_timeless {
            lines.push("clock   not compared: nobody told the time".to_owned());
        }
        let warnings = self.warnings.iter().map(|warning| format!("warning: {}", plain(warning)));
        lines.extend(warnings);
        lines.extend(self.problems.iter().map(|problem| format!("problem: {}", plain(problem))));
        if self.ok {
            lines.push(format!("no problem; {} applications", self.applications.len()));
        }
        lines.join("\n")
    }
}

impl Answer {
    fn sentence(&self) -> String {
        let mut sentence = format!("          {} {}", self.url, plain(&self.answer));
        if let Some(tls) = self.tls {
            let _ = write!(sentence, " ({tls}");
            if let Some(streams) = self.max_concurrent_streams {
                let _ = write!(sentence, ", {streams} streams");
            }
            sentence.push(')');
        }
        sentence
    }
}
