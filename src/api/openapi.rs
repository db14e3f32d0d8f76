//! `GET /openapi.json`: this surface, described for programs.

use actix_web::HttpResponse;

/// The description, written by hand: parameters are taken out one by one, of three types of
/// bodies, and an error is a status and a word, so there are no types to generate it from. The
/// tests hold it against routes, parameters, codes and members, and against every answer they see.
pub const DOCUMENT: &str = include_str!("openapi.json");

/// For anybody: it says nothing of this relay that its source does not.
pub(super) async fn document() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(DOCUMENT)
}
