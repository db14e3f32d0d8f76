//! The JSON that reaches the phone: the `aps` dictionary and what stands beside it.

use std::time::SystemTime;

use super::live_activity::LiveActivity;
use super::message::Impossible;
use crate::providers::json::{self, Member, Number, Object, TextOrObject, Writer};

/// What a notification says: said in parts, or as a whole.
pub enum Content {
    /// Parts, to be put together.
    Parts(Box<Parts>),
    /// The whole payload, sent as it is.
    Whole(Object),
}

impl Content {
    /// Whether it speaks to a Live Activity by parameters. A whole payload is its caller's affair.
    pub(super) fn is_live_activity(&self) -> bool {
        match self {
            Self::Parts(parts) => parts.live_activity.is_some(),
            Self::Whole(_) => false,
        }
    }
}

/// The parts of a payload. Apple, "Generating a remote notification", describes each key.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parts {
    /// `alert`: the text to show, or Apple's dictionary of it.
    pub alert: Option<TextOrObject>,
    /// `badge`: the number on the icon; 0 takes it away. At most 2³¹−1.
    pub badge: Option<u32>,
    /// `category`: which set of buttons to show.
    pub category: Option<String>,
    /// `content-available`: wake the app. `false` leaves it out, also where `data` has it.
    pub content_available: Option<bool>,
    /// Members beside `aps`; an `aps` among them is merged, and the other parts win over it.
    pub data: Option<Object>,
    /// `interruption-level`.
    pub interruption_level: Option<InterruptionLevel>,
    /// What a Live Activity is told; its alert is a dictionary, and the sound stands in it.
    pub live_activity: Option<LiveActivity>,
    /// `mutable-content`: let the app's extension change it. `false` leaves it out, also where
    /// `data` has it.
    pub mutable_content: Option<bool>,
    /// `relevance-score`: 0 to 1, any number for a Live Activity.
    pub relevance_score: Option<Number>,
    /// `sound`: a file's name, or Apple's dictionary for critical alerts.
    pub sound: Option<TextOrObject>,
    /// `subtitle` of the alert.
    pub subtitle: Option<String>,
    /// `target-content-id`: which window to bring forward.
    pub target_content_id: Option<String>,
    /// `thread-id`: which notifications to show together.
    pub thread_id: Option<String>,
    /// `title` of the alert.
    pub title: Option<String>,
}

/// How much a notification may disturb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InterruptionLevel {
    /// Shown at once, with sound.
    Active,
    /// Sounds in spite of the mute switch; needs Apple's permission.
    Critical,
    /// Listed, without lighting the screen.
    Passive,
    /// Shown at once in spite of a focus.
    TimeSensitive,
}

impl InterruptionLevel {
    /// Reads Apple's word.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "active" => Some(Self::Active),
            "critical" => Some(Self::Critical),
            "passive" => Some(Self::Passive),
            "time-sensitive" => Some(Self::TimeSensitive),
            _ => None,
        }
    }

    /// Apple's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Critical => "critical",
            Self::Passive => "passive",
            Self::TimeSensitive => "time-sensitive",
        }
    }
}

/// A payload, ready to be sent.
#[derive(Debug, PartialEq)]
pub(super) struct Payload {
    /// Compact JSON, or the text that was given.
    pub(super) text: String,
    /// It wakes the app and shows a person nothing: no alert, badge or sound.
    pub(super) is_silent: bool,
}

impl Payload {
    /// Puts a payload together.
    pub(super) fn of(content: &Content, now: SystemTime) -> Result<Self, Impossible> {
        match content {
            Content::Parts(parts) => Self::composed(parts, now),
            Content::Whole(object) => Ok(Self::whole(object)),
        }
    }

