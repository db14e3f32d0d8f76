//! The console: one web page about the relay, and the files that belong to it. The page reads
//! `/status` and `/metrics` and sends by `POST /send_notification`, as any other caller.

use actix_web::http::StatusCode;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, EntityTag, Header, IfNoneMatch,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::{HttpRequest, HttpResponse, web};
use openssl::sha::sha256;

use super::current::Snapshot;
use super::error::ApiError;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// Everything comes from here, and nobody frames it.
const POLICY: &str = "default-src 'self'; frame-ancestors 'none'";

/// A file of the console.
#[derive(Debug, Clone, Copy)]
struct File {
    name: &'static str,
    media_type: &'static str,
    text: &'static str,
}

/// A file from the folder beside this one.
macro_rules! file {
    ($name:literal, $media_type:expr) => {
        File {
            name: $name,
            media_type: $media_type,
            text: include_str!(concat!("console/", $name)),
        }
    };
}

const PAGE: File = file!("index.html", HTML);

/// What belongs to the page.
const FILES: &[File] = &[
    file!("advice.js", SCRIPT),
    file!("applications.js", SCRIPT),
    file!("chart.js", SCRIPT),
    file!("console.css", CSS),
    file!("console.js", SCRIPT),
    file!("dom.js", SCRIPT),
    file!("failures.js", SCRIPT),
    file!("icon.svg", SVG),
    file!("overview.js", SCRIPT),
    file!("readings.js", SCRIPT),
    file!("send.js", SCRIPT),
    file!("words.js", SCRIPT),
];

/// The page.
pub(super) async fn page(request: HttpRequest, api: Snapshot) -> Result<HttpResponse, ApiError> {
    api.door.admit(&request)?;
    Ok(PAGE.answer(&request))
}

/// One of its files.
pub(super) async fn file(
    request: HttpRequest,
    api: Snapshot,
    name: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    api.door.admit(&request)?;
    let file = FILES.iter().find(|file| file.name == name.as_str());
    Ok(file.ok_or_else(ApiError::not_found)?.answer(&request))
}

impl File {
    /// The file, or that the caller has it already. It is asked for each time: after an update the
    /// parts of the page must not be those of two versions.
    fn answer(self, request: &HttpRequest) -> HttpResponse {
        let tag = self.tag();
        let mut response = HttpResponse::Ok();
        response
            .insert_header((CACHE_CONTROL, "private, no-cache"))
            .insert_header((CONTENT_SECURITY_POLICY, POLICY))
            .insert_header((CONTENT_TYPE, self.media_type))
            .insert_header((ETAG, tag.to_string()))
            .insert_header((REFERRER_POLICY, "no-referrer"))
            .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"));
        match IfNoneMatch::parse(request) {
            Ok(known) if names(&known, &tag) => response.status(StatusCode::NOT_MODIFIED).finish(),
            Ok(_) | Err(_) => response.body(self.text),
        }
    }

    fn tag(self) -> EntityTag {
        let hash = sha256(self.text.as_bytes());
        let short: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        EntityTag::new_strong(short)
    }
}

/// RFC 9110 §13.1.2: compared weakly.
fn names(known: &IfNoneMatch, tag: &EntityTag) -> bool {
    match known {
        IfNoneMatch::Any => true,
        IfNoneMatch::Items(items) => items.iter().any(|item| item.weak_eq(tag)),
    }
}
