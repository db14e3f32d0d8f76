//! Applications that the configuration names, so that a restart loses none.

use std::path::PathBuf;
use std::sync::Arc;

use time::OffsetDateTime;
use url::Url;

use super::webhook::Webhook;
use crate::providers::apns::credential::{Credential, Raw};
use crate::providers::apns::{self, Apns, Mode};
use crate::providers::fcm::credential::Origin;
use crate::providers::fcm::{self, Fcm};
use crate::providers::{Providers, file};
use crate::secret::Secret;

/// What a caller is told of a credential that is not where it was said to be. Names of files and
/// variables are for the log.
const UNREAD: &str = "it could not be read by the relay, whose log says why";

/// One entry of `[[applications]]`. The words are those of `POST /register_application`; each
/// credential is given by exactly one of `NAME` (text), `NAME_file` (a path) or `NAME_env` (the
/// name of an environment variable that holds the text).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preload {
    /// The id that callers use.
    pub application_id: String,
    /// A PKCS#12 file.
    pub apns_p12: Option<Source>,
    /// Its password: text or environment variable.
    pub apns_p12_pass: Option<Source>,
    /// Certificate and key in PEM.
    pub apns_pem: Option<Source>,
    /// The password of an encrypted PEM key: text or environment variable.
    pub apns_pem_pass: Option<Source>,
    /// An Apple signing key (`AuthKey_….p8`).
    pub apns_p8: Option<Source>,
    /// The ten characters that name that key.
    pub apns_key_id: Option<String>,
    /// The ten characters that name the team.
    pub apns_team_id: Option<String>,
    /// Default topic; of a certificate it is read from the certificate when left out.
    pub apns_topic: Option<String>,
    /// `production` (default), `development` or `sandbox`, or `auto`: each token's own.
    pub apns_mode: Mode,
    /// A service account of Google's, beside the Apple credential or alone.
    pub fcm_service_account: Option<Source>,
    /// Where its dead tokens are reported, instead of `feedback.webhook_url`.
    pub webhook_url: Option<Url>,
    /// What those reports are signed with: text or environment variable.
    pub webhook_secret: Option<Source>,
}

/// Where the configuration says that a credential is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// In the environment variable of this name, as text.
    Env(String),
    /// In this file, as it is.
    File(PathBuf),
    /// In the configuration itself: base64, or PEM text.
    Text(Secret<String>),
}

/// Why a credential of the configuration cannot be used.
#[derive(Debug)]
pub(super) struct Unusable {
    /// For the log.
    pub(super) reason: String,
    /// For callers.
    pub(super) told: String,
}

impl Unusable {
    fn unread(reason: String) -> Self {
        Self { reason, told: UNREAD.to_owned() }
    }

    fn refused(error: &dyn std::error::Error) -> Self {
        let reason = error.to_string();
        Self { told: reason.clone(), reason }
    }
}

impl Preload {
    /// Reads the files and variables that this entry names, and the credentials in them. What cannot
    /// be used makes a side all the same, whose sends are refused with the reason. Why stands beside
    /// them: names of files and variables are in it.
    #[must_use]
    pub fn try_load(
        &self,
        apns: &Arc<apns::Context>,
        fcm: &Arc<fcm::Context>,
    ) -> (Providers, Vec<String>) {
        let mut problems = Vec::new();
        let apple = self.apple().map(|raw| raw.and_then(|raw| self.apns(&raw, apns)));
        let apple = apple.map(|side| {
            side.unwrap_or_else(|why| {
                let side = self.unusable_apns(&why, apns);
                problems.push(why.reason);
                side
            })
        });
        let google = self.google().map(|file| file.and_then(|file| Self::fcm(&file, fcm)));
        let google = google.map(|side| {
            side.unwrap_or_else(|why| {
                let side = Fcm::unusable(fcm, why.told);
                problems.push(why.reason);
                side
            })
        });
        (Providers { apns: apple.map(Arc::new), fcm: google.map(Arc::new), gcm: None }, problems)
    }

