//! Who calls and what for, where proxies that are trusted stand in between: `X-Forwarded-For`,
//! `X-Forwarded-Host` and `X-Forwarded-Proto`. Anybody can write those; they count only as far as
//! trusted proxies wrote them.

use std::net::{IpAddr, SocketAddr};

use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The proxies that are believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies(Vec<IpNet>);

/// Where a call comes from, as far as it is known.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Source<'a> {
    /// The caller; `None` when that is not known.
    pub(super) address: Option<IpAddr>,
    /// The host that the caller asked for; empty when it is no text.
    pub(super) host: Option<&'a str>,
    /// `http` or `https`, where a trusted proxy says so.
    pub(super) scheme: Option<&'a str>,
    /// Whether somebody who is not believed says that the call was forwarded.
    pub(super) is_hearsay: bool,
}

impl Proxies {
    /// Reads addresses and networks; the one that is neither is the error.
    ///
    /// # Errors
    /// The first text that is neither.
    pub fn parse<'a>(texts: &[&'a str]) -> Result<Self, &'a str> {
        let read = |text: &&'a str| {
            let net = text.parse::<IpNet>();
            net.or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map_err(|_| *text)
        };
        texts.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// Where a call comes from that `peer` brought.
    pub(super) fn source<'a>(&self, peer: Option<IpAddr>, headers: &'a HeaderMap) -> Source<'a> {
        let host = headers.get(header::HOST).map(text);
        let peer = peer.map(|peer| peer.to_canonical());
        if !peer.is_some_and(|peer| self.trusts(peer)) {
            let is_hearsay = headers
                .keys()
                .any(|name| name == header::FORWARDED || name.as_str().starts_with("x-forwarded-"));
            return Source { address: peer, host, scheme: None, is_hearsay };
        }
        // The one nearest to us wrote the last.
        let last = |name: HeaderName| {
            let value = text(headers.get_all(name).next_back()?);
            value.rsplit(',').next().map(str::trim)
        };
        let caller = self.caller(peer, headers);
        Source {
            address: caller.unwrap_or_default(),
            host: last(X_FORWARDED_HOST).or(host),
            scheme: last(X_FORWARDED_PROTO),
            // Nobody here reads RFC 7239, so whoever wrote that, it is not checked.
            is_hearsay: caller.is_none() || headers.contains_key(header::FORWARDED),
        }
    }

    /// The address nearest to us that is no trusted proxy's, or else the farthest. `None`: one on
    /// the way cannot be read.
    #[expect(clippy::option_option, reason = "not known is one thing, not to be read another")]
    fn caller(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> Option<Option<IpAddr>> {
        let mut caller = peer;
        let lines: Vec<&str> = headers.get_all(X_FORWARDED_FOR).map(text).collect();
        for entry in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
            let address = address(entry.trim())?;
            caller = Some(address);
            if !self.trusts(address) {
                break;
            }
        }
        Some(caller)
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|net| net.contains(&address))
    }
}

fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or_default()
}

/// An address, as some proxies write it with a port or in brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse::<IpAddr>().ok();
    let address = address.or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    fn ip(text: &str) -> Option<IpAddr> {
        text.parse().ok()
    }

    #[test]
    fn the_caller_is_the_nearest_that_no_trusted_proxy_is() {
        let trusted = ["10.0.0.0/8", "::1", "192.0.2.7"];
        let proxies = Proxies::parse(&trusted).unwrap_or_default();

        for (peer, lines, caller) in [
            ("10.1.1.1", &["203.0.113.9"][..], "203.0.113.9"),
            ("10.1.1.1", &["6.6.6.6, 203.0.113.9"], "203.0.113.9"),
            ("10.1.1.1", &["6.6.6.6", "203.0.113.9, 192.0.2.7", "10.2.2.2"], "203.0.113.9"),
            ("::ffff:10.1.1.1", &["[2001:db8::1]:443"], "2001:db8::1"),
            ("::1", &["203.0.113.9:1234"], "203.0.113.9"),
            ("10.1.1.1", &["10.3.3.3,10.2.2.2"], "10.3.3.3"),
            ("10.1.1.1", &[], "10.1.1.1"),
        ] {
            let lines: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
            let headers = headers(&lines);
            let source = proxies.source(ip(peer), &headers);
            assert_eq!((source.address, source.is_hearsay), (ip(caller), false), "{lines:?}");
        }
    }

    #[test]
    fn what_strangers_say_is_hearsay() {
        let proxies = Proxies::parse(&["10.0.0.1"]).unwrap_or_default();
        let forwarded = headers(&[
            ("host", "a.example"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-host", "b.example"),
            ("x-forwarded-proto", "https"),
        ]);
        let stranger = ip("10.0.0.2");

        let source = proxies.source(stranger, &forwarded);
        let host = Some("a.example");
        let said = Source { address: stranger, host, scheme: None, is_hearsay: true };
        assert_eq!(source, said);
        let direct = headers(&[("host", "a.example")]);
        assert_eq!(proxies.source(stranger, &direct), Source { is_hearsay: false, ..said });
    }

    #[test]
    fn of_host_and_scheme_the_last_word_counts_and_rubbish_makes_hearsay() {
        let proxies = Proxies::parse(&["10.0.0.1"]).unwrap_or_default();
        let forwarded = headers(&[
            ("host", "inside"),
            ("x-forwarded-for", "203.0.113.9"),
            ("x-forwarded-host", "evil.example, relay.example"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-proto", "https"),
        ]);

        let source = proxies.source(ip("10.0.0.1"), &forwarded);
        let said = Source {
            address: ip("203.0.113.9"),
            host: Some("relay.example"),
            scheme: Some("https"),
            is_hearsay: false,
        };
        assert_eq!(source, said);
        for rubbish in ["unknown", "", "1.2.3.4.5", "203.0.113.9, _hidden"] {
            let headers = headers(&[("x-forwarded-for", rubbish)]);
            let source = proxies.source(ip("10.0.0.1"), &headers);
            assert_eq!((source.address, source.is_hearsay), (None, true), "{rubbish}");
        }
        let other = headers(&[("forwarded", "for=127.0.0.1")]);
        assert!(proxies.source(ip("10.0.0.1"), &other).is_hearsay);
    }
}
