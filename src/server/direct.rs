//! A relay that listens nowhere: its calls come from the process itself, and take the same way as
//! those of anybody else.

use actix_web::http::header::{self, HeaderMap};
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actix_web::{App, web};
use tokio::runtime::Handle;
use url::form_urlencoded;

use super::{StartError, state};
use crate::api;
use crate::api::current::Current;
use crate::config::Config;

/// The largest body that any relay may be told to take, in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;

/// A relay for one person at a terminal.
pub struct Direct {
    current: web::Data<Current>,
}

/// What a call was answered.
#[derive(Debug)]
pub struct Answer {
    /// Whether the status is one of success.
    pub is_success: bool,
    /// The header `apns-id`: Apple's name for the message.
    pub apns_id: Option<String>,
    /// The body: JSON.
    pub body: String,
}

impl Direct {
    /// Loads the applications of the configuration. What it says of callers does not count: who
    /// runs this has its credentials anyway.
    ///
    /// # Errors
    /// Certificate authorities that cannot be read.
    pub fn new(config: &Config, runtime: &Handle) -> Result<Self, StartError> {
        let mut config = config.clone();
        config.auth.credentials.clear();
        config.compat.always_200 = false;
        config.server.max_body_bytes = MAX_BODY_BYTES;
        let (api, _) = state::first(&config, false, runtime).map_err(StartError)?;
        Ok(Self { current: web::Data::new(Current::new(api)) })
    }

    /// Makes one of the calls, such as `/send_notification`, with these parameters.
    ///
    /// actix-web keeps the way to call an application without a socket in its module for tests.
    pub async fn call(&self, path: &str, parameters: &[(String, Vec<u8>)]) -> Answer {
        let routes = App::new().app_data(self.current.clone()).configure(api::routes);
        let request = TestRequest::post()
            .uri(path)
            .insert_header((header::CONTENT_TYPE, "application/x-www-form-urlencoded"))
            .set_payload(form(parameters))
            .to_request();
        let response = call_service(&init_service(routes).await, request).await;
        let apns_id = apns_id(response.headers());
        let is_success = response.status().is_success();
        let body = String::from_utf8_lossy(&read_body(response).await).into_owned();
        Answer { is_success, apns_id, body }
    }
}

fn form(parameters: &[(String, Vec<u8>)]) -> String {
    let mut form = String::new();
    for (name, value) in parameters {
        if !form.is_empty() {
            form.push('&');
        }
        form.extend(form_urlencoded::byte_serialize(name.as_bytes()));
        form.push('=');
        form.extend(form_urlencoded::byte_serialize(value));
    }
    form
}

fn apns_id(headers: &HeaderMap) -> Option<String> {
    headers.get("apns-id").and_then(|id| id.to_str().ok()).map(str::to_owned)
}
