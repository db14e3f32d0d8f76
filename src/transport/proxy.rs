//! The HTTP proxy that the push services may have to be reached through.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use url::Url;

use crate::secret::Secret;

/// Longest answer to CONNECT, in bytes.
const MAX_ANSWER_BYTES: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;

/// The section `[proxy]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// An HTTP proxy that Apple and Google are reached through (CONNECT), as
    /// `http://USER:PASSWORD@HOST:PORT`. Variables such as `HTTPS_PROXY` are not heeded, and plain
    /// `http` on loopback needs no proxy.
    pub url: Option<Proxy>,
    /// Hosts that are reached without it; one that begins with a dot stands for all below it. As a
    /// variable: with commas between them.
    pub except: Vec<String>,
}

impl Settings {
    /// The proxy on the way to this host, which is an address without brackets or a name.
    #[must_use]
    pub fn on_the_way_to(&self, host: &str) -> Option<&Proxy> {
        let is_direct = |except: &String| match except.strip_prefix('.') {
            Some(parent) => host
                .len()
                .checked_sub(parent.len())
                .and_then(|at| host.split_at_checked(at))
                .is_some_and(|(below, end)| {
                    below.ends_with('.') && end.eq_ignore_ascii_case(parent)
                }),
            None => host.eq_ignore_ascii_case(except),
        };
        self.url.as_ref().filter(|_| !self.except.iter().any(is_direct))
    }

    /// The same for a URL: only `https` takes it.
    #[must_use]
    pub fn on_the_way_to_url(&self, url: &Url) -> Option<&Proxy> {
        let host = url.host_str().filter(|_| url.scheme() == "https")?;
        self.on_the_way_to(host.trim_start_matches('[').trim_end_matches(']'))
    }
}

/// Where a proxy is, and who we are to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    pub(super) host: Arc<str>,
    pub(super) port: u16,
    /// What libraries that speak to proxies themselves are given; it holds the password.
    url: Secret<Url>,
    /// The value of `proxy-authorization`.
    authorization: Option<Secret<String>>,
}

impl Proxy {
    /// Reads `http://USER:PASSWORD@HOST:PORT`; `None` when it is something else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        if url.scheme() != "http" || !is_bare {
            return None;
        }
        let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']').into();
        let decoded = |text| percent_decode_str(text).collect::<Vec<u8>>();
        let authorization = (!url.username().is_empty() || url.password().is_some()).then(|| {
            let password = decoded(url.password().unwrap_or_default());
            let both = [decoded(url.username()).as_slice(), b":", password.as_slice()].concat();
            Secret::new(format!("Basic {}", STANDARD.encode(both)))
        });
        let port = url.port_or_known_default()?;
        Some(Self { host, port, url: Secret::new(url), authorization })
    }

    /// The URL as it was given, user name and password included.
    #[must_use]
    pub fn url(&self) -> &Secret<Url> {
        &self.url
    }

    /// Asks for a way to `authority`, which has a port (RFC 9110 §9.3.6).
    pub(super) async fn tunnel(
        &self,
        stream: &mut TcpStream,
        authority: &str,
    ) -> Result<(), String> {
        let broke = |error| format!("the proxy {self} broke off: {error}");
        let mut request = format!("CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n");
        if let Some(authorization) = &self.authorization {
            request.push_str("proxy-authorization: ");
            request.push_str(authorization.expose());
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await.map_err(broke)?;
        let mut answer = Vec::with_capacity(512);
        loop {
            if stream.read_buf(&mut answer).await.map_err(broke)? == 0 {
                return Err(format!("the proxy {self} closed the connection without an answer"));
            }
            if let Some(status) = self.status(&answer)? {
                return self.verdict(status, authority);
            }
            if answer.len() > MAX_ANSWER_BYTES {
                return Err(self.nonsense());
            }
        }
    }

    /// The status of an answer that is there as a whole. The peer behind the proxy does not speak
    /// first in TLS, so nothing may follow a success.
    fn status(&self, answer: &[u8]) -> Result<Option<StatusCode>, String> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let length = match response.parse(answer) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(self.nonsense()),
        };
        let status = response.code.and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.ok_or_else(|| self.nonsense())?;
        if status.is_success() && answer.len() > length {
            return Err(self.nonsense());
        }
        Ok(Some(status))
    }

    fn verdict(&self, status: StatusCode, authority: &str) -> Result<(), String> {
        if status.is_success() {
            return Ok(());
        }
        Err(match status {
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => format!(
                "the proxy {self} wants another user name and password (407); check proxy.url"
            ),
            StatusCode::FORBIDDEN | StatusCode::METHOD_NOT_ALLOWED => format!(
                "the proxy {self} lets nobody through to {authority} ({status}); let it allow \
                 CONNECT to that"
            ),
            _ => format!("the proxy {self} found no way to {authority} ({status})"),
        })
    }

    fn nonsense(&self) -> String {
        format!("what answers at {self} is no HTTP proxy; check proxy.url")
    }
}

/// Where it is, without user name and password.
impl fmt::Display for Proxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(formatter, "[{}]:{}", self.host, self.port),
            false => write!(formatter, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(text: &str) -> Proxy {
        Proxy::parse(text).unwrap_or_else(|| panic!("{text} is no proxy"))
    }

    #[test]
    fn user_name_and_password_are_decoded_and_hidden() {
        let proxy = proxy("http://ann%40corp:p%3Aw%20d@[::1]:3128");

        let expected = format!("Basic {}", STANDARD.encode("ann@corp:p:w d"));
        assert_eq!(proxy.authorization.as_ref().map(Secret::expose), Some(&expected));
        assert_eq!(proxy.to_string(), "[::1]:3128");
        let shown = format!("{proxy:?}");
        assert!(!shown.contains("corp") && !shown.contains("p%3A"), "{shown}");
    }

    #[test]
    fn what_is_no_http_proxy_is_refused() {
        for text in
            ["https://a:1", "socks5://a:1", "http://a/b", "http://a?b", "a:1", "", "http://a#b"]
        {
            assert_eq!(Proxy::parse(text), None, "{text}");
        }
        assert_eq!(proxy("http://proxy.example").port, 80);
    }

    #[test]
    fn hosts_are_excepted_by_name_or_by_what_is_above_them() {
        let except = ["relay.example", ".corp.example", "10.0.0.1"].map(str::to_owned).to_vec();
        let settings = Settings { url: Some(proxy("http://p:1")), except };

        for host in ["relay.example", "Relay.Example", "a.corp.example", "a.b.CORP.example"] {
            assert_eq!(settings.on_the_way_to(host), None, "{host}");
        }
        for host in ["corp.example", "acorp.example", "a.relay.example", "10.0.0.2", "é.x", ""] {
            assert!(settings.on_the_way_to(host).is_some(), "{host}");
        }
        let through = |url| settings.on_the_way_to_url(&Url::parse(url).ok()?).cloned();
        assert_eq!(through("http://127.0.0.1:1/"), None);
        assert_eq!(through("https://10.0.0.1/"), None);
        assert!(through("https://[::1]:443/").is_some());
    }
}
