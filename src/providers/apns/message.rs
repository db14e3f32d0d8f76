//! One notification for one phone, with all that its request will say; refused if impossible.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use uuid::Uuid;

use super::channels::{self, ChannelId};
use super::device_token::DeviceToken;
use super::live_activity::LiveActivity;
use super::payload::{Content, Payload};
use super::push_type::PushType;
use crate::providers::json::Number;

/// Most bytes of a collapse id (Apple, "Sending notification requests to APNs").
const MAX_COLLAPSE_ID_BYTES: usize = 64;
/// Most bytes of a payload for a channel (Apple, "Sending broadcast push notification requests to
/// APNs").
const MAX_BROADCAST_BYTES: usize = 5_120;
/// Most bytes of a topic. A bound of ours: Apple names none, and the header has to fit.
const MAX_TOPIC_BYTES: usize = 255;
/// A smaller expiration lies before the year 2001: it was meant as seconds from now.
const FIRST_EXPIRATION_UNIX_SECS: u64 = 1_000_000_000;
/// A larger expiration lies after the year 2106: it was meant as milliseconds.
const LAST_EXPIRATION_UNIX_SECS: u64 = u32::MAX as u64;

/// Whom a message is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Everybody who listens to a broadcast channel.
    Channel(ChannelId),
    /// One device.
    Device(DeviceToken),
}

/// What a caller asks for, each value read on its own.
pub struct Draft {
    /// Whom to reach.
    pub target: Target,
    /// What to say.
    pub content: Content,
    /// The topic, if not the application's own.
    pub topic: Option<String>,
    /// Apple's word for the push type, if it is not to follow from the content.
    pub push_type: Option<String>,
    /// The priority, if not Apple's default.
    pub priority: Option<Priority>,
    /// Until when Apple keeps the message for a phone that is off.
    pub expiration: Option<Expiration>,
    /// Which earlier message this one replaces on the phone.
    pub collapse_id: Option<String>,
    /// How the caller wants to find the message again.
    pub id: Option<MessageId>,
    /// Send it again when it was written and not answered: better twice than never.
    pub at_least_once: bool,
}

/// The value of `apns-priority`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// 10: at once. Apple's default.
    Immediate,
    /// 5: when it suits the power of the phone.
    PowerAware,
    /// 1: power before everything else, and never wake the phone.
    PowerFirst,
}

impl Priority {
    /// Reads Apple's number.
    pub fn parse(number: u64) -> Option<Self> {
        match number {
            10 => Some(Self::Immediate),
            5 => Some(Self::PowerAware),
            1 => Some(Self::PowerFirst),
            _ => None,
        }
    }

    /// The header's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Immediate => "10",
            Self::PowerAware => "5",
            Self::PowerFirst => "1",
        }
    }
}

/// Until when Apple keeps a message for a phone that is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiration {
    /// For so many seconds from now; 0 is now or never.
    After {
        /// Seconds.
        ttl_secs: u32,
    },
    /// Until this time; 0 is now or never.
    At {
        /// Seconds since 1970.
        unix_secs: u64,
    },
}

/// The caller's name for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageId {
    /// The whole `apns-id`.
    ApnsId(Uuid),
    /// The documented four-byte identifier: the last four bytes of a fresh `apns-id`, big endian.
    Identifier(u32),
}

/// A notification that Apple may accept or refuse, but that is not wrong in itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// Whom to reach.
    pub target: Target,
    /// The id of this message, the same on each try.
    pub apns_id: Uuid,
    /// The topic, with the suffix of the push type; of a channel the bundle id alone.
    pub topic: String,
    /// Whether the caller named the topic, and so answers for it.
    pub is_topic_given: bool,
    /// What kind of notification it is.
    pub push_type: PushType,
    /// The priority; `None` leaves the header out, and Apple takes 10.
    pub priority: Option<Priority>,
    /// Seconds since 1970; 0 is now or never; `None` leaves the header out, and Apple keeps the
    /// message for a while.
    pub expiration_unix_secs: Option<u64>,
    /// At most 64 bytes, without control characters.
    pub collapse_id: Option<String>,
    /// The JSON of the notification, within Apple's limit for its push type.
    pub payload: Bytes,
    /// Send it again when it was written and not answered.
    pub at_least_once: bool,
}

