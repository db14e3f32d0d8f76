//! From the parameters of a send to the draft of a message for Apple.

use uuid::Uuid;

use super::error::ApiError;
use super::params::Params;
use crate::providers::apns::device_token::DeviceToken;
use crate::providers::apns::message::{Draft, Expiration, MessageId, Priority};
use crate::providers::apns::payload::{Content, InterruptionLevel, Parts};

/// What a whole `payload` excludes.
const PARTS: &[&str] = &[
    "alert",
    "title",
    "subtitle",
    "badge",
    "sound",
    "category",
    "thread_id",
    "content_available",
    "mutable_content",
    "interruption_level",
    "relevance_score",
    "target_content_id",
    "data",
];

/// The parameters of a send that only Apple's service has; those that Google's has too are
/// `device_token`, `alert`, `title`, `badge`, `sound` and `data`.
pub const APNS_ONLY: &[&str] = &[
    "apns_id",
    "at_least_once",
    "category",
    "collapse_id",
    "content_available",
    "expiration",
    "identifier",
    "interruption_level",
    "mutable_content",
    "payload",
    "priority",
    "push_type",
    "relevance_score",
    "subtitle",
    "target_content_id",
    "thread_id",
    "topic",
    "ttl",
];

const MAX_INT: u64 = i32::MAX as u64;

/// Takes the values of a message for Apple out of the parameters. What is left is not Apple's.
///
/// # Errors
///
/// `conflicting_parameters`, `device_token_required`, `invalid_data_json`, `invalid_request` and
/// `invalid_<parameter>` of each.
pub fn apns_draft(params: &mut Params) -> Result<Draft, ApiError> {
    params.check_excluded("payload", PARTS)?;
    params.check_excluded("expiration", &["ttl"])?;
    let device_token = params.text("device_token")?.ok_or_else(ApiError::device_token_required)?;
    Ok(Draft {
        device_token: DeviceToken::parse(device_token)?,
        content: content(params)?,
        topic: params.text("topic")?,
        push_type: params.text("push_type")?,
        priority: priority(params)?,
        expiration: expiration(params)?,
        collapse_id: params.text("collapse_id")?,
        id: message_id(params)?,
        at_least_once: params.boolean("at_least_once")?.unwrap_or(false),
    })
}

fn content(params: &mut Params) -> Result<Content, ApiError> {
    if let Some(payload) = params.object("payload")? {
        return Ok(Content::Whole(payload));
    }
    Ok(Content::Parts(Box::new(Parts {
        alert: params.text_or_object("alert")?,
        badge: small(params, "badge")?,
        category: params.text("category")?,
        content_available: params.boolean("content_available")?,
        data: params.object("data")?,
        interruption_level: params.choice(
            "interruption_level",
            "passive, active, time-sensitive or critical",
            InterruptionLevel::parse,
        )?,
        mutable_content: params.boolean("mutable_content")?,
        relevance_score: params.number("relevance_score")?,
        sound: params.text_or_object("sound")?,
        subtitle: params.text("subtitle")?,
        target_content_id: params.text("target_content_id")?,
        thread_id: params.text("thread_id")?,
        title: params.text("title")?,
    })))
}

/// A number from 0 to 2³¹−1.
fn small(params: &mut Params, name: &str) -> Result<Option<u32>, ApiError> {
    Ok(params.integer(name, 0..=MAX_INT)?.and_then(|number| u32::try_from(number).ok()))
}

fn priority(params: &mut Params) -> Result<Option<Priority>, ApiError> {
    let Some(number) = params.integer("priority", 0..=u64::MAX)? else { return Ok(None) };
    match Priority::parse(number) {
        Some(priority) => Ok(Some(priority)),
        None => {
            let problem = format_args!("must be 10, 5 or 1, found `{number}`");
            Err(ApiError::invalid("priority", problem))
        }
    }
}

fn expiration(params: &mut Params) -> Result<Option<Expiration>, ApiError> {
    let at = params.integer("expiration", 0..=u64::MAX)?;
    let ttl_secs = small(params, "ttl")?;
    Ok(match (at, ttl_secs) {
        (Some(unix_secs), _) => Some(Expiration::At { unix_secs }),
        (None, Some(ttl_secs)) => Some(Expiration::After { ttl_secs }),
        (None, None) => None,
    })
}

/// An `apns_id` wins over an `identifier`; each must be right all the same.
fn message_id(params: &mut Params) -> Result<Option<MessageId>, ApiError> {
    let apns_id = params.choice(
        "apns_id",
        "a UUID such as 123e4567-e89b-42d3-a456-426614174000",
        hyphenated_uuid,
    )?;
    let identifier = params.integer("identifier", 0..=u64::from(u32::MAX))?;
    let identifier = identifier.and_then(|number| u32::try_from(number).ok());
    Ok(apns_id.map(MessageId::ApnsId).or(identifier.map(MessageId::Identifier)))
}

/// The one spelling that Apple takes; the `uuid` crate reads others as well.
fn hyphenated_uuid(text: &str) -> Option<Uuid> {
    const LENGTH: usize = 36;
    Uuid::try_parse(text).ok().filter(|_| text.len() == LENGTH)
}
