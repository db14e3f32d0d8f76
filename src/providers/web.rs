//! What the services behind `reqwest` share: the client, bounded answers, and what it means that
//! none came.

use std::error::Error as _;
use std::io;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use openssl::x509::X509;
use reqwest::Certificate;
use tokio::time::Instant;
use url::Url;

use crate::outcome::{Cause, Delivery, Failure, Outcome, Retry};
use crate::transport::proxy;

/// A client that is made when it is first needed: each reads the system's certificate authorities,
/// a megabyte that a relay for Apple alone has no use for.
#[derive(Debug)]
pub(crate) struct LazyClient {
    authorities: Vec<Certificate>,
    proxy: proxy::Settings,
    connect_timeout: Option<Duration>,
    timeout: Option<Duration>,
    made: OnceLock<reqwest::Client>,
}

impl LazyClient {
    /// Further certificate authorities, and timeouts of making a connection, and of a whole
    /// exchange; `None` is none of its own.
    pub(crate) fn new(
        authorities: Vec<Certificate>,
        connect_timeout: Option<Duration>,
        timeout: Option<Duration>,
    ) -> Self {
        let proxy = proxy::Settings::default();
        Self { authorities, proxy, connect_timeout, timeout, made: OnceLock::new() }
    }

    /// The client.
    ///
    /// # Errors
    /// When the TLS library cannot be set up.
    pub(crate) fn get(&self) -> Result<&reqwest::Client, reqwest::Error> {
        if let Some(client) = self.made.get() {
            return Ok(client);
        }
        let mut builder = client(&self.authorities, &self.proxy);
        if let Some(limit) = self.connect_timeout {
            builder = builder.connect_timeout(limit);
        }
        if let Some(limit) = self.timeout {
            builder = builder.timeout(limit);
        }
        let client = builder.build()?;
        // Of two that were made at once, one is kept.
        Ok(self.made.get_or_init(|| client))
    }

    /// Another one like it, reached through what stands in between.
    pub(crate) fn through(&self, proxy: &proxy::Settings) -> Self {
        Self {
            authorities: self.authorities.clone(),
            proxy: proxy.clone(),
            connect_timeout: self.connect_timeout,
            timeout: self.timeout,
            made: OnceLock::new(),
        }
    }

    /// What a sentence about a connection to this URL says of the proxy on the way.
    pub(super) fn via(&self, url: &Url) -> String {
        let proxy = self.proxy.on_the_way_to_url(url);
        proxy.map(|proxy| format!(" through the proxy {proxy}")).unwrap_or_default()
    }
}

/// No client could be made, so nothing was sent.
pub(super) fn no_client(error: &reqwest::Error) -> Outcome {
    let cause = Cause::Unreachable { detail: format!("no client: {}", sentence(error)) };
    let (delivery, retry) = (Delivery::NotSent, Retry::Never);
    Outcome::Failed(Failure { cause, delivery, retry, retry_after: None, id: None })
}

/// The certificate authorities of a PEM file.
///
/// # Errors
/// It cannot be read, or holds no certificate.
pub(super) fn authorities(file: &Path) -> io::Result<Vec<Certificate>> {
    let certificates = X509::stack_from_pem(&std::fs::read(file)?)?;
    if certificates.is_empty() {
        return Err(io::Error::other("it holds no certificate in PEM"));
    }
    let certificates = certificates.iter();
    certificates
        .map(|one| Certificate::from_der(&one.to_der()?).map_err(io::Error::other))
        .collect()
}

/// A client that follows nobody anywhere and repeats nothing: the one retry loop is in `delivery`.
/// It trusts these authorities beside the system's.
fn client(authorities: &[Certificate], proxy: &proxy::Settings) -> reqwest::ClientBuilder {
    let proxy = proxy.clone();
    let on_the_way = move |url: &Url| Some(proxy.on_the_way_to_url(url)?.url().expose().clone());
    reqwest::Client::builder()
        .tls_certs_merge(authorities.iter().cloned())
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        // Of the environment nothing is heeded.
        .no_proxy()
        .proxy(reqwest::Proxy::custom(on_the_way))
        .user_agent(concat!("pushlet/", env!("CARGO_PKG_VERSION")))
}