impl Message {
    /// The device that it is for; `None` for a channel.
    #[must_use]
    pub fn device_token(&self) -> Option<&DeviceToken> {
        match &self.target {
            Target::Channel(_) => None,
            Target::Device(token) => Some(token),
        }
    }

    /// Most bytes of the payload: Apple takes more for a channel.
    #[must_use]
    pub fn payload_limit_bytes(&self) -> usize {
        payload_limit_bytes(&self.target, &self.push_type)
    }
}

fn payload_limit_bytes(target: &Target, push_type: &PushType) -> usize {
    match target {
        Target::Channel(_) => MAX_BROADCAST_BYTES,
        Target::Device(_) => push_type.payload_limit_bytes(),
    }
}

impl Draft {
    /// Makes the message, for an application with this topic of its own.
    ///
    /// # Errors
    ///
    /// Every variant of [`Impossible`]; the size of the payload is looked at last.
    pub fn into_message(
        self,
        default_topic: Option<&str>,
        now: SystemTime,
    ) -> Result<Message, Impossible> {
        let Payload { text: payload, is_silent } = Payload::of(&self.content, now)?;
        let is_broadcast = matches!(self.target, Target::Channel(_));
        let push_type = if is_broadcast {
            LiveActivity::push_type(self.push_type.as_deref())?
        } else {
            push_type(self.push_type.as_deref(), &self.content, is_silent)?
        };
        let is_topic_given = self.topic.is_some();
        let topic = if is_broadcast {
            bundle_id(self.topic, default_topic)?
        } else {
            topic(self.topic, default_topic, &push_type)?
        };
        let is_to_live_activity = !is_broadcast && self.content.is_live_activity();
        let priority = priority(self.priority, &push_type, is_to_live_activity)?;
        refuse_relevance_score(&self.content, &push_type)?;
        let expiration_unix_secs =
            self.expiration.map(|expiration| expiration.unix_secs(now)).transpose()?;
        refuse_collapse_id(self.collapse_id.as_deref())?;
        let limit_bytes = payload_limit_bytes(&self.target, &push_type);
        if payload.len() > limit_bytes {
            return Err(Impossible::PayloadTooLarge { size_bytes: payload.len(), limit_bytes });
        }
        Ok(Message {
            target: self.target,
            apns_id: apns_id(self.id),
            topic,
            is_topic_given,
            push_type,
            priority,
            expiration_unix_secs,
            collapse_id: self.collapse_id,
            payload: Bytes::from(payload),
            at_least_once: self.at_least_once,
        })
    }
}

impl Message {
    /// The same notification for another phone, under a fresh `apns-id`. `keeps_identifier` leaves
    /// its last four bytes as they are: see [`MessageId::Identifier`].
    #[must_use]
    pub fn for_device(&self, device_token: DeviceToken, keeps_identifier: bool) -> Self {
        let [.., a, b, c, d] = *self.apns_id.as_bytes();
        let id = keeps_identifier.then(|| MessageId::Identifier(u32::from_be_bytes([a, b, c, d])));
        let target = Target::Device(device_token);
        Self { target, apns_id: apns_id(id), ..self.clone() }
    }
}

/// Leaves out what is said and to whom.
impl fmt::Debug for Message {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Message")
            .field("target", &self.target)
            .field("apns_id", &self.apns_id)
            .field("topic", &self.topic)
            .field("push_type", &self.push_type)
            .field("payload_bytes", &self.payload.len())
            .finish_non_exhaustive()
    }
}

/// Why a draft makes no message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Impossible {
    /// No alert, title, badge, sound, data, `content_available` or payload.
    EmptyNotification,
    /// Longer than 64 bytes, or not fit for a header.
    InvalidCollapseId,
    /// `data` holds an `aps` that cannot be merged.
    InvalidData {
        /// What is wrong with it.
        problem: String,
    },
    /// Not 0 and no time in this century.
    InvalidExpiration {
        /// What was given, in seconds.
        unix_secs: u64,
    },
    /// A topic that is no bundle id, for a channel.
    InvalidBundleId,
    /// Priority 10 for a background notification, which Apple calls an error.
    InvalidPriority,
    /// Priority 1 for a Live Activity, which Apple wants to have 10 or 5.
    InvalidPriorityOfLiveActivity,
    /// A push type that nobody knows, without a payload of the caller's own.
    InvalidPushType,
    /// A score outside 0 to 1 for anything but a Live Activity.
    InvalidRelevanceScore,
    /// A topic that is not fit for a header, or lacks the suffix of the push type.
    InvalidTopic {
        /// What the topic must end in; empty if that is not what is wrong.
        suffix: &'static str,
    },
    /// Neither the call nor the application names a topic.
    MissingTopic,
    /// An event of a Live Activity under another push type.
    NotLiveActivity,
    /// More bytes than Apple takes.
    PayloadTooLarge {
        /// The size of the payload.
        size_bytes: usize,
        /// Apple's limit for this push type.
        limit_bytes: usize,
    },
}

