//! Applications that the configuration names, so that a restart loses none.

use std::path::PathBuf;

use crate::providers::apns::Mode;
use crate::secret::Secret;

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
    /// `production` (default), `development` or `sandbox`.
    pub apns_mode: Mode,
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
