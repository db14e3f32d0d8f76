//! The TLS side: whom we trust, who we are, where we go.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{Ssl, SslConnector, SslMethod, SslMode, SslVersion};
use openssl::x509::X509;
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;
use url::Url;

use super::proxy::{self, Proxy};

/// The certificate authorities that servers are checked against, and the rules of our handshakes.
/// Made once and shared: parsing the system's list for each application would cost megabytes.
#[derive(Clone)]
pub struct Trust(Arc<Authorities>);

struct Authorities {
    /// Those beside the system's.
    extra: Vec<X509>,
    /// Made for the first handshake: the system's list takes a megabyte, and ten milliseconds.
    connector: OnceCell<SslConnector>,
}

impl fmt::Debug for Trust {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Trust")
    }
}

impl Trust {
    /// The system's certificate authorities, which are read when they are first needed, and those of
    /// `extra_ca_file` beside them.
    ///
    /// # Errors
    /// When `extra_ca_file` cannot be read or holds no certificate.
    pub fn new(extra_ca_file: Option<&Path>) -> io::Result<Self> {
        let mut extra = Vec::new();
        if let Some(path) = extra_ca_file {
            extra = X509::stack_from_pem(&std::fs::read(path)?)?;
            if extra.is_empty() {
                return Err(io::Error::other("it holds no certificate in PEM"));
            }
        }
        Ok(Self(Arc::new(Authorities { extra, connector: OnceCell::new() })))
    }

    /// A handshake with `endpoint` under `identity`: server name and its check included.
    pub(super) async fn handshake(
        &self,
        endpoint: &Endpoint,
        identity: Option<&Identity>,
    ) -> io::Result<Ssl> {
        let make = || async {
            let authorities = Arc::clone(&self.0);
            spawn_blocking(move || connector(&authorities.extra)).await?
        };
        let mut configuration = self.0.connector.get_or_try_init(make).await?.configure()?;
        if let Some(identity) = identity {
            configuration.set_certificate(&identity.certificate)?;
            configuration.set_private_key(&identity.key)?;
            for certificate in &identity.chain {
                configuration.add_chain_cert(certificate.clone())?;
            }
        }
        Ok(configuration.into_ssl(&endpoint.host)?)
    }
}

fn connector(extra: &[X509]) -> io::Result<SslConnector> {
    let unread = |path: &Path, error: ErrorStack| {
        let path = path.display();
        io::Error::other(format!("the system's list of authorities, {path}, is bad: {error}"))
    };
    let mut builder = SslConnector::builder(SslMethod::tls_client())?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    builder.set_alpn_protos(b"\x02h2")?;
    // One read call for a record instead of two.
    builder.set_read_ahead(true);
    // With our certificate goes its own chain, and not one that OpenSSL finds among those that
    // we trust: it goes by names, and looks anew in each handshake.
    builder.set_mode(SslMode::NO_AUTO_CHAIN);
    // A vendored OpenSSL has no list of its own: look where systems keep theirs. A machine
    // without one can still reach a server under `extra_ca_file`.
    let system = openssl_probe::probe();
    if let Some(file) = system.cert_file {
        builder.load_verify_locations(Some(&file), None).map_err(|error| unread(&file, error))?;
    }
    for folder in system.cert_dir {
        builder
            .load_verify_locations(None, Some(&folder))
            .map_err(|error| unread(&folder, error))?;
    }
    for certificate in extra {
        builder.cert_store_mut().add_cert(certificate.clone())?;
    }
    Ok(builder.build())
}

/// Who we are to the peer: a client certificate with its key.
#[derive(Clone)]
pub struct Identity {
    /// The certificate itself.
    pub certificate: X509,
    /// What leads from it to a root.
    pub chain: Vec<X509>,
    /// Its private key.
    pub key: PKey<Private>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Identity")
    }
}

/// The authority that a pool connects to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub(super) host: Arc<str>,
    pub(super) port: u16,
    /// What stands in between.
    pub(super) proxy: Option<Proxy>,
    authority: http::uri::Authority,
}

impl Endpoint {
    /// The authority of an `https` URL; `None` when it has no host.
    #[must_use]
    pub fn of(url: &Url) -> Option<Self> {
        let shown = url.host_str()?;
        // An IPv6 address stands in brackets in a URL and without them everywhere else.
        let host = shown.trim_start_matches('[').trim_end_matches(']');
        let port = url.port_or_known_default()?;
        let authority = match url.port() {
            Some(port) => format!("{shown}:{port}"),
            None => shown.to_owned(),
        };
        Some(Self { host: host.into(), port, proxy: None, authority: authority.parse().ok()? })
    }

    /// The same, reached as the configuration says.
    #[must_use]
    pub fn through(mut self, proxy: &proxy::Settings) -> Self {
        self.proxy = proxy.on_the_way_to(&self.host).cloned();
        self
    }

    /// The value of `:authority` in requests.
    #[must_use]
    pub fn authority(&self) -> &http::uri::Authority {
        &self.authority
    }
}
