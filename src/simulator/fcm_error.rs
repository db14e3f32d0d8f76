//! Google's refusals: the bodies of FCM v1 as its reference has them, and some that were only ever
//! seen.

use actix_web::HttpResponse;
use actix_web::http::header;
use serde_json::{Value, json};

use super::gcm;

/// A refusal, as it is sent.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    /// The word for the record.
    pub(super) reason: String,
    retry_after_secs: Option<u32>,
    body: Body,
}

#[derive(Debug, Clone, PartialEq)]
enum Body {
    Html(&'static str),
    Json(Value),
}

impl Refusal {
    /// An error with details.
    pub(super) fn new(status: u16, word: &str, message: &str, details: Vec<Value>) -> Self {
        let mut error = json!({ "code": status, "message": message, "status": word });
        if !details.is_empty() {
            error["details"] = details.into();
        }
        let body = Body::Json(json!({ "error": error }));
        Self { status, reason: word.to_owned(), retry_after_secs: None, body }
    }

    /// 400 that names a field.
    pub(super) fn field(field: &str, description: &str) -> Self {
        let details = vec![violation(field, description), fcm_error("INVALID_ARGUMENT")];
        Self::new(400, "INVALID_ARGUMENT", description, details)
    }

    /// 401 for an access token that nobody has.
    pub(super) fn token() -> Self {
        let info = json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "ACCESS_TOKEN_EXPIRED",
            "domain": "googleapis.com",
            "metadata": { "service": "fcm.googleapis.com" },
        });
        let message = "Request had invalid authentication credentials. Expected OAuth 2 access \
                       token, login cookie or other valid authentication credential.";
        Self::new(401, "UNAUTHENTICATED", message, vec![info])
    }

    /// The refusal that a token or a script names; some words are those of the legacy protocol.
    pub(super) fn named(word: &str) -> Option<Self> {
        let refusal = match word {
            "UNREGISTERED" | "NotRegistered" => {
                Self::code(404, "NOT_FOUND", "Requested entity was not found.", "UNREGISTERED")
            }
            "SENDER_ID_MISMATCH" | "MismatchSenderId" => {
                Self::code(403, "PERMISSION_DENIED", "SenderId mismatch", "SENDER_ID_MISMATCH")
            }
            "THIRD_PARTY_AUTH_ERROR" | "InvalidApnsCredential" => {
                let message = "Auth error from APNS or Web Push Service";
                Self::code(401, "UNAUTHENTICATED", message, "THIRD_PARTY_AUTH_ERROR")
            }
            "INTERNAL" | "InternalServerError" => {
                Self::code(500, "INTERNAL", "Internal error encountered.", "INTERNAL")
            }
            "UNAVAILABLE" | "Unavailable" => {
                let message = "The service is currently unavailable.";
                Self::code(503, "UNAVAILABLE", message, "UNAVAILABLE")
            }
            "QUOTA_EXCEEDED" => quota("project:simulated"),
            "DeviceMessageRateExceeded" => quota("device:simulated"),
            "TopicsMessageRateExceeded" => quota("topic:simulated"),
            "INVALID_ARGUMENT" | "InvalidRegistration" => Self::code(
                400,
                "INVALID_ARGUMENT",
                "The registration token is not a valid FCM registration token",
                "INVALID_ARGUMENT",
            ),
            "InvalidPackageName" => {
                Self::field("message.android.restricted_package_name", "Invalid package name")
            }
            "field-token" => {
                let details = vec![violation("message.token", "Invalid registration token")];
                Self::new(400, "INVALID_ARGUMENT", INVALID, details)
            }
            "bare-400" => Self::new(400, "INVALID_ARGUMENT", INVALID, Vec::new()),
            "MessageTooBig" => {
                Self::new(400, "INVALID_ARGUMENT", "Android message is too big", Vec::new())
            }
            "PERMISSION_DENIED" => {
                let message = "Permission 'cloudmessaging.messages.create' denied on resource";
                Self::new(403, "PERMISSION_DENIED", message, Vec::new())
            }
            "html-401" => Self::html(401, "<HTML><TITLE>PROJECT_NOT_PERMITTED</TITLE></HTML>"),
            "html-404" => Self::html(404, "<html><title>Error 404 (Not Found)!!1</title></html>"),
            "html-502" => Self::html(
                502,
                "<html><title>Error 502 (Server Error)!!1</title><p>The server encountered a \
                 temporary error. <p>Please try again in 30 seconds.</html>",
            ),
            _ => return None,
        };
        Some(refusal)
    }

    /// The same, with `Retry-After`.
    pub(super) fn after(self, retry_after_secs: Option<u32>) -> Self {
        Self { retry_after_secs, ..self }
    }

    pub(super) fn into_response(self) -> HttpResponse {
        let mut response = gcm::response(self.status);
        if let Some(secs) = self.retry_after_secs {
            response.insert_header((header::RETRY_AFTER, secs.to_string()));
        }
        match self.body {
            Body::Html(page) => response.content_type("text/html; charset=UTF-8").body(page),
            Body::Json(value) => response.json(value),
        }
    }

    fn code(status: u16, word: &str, message: &str, code: &str) -> Self {
        let refusal = Self::new(status, word, message, vec![fcm_error(code)]);
        Self { reason: code.to_owned(), ..refusal }
    }

    fn html(status: u16, page: &'static str) -> Self {
        let (reason, body) = ("html".to_owned(), Body::Html(page));
        Self { status, reason, retry_after_secs: None, body }
    }
}

/// What Google says when it does not say what it means.
const INVALID: &str = "Request contains an invalid argument.";

fn quota(subject: &str) -> Refusal {
    let failure = json!({
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [{ "subject": subject, "description": "Message rate exceeded" }],
    });
    let details = vec![failure, fcm_error("QUOTA_EXCEEDED")];
    let refusal = Refusal::new(429, "RESOURCE_EXHAUSTED", "Quota exceeded.", details);
    Refusal { reason: "QUOTA_EXCEEDED".to_owned(), retry_after_secs: Some(60), ..refusal }
}

fn fcm_error(code: &str) -> Value {
    json!({ "@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code })
}

fn violation(field: &str, description: &str) -> Value {
    json!({
        "@type": "type.googleapis.com/google.rpc.BadRequest",
        "fieldViolations": [{ "field": field, "description": description }],
    })
}
