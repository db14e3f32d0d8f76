//! The script: what to do with the next messages.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

/// Instead of a device token in a [`Rule`]: the request for an access token. Rules for anybody do
/// not meet it.
pub const TOKEN_REQUEST: &str = "oauth2:token";

/// What becomes of one message. Google's endpoints read the same words; where they mean something
/// else there (GCM), the variant says so. FCM knows Google's error codes as reasons, and the words
/// of the legacy protocol for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// As if nothing were scripted: accepted, if the checks find nothing.
    Accept,
    /// The same as `then`, but later. The message is recorded when it arrives.
    Delay {
        /// How long the sender waits.
        by: Duration,
        /// What follows.
        then: Box<Self>,
    },
    /// The connection is closed, TLS and TCP, without a word.
    Drop,
    /// GOAWAY (RFC 9113 §6.8). `None` is the graceful one: this message and all that are open are
    /// answered, then the connection closes. With an error code nothing more is answered; the last
    /// stream id is the highest that arrived, and there is no debug data, since `h2` writes none.
    /// GCM: as [`Answer::Drop`].
    GoAway {
        /// The error code (RFC 9113 §7), if it is one.
        code: Option<u32>,
    },
    /// No answer, ever; the stream stays open.
    Never,
    /// These very bytes.
    Raw(Raw),
    /// A refusal in the service's own form. GCM: a row of `results` with that error, or, for a
    /// status of 500 and above, the answer to the whole call.
    Reject(Rejection),
    /// `RST_STREAM` with this code; 7 is `REFUSED_STREAM`, "not processed". GCM: as
    /// [`Answer::Drop`].
    Reset {
        /// The error code (RFC 9113 §7).
        code: u32,
    },
}

/// An answer byte by byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw {
    /// The status.
    pub status: StatusCode,
    /// All headers but those of the framing.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// A refusal in the service's own form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The status.
    pub status: StatusCode,
    /// Apple's reason or Google's error.
    pub reason: String,
    /// APNs: `timestamp` of the body, in milliseconds since 1970, as a 410 has it.
    pub timestamp_ms: Option<u64>,
    /// The header `Retry-After`, in seconds.
    pub retry_after_secs: Option<u32>,
}

impl Answer {
    /// A refusal without timestamp and `Retry-After`.
    pub fn reject(status: StatusCode, reason: &str) -> Self {
        Self::Reject(Rejection {
            status,
            reason: reason.to_owned(),
            timestamp_ms: None,
            retry_after_secs: None,
        })
    }

    /// The sum of the delays, and what follows them.
    pub(super) fn into_parts(self) -> (Duration, Self) {
        let mut delay = Duration::ZERO;
        let mut answer = self;
        while let Self::Delay { by, then } = answer {
            delay = delay.saturating_add(by);
            answer = *then;
        }
        (delay, answer)
    }
}

/// An answer, and whom and how often it meets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Only messages to this device or registration token; `None`: whichever come next.
    pub device_token: Option<String>,
    /// How many messages; `None`: all from now on.
    pub times: Option<u32>,
    /// What they get.
    pub answer: Answer,
}

impl Rule {
    /// For the next message, whomever it is for.
    pub fn next(answer: Answer) -> Self {
        Self { device_token: None, times: Some(1), answer }
    }

    /// For the next message to this token.
    pub fn token(device_token: &str, answer: Answer) -> Self {
        Self { device_token: Some(device_token.to_owned()), times: Some(1), answer }
    }

    /// The same rule, for `times` messages.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { times: Some(times), ..self }
    }

    /// The same rule, without an end.
    #[must_use]
    pub fn forever(self) -> Self {
        Self { times: None, ..self }
    }
}

/// The rules that wait. Those of a token come before those of anybody; among themselves they are
/// used in the order in which they were added.
#[derive(Debug, Default)]
pub(super) struct Script {
    /// Guards the queues; held for one look-up.
    queues: Mutex<Queues>,
}

#[derive(Debug, Default)]
struct Queues {
    anybody: VecDeque<Waiting>,
    tokens: HashMap<String, VecDeque<Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    rule: Rule,
    used: u32,
}

