//! From the parameters of a send to a message for Google, in its legacy words or in those of FCM
//! v1.

use std::time::SystemTime;

use super::error::ApiError;
use super::params::Params;
use crate::providers::fcm::bridge::Plan;
use crate::providers::fcm::message::{FcmTarget, Message};
use crate::providers::json::{Object, Writer};
use crate::providers::legacy::{
    Draft, MAX_REGISTRATION_IDS, MAX_TIME_TO_LIVE_SECS, Priority, Target,
};

/// The parameters of a send that only Google's service has.
pub(super) const GCM_ONLY: &[&str] = &[
    "collapse_key",
    "condition",
    "fcm_target",
    "message",
    "notification",
    "registration_ids",
    "restricted_package_name",
    "time_to_live",
    "to",
];
/// Those that only FCM v1 has.
const FCM_ONLY: &[&str] = &["fcm_target", "message"];
/// What a whole `message` excludes, beside the other targets.
const PARTS: &[&str] = &[
    "alert",
    "badge",
    "collapse_key",
    "content_available",
    "data",
    "fcm_target",
    "mutable_content",
    "notification",
    "priority",
    "restricted_package_name",
    "sound",
    "time_to_live",
    "title",
];

/// What goes through FCM v1. Devices are addressed by `fcm_target` unless the caller says
/// otherwise.
pub(super) fn fcm_plan(params: &mut Params, fcm_target: FcmTarget) -> Result<Plan, ApiError> {
    params.check_excluded("message", PARTS)?;
    if let Some(message) = params.object("message")? {
        let dry_run = params.boolean("dry_run")?.unwrap_or(false);
        let at_least_once = params.boolean("at_least_once")?.unwrap_or(false);
        let message = Message::whole(message, dry_run, at_least_once)
            .map_err(|problem| ApiError::invalid("message", problem))?;
        return Ok(Plan::of_whole(message));
    }
    let said = params.choice("fcm_target", "token, fid or auto", FcmTarget::parse)?;
    Plan::of_draft(draft(params)?, said.unwrap_or(fcm_target), SystemTime::now())
        .map_err(|problem| ApiError::invalid("notification", problem))
}

/// What goes to the legacy endpoint.
pub(super) fn legacy_draft(params: &mut Params) -> Result<Draft, ApiError> {
    match FCM_ONLY.iter().find(|name| params.has(name)) {
        Some(name) => Err(ApiError::unknown_parameter(format!(
            "{name} is a parameter of FCM v1, and this gcm_api_key has no service account in \
             [[gcm.bridge]]; leave it out, or configure one"
        ))),
        None => draft(params),
    }
}

fn draft(params: &mut Params) -> Result<Draft, ApiError> {
    params.check_excluded("notification", &["alert", "badge", "sound", "title"])?;
    let notification = match params.object("notification")? {
        Some(notification) => Some(notification),
        None => notification_of_parts(params)?,
    };
    let time_to_live = params.integer("time_to_live", 0..=u64::from(MAX_TIME_TO_LIVE_SECS))?;
    Ok(Draft {
        target: target(params)?,
        collapse_key: params.text("collapse_key")?,
        priority: params.choice("priority", "normal or high", Priority::parse)?,
        content_available: params.boolean("content_available")?.unwrap_or(false),
        mutable_content: params.boolean("mutable_content")?.unwrap_or(false),
        time_to_live_secs: time_to_live.and_then(|secs| u32::try_from(secs).ok()),
        restricted_package_name: params.text("restricted_package_name")?,
        dry_run: params.boolean("dry_run")?.unwrap_or(false),
        data: params.object("data")?,
        notification,
        at_least_once: params.boolean("at_least_once")?.unwrap_or(false),
    })
}

fn target(params: &mut Params) -> Result<Target, ApiError> {
    if let Some(tokens) = params.texts("registration_ids", MAX_REGISTRATION_IDS)? {
        return Ok(Target::RegistrationIds(tokens));
    }
    if let Some(condition) = params.text("condition")? {
        return Ok(Target::Condition(condition));
    }
    if let Some(to) = params.text("to")? {
        let is_wrong_topic = to.strip_prefix("/topics/").is_some_and(|name| !is_topic(name));
        if is_wrong_topic {
            let problem = "must name its topic in letters, digits, `-`, `_`, `.`, `~` and `%`";
            return Err(ApiError::invalid("to", problem));
        }
        return Ok(Target::To(to));
    }
    let token = params.text("device_token")?.ok_or_else(ApiError::device_token_required)?;
    Ok(Target::RegistrationIds(vec![token]))
}

/// Google, "Topic messaging": `[a-zA-Z0-9-_.~%]+`.
fn is_topic(name: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~%".contains(&byte);
    !name.is_empty() && name.bytes().all(known)
}

/// What the phone shows by itself, from the parameters that Apple's service has too.
fn notification_of_parts(params: &mut Params) -> Result<Option<Object>, ApiError> {
    const EMPTY: &str = "{}";
    let mut notification = Writer::open();
    for (parameter, member) in [("title", "title"), ("alert", "body"), ("sound", "sound")] {
        if let Some(text) = params.text(parameter)? {
            notification.text(member, &text);
        }
    }
    if let Some(badge) = params.integer("badge", 0..=i32::MAX as u64)? {
        notification.raw("badge", &badge.to_string());
    }
    let text = notification.close();
    if text == EMPTY {
        return Ok(None);
    }
    Object::parse(&text).map(Some).map_err(|_| ApiError::internal_error())
}
