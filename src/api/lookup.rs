//! From the id that a caller gave to the application that is meant.

use std::sync::Arc;

use super::Api;
use super::auth::Caller;
use super::error::ApiError;
use crate::apps::Application;

/// The application of this id, if it is the caller's.
///
/// # Errors
/// `forbidden` before anything is looked up, then `application_not_found`.
pub(super) async fn application(
    id: &str,
    caller: &Caller<'_>,
    api: &Api,
) -> Result<Arc<Application>, ApiError> {
    caller.must_own(id)?;
    api.registry.find(id).ok_or_else(ApiError::application_not_found)
}