    fn composed(parts: &Parts, now: SystemTime) -> Result<Self, Impossible> {
        if parts.says_nothing() {
            return Err(Impossible::EmptyNotification);
        }
        let data = parts.data.as_ref().map(Object::members).unwrap_or_default();
        let inherited = inherited_aps(&data)?;

        let mut aps = Writer::open();
        if let Some(activity) = &parts.live_activity {
            activity.write(now, &mut aps);
        }
        write_alert(parts, &inherited, &mut aps)?;
        write_rest(parts, &mut aps);
        for member in inherited.iter().filter(|member| !parts.decide(&member.name())) {
            aps.member(member);
        }
        let mut payload = Writer::open();
        payload.raw("aps", &aps.close());
        for member in data.iter().filter(|member| member.name() != "aps") {
            payload.member(member);
        }
        Ok(Self { text: payload.close(), is_silent: is_silent(parts, &inherited) })
    }

    fn whole(object: &Object) -> Self {
        let members = object.members();
        let aps = members.iter().rfind(|member| member.name() == "aps");
        let aps = aps.and_then(|aps| json::members(aps.value)).unwrap_or_default();
        Self { text: object.as_str().to_owned(), is_silent: is_silent(&Parts::default(), &aps) }
    }
}

/// The members of the `aps` that `data` brings along.
fn inherited_aps<'a>(data: &[Member<'a>]) -> Result<Vec<Member<'a>>, Impossible> {
    let mut found = data.iter().filter(|member| member.name() == "aps");
    let Some(aps) = found.next() else { return Ok(Vec::new()) };
    if found.next().is_some() {
        return Err(Impossible::InvalidData { problem: "`aps` stands in it twice".to_owned() });
    }
    json::members(aps.value).ok_or_else(|| Impossible::InvalidData {
        problem: format!("expected an object as `aps`, found {}", json::kind(aps.value)),
    })
}

