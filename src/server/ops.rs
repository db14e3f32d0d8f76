//! The second listener, of `ops.bind`: what tells of the relay, and no calls.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;

use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer, web};
use tokio::runtime::Handle;

use super::{KEEP_ALIVE, StartError, listen, tls};
use crate::api;
use crate::api::current::Current;
use crate::config::Config;

/// It listens, and does not serve yet.
pub(super) struct Ops {
    address: SocketAddr,
    listening: actix_web::dev::Server,
}

impl Ops {
    pub(super) fn bind(
        bind: SocketAddr,
        config: &Config,
        shown: Option<&tls::Shown>,
        current: &web::Data<Current>,
        runtime: &Handle,
    ) -> Result<Self, StartError> {
        let failed = |error: std::io::Error| StartError(format!("the start failed: {error}"));
        let listener = listen("ops.bind", bind, runtime)?;
        let address = listener.local_addr().map_err(failed)?;
        let shared = current.clone();
        let server = HttpServer::new(move || {
            App::new()
                .app_data(shared.clone())
                .wrap(from_fn(api::identify))
                .wrap(from_fn(api::unread::close))
                .configure(api::ops_alone)
        })
        .disable_signals()
        .workers(1)
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(config.server.read_timeout)
        .tls_handshake_timeout(config.server.read_timeout);
        let server = match shown {
            Some(shown) => shown
                .acceptor()
                .map_err(std::io::Error::from)
                .and_then(|acceptor| server.listen_openssl(listener, acceptor)),
            None => server.listen(listener),
        };
        Ok(Self { address, listening: server.map_err(failed)?.run() })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves for as long as `serving` does, so that the end of that can be watched.
    pub(super) async fn beside(
        self,
        serving: impl Future<Output = std::io::Result<()>>,
    ) -> std::io::Result<()> {
        let handle = self.listening.handle();
        let mut listening = pin!(self.listening);
        let ended = tokio::select! {
            ended = serving => ended,
            ended = &mut listening => return ended,
        };
        let (closed, ()) = tokio::join!(listening, handle.stop(false));
        ended.and(closed)
    }
}
