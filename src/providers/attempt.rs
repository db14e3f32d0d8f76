//! One try to send a message over our own transport, as all services have it.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::timeout;
use tracing::Instrument;

use crate::outcome::{Cause, Delivery, Failure, Outcome, Retry};
use crate::transport::{Answer, ConnectionId, Error, Flight};

/// How long after a caller gave up an answer is still awaited, for the dead tokens among them.
const LATE_LIMIT: Duration = Duration::from_secs(60);

/// What one try came to, and what the next one should know.
#[derive(Debug)]
pub struct Attempt {
    /// What became of it.
    pub outcome: Outcome,
    /// The connection that failed it: take another one if there is one.
    pub avoid: Option<ConnectionId>,
}

/// What the lack of an answer means for the message, where the peer gave no reason for it.
pub(super) fn without_answer(error: Error, id: Option<String>) -> Outcome {
    let (cause, delivery, retry) = match error {
        Error::Busy => (Cause::Busy, Delivery::NotSent, Retry::Never),
        Error::Connect { detail, .. } => {
            (Cause::Unreachable { detail }, Delivery::NotSent, Retry::Seldom)
        }
        Error::Deadline { written: false } => (Cause::Deadline, Delivery::NotSent, Retry::Never),
        Error::Deadline { written: true } => (Cause::Deadline, Delivery::Unknown, Retry::Never),
        Error::NotProcessed { detail, .. } => {
            (Cause::Unreachable { detail }, Delivery::NotSent, Retry::Freely)
        }
        Error::Unanswered { detail, .. } => {
            (Cause::Unanswered { detail }, Delivery::Unknown, Retry::IfAtLeastOnce)
        }
    };
    Outcome::Failed(Failure { cause, delivery, retry, retry_after: None, id })
}

/// A request under way whose late answer is not lost: when the caller's deadline passes, or the
/// caller hangs up, the answer is awaited in the background and handed to `on_late`.
pub(super) struct Watch<'a, F: FnOnce(Answer) + Send + 'static> {
    flight: Option<Flight>,
    on_late: Option<F>,
    runtime: &'a Handle,
}

impl<'a, F: FnOnce(Answer) + Send + 'static> Watch<'a, F> {
    pub(super) fn new(flight: Flight, runtime: &'a Handle, on_late: F) -> Self {
        Self { flight: Some(flight), on_late: Some(on_late), runtime }
    }

    pub(super) async fn answer(&mut self) -> Result<Answer, Error> {
        let Some(flight) = &mut self.flight else { return Err(Error::Deadline { written: true }) };
        let result = flight.answer().await;
        if !matches!(result, Err(Error::Deadline { written: true })) {
            self.flight = None;
        }
        result
    }
}

impl<F: FnOnce(Answer) + Send + 'static> Drop for Watch<'_, F> {
    fn drop(&mut self) {
        let (Some(flight), Some(on_late)) = (self.flight.take(), self.on_late.take()) else {
            return;
        };
        if !flight.is_written() {
            return;
        }
        let late = async move {
            if let Ok(Some(answer)) = timeout(LATE_LIMIT, flight.late_answer()).await {
                on_late(answer);
            }
        };
        // Its log lines still belong to the call.
        self.runtime.spawn(late.in_current_span());
    }
}
