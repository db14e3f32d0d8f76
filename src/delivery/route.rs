//! Where a message goes whose application finds out itself (`apns_mode=auto`): to the environment
//! that its token is known in, or production; and if Apple does not know the token there, once to
//! the other one.

use crate::apps::Application;
use crate::outcome::{Fault, Outcome, Rejection};
use crate::providers::Message;
use crate::providers::apns::Mode;

/// The way of one message.
#[derive(Debug)]
pub(super) struct Route {
    /// `None` where there is no choice.
    environment: Option<Mode>,
    /// What the first environment said, once the other one is asked.
    refused: Option<Rejection>,
}

/// What follows from an outcome.
pub(super) enum Step {
    /// The other environment is to be asked.
    Again,
    /// This is the end.
    End(Outcome),
}

impl Route {
    pub(super) fn new(app: &Application, message: &Message) -> Self {
        Self { environment: app.providers.environment(message), refused: None }
    }

    /// Where the message goes now.
    pub(super) fn environment(&self) -> Option<Mode> {
        self.environment
    }

    /// Takes an outcome that the retry loop can do no more about.
    pub(super) fn next(&mut self, app: &Application, message: &Message, end: Outcome) -> Step {
        let Some(environment) = self.environment else { return Step::End(end) };
        let Outcome::Rejected(rejection) = end else {
            if matches!(end, Outcome::Accepted(_)) {
                app.providers.learn_environment(message, environment);
            }
            return Step::End(end);
        };
        let is_unknown = rejection.reason == "BadDeviceToken" && rejection.fault == Fault::Token;
        let Some(first) = self.refused.take() else {
            if is_unknown {
                self.refused = Some(rejection);
                self.environment = Some(environment.other());
                return Step::Again;
            }
            return Step::End(known(app, message, environment, rejection));
        };
        let asked = environment.apples_word();
        let detail = match rejection.fault {
            Fault::Token if is_unknown => "production and the sandbox were both asked".to_owned(),
            // A key may be for one environment alone; what the first one said is the answer.
            Fault::Credentials => {
                let reason = &rejection.reason;
                format!("{asked} was asked as well and refused the credential: {reason}")
            }
            Fault::Token | Fault::Message => {
                return Step::End(known(app, message, environment, rejection));
            }
        };
        // Neither knows it, so the next message begins with production as any other.
        app.providers.learn_environment(message, Mode::Production);
        self.environment = Some(environment.other());
        Step::End(Outcome::Rejected(Rejection { detail: Some(detail), ..first }))
    }
}

/// A refusal by an environment that knows the token, if it says so.
fn known(app: &Application, message: &Message, environment: Mode, rejection: Rejection) -> Outcome {
    if rejection.gone_since.is_some() || rejection.reason == "DeviceTokenNotForTopic" {
        app.providers.learn_environment(message, environment);
    }
    Outcome::Rejected(rejection)
}