impl fmt::Display for Impossible {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyNotification => formatter.write_str(
                "there is nothing to say: give alert, badge, sound, data, content_available or \
                 payload",
            ),
            Self::InvalidBundleId => formatter.write_str(
                "topic must be the bundle id alone for a channel, without the suffix of a push type",
            ),
            Self::InvalidCollapseId => write!(
                formatter,
                "collapse_id must be at most {MAX_COLLAPSE_ID_BYTES} bytes, without control \
                 characters and without spaces at its ends"
            ),
            Self::InvalidData { problem } => formatter.write_str(problem),
            Self::InvalidExpiration { unix_secs } => write!(
                formatter,
                "expiration must be 0 or a time in Unix seconds, found `{unix_secs}`, which looks \
                 like {}",
                if *unix_secs < FIRST_EXPIRATION_UNIX_SECS {
                    "seconds from now; give those as ttl"
                } else {
                    "milliseconds; divide by 1000"
                }
            ),
            Self::InvalidPriority => formatter.write_str(
                "priority must be 5 or 1 for a background notification, found `10`; leave it out \
                 and 5 is sent",
            ),
            Self::InvalidPriorityOfLiveActivity => formatter.write_str(
                "priority must be 10 or 5 for a live activity, found `1`; 5 counts for no budget",
            ),
            Self::InvalidPushType => formatter.write_str(
                "push_type must be alert, background, complication, controls, fileprovider, \
                 liveactivity, location, mdm, pushtotalk, voip or widgets; another word, of \
                 letters only, needs a payload",
            ),
            Self::InvalidRelevanceScore => formatter.write_str(
                "relevance_score must be from 0 to 1; only a liveactivity takes other numbers",
            ),
            Self::InvalidTopic { suffix: "" } => write!(
                formatter,
                "topic must be 1 to {MAX_TOPIC_BYTES} visible ASCII characters, such as a bundle id"
            ),
            Self::InvalidTopic { suffix } => {
                write!(formatter, "topic must end in `{suffix}` for this push_type")
            }
            Self::MissingTopic => formatter.write_str(
                "the application has no topic of its own; give topic, or register it with \
                 apns_topic",
            ),
            Self::NotLiveActivity => formatter
                .write_str("push_type must be liveactivity where event is given; leave it out"),
            Self::PayloadTooLarge { size_bytes, limit_bytes } => write!(
                formatter,
                "the payload has {size_bytes} bytes and apple takes {limit_bytes} for this \
                 push_type; shorten it"
            ),
        }
    }
}

impl std::error::Error for Impossible {}

fn push_type(
    word: Option<&str>,
    content: &Content,
    is_silent: bool,
) -> Result<PushType, Impossible> {
    if content.is_live_activity() {
        return LiveActivity::push_type(word);
    }
    let Some(word) = word else {
        return Ok(if is_silent { PushType::Background } else { PushType::Alert });
    };
    match (PushType::parse(word), content) {
        (None, _) | (Some(PushType::Other(_)), Content::Parts(_)) => {
            Err(Impossible::InvalidPushType)
        }
        (Some(push_type), _) => Ok(push_type),
    }
}

