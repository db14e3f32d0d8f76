//! TLS for callers: the certificate of the listener, which may change while it listens.

use std::fs;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use openssl::asn1::Asn1Time;
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{
    AlpnError, ClientHelloResponse, SslAcceptor, SslAcceptorBuilder, SslContext, SslMethod,
};
use openssl::x509::X509;

use crate::config;

/// What new connections are shown, shared with the listener.
#[derive(Clone)]
pub(super) struct Shown {
    /// Guards the pointer: read once for each handshake.
    context: Arc<RwLock<SslContext>>,
}

impl Shown {
    /// Reads the files that the configuration names; `None` when it names none.
    pub(super) fn read(settings: &config::Server) -> Result<Option<Self>, String> {
        let context = context(settings)?;
        Ok(context.map(|context| Self { context: Arc::new(RwLock::new(context)) }))
    }

    /// Reads the files anew. What cannot be used replaces nothing.
    pub(super) fn reread(&self, settings: &config::Server) {
        match context(settings) {
            Ok(Some(context)) => {
                *self.context.write().unwrap_or_else(PoisonError::into_inner) = context;
            }
            // A listener does not turn from TLS to none.
            Ok(None) => {}
            Err(reason) => tracing::error!(
                reason,
                "the listener keeps the certificate that it has, since the new one cannot be used"
            ),
        }
    }

    /// What a listener begins with: everything else is put in its place when a client says hello.
    pub(super) fn acceptor(&self) -> Result<SslAcceptorBuilder, ErrorStack> {
        let mut acceptor = rules()?;
        let shown = self.clone();
        acceptor.set_client_hello_callback(move |handshake, _| {
            let context = shown.context.read().unwrap_or_else(PoisonError::into_inner).clone();
            handshake.set_ssl_context(&context)?;
            Ok(ClientHelloResponse::SUCCESS)
        });
        Ok(acceptor)
    }
}

/// TLS 1.2 and 1.3, with Mozilla's list of ciphers for all but the oldest of clients.
fn rules() -> Result<SslAcceptorBuilder, ErrorStack> {
    SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())
}

/// The context of handshakes under the certificate that the configuration names.
fn context(settings: &config::Server) -> Result<Option<SslContext>, String> {
    let Some(pair) = pair(settings)? else { return Ok(None) };
    let context = pair.context().map_err(|error| {
        format!("`server.tls_cert` holds a certificate that OpenSSL does not take: {error}")
    })?;
    Ok(Some(context))
}

/// A certificate with its chain and its key.
struct Pair {
    certificate: X509,
    chain: Vec<X509>,
    key: PKey<Private>,
}

impl Pair {
    fn context(self) -> Result<SslContext, ErrorStack> {
        let mut context = rules()?;
        context.set_certificate(&self.certificate)?;
        context.set_private_key(&self.key)?;
        for certificate in self.chain {
            context.add_extra_chain_cert(certificate)?;
        }
        // HTTP/1.1 alone: actix-web's HTTP/2 knows neither the limit of heads nor that of bodies
        // that are left unread.
        context.set_alpn_select_callback(|_, offered| {
            const HTTP_1_1: &[u8] = b"\x08http/1.1";
            let is_offered = offered.windows(HTTP_1_1.len()).any(|window| window == HTTP_1_1);
            if is_offered { Ok(b"http/1.1") } else { Err(AlpnError::NOACK) }
        });
        Ok(context.build().into_context())
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
