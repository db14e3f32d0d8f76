//! The state that calls work with, and how a reload replaces it.

use std::future::{Ready, ready};
use std::ops::Deref;
use std::sync::{Arc, PoisonError, RwLock};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};

use super::Api;
use super::error::ApiError;

/// The state as it is now. A reload puts another one in its place, whole; calls under way end with
/// the one that they began with.
#[derive(Debug)]
pub struct Current {
    /// Guards the pointer: read once for each call, which costs a few atomic steps beside the
    /// dozens that a call takes anyway.
    api: RwLock<Arc<Api>>,
}

impl Current {
    /// The first state.
    #[must_use]
    pub fn new(api: Api) -> Self {
        Self { api: RwLock::new(Arc::new(api)) }
    }

    /// The state as it is now.
    #[must_use]
    pub fn api(&self) -> Arc<Api> {
        Arc::clone(&self.api.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another state in place, for the calls to come.
    pub fn replace(&self, api: Api) {
        *self.api.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(api);
    }
}

/// What one call works with from its start to its end: the state as it was when the call came.
/// Every handler takes it.
#[derive(Debug, Clone)]
pub struct Snapshot(Arc<Api>);

impl Deref for Snapshot {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.0
    }
}

impl FromRequest for Snapshot {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let current = request.app_data::<web::Data<Current>>();
        ready(current.map(|current| Self(current.api())).ok_or_else(ApiError::internal_error))
    }
}
