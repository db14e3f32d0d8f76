//! What a caller hears when a call fails: the one place where statuses are decided.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;

use super::Compat;
use crate::providers::apns::device_token::InvalidDeviceToken;
use crate::providers::apns::message::Impossible;

/// Codes that keep their status under `compat.always_200`: they are about HTTP and not about a
/// notification, and the original's framework gave them a status too.
const ALWAYS_WITH_STATUS: &[&str] = &[
    "forbidden",
    "internal_error",
    "method_not_allowed",
    "not_found",
    "request_too_large",
    "unauthorized",
    "unsupported_media_type",
];

/// How long a caller waits before it tries again when the relay itself is full, in seconds.
const OVERLOADED_RETRY_SECS: u64 = 1;

/// An answer that is no success: a status, a code for programs and a sentence for people.
///
/// As JSON it is flat: `{"error":"…","message":"…"}`, and the members of [`Details`] after them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    status: StatusCode,
    code: Cow<'static, str>,
    message: Cow<'static, str>,
    allow: Option<&'static str>,
    details: Option<Box<Details>>,
}

/// What may follow code and message, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Details {
    /// The HTTP status that the provider answered with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The provider's word, verbatim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Seconds to wait before the call is repeated; also sent as the header `Retry-After`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// The id of the message at Apple.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apns_id: Option<String>,
    /// `not_sent` or `unknown`: what is known of a message without a final answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<&'static str>,
    /// Since when a token is dead, as in the feedback list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<String>,
    /// Where Apple knows the token, of an application that finds out: `production` or `sandbox`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<&'static str>,
}

impl ApiError {
    /// An error with a code of its own; the constructors below know those of the contract.
    pub fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { status, code: code.into(), message: message.into(), allow: None, details: None }
    }

    /// The same error with these members after its message.
    pub fn with_details(mut self, details: Details) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    /// The same error with the environment that it came from.
    pub(super) fn with_environment(mut self, environment: &'static str) -> Self {
        self.details.get_or_insert_default().environment = Some(environment);
        self
    }

    /// The code for programs.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// What follows code and message.
    pub fn details(&self) -> Option<&Details> {
        self.details.as_deref()
    }

    /// The same error as one of many: its sentence begins with the place of what it is about.
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        self.message = format!("{place}: {}", self.message).into();
        self
    }

    /// The same in another sentence, where it is not known whether the provider did as it was asked.
    #[must_use]
    pub fn if_unknown(mut self, sentence: &'static str) -> Self {
        if self.details.as_ref().is_some_and(|details| details.delivery == Some("unknown")) {
            self.message = sentence.into();
        }
        self
    }

    /// Code, message and what follows them.
    pub fn into_parts(self) -> (String, String, Details) {
        let details = self.details.map(|details| *details).unwrap_or_default();
        (self.code.into_owned(), self.message.into_owned(), details)
    }

    /// The status under these settings: 200 for what the original answered 200 to, if so wished.
    pub fn status_for(&self, compat: &Compat) -> StatusCode {
        if compat.always_200 && !ALWAYS_WITH_STATUS.contains(&self.code()) {
            StatusCode::OK
        } else {
            self.status
        }
    }

    /// The same error with the status that it has under these settings.
    pub fn under(mut self, compat: &Compat) -> Self {
        self.status = self.status_for(compat);
        self
    }
}

