//! Certificates that run out: who runs the relay is told at 30, 7 and 1 days, and when it is over.
//! Once each, and anew for another certificate.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::Application;
use super::registry::Registry;

/// How near the end of a certificate is, where that is worth a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Nearness {
    /// 30 days or fewer.
    Month,
    /// 7 days or fewer.
    Week,
    /// A day or less.
    Day,
    /// It is over.
    Past,
}

impl Nearness {
    /// Of a certificate that has so many whole days left.
    #[must_use]
    pub fn of(days_left: i64) -> Option<Self> {
        match days_left {
            ..0 => Some(Self::Past),
            0..=1 => Some(Self::Day),
            2..=7 => Some(Self::Week),
            8..=30 => Some(Self::Month),
            _ => None,
        }
    }
}

/// What was last said of an application: of the certificate that ends then, so much.
pub(super) type Said = (OffsetDateTime, Nearness);

/// Says what has not been said yet of the end of an application's certificate.
pub(super) fn check(app: &Application, now: OffsetDateTime) {
    let Some(apns) = &app.providers.apns else { return };
    let Some(facts) = apns.certificate() else { return };
    let days_left = facts.days_left(now);
    let Some(nearness) = Nearness::of(days_left) else { return };
    if !app.record.say((facts.not_after, nearness)) {
        return;
    }
    let (app_id, topic) = (app.id.as_str(), apns.default_topic());
    let not_after = facts.not_after.date();
    match nearness {
        Nearness::Month | Nearness::Week => tracing::warn!(
            app.id = app_id,
            topic,
            %not_after,
            days_left,
            "a certificate runs out soon; register a new one"
        ),
        Nearness::Day => tracing::error!(
            app.id = app_id,
            topic,
            %not_after,
            days_left,
            "a certificate runs out within two days; register a new one now"
        ),
        Nearness::Past => tracing::error!(
            app.id = app_id,
            topic,
            %not_after,
            days_left,
            "a certificate has run out and apple will refuse it; register a new one"
        ),
    }
}

/// Looks at every application now and then; ends when it is dropped.
#[derive(Debug)]
pub struct Watch(AbortHandle);

impl Watch {
    /// Looks at once, and again after each `every`. What is registered in between is looked at as
    /// it comes.
    #[must_use]
    pub fn start(
        registry: Arc<Registry>,
        every: Duration,
        clock: fn() -> OffsetDateTime,
        runtime: &Handle,
    ) -> Self {
        let task = runtime.spawn(async move {
            let mut ticks = interval(every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let now = clock();
                registry.all().iter().for_each(|app| check(app, now));
            }
        });
        Self(task.abort_handle())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_spoken_of_at_four_moments() {
        let days = [31, 30, 8, 7, 2, 1, 0, -1, -400];

        use Nearness::{Day, Month, Past, Week};
        assert_eq!(
            days.map(Nearness::of),
            [
                None,
                Some(Month),
                Some(Month),
                Some(Week),
                Some(Week),
                Some(Day),
                Some(Day),
                Some(Past),
                Some(Past),
            ]
        );
    }
}
