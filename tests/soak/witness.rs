//! What the simulator saw of each message: the witness that no answer of the relay can sway.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use pushlet::simulator::record::{OnMessage, Received, Verdict};
use uuid::Uuid;

/// The number of a call, in its `apns-id`, its token and its text.
pub type Number = u64;

const ID: u128 = 0x5eed_0000_0000_4000_8000_0000_0000_0000;

pub fn apns_id(number: Number) -> String {
    Uuid::from_u128(ID | u128::from(number)).hyphenated().to_string()
}

pub fn token(number: Number) -> String {
    format!("aaaaaaaa{number:056x}")
}

/// One message, over all its tries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// How often it came.
    pub tries: u32,
    /// How often it was accepted.
    pub accepted: u32,
    /// What the last try was refused with: status and reason.
    pub refused: Option<(u16, String)>,
}

/// Everything that came.
#[derive(Default)]
pub struct Witness {
    /// Guards both; held for one message.
    seen: Mutex<(HashMap<Number, Seen>, Vec<String>)>,
}

impl Witness {
    /// What the simulator calls with each message.
    pub fn listener(self: &Arc<Self>) -> OnMessage {
        let witness = Arc::clone(self);
        Box::new(move |received| witness.hear(received))
    }

    /// All messages by their numbers, and what was wrong with the messages themselves.
    pub fn take(&self) -> (HashMap<Number, Seen>, Vec<String>) {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }

    fn hear(&self, received: &Received) {
        let mut guard = self.seen.lock().unwrap();
        let (seen, wrong) = &mut *guard;
        let id = received.apns_id.as_deref().and_then(|id| Uuid::parse_str(id).ok());
        let Some(number) = id.and_then(|id| Number::try_from(id.as_u128() ^ ID).ok()) else {
            wrong.push(format!("a message that nobody sent: {received}"));
            return;
        };
        let payload = format!(r#"{{"aps":{{"alert":"call {number}"}}}}"#);
        if received.device_token != token(number) || received.payload != payload {
            wrong.push(format!("call {number} came as another one: {received}"));
        }
        let entry = seen.entry(number).or_default();
        entry.tries += 1;
        entry.refused = None;
        match &received.verdict {
            Verdict::Accepted => entry.accepted += 1,
            Verdict::Refused { status, reason } => entry.refused = Some((*status, reason.clone())),
            Verdict::Unanswered { .. } => {}
        }
    }
}
