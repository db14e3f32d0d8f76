//! TLS for callers: the certificate of the listener, which may change while it listens.

use std::fs;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use openssl::asn1::Asn1Time;
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{ClientHelloResponse, SslAcceptor, SslAcceptorBuilder, SslMethod};
use openssl::x509::X509;

use crate::config;

/// What new connections are shown, shared with the listener.
#[derive(Clone)]
pub(super) struct Shown {
    /// Guards the pointer: read once for each handshake.
    pair: Arc<RwLock<Arc<Pair>>>,
}

/// A certificate with its chain and its key.
struct Pair {
    certificate: X509,
    chain: Vec<X509>,
    key: PKey<Private>,
}

impl Shown {
    /// Reads the files that the configuration names; `None` when it names none.
    pub(super) fn read(settings: &config::Server) -> Result<Option<Self>, String> {
        let pair = pair(settings)?;
        Ok(pair.map(|pair| Self { pair: Arc::new(RwLock::new(Arc::new(pair))) }))
    }

    /// Reads the files anew. What cannot be used replaces nothing.
    pub(super) fn reread(&self, settings: &config::Server) {
        match pair(settings) {
            Ok(Some(pair)) => {
                *self.pair.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(pair);
            }
            // A listener does not turn from TLS to none.
            Ok(None) => {}
            Err(reason) => tracing::error!(
                reason,
                "the listener keeps the certificate that it has, since the new one cannot be used"
            ),
        }
    }

    /// The rules of handshakes: TLS 1.2 and 1.3, Mozilla's list of ciphers for all but the oldest
    /// of clients. The certificate is put in when a client says hello.
    pub(super) fn acceptor(&self) -> Result<SslAcceptorBuilder, ErrorStack> {
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
        let shown = self.clone();
        acceptor.set_client_hello_callback(move |handshake, _| {
            let pair = Arc::clone(&shown.pair.read().unwrap_or_else(PoisonError::into_inner));
            handshake.set_certificate(&pair.certificate)?;
            handshake.set_private_key(&pair.key)?;
            for certificate in &pair.chain {
                handshake.add_chain_cert(certificate.clone())?;
            }
            Ok(ClientHelloResponse::SUCCESS)
        });
        Ok(acceptor)
    }
}

fn pair(settings: &config::Server) -> Result<Option<Pair>, String> {
    let (Some(cert), Some(key)) = (&settings.tls_cert, &settings.tls_key) else { return Ok(None) };
    let pem = contents(cert, "server.tls_cert")?;
    let mut certificates = X509::stack_from_pem(&pem).unwrap_or_default().into_iter();
    let Some(certificate) = certificates.next() else {
        return Err(format!(
            "`server.tls_cert` names `{}`, which holds no certificate in PEM",
            cert.display()
        ));
    };
    let pem = contents(key, "server.tls_key")?;
    // With a password OpenSSL asks nobody at the terminal for one.
    let Ok(private) = PKey::private_key_from_pem_passphrase(&pem, b"") else {
        return Err(format!(
            "`server.tls_key` names `{}`, which holds no key in PEM, or an encrypted one; give one \
             that is not encrypted",
            key.display()
        ));
    };
    if !certificate.public_key().is_ok_and(|public| public.public_eq(&private)) {
        return Err(format!(
            "`server.tls_key` names `{}`, whose key does not belong to the first certificate in \
             `{}`; put the server's own certificate first",
            key.display(),
            cert.display()
        ));
    }
    if Asn1Time::days_from_now(0).is_ok_and(|now| certificate.not_after() < now) {
        let not_after = certificate.not_after().to_string();
        tracing::warn!(not_after, "the certificate of server.tls_cert is past; callers refuse it");
    }
    Ok(Some(Pair { certificate, chain: certificates.collect(), key: private }))
}

fn contents(path: &Path, setting: &str) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| {
        format!("`{setting}` names `{}`, which cannot be read: {error}", path.display())
    })
}
