//! A credential taken apart and put together again, without password and file format: what is kept
//! of it where it is kept.

use std::fmt;

use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::certificate::{Bundle, read_certificate, read_pkcs8};
use super::credential::{Credential, read_p8};
use super::problem::Problem;

/// The parts of a credential, each in DER.
#[derive(Serialize, Deserialize)]
pub enum Parts {
    /// A client certificate.
    Certificate {
        /// The certificate that is shown to Apple.
        leaf: Vec<u8>,
        /// The other certificates.
        chain: Vec<Vec<u8>>,
        /// The private key of `leaf`, in PKCS#8.
        key: Vec<u8>,
    },
    /// A key that signs provider tokens.
    SigningKey {
        /// The private key, in PKCS#8.
        key: Vec<u8>,
        /// The ten characters that name the key at Apple.
        key_id: String,
        /// The ten characters that name the team at Apple.
        team_id: String,
    },
}

/// Prints what it is and not what is in it.
impl fmt::Debug for Parts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Certificate { .. } => "Certificate",
            Self::SigningKey { .. } => "SigningKey",
        })
    }
}

impl Parts {
    /// Takes a credential apart.
    ///
    /// # Errors
    /// When OpenSSL cannot write what it has read.
    pub fn of(credential: &Credential) -> Result<Self, ErrorStack> {
        Ok(match credential {
            Credential::Certificate(certificate) => Self::Certificate {
                leaf: certificate.leaf.to_der()?,
                chain: certificate
                    .chain
                    .iter()
                    .map(|one| one.to_der())
                    .collect::<Result<_, _>>()?,
                key: certificate.key.private_key_to_pkcs8()?,
            },
            Credential::SigningKey(signing) => Self::SigningKey {
                key: PKey::from_ec_key(signing.key.clone())?.private_key_to_pkcs8()?,
                key_id: signing.key_id.clone(),
                team_id: signing.team_id.clone(),
            },
        })
    }

    /// Puts the credential together again. It derives no key from a password, so it costs a
    /// fraction of a millisecond. A certificate that has run out meanwhile is none of its
    /// concern: Apple says so, as it does of one that ran out in use.
    ///
    /// # Errors
    /// What is wrong with it, if it was not taken apart by [`Self::of`].
    pub fn credential(&self, now: OffsetDateTime) -> Result<Credential, Problem> {
        match self {
            Self::Certificate { leaf, chain, key } => {
                let mut certificates = vec![read_certificate(leaf)?];
                for one in chain {
                    certificates.push(read_certificate(one)?);
                }
                let bundle = Bundle { keys: vec![read_pkcs8(key)?], certificates };
                bundle.into_certificate_of_any_time(now).map(Credential::Certificate)
            }
            Self::SigningKey { key, key_id, team_id } => read_p8(key, key_id, team_id),
        }
    }
}
