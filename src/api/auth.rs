//! Who may call: HTTP Basic, scopes, and the rule for browsers.

use crate::secret::Secret;

/// The section `[auth]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Who may call. With none the server starts only on a loopback address, or with
    /// `allow_anonymous`.
    pub credentials: Vec<Credential>,
    /// Let anybody call, on any address. For a relay that something else protects.
    pub allow_anonymous: bool,
}

/// One entry of `[[auth.credentials]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The user name of HTTP Basic.
    pub username: String,
    /// The password of HTTP Basic.
    pub password: Secret<String>,
    /// Names or globs (`*`, `?`) of the applications that this credential may use; `gcm` allows
    /// `gcm_api_key`. Left out, it may use all.
    pub applications: Option<Vec<String>>,
}
