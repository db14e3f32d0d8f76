//! From the id that a caller gave to the application that is meant.

use std::sync::Arc;

use super::Api;
use super::auth::Caller;
use super::error::ApiError;
use crate::apps::{Application, sealed};

/// The application of this id, if it is the caller's.
///
/// # Errors
/// `forbidden` before anything is looked up, then `application_not_found`. Of a sealed registration
/// that is ours the name inside decides whose it is; one that is not has no name. `overloaded`
/// when too many sealed registrations wait to be opened.
pub(super) async fn application(
    id: &str,
    caller: &Caller<'_>,
    api: &Api,
) -> Result<Arc<Application>, ApiError> {
    if sealed::is_sealed(id) {
        let found = api.opened.find(id).ok_or_else(ApiError::application_not_found)?;
        caller.must_own(found.name().as_str())?;
        // Most were opened before, and the room that opening takes is not kept in each call.
        return Ok(Box::pin(api.opened.open(found)).await?);
    }
    caller.must_own(id)?;
    api.registry.find(id).ok_or_else(ApiError::application_not_found)
}
