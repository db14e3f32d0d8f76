//! What became of each message, in the record of its application.

use std::sync::Arc;

use crate::apps::Application;
use crate::apps::record::Record;
use crate::metrics::{self, Fate, Provider};
use crate::outcome::{Cause, Delivery, Failure, Fault, Outcome, Receipt, Rejection, Retry};
use crate::providers::{Message, legacy};

/// A message under way. Dropped before its end is noted, its caller has hung up.
pub(super) struct UnderWay<'a> {
    record: &'a Record,
    provider: Provider,
    has_ended: bool,
}

impl<'a> UnderWay<'a> {
    pub(super) fn new(app: &'a Arc<Application>, message: &Message) -> Self {
        Self { record: &app.record, provider: message.provider(), has_ended: false }
    }

    pub(super) fn end(mut self, outcome: &Outcome) {
        self.has_ended = true;
        note(self.record, self.provider, outcome);
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            self.record.tally.miss(self.provider, Fate::Abandoned, "");
        }
    }
}

/// Notes what the caller of a message is answered.
pub(super) fn note(record: &Record, provider: Provider, outcome: &Outcome) {
    match outcome {
        // One answer for many tokens: each of its rows counts.
        Outcome::Accepted(Receipt::Gcm { answer, .. }) => {
            let rows = legacy::rows(answer);
            if rows.accepted > 0 {
                record.tally.accept(provider, rows.accepted);
            }
            rows.others.iter().for_each(|outcome| note(record, provider, outcome));
        }
        Outcome::Accepted(Receipt::Apns { .. } | Receipt::Fcm { .. }) => {
            record.tally.accept(provider, 1);
        }
        Outcome::Failed(_) | Outcome::Rejected(_) => {
            let (fate, reason) = label(outcome);
            record.tally.miss(provider, fate, reason);
            record.fail(provider, fate, outcome.clone());
        }
    }
}

/// The labels of an outcome: its class and its reason.
pub(super) fn label(outcome: &Outcome) -> (Fate, &str) {
    match outcome {
        Outcome::Accepted(_) => (Fate::Accepted, ""),
        Outcome::Failed(failure) => {
            let fate = match failure.delivery {
                Delivery::NotSent => Fate::FailedNotSent,
                Delivery::Unknown => Fate::Unknown,
            };
            let reason = match &failure.cause {
                Cause::Busy => "overloaded",
                Cause::Deadline => "timeout",
                Cause::Nonsense { .. } => "protocol_error",
                Cause::Provider { reason, .. } | Cause::Throttled { reason, .. } => said(reason),
                Cause::Unanswered { .. } => "unanswered",
                Cause::Unreachable { .. } => "unreachable",
            };
            (fate, reason)
        }
        // Refused without a word of the provider's, or never shown to it.
        Outcome::Rejected(Rejection { fault: Fault::Credentials, reason, .. })
            if reason.is_empty() =>
        {
            (Fate::Rejected, "credentials")
        }
        Outcome::Rejected(rejection) => (Fate::Rejected, said(&rejection.reason)),
    }
}

/// Why a message goes out once more after this failure.
pub(super) fn cause(failure: &Failure) -> metrics::Cause {
    match failure.retry {
        Retry::Freely => metrics::Cause::NotProcessed,
        Retry::IfAtLeastOnce => metrics::Cause::Unanswered,
        Retry::Renewed => metrics::Cause::TokenRenewed,
        Retry::Seldom => metrics::Cause::Unreachable,
        Retry::Never | Retry::Once => metrics::Cause::Answered,
    }
}

/// A provider that gave no reason gave another one.
fn said(reason: &str) -> &str {
    if reason.is_empty() { "other" } else { reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Sends;

    #[test]
    fn a_message_whose_caller_hung_up_is_abandoned() {
        let record = Record::default();

        drop(UnderWay { record: &record, provider: Provider::Apns, has_ended: false });

        let (provider, outcome, reason, count) = (Provider::Apns, Fate::Abandoned, "", 1);
        assert_eq!(record.tally.sends(), [Sends { provider, outcome, reason, count }]);
        assert_eq!(record.last_failure(), None, "nobody answered");
    }

    #[test]
    fn each_row_of_a_legacy_answer_counts() {
        let record = Record::default();
        let answer = concat!(
            r#"{"multicast_id":1,"success":2,"failure":3,"canonical_ids":0,"results":["#,
            r#"{"message_id":"1"},{"error":"NotRegistered"},{"error":"Unavailable"},"#,
            r#"{"message_id":"2"},{"error":"Invented"}]}"#
        );
        let answer = answer.to_owned();

        note(
            &record,
            Provider::Gcm,
            &Outcome::Accepted(Receipt::Gcm { answer, retry_after: None }),
        );

        let sends =
            |outcome, reason, count| Sends { provider: Provider::Gcm, outcome, reason, count };
        assert_eq!(
            record.tally.sends(),
            [
                sends(Fate::Accepted, "", 2),
                sends(Fate::FailedNotSent, "Unavailable", 1),
                sends(Fate::Rejected, "NotRegistered", 1),
                sends(Fate::Rejected, "other", 1),
            ]
        );
        let last = record.last_failure().map(|last| last.outcome);
        assert_eq!(last, legacy::rows(r#"{"results":[{"error":"Invented"}]}"#).others.pop());
    }
}
