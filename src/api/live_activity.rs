//! From the parameters of a send to what a Live Activity is told.

use std::ops::RangeInclusive;

use super::error::ApiError;
use super::params::Params;
use crate::providers::apns::live_activity::{Event, LiveActivity, Start, Updates};

/// What goes with `event` alone.
const COMPANIONS: &[&str] = &[
    "attributes",
    "attributes_type",
    "content_state",
    "dismissal_date",
    "input_push_channel",
    "input_push_token",
    "stale_date",
    "timestamp",
];
/// What goes with `event=start` alone.
const OF_START: &[&str] =
    &["attributes", "attributes_type", "input_push_channel", "input_push_token"];

/// Unix seconds. A larger number is milliseconds.
const DATES: RangeInclusive<u64> = 0..=u32::MAX as u64;
/// Unix seconds since 2001: a smaller number was meant as something else, and the phone would
/// take the message for an old one.
const TIMESTAMPS: RangeInclusive<u64> = 1_000_000_000..=u32::MAX as u64;

/// The word of `event`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    End,
    Start,
    Update,
}

impl Word {
    fn parse(word: &str) -> Option<Self> {
        match word {
            "end" => Some(Self::End),
            "start" => Some(Self::Start),
            "update" => Some(Self::Update),
            _ => None,
        }
    }
}

/// Takes what a Live Activity is told out of the parameters; `None` when there is no `event`.
///
/// # Errors
///
/// `conflicting_parameters` and `invalid_<parameter>` of each; `invalid_event` when something is
/// missing that the event needs.
pub(super) fn live_activity(params: &mut Params) -> Result<Option<LiveActivity>, ApiError> {
    let Some(word) = params.choice("event", "start, update or end", Word::parse)? else {
        return match COMPANIONS.iter().find(|name| params.has(name)) {
            Some(name) => {
                Err(ApiError::invalid(name, "belongs to a live activity; give event as well"))
            }
            None => Ok(None),
        };
    };
    refuse_strays(params, word)?;
    let content_state = params.object("content_state")?;
    if content_state.is_none() && word != Word::End {
        return Err(missing("content_state"));
    }
    let event = match word {
        Word::End => {
            Event::End { dismissal_date_unix_secs: params.integer("dismissal_date", DATES)? }
        }
        Word::Start => Event::Start(Box::new(start(params)?)),
        Word::Update => Event::Update,
    };
    Ok(Some(LiveActivity {
        event,
        content_state,
        stale_date_unix_secs: params.integer("stale_date", DATES)?,
        timestamp_unix_secs: params.integer("timestamp", TIMESTAMPS)?,
    }))
}

/// What this event has no use for.
fn refuse_strays(params: &Params, word: Word) -> Result<(), ApiError> {
    if word != Word::Start
        && let Some(name) = OF_START.iter().find(|name| params.has(name))
    {
        return Err(ApiError::invalid(name, "goes with event=start alone; leave it out"));
    }
    if word != Word::End && params.has("dismissal_date") {
        return Err(ApiError::invalid("dismissal_date", "goes with event=end alone; leave it out"));
    }
    if params.has("sound") && !says_something(params) {
        return Err(ApiError::invalid(
            "sound",
            "of a live activity stands in its alert; give alert or title as well",
        ));
    }
    Ok(())
}

fn start(params: &mut Params) -> Result<Start, ApiError> {
    params.check_excluded("input_push_channel", &["input_push_token"])?;
    let attributes_type =
        params.text("attributes_type")?.ok_or_else(|| missing("attributes_type"))?;
    let attributes = params.object("attributes")?.ok_or_else(|| missing("attributes"))?;
    // "Include an alert": the person is not to be surprised.
    if !says_something(params) {
        return Err(missing("alert"));
    }
    let updates = match params.text("input_push_channel")? {
        Some(id) => Some(Updates::Channel(id)),
        None => params.boolean("input_push_token")?.unwrap_or(false).then_some(Updates::Token),
    };
    Ok(Start { attributes_type, attributes, updates })
}

fn says_something(params: &Params) -> bool {
    ["alert", "title", "subtitle"].iter().any(|name| params.has(name))
}

fn missing(name: &str) -> ApiError {
    ApiError::invalid("event", format_args!("needs {name} beside it here; give it"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::body;

    fn told(members: &str) -> Result<Option<LiveActivity>, (String, String)> {
        let mut params = body::json(format!("{{{members}}}").as_bytes())
            .unwrap_or_else(|error| panic!("{members}: {error}"));
        live_activity(&mut params).map_err(|error| (error.code().to_owned(), error.to_string()))
    }

    #[test]
    fn what_the_event_does_not_fit_is_refused() {
        for (members, code, message) in REFUSED {
            let expected = ((*code).to_owned(), (*message).to_owned());
            assert_eq!(told(members), Err(expected), "{members}");
        }
    }

    #[test]
    fn an_end_needs_nothing_and_no_event_is_none() {
        assert_eq!(told(""), Ok(None));
        assert_eq!(
            told(r#""event":"end","dismissal_date":"0""#),
            Ok(Some(LiveActivity {
                event: Event::End { dismissal_date_unix_secs: Some(0) },
                content_state: None,
                stale_date_unix_secs: None,
                timestamp_unix_secs: None,
            }))
        );
    }

    /// Members of the body, code and sentence.
    #[rustfmt::skip]
    const REFUSED: &[(&str, &str, &str)] = &[
        (r#""event":"begin""#, "invalid_event", "event must be start, update or end, found `begin`"),
        (r#""content_state":{}"#, "invalid_content_state", "content_state belongs to a live activity; give event as well"),
        (r#""event":"update""#, "invalid_event", "event needs content_state beside it here; give it"),
        (r#""event":"start","content_state":{},"attributes":{},"alert":"x""#, "invalid_event", "event needs attributes_type beside it here; give it"),
        (r#""event":"start","content_state":{},"attributes_type":"T","alert":"x""#, "invalid_event", "event needs attributes beside it here; give it"),
        (r#""event":"start","content_state":{},"attributes_type":"T","attributes":{}"#, "invalid_event", "event needs alert beside it here; give it"),
        (r#""event":"start","content_state":{},"attributes_type":"T","attributes":{},"alert":"x","input_push_channel":"a","input_push_token":1"#, "conflicting_parameters", "input_push_channel and input_push_token exclude each other; give one of them"),
        (r#""event":"update","content_state":{},"attributes":{}"#, "invalid_attributes", "attributes goes with event=start alone; leave it out"),
        (r#""event":"update","content_state":{},"dismissal_date":1"#, "invalid_dismissal_date", "dismissal_date goes with event=end alone; leave it out"),
        (r#""event":"update","content_state":{},"sound":"s""#, "invalid_sound", "sound of a live activity stands in its alert; give alert or title as well"),
        (r#""event":"update","content_state":[]"#, "invalid_content_state", "content_state could not be converted to json: expected an object, found array"),
        (r#""event":"update","content_state":{},"timestamp":1800000000000"#, "invalid_timestamp", "timestamp must be a whole number from 1000000000 to 4294967295, found `1800000000000`"),
        (r#""event":"end","stale_date":-1"#, "invalid_stale_date", "stale_date must be a whole number from 0 to 4294967295, found `-1`"),
    ];
}
