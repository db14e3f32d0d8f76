//! Where the dead tokens of an application are reported.

use std::fmt;

use url::{Host, Url};
use wildmatch::WildMatch;

use crate::secret::Secret;

/// A receiver of reports. Two with the same address and secret are the same.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Where reports are posted; who has a secret part in it relies on its not being printed.
    pub url: Url,
    /// What reports are signed with.
    pub secret: Secret<String>,
}

impl Webhook {
    /// The host, and the port where one is named: what of the address may be printed.
    #[must_use]
    pub fn authority(&self) -> String {
        authority(&self.url)
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Webhook({})", self.authority())
    }
}

/// Whether reports may go there at all: `https`, or `http` that does not leave this machine.
#[must_use]
pub fn is_safe(url: &Url) -> bool {
    let is_loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.to_canonical().is_loopback(),
        None => false,
    };
    let is_plain =
        url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    is_plain && (url.scheme() == "https" || (url.scheme() == "http" && is_loopback))
}

/// The hosts that callers may name in a registration. A relay that posts wherever a caller says is
/// a way into the network that it stands in, and no check of addresses closes it: a name may lead
/// elsewhere when it is looked up again. So who runs the relay says which hosts are meant.
#[derive(Debug, Default)]
pub struct Hosts(Vec<WildMatch>);

impl Hosts {
    /// Names or globs, with a port where it is not the scheme's own.
    #[must_use]
    pub fn new(globs: &[String]) -> Self {
        Self(globs.iter().map(|glob| WildMatch::new(&glob.to_ascii_lowercase())).collect())
    }

    /// Whether one of them is meant by this address.
    #[must_use]
    pub fn allow(&self, url: &Url) -> bool {
        let authority = authority(url);
        is_safe(url) && self.0.iter().any(|glob| glob.matches(&authority))
    }
}

fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(globs: &[&str], url: &str) -> bool {
        let globs: Vec<_> = globs.iter().map(|glob| (*glob).to_owned()).collect();
        Url::parse(url).is_ok_and(|url| Hosts::new(&globs).allow(&url))
    }

    #[test]
    fn only_named_hosts_and_ports_are_allowed() {
        for (glob, url) in [
            ("hooks.example.com", "https://hooks.example.com/a?b=c"),
            ("Hooks.Example.com", "https://HOOKS.example.com:443/"),
            ("*.example.com", "https://a.b.example.com"),
            ("hooks.example.com:8443", "https://hooks.example.com:8443/a"),
            ("127.0.0.1:*", "http://127.0.0.1:8080/a"),
            ("[::1]:8080", "http://[::1]:8080/a"),
        ] {
            assert!(allowed(&[glob], url), "{glob} {url}");
        }
        for (glob, url) in [
            ("hooks.example.com", "https://hooks.example.com:8443/"),
            ("hooks.example.com", "https://hooks.example.com.evil.org/"),
            ("hooks.example.com", "http://hooks.example.com/"),
            ("hooks.example.com", "https://user@hooks.example.com/"),
            ("hooks.example.com", "https://hooks.example.com/#a"),
            ("*", "http://169.254.169.254/"),
            ("*", "file:///etc/passwd"),
            ("127.0.0.1", "http://127.0.0.1:8080/"),
        ] {
            assert!(!allowed(&[glob], url), "{glob} {url}");
        }
        assert!(!allowed(&[], "https://hooks.example.com/"));
    }

    #[test]
    fn what_may_be_secret_is_not_printed() {
        let webhook = Webhook {
            url: Url::parse("https://hooks.example.com:1/path?key=hunter2")
                .unwrap_or_else(|error| panic!("{error}")),
            secret: Secret::new("hunter2".to_owned()),
        };

        assert_eq!(format!("{webhook:?}"), "Webhook(hooks.example.com:1)");
    }
}
