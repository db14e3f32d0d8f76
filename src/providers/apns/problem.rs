//! What may be wrong with an uploaded credential, in the words that the caller reads.

use std::fmt;

use time::Date;

use super::kdf_cost::Excess;

/// A credential that cannot be used: which kind it was to be, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialError {
    /// What the caller said that it is.
    pub format: Format,
    /// What is wrong with it.
    pub problem: Problem,
}

impl fmt::Display for CredentialError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "cannot use {}: {}", self.format.parameter(), self.problem)
    }
}

impl std::error::Error for CredentialError {}

/// How a credential is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// PKCS#12: certificate and key in one binary file, also called PFX.
    P12,
    /// Apple's signing key for provider tokens, `AuthKey_….p8`.
    P8,
    /// Certificate and key as PEM text.
    Pem,
}

impl Format {
    /// The parameter that carries it.
    pub fn parameter(self) -> &'static str {
        match self {
            Self::P12 => "apns_p12",
            Self::P8 => "apns_p8",
            Self::Pem => "apns_pem",
        }
    }

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::P12 => "PKCS#12",
            Self::P8 => "a .p8 signing key",
            Self::Pem => "PEM",
        }
    }
}

/// What is wrong with a credential. `Display` is the part of the answer's message after `: `.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// It holds no certificate.
    CertificateMissing,
    /// Reading it would cost more than a file may cost.
    Cost(Excess),
    /// It is of the right kind and does not follow its own rules.
    Damaged,
    /// The certificate has run out on this day.
    Expired(Date),
    /// No key in it belongs to a certificate in it.
    KeyMismatch,
    /// It holds no private key.
    KeyMissing,
    /// Its key is of a kind that cannot be used here; says which and what was expected.
    KeyUnusable(String),
    /// The certificate begins on this day.
    NotYetValid(Date),
    /// It is encrypted and no password was given.
    PasswordMissing,
    /// The password does not open it.
    PasswordWrong,
    /// It needs this algorithm, which this build of OpenSSL lacks.
    UnsupportedAlgorithm(String),
    /// It is something else altogether.
    WrongFormat {
        /// What was expected.
        expected: Format,
        /// What it looks like.
        found: Found,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CertificateMissing => formatter
                .write_str("no certificate in it; export the certificate together with its key"),
            Self::Cost(excess) => write!(
                formatter,
                "{excess}; export it again with the default settings of your tool"
            ),
            Self::Damaged => formatter
                .write_str("the file is damaged: a part of it cannot be read; export it again"),
            Self::Expired(day) => {
                write!(formatter, "the certificate expired on {day}; register a new one")
            }
            Self::KeyMismatch => formatter.write_str(
                "key and certificate do not match; export the certificate with the key that it \
                 was issued for",
            ),
            Self::KeyMissing => formatter
                .write_str("no private key in it; export the certificate together with its key"),
            Self::KeyUnusable(what) => formatter.write_str(what),
            Self::NotYetValid(day) => write!(
                formatter,
                "the certificate is not yet valid before {day}; register it then, or check this \
                 server's clock"
            ),
            Self::PasswordMissing => {
                formatter.write_str("wrong password: it is encrypted and none was given")
            }
            Self::PasswordWrong => {
                formatter.write_str("wrong password; give the one that was set on export")
            }
            Self::UnsupportedAlgorithm(name) => write!(
                formatter,
                "it is encrypted with {name}, which this server's OpenSSL lacks (RC2, RC4 and \
                 single DES need its legacy provider); export it again with AES-256 or 3DES"
            ),
            Self::WrongFormat { expected, found } => {
                write!(formatter, "not {} at all; {found}", expected.name())
            }
        }
    }
}

impl From<Excess> for Problem {
    fn from(excess: Excess) -> Self {
        Self::Cost(excess)
    }
}

/// What a file looks like that is not what it was said to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// A certificate alone, in DER.
    Certificate,
    /// Nothing.
    Empty,
    /// A PKCS#12 file.
    P12,
    /// PEM text.
    Pem,
    /// Apple's signing key.
    SigningKey,
    /// Nothing that is known here.
    Unknown,
}

impl fmt::Display for Found {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Certificate => {
                "it looks like a certificate without its private key: export both together"
            }
            Self::Empty => "it is empty",
            Self::P12 => "it looks like a PKCS#12 file: send it as apns_p12",
            Self::Pem => "it looks like PEM text: send it as apns_pem",
            Self::SigningKey => {
                "it looks like an Apple signing key: send it as apns_p8 with apns_key_id and \
                 apns_team_id"
            }
            Self::Unknown => "it looks like no certificate or key: send the file as it was saved",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_names_the_parameter_and_what_to_do() {
        let day = time::OffsetDateTime::UNIX_EPOCH.date();
        let error = CredentialError { format: Format::P12, problem: Problem::Expired(day) };

        assert_eq!(
            error.to_string(),
            "cannot use apns_p12: the certificate expired on 1970-01-01; register a new one"
        );
    }

    #[test]
    fn rc2_without_the_legacy_provider_says_so() {
        assert_eq!(
            Problem::UnsupportedAlgorithm("RC2-40-CBC".into()).to_string(),
            "it is encrypted with RC2-40-CBC, which this server's OpenSSL lacks (RC2, RC4 and \
             single DES need its legacy provider); export it again with AES-256 or 3DES"
        );
    }
}
