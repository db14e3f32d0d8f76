//! Requests about broadcast channels, to an end.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::retry::Retries;
use super::{Dispatcher, Share, busy};
use crate::apps::Application;
use crate::outcome::Outcome;
use crate::providers::apns::channels::{Reply, Request};

impl Dispatcher {
    /// Makes a request about the channels of `app`, again where that is safe, until there is an
    /// answer or its time is over: `timeout`, or that of its sends. They go to another server of
    /// Apple's than messages, so they neither heed nor change what is known of that one.
    ///
    /// # Errors
    /// What came of it instead of a reply; never accepted.
    pub async fn manage(
        &self,
        app: &Arc<Application>,
        request: &Request,
        caller: &Share,
        timeout: Option<Duration>,
    ) -> Result<Reply, Outcome> {
        let Some(apns) = &app.providers.apns else { return Err(busy()) };
        let Some(_permit) = self.admission.admit(Some(caller), &app.in_flight) else {
            return Err(busy());
        };
        let deadline = Instant::now() + timeout.unwrap_or_else(|| apns.timeout());
        let mut retries = Retries::new(request.is_read_only());
        let mut avoid = None;
        loop {
            let attempt = match apns.manage(request, deadline, avoid).await {
                Ok(reply) => return Ok(reply),
                Err(attempt) => attempt,
            };
            let pause = match &attempt.outcome {
                Outcome::Failed(failure) => retries.pause(failure, &app.repeats),
                Outcome::Accepted(_) | Outcome::Rejected(_) => None,
            };
            let again = pause.map(|pause| Instant::now() + pause);
            match again.filter(|again| *again < deadline) {
                Some(again) => sleep_until(again).await,
                None => {
                    let (app_id, outcome) = (app.id.as_str(), &attempt.outcome);
                    tracing::warn!(app.id = app_id, ?outcome, "a request about channels failed");
                    return Err(attempt.outcome);
                }
            }
            avoid = attempt.avoid;
        }
    }
}
