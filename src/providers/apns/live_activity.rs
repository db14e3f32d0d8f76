//! What a notification says to a Live Activity (Apple, "Starting and updating Live Activities with
//! `ActivityKit` push notifications").

use std::time::{SystemTime, UNIX_EPOCH};

use super::message::Impossible;
use super::push_type::PushType;
use crate::providers::json::{Object, Writer};

/// A start, an update or an end, each value read on its own.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveActivity {
    /// What happens to it, with what belongs to that alone.
    pub event: Event,
    /// `content-state`: what it shows from now on.
    pub content_state: Option<Object>,
    /// `stale-date`: from when on it counts as outdated, in seconds since 1970.
    pub stale_date_unix_secs: Option<u64>,
    /// `timestamp`: of two messages the phone shows the newer one. In seconds since 1970; `None`
    /// is the time at which the message is made.
    pub timestamp_unix_secs: Option<u64>,
}

/// What happens to a Live Activity.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// It is over.
    End {
        /// `dismissal-date`: when it leaves the lock screen, in seconds since 1970; a time in the
        /// past is at once, and `None` is up to four hours later.
        dismissal_date_unix_secs: Option<u64>,
    },
    /// It begins.
    Start(Box<Start>),
    /// It shows something new.
    Update,
}

/// What a start says beside the first content.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    /// `attributes-type`: the name of the app's structure.
    pub attributes_type: String,
    /// `attributes`: what that structure holds, and what does not change.
    pub attributes: Object,
    /// Where the phone listens for updates; `None` leaves it to the app.
    pub updates: Option<Updates>,
}

/// Where a phone listens for updates (iOS 18).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Updates {
    /// `input-push-channel`: on a broadcast channel.
    Channel(String),
    /// `input-push-token`: under a token of its own, which the app gets.
    Token,
}

impl LiveActivity {
    /// Writes its members of `aps`.
    pub(super) fn write(&self, now: SystemTime, aps: &mut Writer) {
        let now = || now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let number = |secs: u64| secs.to_string();
        aps.raw("timestamp", &number(self.timestamp_unix_secs.unwrap_or_else(now)));
        let word = match &self.event {
            Event::End { .. } => "end",
            Event::Start(_) => "start",
            Event::Update => "update",
        };
        aps.text("event", word);
        if let Some(content_state) = &self.content_state {
            aps.raw("content-state", content_state.as_str());
        }
        if let Event::Start(start) = &self.event {
            aps.text("attributes-type", &start.attributes_type);
            aps.raw("attributes", start.attributes.as_str());
            match &start.updates {
                Some(Updates::Channel(id)) => aps.text("input-push-channel", id),
                Some(Updates::Token) => aps.raw("input-push-token", "1"),
                None => {}
            }
        }
        if let Some(secs) = self.stale_date_unix_secs {
            aps.raw("stale-date", &number(secs));
        }
        if let Event::End { dismissal_date_unix_secs: Some(secs) } = &self.event {
            aps.raw("dismissal-date", &number(*secs));
        }
    }

    /// Whether it says something for this key of `aps`, so that the one in `data` is out.
    pub(super) fn decides(&self, key: &str) -> bool {
        let start = match &self.event {
            Event::Start(start) => Some(start),
            Event::End { .. } | Event::Update => None,
        };
        match key {
            "event" | "timestamp" => true,
            "attributes" | "attributes-type" => start.is_some(),
            "content-state" => self.content_state.is_some(),
            "dismissal-date" => {
                matches!(self.event, Event::End { dismissal_date_unix_secs: Some(_) })
            }
            "input-push-channel" | "input-push-token" => {
                start.is_some_and(|start| start.updates.is_some())
            }
            "stale-date" => self.stale_date_unix_secs.is_some(),
            _ => false,
        }
    }

    /// The one push type that it can have.
    pub(super) fn push_type(given: Option<&str>) -> Result<PushType, Impossible> {
        match given.map(PushType::parse) {
            None | Some(Some(PushType::LiveActivity)) => Ok(PushType::LiveActivity),
            Some(_) => Err(Impossible::NotLiveActivity),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn object(text: &str) -> Object {
        Object::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn written(activity: &LiveActivity) -> String {
        let mut aps = Writer::open();
        activity.write(UNIX_EPOCH + Duration::from_secs(7), &mut aps);
        aps.close()
    }

    #[test]
    fn each_event_has_the_keys_of_apples_examples() {
        let start = |updates| {
            let (attributes_type, attributes) = ("Hero".to_owned(), object(r#"{"a":1.0}"#));
            LiveActivity {
                event: Event::Start(Box::new(Start { attributes_type, attributes, updates })),
                content_state: Some(object(r#"{"b": 2}"#)),
                stale_date_unix_secs: Some(9),
                timestamp_unix_secs: None,
            }
        };
        let head = r#"{"timestamp":7,"event":"start","content-state":{"b": 2},"attributes-type":"Hero","attributes":{"a":1.0}"#;

        assert_eq!(written(&start(None)), format!("{head},\"stale-date\":9}}"));
        assert_eq!(
            written(&start(Some(Updates::Channel("dA==".to_owned())))),
            format!("{head},\"input-push-channel\":\"dA==\",\"stale-date\":9}}")
        );
        assert_eq!(
            written(&start(Some(Updates::Token))),
            format!("{head},\"input-push-token\":1,\"stale-date\":9}}")
        );
        let end = LiveActivity {
            event: Event::End { dismissal_date_unix_secs: Some(0) },
            content_state: None,
            stale_date_unix_secs: None,
            timestamp_unix_secs: Some(8),
        };
        assert_eq!(written(&end), r#"{"timestamp":8,"event":"end","dismissal-date":0}"#);
        let update = LiveActivity { event: Event::Update, ..end };
        assert_eq!(written(&update), r#"{"timestamp":8,"event":"update"}"#);
    }
}
