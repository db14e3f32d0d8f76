//! The TLS side of the fake APNs, and of the fake Google.

use openssl::error::ErrorStack;
use openssl::ssl::{
    AlpnError, SslAcceptor, SslAcceptorBuilder, SslMethod, SslOptions, SslSessionCacheMode,
    SslVerifyMode, select_next_proto,
};
use openssl::x509::X509;

use super::certificates::Identity;

/// TLS 1.2 or newer, HTTP/2 only. A client certificate is asked for and not needed; which ones are
/// taken depends on `client_authorities`: `None`, all; else those that one of these PEM
/// certificates vouches for, the others meet a TLS alert.
pub(super) fn acceptor(
    server: &Identity,
    client_authorities: Option<&[u8]>,
) -> Result<SslAcceptor, ErrorStack> {
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
    builder.set_certificate(&server.certificate)?;
    builder.set_private_key(&server.key)?;
    // Each connection shows its certificate anew.
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    builder.set_options(SslOptions::NO_TICKET);
    builder.set_num_tickets(0)?;
    builder.set_alpn_select_callback(|_, offered| {
        select_next_proto(b"\x02h2", offered).ok_or(AlpnError::ALERT_FATAL)
    });
    match client_authorities {
        None => builder.set_verify_callback(SslVerifyMode::PEER, |_, _| {
            // What is forgiven must not stay in the thread's queue, where the next read would find
            // it and take it for its own error.
            drop(ErrorStack::get());
            true
        }),
        Some(pem) => {
            for authority in X509::stack_from_pem(pem)? {
                builder.add_client_ca(&authority)?;
                builder.cert_store_mut().add_cert(authority)?;
            }
            builder.set_verify(SslVerifyMode::PEER);
        }
    }
    Ok(builder.build())
}

/// TLS 1.2 or newer for the web server, which adds what it speaks.
pub(super) fn web(server: &Identity) -> Result<SslAcceptorBuilder, ErrorStack> {
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
    builder.set_certificate(&server.certificate)?;
    builder.set_private_key(&server.key)?;
    Ok(builder)
}