/// What is wrong with the call as such.
impl ApiError {
    /// The body does not parse, or parameters stand where none are read.
    pub fn invalid_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", message)
    }

    /// A name that no call knows, or that this one has no use for.
    pub fn unknown_parameter(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "unknown_parameter", message)
    }

    /// A name given twice, or two that exclude each other.
    pub fn conflicting_parameters(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "conflicting_parameters", message)
    }

    /// A value that cannot be: `invalid_<parameter>`. The sentence is the parameter's name and
    /// `problem`, such as `must be 10, 5 or 1`.
    pub fn invalid(parameter: &str, problem: impl fmt::Display) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            format!("invalid_{parameter}"),
            format!("{parameter} {problem}"),
        )
    }

    /// A value that is no JSON object: `invalid_data_json` of `data`, else `invalid_<parameter>`.
    pub fn invalid_json(parameter: &str, problem: impl fmt::Display) -> Self {
        let code = match parameter {
            "data" => Cow::Borrowed("invalid_data_json"),
            other => Cow::Owned(format!("invalid_{other}")),
        };
        let message = format!("{parameter} could not be converted to json: {problem}");
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// A credential in a file that cannot be used: `invalid_<parameter>`, with the documented
    /// sentence where there is one.
    pub fn invalid_file(parameter: &str, problem: impl fmt::Display) -> Self {
        let what = match parameter {
            "apns_p12" => {
                "apns_p12 certificate, check that it is in p12 format and is valid".to_owned()
            }
            "apns_pem" => {
                "apns_pem certificate, check that it is in pem format and is valid".to_owned()
            }
            other => other.to_owned(),
        };
        Self::new(
            StatusCode::BAD_REQUEST,
            format!("invalid_{parameter}"),
            format!("could not process {what}: {problem}"),
        )
    }

    /// No credential of the relay, or a wrong one.
    pub fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "this relay wants a user name and password; send them by HTTP Basic",
        )
    }

    /// The caller may not do this.
    pub fn forbidden(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// A path that leads nowhere.
    pub fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "there is no such path; the calls are /register_application, /send_notification and \
             /application_feedback",
        )
    }

    /// A path that wants another method; `allow` names those that it takes.
    pub fn method_not_allowed(allow: &'static str) -> Self {
        let message = format!("this path takes {allow} only; repeat the call with that method");
        let error = Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message);
        Self { allow: Some(allow), ..error }
    }

    /// A body of a type, charset or encoding that is not read.
    pub fn unsupported_media_type(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)
    }

    /// A body over `server.max_body_bytes`.
    pub fn request_too_large(max_body_bytes: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "request_too_large",
            format!("the body is over {max_body_bytes} bytes; send less, or raise max_body_bytes"),
        )
    }

    /// A body with many messages over `server.max_batch_bytes`.
    pub fn batch_too_large(max_batch_bytes: usize) -> Self {
        let message = format!(
            "the body is over {max_batch_bytes} bytes; send less, or raise max_batch_bytes"
        );
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", message)
    }

    /// More messages on one call than `server.max_batch`.
    pub fn too_many_messages(max_batch: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "request_too_large",
            format!(
                "there are more than {max_batch} messages on this call; make several calls, or \
                 send application/x-ndjson"
            ),
        )
    }

    /// More messages than the credential may send now.
    pub fn rate_limited(wait: Duration) -> Self {
        let wait_secs = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let details = Details { retry_after: Some(wait_secs.max(1)), ..Details::default() };
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "rate_limited",
            "this credential has sent as many messages as it may; send it again later",
        )
        .with_details(details)
    }

    /// A fault of ours; the log knows more.
    pub fn internal_error() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal_error",
            "the relay failed at this call; its log says more under the id of the request",
        )
    }

    /// The relay holds as many calls as it may.
    pub fn overloaded(message: impl Into<Cow<'static, str>>) -> Self {
        let details = Details { retry_after: Some(OVERLOADED_RETRY_SECS), ..Details::default() };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message).with_details(details)
    }
}

/// What a call lacks, or names in vain. The documented sentences are kept to the letter.
impl ApiError {
    /// Neither application nor key on a send.
    pub fn missing_identifier() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "missing_identifier",
            "an application_id or gcm_api_key are required for this call",
        )
    }

    /// No device token on a send.
    pub fn device_token_required() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "device_token_required",
            "device_token is required, which is registed with the application on your phone",
        )
    }

    /// No application by that id.
    pub fn application_not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "application_not_found",
            "no application found for the provided application_id",
        )
    }

    /// No application id where one is needed.
    pub fn missing_application_id() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "missing_application_id",
            "an application_id is required for this call",
        )
    }

    /// The application has both services, or the call names both, and it does not say which.
    pub fn missing_type() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "missing_type",
            "both services are possible here; give type as apns or gcm",
        )
    }

    /// The application has nothing for that service; `service` is `apns` or `gcm`.
    pub fn missing_credentials(service: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "missing_credentials",
            format!("this application has no credential for {service}; register one"),
        )
    }

    /// A registration without a credential of any kind.
    pub fn missing_apns_certificate() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "missing_apns_certificate",
            "an apns_p12 or apns_pem certificate is required for this call",
        )
    }

    /// A signing key without its id.
    pub fn missing_apns_key_id() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "missing_apns_key_id",
            "apns_key_id is required with apns_p8; it is the ten characters in the file's name",
        )
    }

    /// A signing key without its team.
    pub fn missing_apns_team_id() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "missing_apns_team_id",
            "apns_team_id is required with apns_p8; apple shows it under membership",
        )
    }
}

