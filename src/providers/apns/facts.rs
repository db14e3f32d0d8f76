//! What is told of a certificate in use.

use time::OffsetDateTime;

use super::Mode;
use super::credential::Certificate;

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Every topic that it may be used for, the base topic first.
    pub topics: Vec<String>,
    /// The last second of its life.
    pub not_after: OffsetDateTime,
    /// Whether it is known not to serve the mode of its application.
    pub excludes_mode: bool,
}

impl CertificateFacts {
    /// Whole days until it runs out, rounded down: negative from the first second after.
    #[must_use]
    pub fn days_left(&self, now: OffsetDateTime) -> i64 {
        const DAY: i64 = 24 * 60 * 60;
        (self.not_after - now).whole_seconds().div_euclid(DAY)
    }
}

pub(super) fn facts(certificate: &Certificate, mode: Mode) -> CertificateFacts {
    CertificateFacts {
        topics: certificate.topics.clone(),
        not_after: certificate.not_after,
        excludes_mode: certificate.environments.excludes(mode),
    }
}
