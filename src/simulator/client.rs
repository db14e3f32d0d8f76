//! The client of a connection, as its certificate describes it.

use x509_parser::asn1_rs::{Any, FromDer, Sequence, Tag};
use x509_parser::prelude::X509Certificate;

/// What APNs reads out of a client certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Client {
    /// The subject's UID: the base topic.
    pub(super) uid: Option<String>,
    /// Every topic it may push to.
    pub(super) topics: Vec<String>,
    /// Marked for the sandbox.
    pub(super) development: bool,
    /// Marked for production.
    pub(super) production: bool,
    /// Its validity, in seconds since 1970.
    pub(super) validity_secs: (i64, i64),
}

impl Client {
    /// Reads a certificate; `None` if it is not one.
    pub(super) fn from_der(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let uid = certificate
            .subject()
            .iter_attributes()
            .find(|attribute| attribute.attr_type().to_id_string() == "0.9.2342.19200300.100.1.1")
            .and_then(|attribute| attribute.as_str().ok())
            .map(str::to_owned);
        let mut client = Self {
            topics: uid.iter().cloned().collect(),
            uid,
            development: false,
            production: false,
            validity_secs: (
                certificate.validity().not_before.timestamp(),
                certificate.validity().not_after.timestamp(),
            ),
        };
        for extension in certificate.extensions() {
            match extension.oid.to_id_string().as_str() {
                "1.2.840.113635.100.6.3.1" => client.development = true,
                "1.2.840.113635.100.6.3.2" => client.production = true,
                "1.2.840.113635.100.6.3.6" => client.topics = topics(extension.value),
                _ => {}
            }
        }
        Some(client)
    }
}

/// The strings at the first level of the sequence; the kinds between them are one level deeper.
fn topics(der: &[u8]) -> Vec<String> {
    let mut topics = Vec::new();
    if let Ok((_, sequence)) = Sequence::from_der(der) {
        let mut rest: &[u8] = &sequence.content;
        while let Ok((after, any)) = Any::from_der(rest) {
            rest = after;
            if any.tag() == Tag::Utf8String {
                topics.push(String::from_utf8_lossy(any.data).into_owned());
            }
        }
    }
    topics
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]
mod tests {
    use super::super::certificates::{Authority, Environment, Subject};
    use super::*;

    fn client(subject: &Subject) -> Client {
        let authority = Authority::generate("test").unwrap();
        let certificate = authority.client(subject).unwrap().certificate;
        Client::from_der(&certificate.to_der().unwrap()).unwrap()
    }

    #[test]
    fn reads_what_apple_writes() {
        let read = client(&Subject { elliptic: true, ..Subject::of_app("com.example") });

        assert_eq!(read.uid.as_deref(), Some("com.example"));
        assert_eq!(read.topics, ["com.example", "com.example.voip", "com.example.complication"]);
        assert!(read.development && read.production);
        assert_eq!(read.validity_secs.1 - read.validity_secs.0, 396 * 86_400);
    }

    #[test]
    fn without_the_extension_the_uid_is_the_topic() {
        let read = client(&Subject {
            topics: Vec::new(),
            environment: Environment::Sandbox,
            elliptic: true,
            ..Subject::of_app("com.example")
        });

        assert_eq!(read.topics, ["com.example"]);
        assert!(read.development && !read.production);
    }
}