/// Apple's rules, checked before anything is sent.
impl From<Impossible> for ApiError {
    fn from(impossible: Impossible) -> Self {
        let code = match &impossible {
            Impossible::EmptyNotification => "empty_notification",
            Impossible::InvalidCollapseId => "invalid_collapse_id",
            Impossible::InvalidData { problem } => return Self::invalid_json("data", problem),
            Impossible::InvalidExpiration { .. } => "invalid_expiration",
            Impossible::InvalidPriority | Impossible::InvalidPriorityOfLiveActivity => {
                "invalid_priority"
            }
            Impossible::InvalidPushType | Impossible::NotLiveActivity => "invalid_push_type",
            Impossible::InvalidRelevanceScore => "invalid_relevance_score",
            Impossible::InvalidBundleId | Impossible::InvalidTopic { .. } => "invalid_topic",
            Impossible::MissingTopic => "missing_topic",
            Impossible::PayloadTooLarge { .. } => {
                let status = StatusCode::PAYLOAD_TOO_LARGE;
                return Self::new(status, "payload_too_large", impossible.to_string());
            }
        };
        Self::new(StatusCode::BAD_REQUEST, code, impossible.to_string())
    }
}

impl From<InvalidDeviceToken> for ApiError {
    fn from(invalid: InvalidDeviceToken) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_device_token", invalid.to_string())
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for ApiError {}

/// The order of the members is part of the contract.
#[derive(Serialize)]
struct Body<'a> {
    error: &'a str,
    message: &'a str,
    #[serde(flatten)]
    details: Option<&'a Details>,
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        if self.code == "unauthorized" {
            response.insert_header((header::WWW_AUTHENTICATE, "Basic realm=\"pushlet\""));
        }
        if let Some(allow) = self.allow {
            response.insert_header((header::ALLOW, allow));
        }
        if let Some(retry_after) = self.details.as_ref().and_then(|details| details.retry_after) {
            response.insert_header((header::RETRY_AFTER, retry_after));
        }
        response.json(Body {
            error: &self.code,
            message: &self.message,
            details: self.details.as_deref(),
        })
    }
}

#[cfg(test)]
mod tests {
    use actix_web::body::{self, MessageBody};
    use actix_web::http::header::HeaderName;

    use super::*;

    /// Status, body and one header of an answer.
    fn answer(error: &ApiError, header: HeaderName) -> (u16, String, Option<String>) {
        let response = error.error_response();
        let status = response.status().as_u16();
        let header = response.headers().get(header);
        let header = header.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = response.into_body().try_into_bytes();
        let body = body.unwrap_or_else(|_: body::BoxBody| panic!("a body that is not at hand"));
        (status, String::from_utf8_lossy(&body).into_owned(), header)
    }

