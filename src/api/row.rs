//! One message among many: sent, and told as a row that says what to do next.

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use actix_web::ResponseError;
use actix_web::http::StatusCode;
use futures_util::FutureExt;
use serde::Serialize;
use tokio::time::Instant;

use super::action::{Action, is_repeatable};
use super::error::ApiError;
use super::outcome;
use super::preview::Sketch;
use crate::apps::Application;
use crate::delivery::{Dispatcher, Share, Terms};
use crate::outcome::{Delivery, Failure, Outcome, Receipt};
use crate::providers::Message;
use crate::providers::apns::Mode;
use crate::providers::apns::device_token::DeviceToken;

/// The word of an accepted message, as in the documented answer.
const OK: &str = "ok";

/// One message to one target that has passed every check.
#[derive(Debug, Clone)]
pub struct Single {
    /// Whose it is.
    pub application: Arc<Application>,
    /// What to send.
    pub message: Arc<Message>,
    /// The token as the caller spelt it, where it goes to a single device.
    pub device_token: Option<String>,
    /// The status where the credential is refused: it depends on whose it is.
    pub credentials_status: StatusCode,
    /// How long it may take in all; `None` leaves it to the service.
    pub timeout: Option<Duration>,
    /// It is shown and not sent.
    pub is_preview: bool,
}

/// What became of one message. Members without a value are left out.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The place of the message in a stream, counted from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// The token as the caller spelt it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_token: Option<String>,
    /// The status that the message alone would have been answered with.
    pub status: u16,
    /// `ok` once the service has accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<&'static str>,
    /// The code of the error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Cow<'static, str>>,
    /// Its sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Cow<'static, str>>,
    /// The service's word, verbatim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The id of the message at Apple.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apns_id: Option<String>,
    /// The id of the message at Google.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// Where Apple knows the token, of an application that finds out (`apns_mode=auto`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<&'static str>,
    /// Whether it was shown and not sent.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// What would go out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Sketch>,
    /// Since when the token is dead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<String>,
    /// Seconds to wait before it is sent again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// `not_sent` or `unknown`: what is known of a message without a final answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<&'static str>,
    /// What to do next.
    pub action: Action,
}

impl Single {
    /// Sends it to an end when its turn comes, or shows it. Its time counts from `start`.
    ///
    /// # Cancel safety
    /// As that of [`Dispatcher::deliver_in_turn`].
    pub async fn deliver(self, dispatcher: &Dispatcher, caller: &Share, start: Instant) -> Row {
        if self.is_preview {
            return self.shown();
        }
        let terms = Terms { caller, start, timeout: self.timeout };
        let message = Arc::clone(&self.message);
        let sent = dispatcher.deliver_in_turn(&self.application, message, terms);
        match AssertUnwindSafe(sent).catch_unwind().await {
            Ok(outcome) => self.row(outcome),
            Err(_) => {
                tracing::error!(
                    "a message ended in a panic; this is a bug in pushlet, please report it"
                );
                let row = Row::refused(&ApiError::internal_error(), false);
                Row { device_token: self.device_token, delivery: Some("unknown"), ..row }
            }
        }
    }

    /// The row of a message that is shown.
    fn shown(self) -> Row {
        match Sketch::of(&self.application, &self.message, self.credentials_status) {
            Ok(request) => Row {
                device_token: self.device_token,
                dry_run: true,
                request: Some(request),
                ..Row::answered(StatusCode::OK, Action::None)
            },
            Err(error) => self.refused(&error),
        }
    }

    /// How long it may take in all.
    pub(super) fn time(&self) -> Duration {
        self.timeout.unwrap_or_else(|| self.application.providers.timeout(&self.message))
    }

    /// The row of a message that the relay does not send now.
    pub(super) fn refused(self, error: &ApiError) -> Row {
        Row { device_token: self.device_token, ..Row::refused(error, false) }
    }

    /// The same message for another phone, under an id of its own; `None` where the service has no
    /// words for it.
    pub(super) fn for_device(
        &self,
        device_token: &str,
        keeps_identifier: bool,
    ) -> Option<Result<Self, ApiError>> {
        let Message::Apns(message) = &*self.message else { return None };
        let parsed = DeviceToken::parse(device_token.to_owned()).map_err(ApiError::from);
        Some(parsed.map(|parsed| {
            let message = Message::Apns(message.for_device(parsed, keeps_identifier));
            let device_token = Some(device_token.to_owned());
            Self { message: Arc::new(message), device_token, ..self.clone() }
        }))
    }

    /// The row of what became of it.
    #[must_use]
    pub fn row(&self, outcome: Outcome) -> Row {
        let is_unknown =
            matches!(outcome, Outcome::Failed(Failure { delivery: Delivery::Unknown, .. }));
        let told = outcome::tell(outcome, self.message.provider(), self.credentials_status);
        let knows_token = match &told {
            Ok(_) => true,
            Err(error) => error.code() == "device_token_unregistered",
        };
        let row = match told {
            Ok(receipt) => Row::accepted(receipt),
            Err(error) => Row::refused(&error, is_repeatable(&self.message)),
        };
        let environment = self.application.providers.environment(&self.message);
        Row {
            device_token: self.device_token.clone(),
            environment: environment.filter(|_| knows_token).map(Mode::apples_word),
            delivery: row.delivery.or(is_unknown.then_some("unknown")),
            ..row
        }
    }
}

impl Row {
    fn accepted(receipt: Receipt) -> Self {
        let (apns_id, message_id) = match receipt {
            Receipt::Apns { apns_id } => (Some(apns_id), None),
            Receipt::Fcm { message_id } => (None, Some(message_id)),
            Receipt::Gcm { .. } => (None, None),
        };
        let row = Self::answered(StatusCode::OK, Action::None);
        Self { response: Some(OK), apns_id, message_id, ..row }
    }

    /// A row that says no more than this.
    fn answered(status: StatusCode, action: Action) -> Self {
        Self {
            index: None,
            device_token: None,
            status: status.as_u16(),
            response: None,
            error: None,
            message: None,
            reason: None,
            apns_id: None,
            message_id: None,
            environment: None,
            dry_run: false,
            request: None,
            timestamp: None,
            retry_after: None,
            delivery: None,
            action,
        }
    }

    /// The row of a message that was refused, by the relay or by its service.
    #[must_use]
    pub fn refused(error: &ApiError, is_repeatable: bool) -> Self {
        let details = error.details().cloned().unwrap_or_default();
        Self {
            error: Some(error.code().to_owned().into()),
            message: Some(error.to_string().into()),
            reason: details.reason,
            apns_id: details.apns_id,
            timestamp: details.timestamp,
            retry_after: details.retry_after,
            delivery: details.delivery,
            ..Self::answered(error.status_code(), Action::after(error, is_repeatable))
        }
    }
}