    /// The Apple credential as it is where the entry says. `None`: the entry is about Google alone.
    pub(super) fn apple(&self) -> Option<Result<Raw, Unusable>> {
        let has_apple = [&self.apns_p12, &self.apns_pem, &self.apns_p8].iter().any(|c| c.is_some());
        let is_due = has_apple || self.fcm_service_account.is_none();
        is_due.then(|| self.raw().map_err(Unusable::unread))
    }

    /// The service account as it is where the entry says. `None`: the entry is about Apple alone.
    pub(super) fn google(&self) -> Option<Result<Vec<u8>, Unusable>> {
        let source = self.fcm_service_account.as_ref();
        source
            .map(|source| source.contents().map_err(|reason| Unusable::unread(of_google(&reason))))
    }

    /// Where its dead tokens are reported. `None`: the entry does not say.
    pub(super) fn webhook(&self) -> Option<Result<Webhook, String>> {
        let (url, secret) = (self.webhook_url.clone()?, self.webhook_secret.as_ref()?);
        Some(secret.bytes().and_then(|secret| match String::from_utf8(secret) {
            Ok(secret) if !secret.is_empty() => Ok(Webhook { url, secret: Secret::new(secret) }),
            Ok(_) | Err(_) => Err("webhook_secret is empty or not UTF-8".to_owned()),
        }))
    }

    /// The Apple side with this credential; it may take seconds of CPU.
    pub(super) fn apns(&self, raw: &Raw, context: &Arc<apns::Context>) -> Result<Apns, Unusable> {
        let credential =
            Credential::read(raw, OffsetDateTime::now_utc()).map_err(|e| Unusable::refused(&e))?;
        Ok(Apns::new(context, credential, self.apns_mode, self.apns_topic.clone()))
    }

    /// The Google side with this service account.
    pub(super) fn fcm(file: &[u8], context: &Arc<fcm::Context>) -> Result<Fcm, Unusable> {
        let account = context.read(file, Origin::Operator).map_err(|error| {
            let Unusable { reason, told } = Unusable::refused(&error);
            Unusable { reason: of_google(&reason), told }
        })?;
        Ok(Fcm::new(context, account))
    }

    /// An Apple side whose sends are refused.
    pub(super) fn unusable_apns(&self, why: &Unusable, context: &Arc<apns::Context>) -> Apns {
        Apns::unusable(context, self.apns_mode, self.apns_topic.clone(), why.told.clone())
    }

    fn raw(&self) -> Result<Raw, String> {
        let password = |source: &Option<Source>| -> Result<Secret<String>, String> {
            let bytes = source.as_ref().map(Source::bytes).transpose()?.unwrap_or_default();
            String::from_utf8(bytes)
                .map(Secret::new)
                .map_err(|_| "its password is not UTF-8; check the variable".to_owned())
        };
        if let Some(source) = &self.apns_p12 {
            let password = password(&self.apns_p12_pass)?;
            return Ok(Raw::P12 { der: source.contents()?, password });
        }
        if let Some(source) = &self.apns_pem {
            let password = password(&self.apns_pem_pass)?;
            return Ok(Raw::Pem { text: source.contents()?, password });
        }
        let Some(source) = &self.apns_p8 else {
            return Err("it names no credential".to_owned());
        };
        Ok(Raw::P8 {
            text: source.contents()?,
            key_id: self.apns_key_id.clone().unwrap_or_default(),
            team_id: self.apns_team_id.clone().unwrap_or_default(),
        })
    }
}

/// An entry may bring two credentials; the other one names its kind itself.
fn of_google(reason: &str) -> String {
    format!("cannot use fcm_service_account: {reason}")
}

impl Source {
    fn bytes(&self) -> Result<Vec<u8>, String> {
        match self {
            Self::Env(name) => std::env::var_os(name)
                .map(std::ffi::OsString::into_encoded_bytes)
                .ok_or_else(|| format!("the environment variable {name} is not set")),
            Self::File(path) => std::fs::read(path)
                .map_err(|error| format!("{} could not be read: {error}", path.display())),
            Self::Text(text) => Ok(text.expose().clone().into_bytes()),
        }
    }

    fn contents(&self) -> Result<Vec<u8>, String> {
        file::contents(&self.bytes()?)
            .ok_or_else(|| "the credential is neither DER nor PEM nor base64".to_owned())
    }
}