/// What stands at a URL: its clock, where it tells. Any answer will do, and nothing is given away.
///
/// # Errors
/// Why no answer came.
pub(super) async fn date(
    client: &reqwest::Client,
    url: Url,
    deadline: Instant,
) -> Result<Option<SystemTime>, String> {
    let limit = deadline.saturating_duration_since(Instant::now());
    let answer = client.head(url).timeout(limit).send().await;
    let answer = answer.map_err(|error| sentence(&error))?;
    Ok(super::date(answer.headers()))
}

/// Why an answer could not be read to its end.
pub(super) enum Unread {
    /// The connection ended, or the time was over.
    Broken(reqwest::Error),
    /// It is longer than was allowed.
    TooLong,
}

/// Reads a body of at most `max_bytes`, whatever its length is said to be.
pub(super) async fn body(
    response: &mut reqwest::Response,
    max_bytes: usize,
) -> Result<Vec<u8>, Unread> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(Unread::Broken)? {
        if chunk.len() > max_bytes.saturating_sub(body.len()) {
            return Err(Unread::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// No answer came. What `reqwest` calls a failure to connect came before the request was written.
pub(super) fn unanswered(error: &reqwest::Error, deadline: Instant, via: &str) -> Outcome {
    let detail =
        if error.is_connect() { format!("{}{via}", sentence(error)) } else { sentence(error) };
    let is_late = error.is_timeout() && (!error.is_connect() || Instant::now() >= deadline);
    let (cause, delivery, retry) = if is_late {
        let delivery = if error.is_connect() { Delivery::NotSent } else { Delivery::Unknown };
        (Cause::Deadline, delivery, Retry::Never)
    } else if error.is_connect() {
        (Cause::Unreachable { detail }, Delivery::NotSent, Retry::Seldom)
    } else if was_not_processed(error) {
        (Cause::Unreachable { detail }, Delivery::NotSent, Retry::Freely)
    } else {
        return lost(detail);
    };
    Outcome::Failed(Failure { cause, delivery, retry, retry_after: None, id: None })
}

/// The message may have been written, and nobody will answer it any more.
pub(super) fn lost(detail: String) -> Outcome {
    let cause = Cause::Unanswered { detail };
    let (delivery, retry) = (Delivery::Unknown, Retry::IfAtLeastOnce);
    Outcome::Failed(Failure { cause, delivery, retry, retry_after: None, id: None })
}

/// The deadline passed before anything was written.
pub(super) fn too_late() -> Outcome {
    let (cause, delivery) = (Cause::Deadline, Delivery::NotSent);
    Outcome::Failed(Failure { cause, delivery, retry: Retry::Never, retry_after: None, id: None })
}

/// The causes of an error, without the URL: it may hold what is nobody's business.
pub(crate) fn sentence(error: &reqwest::Error) -> String {
    let mut sentence =
        if error.is_connect() { "connecting failed" } else { "the exchange broke" }.to_owned();
    let mut cause = error.source();
    while let Some(inner) = cause {
        sentence.push_str(": ");
        sentence.push_str(&inner.to_string());
        cause = inner.source();
    }
    sentence
}

/// The peer said that it did not process the stream: a GOAWAY below it, or `REFUSED_STREAM`
/// (RFC 9113 §6.8, §8.7).
fn was_not_processed(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(h2) = inner.downcast_ref::<h2::Error>() {
            let reason = h2.reason();
            let left = h2.is_go_away() && reason == Some(h2::Reason::NO_ERROR);
            let refused = h2.is_reset() && reason == Some(h2::Reason::REFUSED_STREAM);
            return h2.is_remote() && (left || refused);
        }
        cause = inner.source();
    }
    false
}
