//! Asking Google whether it takes a service account, without a phone.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::Instant;
use url::Url;

use super::message::{Message, Target};
use super::{Access, Context, Fcm};
use crate::outcome::Outcome;

/// Nobody has to be subscribed to it: the message is checked and not sent.
const TOPIC: &str = "pushlet-check";

impl Fcm {
    /// Has Google check one message without sending it, as any other message goes: an access token
    /// first, then FCM itself.
    pub async fn probe(&self, deadline: Instant) -> Outcome {
        let target = Target::Topic(TOPIC.to_owned());
        let message = Message::new(target, &Arc::from(""), true, false);
        self.send(&message, deadline, None, |_| ()).await.outcome
    }

    /// The project that it sends for; `None` for an account that cannot be used.
    #[must_use]
    pub fn project_id(&self) -> Option<&str> {
        match &self.access {
            Access::Account { account, .. } => Some(account.project_id()),
            Access::Unusable(_) => None,
        }
    }
}

impl Context {
    /// Whether anybody answers where messages go: its clock, where it tells.
    ///
    /// # Errors
    /// Why no answer came.
    pub async fn probe(&self, deadline: Instant) -> Result<Option<SystemTime>, String> {
        self.way.date(self.url(), deadline).await
    }

    /// Where messages go.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// How long a call may take in all.
    #[must_use]
    pub fn timeout(&self) -> std::time::Duration {
        self.timeout.get()
    }
}
