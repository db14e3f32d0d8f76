//! Service accounts, made on the spot like the files that Google gives.

use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Public};
use openssl::rsa::Rsa;
use serde_json::json;
use uuid::Uuid;

/// A service account of a project that does not exist.
#[derive(Debug, Clone)]
pub struct ServiceAccount {
    /// The project.
    pub project_id: String,
    /// The name of the account.
    pub client_email: String,
    private_key_id: String,
    private_key: String,
    pub(super) key: PKey<Public>,
}

impl ServiceAccount {
    /// A fresh one with an RSA key of 2048 bits.
    ///
    /// # Errors
    /// When OpenSSL cannot make a key.
    pub fn generate(project_id: &str) -> Result<Self, ErrorStack> {
        let rsa = Rsa::generate(2048)?;
        let public = Rsa::from_public_components(rsa.n().to_owned()?, rsa.e().to_owned()?)?;
        let private_key = PKey::from_rsa(rsa)?.private_key_to_pem_pkcs8()?;
        Ok(Self {
            project_id: project_id.to_owned(),
            client_email: format!("firebase-adminsdk@{project_id}.iam.gserviceaccount.com"),
            private_key_id: Uuid::new_v4().simple().to_string(),
            private_key: String::from_utf8_lossy(&private_key).into_owned(),
            key: PKey::from_rsa(public)?,
        })
    }

    /// The file, as Google makes it but for the endpoint that gives its tokens.
    #[must_use]
    pub fn json(&self, token_uri: &str) -> String {
        json!({
            "type": "service_account",
            "project_id": self.project_id,
            "private_key_id": self.private_key_id,
            "private_key": self.private_key,
            "client_email": self.client_email,
            "client_id": "100000000000000000001",
            "auth_uri": "https://accounts.google.com/o/oauth2/auth",
            "token_uri": token_uri,
            "universe_domain": "googleapis.com",
        })
        .to_string()
    }
}
