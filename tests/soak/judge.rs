//! Holds what the callers heard against what the simulator saw.

use std::collections::{BTreeMap, HashMap};

use super::calls::Heard;
use super::witness::{Number, Seen};

/// How many sentences are printed of what went wrong.
const SHOWN: usize = 20;

/// The sums, and everything that does not fit.
#[derive(Default)]
pub struct Judgement {
    sums: BTreeMap<String, u64>,
    pub ok: u64,
    pub not_sent: u64,
    pub refused: u64,
    pub unknown: u64,
    /// Written, accepted, and never answered.
    accepted_unknown: u64,
    /// Refused in an answer whose body was cut off, and with it the reason.
    half: u64,
    tries: u64,
    pub wrong: Vec<String>,
}

impl Judgement {
    /// Judges every call.
    pub fn of(heard: &[(Number, Heard)], seen: &HashMap<Number, Seen>) -> Self {
        let mut judgement = Self::default();
        let nothing = Seen::default();
        for (number, heard) in heard {
            judgement.call(*number, heard, seen.get(number).unwrap_or(&nothing));
        }
        judgement.tries = seen.values().map(|seen| u64::from(seen.tries)).sum();
        if seen.len() > heard.len() {
            judgement.wrong.push(format!("{} messages of {} calls", seen.len(), heard.len()));
        }
        judgement
    }

    fn call(&mut self, number: Number, heard: &Heard, seen: &Seen) {
        let (sum, is_true) = match heard {
            Heard::Ok => {
                self.ok += 1;
                ("ok".to_owned(), seen.accepted == 1)
            }
            Heard::NotSent => {
                self.not_sent += 1;
                ("not sent".to_owned(), seen.accepted == 0)
            }
            Heard::Refused { error, status, reason } => {
                self.refused += 1;
                // A circuit that is open answers without asking, and only for credentials.
                let is_theirs = seen.refused.as_ref().map_or(
                    seen.tries == 0 && error == "apns_credentials_rejected",
                    |(theirs, word)| {
                        // A 429 whose body was cut off is told by its status alone.
                        let is_half = reason.is_none() && error == "apns_throttled";
                        self.half += u64::from(is_half);
                        Some(*theirs) == *status
                            && (is_half || reason.as_deref().unwrap_or_default() == word)
                    },
                );
                (error.clone(), seen.accepted == 0 && is_theirs)
            }
            Heard::Unknown => {
                self.unknown += 1;
                self.accepted_unknown += u64::from(seen.accepted);
                ("unknown".to_owned(), seen.accepted <= 1)
            }
            Heard::Nonsense(_) => ("nonsense".to_owned(), false),
        };
        *self.sums.entry(sum).or_default() += 1;
        if !is_true {
            self.wrong.push(format!("call {number} heard {heard:?}, the simulator saw {seen:?}"));
        }
    }

    /// Prints the sums.
    pub fn print(&self) {
        let total: u64 = self.sums.values().sum();
        println!("{total:>9} calls, {} tries that arrived", self.tries);
        for (sum, count) in &self.sums {
            println!("{count:>9} {sum}");
        }
        println!("{:>9} of the unknown were accepted", self.accepted_unknown);
        println!("{:>9} of the refused had lost their reason on the way", self.half);
        for sentence in self.wrong.iter().take(SHOWN) {
            println!("WRONG: {sentence}");
        }
    }
}