impl Script {
    /// Adds a rule. It ends one without an end that stood in the same queue, which would let none
    /// behind it have a turn.
    pub(super) fn add(&self, rule: Rule) {
        let mut queues = self.lock();
        let queue = match &rule.device_token {
            Some(token) => queues.tokens.entry(key(token)).or_default(),
            None => &mut queues.anybody,
        };
        queue.retain(|waiting| waiting.rule.times.is_some());
        queue.push_back(Waiting { rule, used: 0 });
    }

    /// Takes what is scripted for a message to this token.
    pub(super) fn take(&self, device_token: &str) -> Option<Answer> {
        let mut queues = self.lock();
        let own = queues.tokens.get_mut(&key(device_token)).and_then(take_first);
        own.or_else(|| take_first(&mut queues.anybody))
    }

    /// Takes what is scripted for a request for an access token.
    pub(super) fn take_token_request(&self) -> Option<Answer> {
        self.lock().tokens.get_mut(TOKEN_REQUEST).and_then(take_first)
    }

    /// The rules with turns left; of those without an end, the ones that never had a turn. `times`
    /// is what is left.
    pub(super) fn unused(&self) -> Vec<Rule> {
        let queues = self.lock();
        let all = queues.anybody.iter().chain(queues.tokens.values().flatten());
        all.filter_map(|waiting| match waiting.rule.times {
            Some(times) => {
                let left = times.saturating_sub(waiting.used);
                (left > 0).then(|| waiting.rule.clone().times(left))
            }
            None => (waiting.used == 0).then(|| waiting.rule.clone()),
        })
        .collect()
    }

    /// Forgets every rule.
    pub(super) fn clear(&self) {
        *self.lock() = Queues::default();
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn take_first(queue: &mut VecDeque<Waiting>) -> Option<Answer> {
    while let Some(waiting) = queue.front_mut() {
        if waiting.rule.times.is_none_or(|times| waiting.used < times) {
            waiting.used = waiting.used.saturating_add(1);
            return Some(waiting.rule.answer.clone());
        }
        queue.pop_front();
    }
    None
}

/// Hex is one token in either case; other tokens are taken letter by letter.
fn key(device_token: &str) -> String {
    if device_token.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        device_token.to_ascii_lowercase()
    } else {
        device_token.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reset(code: u32) -> Answer {
        Answer::Reset { code }
    }

    #[test]
    fn rules_of_the_token_come_first_and_in_order() {
        let script = Script::default();
        script.add(Rule::next(reset(1)));
        script.add(Rule::token("AB", reset(2)));
        script.add(Rule::token("ab", reset(3)));

        let taken: Vec<_> = (0..4).map(|_| script.take("aB")).collect();

        assert_eq!(taken, [Some(reset(2)), Some(reset(3)), Some(reset(1)), None]);
    }

    #[test]
    fn a_rule_holds_as_often_as_it_says() {
        let script = Script::default();
        script.add(Rule::next(reset(1)).times(3));

        assert_eq!(script.take("a"), Some(reset(1)));

        assert_eq!(script.unused(), [Rule::next(reset(1)).times(2)]);
    }

    #[test]
    fn a_new_rule_ends_one_without_an_end() {
        let script = Script::default();
        script.add(Rule::next(reset(1)).forever());
        assert_eq!(script.unused(), [Rule::next(reset(1)).forever()]);
        assert_eq!(script.take("a"), Some(reset(1)));
        assert_eq!(script.take("b"), Some(reset(1)));
        assert_eq!(script.unused(), []);

        script.add(Rule::next(reset(2)));

        assert_eq!(script.take("a"), Some(reset(2)));
        assert_eq!(script.take("a"), None);
    }

    #[test]
    fn delays_add_up() {
        let inner = Answer::Delay { by: Duration::from_secs(2), then: Box::new(Answer::Never) };
        let answer = Answer::Delay { by: Duration::from_secs(1), then: Box::new(inner) };

        assert_eq!(answer.into_parts(), (Duration::from_secs(3), Answer::Never));
    }
}
