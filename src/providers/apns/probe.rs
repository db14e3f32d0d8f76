//! Asking Apple whether it takes an application's credential, without a phone.

use std::time::SystemTime;

use bytes::Bytes;
use tokio::time::Instant;
use url::Url;
use uuid::Uuid;

use super::device_token::DeviceToken;
use super::message::{Message, Priority, Target};
use super::push_type::PushType;
use super::response::Sent;
use super::{Apns, Attempt, Context, Mode, Ready, request};
use crate::outcome::Outcome;
use crate::providers;
use crate::transport::{ConnectionFacts, Request};

/// No phone has it: Apple answers `BadDeviceToken` once it has taken everything else.
const NOBODY: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// The topic of an application that has none of its own.
const NO_TOPIC: &str = "pushlet.check";

/// What Apple answered.
#[derive(Debug)]
pub struct Probe {
    /// What became of the message to nobody.
    pub outcome: Outcome,
    /// The connection that carried it; `None` when none was made, or it is gone.
    pub connection: Option<ConnectionFacts>,
    /// The peer's clock, where it tells.
    pub date: Option<SystemTime>,
}

impl Apns {
    /// Sends one silent message to a token that no phone has, once, over a connection like that of
    /// any other message. A refusal of the token is the answer to hope for.
    pub async fn probe(&self, deadline: Instant) -> Probe {
        let Some(message) = message_to_nobody(self.default_topic()) else { return impossible() };
        match self.ready(&message, None) {
            Ok(ready) => ask(ready, message, deadline).await,
            Err(attempt) => attempt.into(),
        }
    }
}

impl Context {
    /// The same without any credential, over a connection of its own: Apple answers that it misses
    /// one.
    pub async fn probe(&self, mode: Mode, deadline: Instant) -> Probe {
        let Some(message) = message_to_nobody(None) else { return impossible() };
        let pool = self.pool(mode, None);
        match request::build(&message, self.endpoint(mode).authority(), None) {
            Some(head) => ask(Ready { head, pool: &pool, token: None }, message, deadline).await,
            None => impossible(),
        }
    }

    /// Where messages for this environment go.
    #[must_use]
    pub fn url(&self, mode: Mode) -> &Url {
        match mode {
            Mode::Development => &self.sandbox_url,
            Mode::Auto | Mode::Production => &self.production_url,
        }
    }
}

impl From<Attempt> for Probe {
    fn from(attempt: Attempt) -> Self {
        Self { outcome: attempt.outcome, connection: None, date: None }
    }
}

async fn ask(ready: Ready<'_>, message: Message, deadline: Instant) -> Probe {
    let Ready { head, pool, token } = ready;
    let id = message.apns_id.hyphenated().to_string();
    let request = Request { head, body: message.payload, avoid: None, deadline };
    let answer = match pool.send(request) {
        Ok(mut flight) => flight.answer().await,
        Err(error) => Err(error),
    };
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return Attempt::failed(error, id).into(),
    };
    let connection = pool.describe(answer.connection).await;
    let date = providers::date(&answer.headers);
    let sent = Sent { apns_id: &id, topic_given: message.is_topic_given };
    let token = token.as_ref().map(|(signer, used)| (*signer, used));
    let Attempt { outcome, .. } = Attempt::answered(&answer, sent, pool, token);
    Probe { outcome, connection, date }
}

fn impossible() -> Probe {
    Attempt::unusable("the message could not be made".to_owned()).into()
}

fn message_to_nobody(topic: Option<&str>) -> Option<Message> {
    Some(Message {
        target: Target::Device(DeviceToken::parse(NOBODY.to_owned()).ok()?),
        apns_id: Uuid::new_v4(),
        topic: topic.unwrap_or(NO_TOPIC).to_owned(),
        // Of a topic that we made up a refusal says nothing about the credential.
        is_topic_given: topic.is_none(),
        push_type: PushType::Background,
        priority: Some(Priority::PowerAware),
        expiration_unix_secs: Some(0),
        collapse_id: None,
        payload: Bytes::from_static(br#"{"aps":{"content-available":1}}"#),
        at_least_once: false,
    })
}