/// Whether the app is woken and the person sees nothing. Apple wants such a message to be of type
/// `background`, wherever its `aps` was written.
fn is_silent(parts: &Parts, inherited: &[Member<'_>]) -> bool {
    let inherits = |key: &str, counts: fn(&str) -> bool| {
        inherited.iter().any(|member| member.name() == key && counts(member.value.get()))
    };
    let wakes = parts
        .content_available
        .unwrap_or_else(|| inherits("content-available", |value| matches!(value, "1" | "true")));
    let shows = ["alert", "badge", "sound"]
        .iter()
        .any(|key| parts.decide(key) || inherits(key, |value| value != "null"));
    wakes && !shows
}

impl Parts {
    fn says_nothing(&self) -> bool {
        self.alert.is_none()
            && !self.has_title()
            && self.badge.is_none()
            && self.sound.is_none()
            && self.data.is_none()
            && self.content_available != Some(true)
            && self.live_activity.is_none()
    }

    fn has_title(&self) -> bool {
        self.title.is_some() || self.subtitle.is_some()
    }

    /// Whether the alert has to be a dictionary, into which more is put than was given as `alert`.
    fn has_dictionary(&self) -> bool {
        let is_said = self.alert.is_some() || self.has_title();
        self.has_title() || (self.live_activity.is_some() && is_said)
    }

    /// The sound that stands in the alert and not beside it: a Live Activity reads it there.
    fn sound_of_alert(&self) -> Option<&TextOrObject> {
        let is_live = self.live_activity.is_some() && self.has_dictionary();
        self.sound.as_ref().filter(|_| is_live)
    }

    /// Whether a part was given for this key of `aps`, so that the one in `data` is out.
    fn decide(&self, key: &str) -> bool {
        match key {
            "alert" => self.alert.is_some() || self.has_title(),
            "badge" => self.badge.is_some(),
            "category" => self.category.is_some(),
            "content-available" => self.content_available.is_some(),
            "interruption-level" => self.interruption_level.is_some(),
            "mutable-content" => self.mutable_content.is_some(),
            "relevance-score" => self.relevance_score.is_some(),
            "sound" => self.sound.is_some(),
            "target-content-id" => self.target_content_id.is_some(),
            "thread-id" => self.thread_id.is_some(),
            _ => self.live_activity.as_ref().is_some_and(|activity| activity.decides(key)),
        }
    }
}

/// Writes the alert: as given, or as a dictionary when there is a title or subtitle to put in.
fn write_alert(
    parts: &Parts,
    inherited: &[Member<'_>],
    aps: &mut Writer,
) -> Result<(), Impossible> {
    let mut titled = Writer::open();
    for (key, text) in [("title", &parts.title), ("subtitle", &parts.subtitle)] {
        if let Some(text) = text {
            titled.text(key, text);
        }
    }
    match (&parts.alert, parts.has_dictionary()) {
        (None, false) => return Ok(()),
        (None, true) => add_inherited_alert(parts, inherited, &mut titled)?,
        (Some(alert), false) => {
            write_text_or_object("alert", alert, aps);
            return Ok(());
        }
        (Some(TextOrObject::Object(alert)), true) => {
            add_unreplaced(parts, &alert.members(), &mut titled);
        }
        (Some(TextOrObject::Text(alert)), true) => titled.text("body", alert),
    }
    if let Some(sound) = parts.sound_of_alert() {
        write_text_or_object("sound", sound, &mut titled);
    }
    aps.raw("alert", &titled.close());
    Ok(())
}

/// Puts the alert of the `aps` in `data` under a title or subtitle that was given beside it.
fn add_inherited_alert(
    parts: &Parts,
    inherited: &[Member<'_>],
    titled: &mut Writer,
) -> Result<(), Impossible> {
    let Some(alert) = inherited.iter().rfind(|member| member.name() == "alert") else {
        return Ok(());
    };
    match json::kind(alert.value) {
        "null" => {}
        "object" => {
            let members = json::members(alert.value).unwrap_or_default();
            add_unreplaced(parts, &members, titled);
        }
        "string" => titled.raw("body", alert.value.get()),
        found => {
            let problem = format!("expected text or an object as `aps.alert`, found {found}");
            return Err(Impossible::InvalidData { problem });
        }
    }
    Ok(())
}

/// Adds the members of an alert dictionary but those that other parameters replace.
fn add_unreplaced(parts: &Parts, members: &[Member<'_>], titled: &mut Writer) {
    for member in members {
        let is_replaced = match &*member.name() {
            "title" => parts.title.is_some(),
            "subtitle" => parts.subtitle.is_some(),
            "sound" => parts.sound_of_alert().is_some(),
            _ => false,
        };
        if !is_replaced {
            titled.member(member);
        }
    }
}

fn write_rest(parts: &Parts, aps: &mut Writer) {
    if let Some(badge) = parts.badge {
        aps.raw("badge", &badge.to_string());
    }
    if let (Some(sound), None) = (&parts.sound, parts.sound_of_alert()) {
        write_text_or_object("sound", sound, aps);
    }
    for (key, text) in [
        ("category", parts.category.as_deref()),
        ("thread-id", parts.thread_id.as_deref()),
        ("target-content-id", parts.target_content_id.as_deref()),
        ("interruption-level", parts.interruption_level.map(InterruptionLevel::as_str)),
    ] {
        if let Some(text) = text {
            aps.text(key, text);
        }
    }
    for (key, flag) in
        [("content-available", parts.content_available), ("mutable-content", parts.mutable_content)]
    {
        if flag == Some(true) {
            aps.raw(key, "1");
        }
    }
    if let Some(score) = &parts.relevance_score {
        aps.raw("relevance-score", score.as_str());
    }
}

fn write_text_or_object(key: &'static str, value: &TextOrObject, aps: &mut Writer) {
    match value {
        TextOrObject::Object(object) => aps.raw(key, object.as_str()),
        TextOrObject::Text(text) => aps.text(key, text),
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::providers::apns::live_activity::Event;

    fn object(text: &str) -> Object {
        Object::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn text(text: &str) -> Option<TextOrObject> {
        Some(TextOrObject::Text(text.to_owned()))
    }

    fn composed(parts: Parts) -> Result<String, Impossible> {
        Payload::of(&Content::Parts(Box::new(parts)), UNIX_EPOCH).map(|payload| payload.text)
    }

    fn with_data(data: &str) -> Parts {
        Parts { data: Some(object(data)), ..Parts::default() }
    }

    fn expected(text: &str) -> Result<String, Impossible> {
        Ok(text.to_owned())
    }

    #[test]
    fn every_part_has_its_key() {
        let parts = Parts {
            alert: text("Hi \"you\"\n"),
            badge: Some(0),
            category: Some("c".to_owned()),
            content_available: Some(true),
            data: Some(object(r#"{"a":1}"#)),
            interruption_level: Some(InterruptionLevel::TimeSensitive),
            live_activity: None,
            mutable_content: Some(true),
            relevance_score: Number::parse("0.50"),
            sound: Some(TextOrObject::Object(object(r#"{"critical":1}"#))),
            subtitle: None,
            target_content_id: Some("w".to_owned()),
            thread_id: Some("t".to_owned()),
            title: None,
        };

        assert_eq!(
            composed(parts),
            expected(concat!(
                r#"{"aps":{"alert":"Hi \"you\"\n","badge":0,"sound":{"critical":1},"#,
                r#""category":"c","thread-id":"t","target-content-id":"w","#,
                r#""interruption-level":"time-sensitive","content-available":1,"#,
                r#""mutable-content":1,"relevance-score":0.50},"a":1}"#
            ))
        );
    }

    #[test]
    fn data_stands_beside_aps_with_its_bytes() {
        let parts = with_data(r#" {"z":1.0e2, "\u0061" : [1, 2],"n":12345678901234567890} "#);

        assert_eq!(
            composed(parts),
            expected(r#"{"aps":{},"z":1.0e2,"\u0061":[1, 2],"n":12345678901234567890}"#)
        );
    }

    #[test]
    fn parts_win_over_the_aps_in_data() {
        let data =
            r#"{"a":1,"aps":{"badge":9,"url-args":["x"],"sound":"old","mutable-content":1}}"#;
        let parts = Parts {
            badge: Some(1),
            sound: text("new"),
            mutable_content: Some(false),
            ..with_data(data)
        };

        assert_eq!(
            composed(parts),
            expected(r#"{"aps":{"badge":1,"sound":"new","url-args":["x"]},"a":1}"#)
        );
    }

    #[test]
    fn a_title_makes_the_alert_a_dictionary() {
        let titled = |alert, title: &str| Parts {
            alert,
            title: Some(title.to_owned()),
            subtitle: Some("s".to_owned()),
            ..Parts::default()
        };
        let dictionary = object(r#"{"title":"old","loc-key":"K","subtitle":"old"}"#);

        assert_eq!(
            composed(titled(text("b"), "t")),
            expected(r#"{"aps":{"alert":{"title":"t","subtitle":"s","body":"b"}}}"#)
        );
        assert_eq!(
            composed(titled(None, "t")),
            expected(r#"{"aps":{"alert":{"title":"t","subtitle":"s"}}}"#)
        );
        assert_eq!(
            composed(titled(Some(TextOrObject::Object(dictionary)), "t")),
            expected(r#"{"aps":{"alert":{"title":"t","subtitle":"s","loc-key":"K"}}}"#)
        );
    }

    #[test]
    fn a_title_joins_the_alert_in_data() {
        let titled = |data| Parts { title: Some("t".to_owned()), ..with_data(data) };

        assert_eq!(
            composed(titled(r#"{"aps":{"alert":"\u0062"}}"#)),
            expected(r#"{"aps":{"alert":{"title":"t","body":"\u0062"}}}"#)
        );
        assert_eq!(
            composed(titled(r#"{"aps":{"alert":{"title":"old","body":"b"},"badge":2}}"#)),
            expected(r#"{"aps":{"alert":{"title":"t","body":"b"},"badge":2}}"#)
        );
        assert_eq!(
            composed(titled(r#"{"aps":{"alert":null}}"#)),
            expected(r#"{"aps":{"alert":{"title":"t"}}}"#)
        );
        assert_eq!(
            composed(titled(r#"{"aps":{"alert":5}}"#)),
            Err(Impossible::InvalidData {
                problem: "expected text or an object as `aps.alert`, found number".to_owned()
            })
        );
    }

    #[test]
    fn the_alert_of_a_live_activity_is_a_dictionary_with_the_sound_in_it() {
        let live = |alert, sound| Parts {
            alert,
            live_activity: Some(LiveActivity {
                event: Event::Update,
                content_state: Some(object(r#"{"n":1.0}"#)),
                stale_date_unix_secs: None,
                timestamp_unix_secs: Some(5),
            }),
            sound,
            ..Parts::default()
        };
        let head = r#"{"aps":{"timestamp":5,"event":"update","content-state":{"n":1.0}"#;
        let with = |rest: &str| Ok(format!("{head}{rest}}}}}"));
        let dictionary =
            || Some(TextOrObject::Object(object(r#"{"title":{"loc-key":"K"},"sound":"old"}"#)));

        assert_eq!(composed(live(None, None)), with(""));
        assert_eq!(
            composed(live(text("b"), text("s"))),
            with(r#","alert":{"body":"b","sound":"s"}"#)
        );
        assert_eq!(
            composed(live(dictionary(), None)),
            with(r#","alert":{"title":{"loc-key":"K"},"sound":"old"}"#)
        );
        assert_eq!(
            composed(live(dictionary(), text("new"))),
            with(r#","alert":{"title":{"loc-key":"K"},"sound":"new"}"#)
        );
        let data = r#"{"x":1,"aps":{"event":"end","timestamp":1,"stale-date":9}}"#;
        assert_eq!(
            composed(Parts { data: Some(object(data)), ..live(None, None) }),
            Ok(format!("{head},\"stale-date\":9}},\"x\":1}}"))
        );
    }

    #[test]
    fn an_aps_that_cannot_be_merged_is_refused() {
        let refused = |problem: &str| Err(Impossible::InvalidData { problem: problem.to_owned() });

        assert_eq!(
            composed(with_data(r#"{"aps":[]}"#)),
            refused("expected an object as `aps`, found array")
        );
        assert_eq!(
            composed(with_data(r#"{"aps":{},"\u0061ps":{}}"#)),
            refused("`aps` stands in it twice")
        );
    }

    #[test]
    fn nothing_to_say_is_refused() {
        let hollow = Parts {
            category: Some("c".to_owned()),
            content_available: Some(false),
            interruption_level: Some(InterruptionLevel::Passive),
            mutable_content: Some(true),
            relevance_score: Number::parse("1"),
            target_content_id: Some("w".to_owned()),
            thread_id: Some("t".to_owned()),
            ..Parts::default()
        };

        assert_eq!(composed(Parts::default()), Err(Impossible::EmptyNotification));
        assert_eq!(composed(hollow), Err(Impossible::EmptyNotification));
    }

    #[test]
    fn silent_is_what_wakes_and_shows_nothing() {
        let is_silent = |parts: Parts| {
            Payload::of(&Content::Parts(Box::new(parts)), UNIX_EPOCH)
                .map(|payload| payload.is_silent)
        };
        let waking = Parts { content_available: Some(true), ..Parts::default() };

        assert_eq!(is_silent(waking.clone()), Ok(true));
        assert_eq!(is_silent(Parts { badge: Some(0), ..waking.clone() }), Ok(false));
        assert_eq!(is_silent(Parts { sound: text(""), ..waking.clone() }), Ok(false));
        assert_eq!(is_silent(Parts { alert: text(""), ..waking.clone() }), Ok(false));
        assert_eq!(is_silent(with_data(r#"{"aps":{"content-available":1}}"#)), Ok(true));
        assert_eq!(is_silent(with_data(r#"{"content-available":1}"#)), Ok(false));
        let shown = Parts { data: Some(object(r#"{"aps":{"alert":"x"}}"#)), ..waking };
        assert_eq!(is_silent(shown), Ok(false));
    }

    #[test]
    fn a_whole_payload_is_not_touched() {
        let whole = r#"{ "b" : 1.0, "aps":{"content-available" : 1} }"#;

        assert_eq!(
            Payload::of(&Content::Whole(object(whole)), UNIX_EPOCH),
            Ok(Payload { text: whole.to_owned(), is_silent: true })
        );
        let other = r#"{"mdm":"x","aps":7}"#;
        assert_eq!(
            Payload::of(&Content::Whole(object(other)), UNIX_EPOCH),
            Ok(Payload { text: other.to_owned(), is_silent: false })
        );
    }
}
