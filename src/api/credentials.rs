//! What is told of an application's credential: to whoever registers it, and in the status.

use serde::Serialize;
use time::OffsetDateTime;

use super::timestamp;
use crate::providers::apns::{Apns, CertificateFacts};

/// A certificate that runs out within so many days is worth a warning.
const SOON_DAYS: i64 = 30;

/// What an Apple credential says of itself; a signing key has no end.
#[derive(Serialize)]
pub(super) struct Apple<'a> {
    pub(super) topics: Vec<&'a str>,
    pub(super) environment: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) not_after: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) days_left: Option<i64>,
}

/// What a credential says of itself, and in `warnings` what a person should know of it.
pub(super) fn apple<'a>(
    apns: &'a Apns,
    now: OffsetDateTime,
    warnings: &mut Vec<String>,
) -> Apple<'a> {
    let facts = apns.certificate();
    if let Some(facts) = facts {
        warnings.extend(runs_out(facts, now));
    }
    if facts.is_some_and(|facts| facts.excludes_mode) {
        let mode = apns.mode().as_str();
        warnings.push(format!(
            "the certificate is not for {mode}; register it with the other apns_mode"
        ));
    }
    if apns.is_settled() {
        let mode = apns.mode().as_str();
        warnings.push(format!(
            "the certificate is not known to serve both environments; apns_mode=auto acts as {mode}"
        ));
    }
    if apns.default_topic().is_none() {
        warnings.push(
            "the application has no topic of its own; give apns_topic, or topic with each message"
                .to_owned(),
        );
    }
    let topics = match facts {
        Some(facts) if !facts.topics.is_empty() => {
            facts.topics.iter().map(String::as_str).collect()
        }
        Some(_) | None => apns.default_topic().into_iter().collect(),
    };
    Apple {
        topics,
        environment: apns.mode().as_str(),
        not_after: facts.map(|facts| timestamp(facts.not_after.into())),
        days_left: facts.map(|facts| facts.days_left(now)),
    }
}

fn runs_out(facts: &CertificateFacts, now: OffsetDateTime) -> Option<String> {
    let end = match facts.days_left(now) {
        ..0 => format!("expired on {}", facts.not_after.date()),
        0 => "runs out within a day".to_owned(),
        1 => "runs out in 1 day".to_owned(),
        days @ 2..=SOON_DAYS => format!("runs out in {days} days"),
        _ => return None,
    };
    Some(format!("the certificate {end}; register a new one"))
}

#[cfg(test)]
mod tests {
    use time::{Duration, OffsetDateTime};

    use super::*;

    #[test]
    fn the_end_of_a_certificate_is_told_in_time() {
        let now = OffsetDateTime::UNIX_EPOCH + Duration::days(20_000);
        let told = |left: Duration| {
            let facts = CertificateFacts {
                topics: Vec::new(),
                not_after: now + left,
                excludes_mode: false,
            };
            (facts.days_left(now), runs_out(&facts, now))
        };
        let warning = |end: &str| Some(format!("the certificate {end}; register a new one"));

        assert_eq!(told(Duration::days(31)), (31, None));
        assert_eq!(told(Duration::days(30)), (30, warning("runs out in 30 days")));
        assert_eq!(told(Duration::hours(25)), (1, warning("runs out in 1 day")));
        assert_eq!(told(Duration::seconds(1)), (0, warning("runs out within a day")));
        assert_eq!(told(Duration::seconds(-1)), (-1, warning("expired on 2024-10-03")));
        assert_eq!(told(Duration::days(-9)).0, -9);
    }
}