    #[test]
    fn the_body_is_flat_and_in_order() {
        let details = Details {
            status: Some(410),
            reason: Some("Unregistered".to_owned()),
            retry_after: Some(3),
            apns_id: Some("id".to_owned()),
            delivery: Some("not_sent"),
            timestamp: Some("2012-11-27T22:24:07Z".to_owned()),
            environment: Some("sandbox"),
        };
        let error = ApiError::new(StatusCode::GONE, "a_code", "a \"sentence\"");

        assert_eq!(
            answer(&error, header::CONTENT_TYPE),
            (
                410,
                r#"{"error":"a_code","message":"a \"sentence\""}"#.to_owned(),
                Some("application/json".to_owned())
            )
        );
        assert_eq!(
            answer(&error.with_details(details), header::RETRY_AFTER),
            (
                410,
                concat!(
                    r#"{"error":"a_code","message":"a \"sentence\"","status":410,"#,
                    r#""reason":"Unregistered","retry_after":3,"apns_id":"id","#,
                    r#""delivery":"not_sent","timestamp":"2012-11-27T22:24:07Z","#,
                    r#""environment":"sandbox"}"#
                )
                .to_owned(),
                Some("3".to_owned())
            )
        );
    }

    #[test]
    fn documented_answers_keep_their_bytes() {
        let table = [
            (
                ApiError::missing_identifier(),
                400,
                r#"{"error":"missing_identifier","message":"an application_id or gcm_api_key are required for this call"}"#,
            ),
            (
                ApiError::device_token_required(),
                400,
                r#"{"error":"device_token_required","message":"device_token is required, which is registed with the application on your phone"}"#,
            ),
            (
                ApiError::application_not_found(),
                404,
                r#"{"error":"application_not_found","message":"no application found for the provided application_id"}"#,
            ),
            (
                ApiError::missing_application_id(),
                400,
                r#"{"error":"missing_application_id","message":"an application_id is required for this call"}"#,
            ),
            (
                ApiError::missing_apns_certificate(),
                400,
                r#"{"error":"missing_apns_certificate","message":"an apns_p12 or apns_pem certificate is required for this call"}"#,
            ),
            (
                ApiError::invalid_file("apns_p12", "why"),
                400,
                r#"{"error":"invalid_apns_p12","message":"could not process apns_p12 certificate, check that it is in p12 format and is valid: why"}"#,
            ),
            (
                ApiError::invalid_json("data", "why"),
                400,
                r#"{"error":"invalid_data_json","message":"data could not be converted to json: why"}"#,
            ),
        ];

        for (error, status, body) in table {
            assert_eq!(answer(&error, header::ALLOW), (status, body.to_owned(), None));
        }
    }

    #[test]
    fn errors_of_http_carry_their_headers() {
        let header = |error: ApiError, name: HeaderName| {
            let (status, _, value) = answer(&error, name);
            (status, value)
        };

        assert_eq!(
            header(ApiError::unauthorized(), header::WWW_AUTHENTICATE),
            (401, Some("Basic realm=\"pushlet\"".to_owned()))
        );
        assert_eq!(
            header(ApiError::method_not_allowed("POST"), header::ALLOW),
            (405, Some("POST".to_owned()))
        );
        assert_eq!(
            header(ApiError::overloaded("full"), header::RETRY_AFTER),
            (503, Some("1".to_owned()))
        );
    }

    #[test]
    fn always_200_spares_the_errors_of_http() {
        let original = Compat { always_200: true, ..Compat::default() };
        let too_large = Impossible::PayloadTooLarge { size_bytes: 4097, limit_bytes: 4096 };
        let statuses = |error: ApiError| {
            let plain = error.status_for(&Compat::default()).as_u16();
            (plain, error.under(&original).status_code().as_u16())
        };

        for (error, expected) in [
            (ApiError::invalid_request("x"), (400, 200)),
            (ApiError::application_not_found(), (404, 200)),
            (ApiError::from(too_large), (413, 200)),
            (ApiError::overloaded("x"), (503, 200)),
            (ApiError::new(StatusCode::FORBIDDEN, "invalid_gcm_credentials", "x"), (403, 200)),
            (ApiError::unauthorized(), (401, 401)),
            (ApiError::forbidden("x"), (403, 403)),
            (ApiError::not_found(), (404, 404)),
            (ApiError::method_not_allowed("POST"), (405, 405)),
            (ApiError::request_too_large(1), (413, 413)),
            (ApiError::unsupported_media_type("x"), (415, 415)),
            (ApiError::internal_error(), (500, 500)),
        ] {
            assert_eq!(statuses(error.clone()), expected, "{}", error.code());
        }
    }
}