/// Whether the text can be a topic: visible ASCII, and short enough for a header.
pub fn is_topic(text: &str) -> bool {
    (1..=MAX_TOPIC_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn topic(
    given: Option<String>,
    default: Option<&str>,
    push_type: &PushType,
) -> Result<String, Impossible> {
    let suffix = push_type.topic_suffix();
    if let Some(given) = given {
        if !is_topic(&given) {
            return Err(Impossible::InvalidTopic { suffix: "" });
        }
        if !given.ends_with(suffix) {
            return Err(Impossible::InvalidTopic { suffix });
        }
        return Ok(given);
    }
    match default {
        None => Err(Impossible::MissingTopic),
        Some(default) if default.ends_with(suffix) => Ok(default.to_owned()),
        Some(default) => Ok(format!("{default}{suffix}")),
    }
}

/// The bundle id that channels belong to: the topic without the suffix of a push type.
///
/// # Errors
/// [`Impossible::InvalidBundleId`] and [`Impossible::MissingTopic`].
pub fn bundle_id(given: Option<String>, default: Option<&str>) -> Result<String, Impossible> {
    let suffix = PushType::LiveActivity.topic_suffix();
    let bundle_id = match given {
        Some(given) => given,
        None => {
            let default = default.ok_or(Impossible::MissingTopic)?;
            default.strip_suffix(suffix).unwrap_or(default).to_owned()
        }
    };
    if channels::is_bundle_id(&bundle_id) {
        Ok(bundle_id)
    } else {
        Err(Impossible::InvalidBundleId)
    }
}

fn priority(
    given: Option<Priority>,
    push_type: &PushType,
    is_live_activity: bool,
) -> Result<Option<Priority>, Impossible> {
    match given {
        Some(Priority::PowerFirst) if is_live_activity => {
            Err(Impossible::InvalidPriorityOfLiveActivity)
        }
        _ if *push_type != PushType::Background => Ok(given),
        None => Ok(Some(Priority::PowerAware)),
        Some(Priority::Immediate) => Err(Impossible::InvalidPriority),
        Some(Priority::PowerAware | Priority::PowerFirst) => Ok(given),
    }
}

fn refuse_relevance_score(content: &Content, push_type: &PushType) -> Result<(), Impossible> {
    let score = match content {
        Content::Parts(parts) => parts.relevance_score.as_ref().map(Number::value),
        Content::Whole(_) => None,
    };
    match score {
        Some(score) if *push_type != PushType::LiveActivity && !(0.0..=1.0).contains(&score) => {
            Err(Impossible::InvalidRelevanceScore)
        }
        Some(_) | None => Ok(()),
    }
}

impl Expiration {
    fn unix_secs(self, now: SystemTime) -> Result<u64, Impossible> {
        match self {
            Self::After { ttl_secs: 0 } | Self::At { unix_secs: 0 } => Ok(0),
            Self::After { ttl_secs } => {
                let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
                Ok(now.saturating_add(u64::from(ttl_secs)))
            }
            Self::At { unix_secs }
                if (FIRST_EXPIRATION_UNIX_SECS..=LAST_EXPIRATION_UNIX_SECS)
                    .contains(&unix_secs) =>
            {
                Ok(unix_secs)
            }
            Self::At { unix_secs } => Err(Impossible::InvalidExpiration { unix_secs }),
        }
    }
}

/// A header of HTTP/2 neither begins nor ends in white space (RFC 9113 §8.2.1), and one with
/// control characters is malformed: it would cost the whole stream.
fn refuse_collapse_id(collapse_id: Option<&str>) -> Result<(), Impossible> {
    match collapse_id {
        Some(id)
            if id.len() > MAX_COLLAPSE_ID_BYTES
                || id.chars().any(char::is_control)
                || id.trim_matches(' ').len() != id.len() =>
        {
            Err(Impossible::InvalidCollapseId)
        }
        Some(_) | None => Ok(()),
    }
}

fn apns_id(given: Option<MessageId>) -> Uuid {
    match given {
        None => Uuid::new_v4(),
        Some(MessageId::ApnsId(uuid)) => uuid,
        Some(MessageId::Identifier(identifier)) => {
            let fresh = Uuid::new_v4().as_u128() & !u128::from(u32::MAX);
            Uuid::from_u128(fresh | u128::from(identifier))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::providers::apns::payload::Parts;
    use crate::providers::json::{Object, TextOrObject};

    const NOW_UNIX_SECS: u64 = 1_800_000_000;
    const ID: Uuid = Uuid::from_u128(0x123e4567_e89b_42d3_a456_426614174000);

    fn token() -> DeviceToken {
        DeviceToken::parse("AB01".to_owned()).unwrap_or_else(|error| panic!("{error}"))
    }

    fn whole(text: &str) -> Content {
        Content::Whole(Object::parse(text).unwrap_or_else(|error| panic!("{error}")))
    }

    fn parts(parts: Parts) -> Content {
        Content::Parts(Box::new(parts))
    }

    fn alert(length: usize) -> Content {
        let alert = Some(TextOrObject::Text("x".repeat(length)));
        parts(Parts { alert, ..Parts::default() })
    }

    fn draft() -> Draft {
        Draft {
            target: Target::Device(token()),
            content: alert(1),
            topic: None,
            push_type: None,
            priority: None,
            expiration: None,
            collapse_id: None,
            id: Some(MessageId::ApnsId(ID)),
            at_least_once: false,
        }
    }

    fn of_type(word: &str) -> Draft {
        Draft { push_type: Some(word.to_owned()), ..draft() }
    }

    fn made(draft: Draft) -> Result<Message, Impossible> {
        let now = UNIX_EPOCH + Duration::from_secs(NOW_UNIX_SECS);
        draft.into_message(Some("com.example.app"), now)
    }

    fn topic_of(draft: Draft) -> Result<(String, bool), Impossible> {
        made(draft).map(|message| (message.topic, message.is_topic_given))
    }

    #[test]
    fn a_plain_alert_sends_no_header_that_was_not_asked_for() {
        assert_eq!(
            made(draft()),
            Ok(Message {
                target: Target::Device(token()),
                apns_id: ID,
                topic: "com.example.app".to_owned(),
                is_topic_given: false,
                push_type: PushType::Alert,
                priority: None,
                expiration_unix_secs: None,
                collapse_id: None,
                payload: Bytes::from_static(br#"{"aps":{"alert":"x"}}"#),
                at_least_once: false,
            })
        );
    }

    #[test]
    fn what_only_wakes_the_app_is_background_with_priority_5() {
        let content = || parts(Parts { content_available: Some(true), ..Parts::default() });
        let of = |draft| made(draft).map(|message| (message.push_type, message.priority));

        assert_eq!(
            of(Draft { content: content(), ..draft() }),
            Ok((PushType::Background, Some(Priority::PowerAware)))
        );
        assert_eq!(
            of(Draft { content: content(), priority: Some(Priority::PowerFirst), ..draft() }),
            Ok((PushType::Background, Some(Priority::PowerFirst)))
        );
        assert_eq!(
            of(Draft { content: content(), priority: Some(Priority::Immediate), ..draft() }),
            Err(Impossible::InvalidPriority)
        );
        assert_eq!(
            of(Draft { content: content(), ..of_type("alert") }),
            Ok((PushType::Alert, None))
        );
    }

    #[test]
    fn an_unknown_push_type_needs_a_payload_and_letters() {
        let of = |word: &str, content| {
            made(Draft { content, ..of_type(word) }).map(|message| message.push_type)
        };

        assert_eq!(of("holo", whole("{}")), Ok(PushType::Other("holo".to_owned())));
        assert_eq!(of("holo", alert(1)), Err(Impossible::InvalidPushType));
        assert_eq!(of("ho-lo", whole("{}")), Err(Impossible::InvalidPushType));
        assert_eq!(of("", whole("{}")), Err(Impossible::InvalidPushType));
        assert_eq!(of("voip", alert(1)), Ok(PushType::Voip));
    }

    #[test]
    fn the_suffix_is_added_to_a_default_topic_only() {
        let given = |topic: &str| Draft { topic: Some(topic.to_owned()), ..of_type("voip") };
        let now = UNIX_EPOCH;

        assert_eq!(topic_of(of_type("voip")), Ok(("com.example.app.voip".to_owned(), false)));
        let twice = of_type("voip").into_message(Some("com.example.app.voip"), now);
        assert_eq!(twice.map(|message| message.topic), Ok("com.example.app.voip".to_owned()));
        assert_eq!(topic_of(given("a.voip")), Ok(("a.voip".to_owned(), true)));
        assert_eq!(topic_of(given("a")), Err(Impossible::InvalidTopic { suffix: ".voip" }));
        for topic in ["", "a b.voip", "a\n.voip", "ä.voip", &format!("{}.voip", "a".repeat(251))] {
            assert_eq!(topic_of(given(topic)), Err(Impossible::InvalidTopic { suffix: "" }));
        }
        assert_eq!(draft().into_message(None, now), Err(Impossible::MissingTopic));
    }

    #[test]
    fn expiration_is_a_time_in_this_century() {
        let of = |expiration| {
            made(Draft { expiration: Some(expiration), ..draft() })
                .map(|message| message.expiration_unix_secs)
        };
        let at = |unix_secs| of(Expiration::At { unix_secs });
        let refused = |unix_secs| Err(Impossible::InvalidExpiration { unix_secs });

        assert_eq!(of(Expiration::After { ttl_secs: 0 }), Ok(Some(0)));
        assert_eq!(of(Expiration::After { ttl_secs: 60 }), Ok(Some(NOW_UNIX_SECS + 60)));
        assert_eq!(at(0), Ok(Some(0)));
        assert_eq!(at(1_000_000_000), Ok(Some(1_000_000_000)));
        assert_eq!(at(999_999_999), refused(999_999_999));
        assert_eq!(at(u64::from(u32::MAX)), Ok(Some(u64::from(u32::MAX))));
        assert_eq!(at(1_800_000_000_000), refused(1_800_000_000_000));
    }

    #[test]
    fn a_collapse_id_fits_a_header() {
        let of = |id: &str| {
            made(Draft { collapse_id: Some(id.to_owned()), ..draft() })
                .map(|message| message.collapse_id)
        };
        let longest = "é".repeat(32);

        assert_eq!(of(&longest), Ok(Some(longest.clone())));
        for id in [&format!("{longest}x"), "a\r\nb", "a\u{0}", "a\u{7f}", " a", "a "] {
            assert_eq!(of(id), Err(Impossible::InvalidCollapseId), "{id:?}");
        }
    }

    #[test]
    fn the_identifier_ends_a_fresh_id() {
        let id =
            |id| made(Draft { id, ..draft() }).map(|message| message.apns_id).unwrap_or_default();

        let (one, two) = (
            id(Some(MessageId::Identifier(0xdead_beef))),
            id(Some(MessageId::Identifier(0xdead_beef))),
        );

        assert!(one.to_string().ends_with("deadbeef"), "{one}");
        assert_ne!(one, two);
        assert_eq!((one.get_version_num(), one.get_variant()), (4, uuid::Variant::RFC4122));
        assert_eq!(id(None).get_version_num(), 4);
        assert_ne!(id(None), id(None));
    }

    #[test]
    fn relevance_is_0_to_1_but_for_a_live_activity() {
        let of = |word: &str, score: &str| {
            let content = parts(Parts {
                alert: Some(TextOrObject::Text("x".to_owned())),
                relevance_score: Number::parse(score),
                ..Parts::default()
            });
            made(Draft { content, ..of_type(word) }).map(|message| message.payload)
        };

        let payload = Bytes::from_static(br#"{"aps":{"alert":"x","relevance-score":1.0}}"#);
        assert_eq!(of("alert", "1.0"), Ok(payload));
        assert_eq!(of("alert", "1.01"), Err(Impossible::InvalidRelevanceScore));
        assert_eq!(of("alert", "-0.1"), Err(Impossible::InvalidRelevanceScore));
        let payload = Bytes::from_static(br#"{"aps":{"alert":"x","relevance-score":-75}}"#);
        assert_eq!(of("liveactivity", "-75"), Ok(payload));
    }

    #[test]
    fn the_payload_keeps_apples_limit() {
        let frame = r#"{"aps":{"alert":""}}"#.len();
        let size = |word: &str, size_bytes: usize| {
            made(Draft { content: alert(size_bytes - frame), ..of_type(word) })
                .map(|message| message.payload.len())
        };
        let refused =
            |size_bytes, limit_bytes| Err(Impossible::PayloadTooLarge { size_bytes, limit_bytes });

        assert_eq!(size("alert", 4096), Ok(4096));
        assert_eq!(size("alert", 4097), refused(4097, 4096));
        assert_eq!(size("voip", 5120), Ok(5120));
        assert_eq!(size("voip", 5121), refused(5121, 5120));
    }

    #[test]
    fn debug_tells_neither_text_nor_token() {
        let printed = format!("{:?}", made(Draft { content: alert(5), ..draft() }));

        assert_eq!(
            printed,
            "Ok(Message { target: Device(DeviceToken(ab01…)), \
             apns_id: 123e4567-e89b-42d3-a456-426614174000, topic: \"com.example.app\", \
             push_type: Alert, payload_bytes: 25, .. })"
        );
    }
}
