//! The composition root: it binds, builds what all calls share, serves and drains.

mod bridge;
mod direct;
mod ops;
mod reload;
mod state;
mod tls;

use std::fmt;
use std::future::Future;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer, web};
use socket2::SockRef;
use time::OffsetDateTime;
use tokio::net::TcpSocket;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout_at};

pub use self::direct::{Answer, Direct};
pub use self::reload::{Reloaded, Reloader};
use crate::api;
use crate::api::current::Current;
use crate::api::turns::Turns;
use crate::apps::expiry;
use crate::config::Config;
use crate::transport::Homes;

/// How many connections may wait to be accepted; the system may have a lower limit.
const BACKLOG: u32 = 4_096;

/// How long an idle connection of a caller is kept. A call that sets out while the connection is
/// being closed fails at the caller, who cannot know whether it was read; actix-web's 5 s make that
/// common. Stopping does not wait for idle connections.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// The shortest limit for a head. actix-web's clock ticks twice a second; a limit that is shorter may
/// be over before it begins, and is not looked at then.
const SHORTEST_HEAD: Duration = Duration::from_secs(1);

/// A relay that listens and does not serve yet.
pub struct Server {
    address: SocketAddr,
    is_tls: bool,
    applications: usize,
    listening: actix_web::dev::Server,
    handle: ServerHandle,
    /// The socket of `listening`.
    listener: TcpListener,
    /// Where connections to the push services live.
    homes: Homes,
    current: web::Data<Current>,
    reloader: Option<Reloader>,
    drain_delay: Duration,
    shutdown_timeout: Duration,
    ops: Option<ops::Ops>,
    /// Ends with the server.
    _expiry: expiry::Watch,
}

/// actix-web answers that it accepts no more callers before it does so, and says in the log that it cannot
/// if the socket is gone by then.
const PAUSE: Duration = Duration::from_millis(20);

/// How often certificates are looked at: a day has its threshold.
const EXPIRY_LOOKS: Duration = Duration::from_secs(60 * 60);

/// Why a relay could not start: a sentence.
#[derive(Debug)]
pub struct StartError(String);

impl fmt::Display for StartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

impl Server {
    /// Binds and loads the applications of the configuration. Connections to the push services
    /// will live with the workers; `runtime` is where everything runs that is no worker's.
    ///
    /// # Errors
    /// An address that cannot be had, certificate authorities or a certificate that cannot be read.
    pub fn bind(config: &Config, runtime: &Handle) -> Result<Self, StartError> {
        let bind = config.server.bind;
        let listener = listen("server.bind", bind, runtime)?;
        limit_unread(&listener, config.server.write_timeout)?;
        let failed = |error: std::io::Error| StartError(format!("the start failed: {error}"));
        let address = listener.local_addr().map_err(failed)?;
        let loopback = address.ip().to_canonical().is_loopback();
        let shown = tls::Shown::read(&config.server).map_err(StartError)?;
        let (api, mut parts) = state::first(config, loopback, runtime).map_err(StartError)?;
        parts.shown.clone_from(&shown);
        let homes = parts.homes.clone();
        let applications = api.registry.len();
        let registry = Arc::clone(&api.registry);
        let expiry = expiry::Watch::start(registry, EXPIRY_LOOKS, OffsetDateTime::now_utc, runtime);
        let current = web::Data::new(Current::new(api));
        let reloader = Reloader::new(config.clone(), loopback, current.clone().into_inner(), parts);
        let is_tls = shown.is_some();
        let ops = config
            .ops
            .bind
            .map(|bind| ops::Ops::bind(bind, config, shown.as_ref(), &current, runtime));
        let ops = ops.transpose()?;
        let served = listener.try_clone().map_err(failed)?;
        let listening = for_calls(config, served, shown, &current, &homes).map_err(failed)?;
        let handle = listening.handle();
        Ok(Self {
            address,
            is_tls,
            applications,
            listening,
            handle,
            listener,
            homes,
            current,
            reloader: Some(reloader),
            drain_delay: config.server.drain_delay,
            shutdown_timeout: config.server.shutdown_timeout,
            ops,
            _expiry: expiry,
        })
    }

    /// The address that it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What callers put before the paths of calls.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of(self.address)
    }

    /// The same of `ops.bind`, if that is given.
    #[must_use]
    pub fn ops_url(&self) -> Option<String> {
        self.ops.as_ref().map(|ops| self.url_of(ops.address()))
    }

    fn url_of(&self, address: SocketAddr) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{address}")
    }

    /// How many applications the configuration brought.
    #[must_use]
    pub fn applications(&self) -> usize {
        self.applications
    }

    /// What brings another configuration into it. There is one for each server: the second time it
    /// is `None`.
    pub fn reloader(&mut self) -> Option<Reloader> {
        self.reloader.take()
    }

    /// Serves until `shutdown` is ready. Then it says so to who asks whether it is ready, for
    /// `server.drain_delay`; takes no new connection, finishes what is in flight within
    /// `server.shutdown_timeout`, and returns.
    ///
    /// # Errors
    /// When the system takes the listening socket away.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> std::io::Result<()> {
        match self.ops.take() {
            Some(ops) => ops.beside(self.serve(shutdown)).await,
            None => self.serve(shutdown).await,
        }
    }

    async fn serve(self, shutdown: impl Future<Output = ()>) -> std::io::Result<()> {
        let Self { mut listening, handle, listener, homes, current, .. } = self;
        let (drain_delay, shutdown_timeout) = (self.drain_delay, self.shutdown_timeout);
        tokio::select! {
            ended = &mut listening => return ended,
            () = shutdown => {}
        }
        current.api().draining.store(true, Ordering::Relaxed);
        if !drain_delay.is_zero() {
            tracing::info!(?drain_delay, "draining: not ready any more, and serving all the same");
            tokio::select! {
                ended = &mut listening => return ended,
                () = sleep(drain_delay) => {}
            }
        }
        tracing::info!("stopping: no new connections, finishing what is in flight");
        let end = Instant::now() + shutdown_timeout;
        let closing = async {
            handle.pause().await;
            sleep(PAUSE).await;
            stop_listening(listener);
            // A worker without callers ends at once, and must not take connections with it that
            // carry the messages of other workers.
            homes.close();
            current.api().dispatcher.idle().await;
            handle.stop(true).await;
        };
        // What takes longer ends with the process.
        let ended = timeout_at(end, async { tokio::join!(listening, closing).0 }).await;
        let ended = ended.unwrap_or(Ok(()));
        let webhooks = current.api().dispatcher.webhooks().clone();
        webhooks.finish(end.saturating_duration_since(Instant::now())).await;
        ended
    }
}

/// What would stop a start with this configuration, though it is right in itself: sentences.
#[must_use]
pub fn obstacles(config: &Config) -> Vec<String> {
    let unreadable = tls::Shown::read(&config.server).err();
    state::too_many(config).into_iter().chain(unreadable).collect()
}

/// The listener for calls.
fn for_calls(
    config: &Config,
    listener: TcpListener,
    shown: Option<tls::Shown>,
    current: &web::Data<Current>,
    homes: &Homes,
) -> std::io::Result<actix_web::dev::Server> {
    let (shared, homes) = (current.clone(), homes.clone());
    let drop_in = config.gcm.drop_in_routes;
    let server = HttpServer::new(move || {
        // Each worker comes here once, on its own runtime.
        let runtime = Handle::current();
        homes.join(runtime.clone());
        App::new()
            .app_data(shared.clone())
            .app_data(Turns::start(&runtime))
            .wrap(from_fn(api::identify))
            .wrap(from_fn(api::unread::close))
            .configure(|routes| {
                if drop_in {
                    api::drop_in_routes(routes)
                }
            })
            .configure(api::ops_routes)
            .configure(api::routes)
    })
    .disable_signals()
    // A caller that ends its side has left, and its messages are not sent any more. Half-closed
    // connections cannot be told from those; nginx and Go's server read them the same way.
    .h1_allow_half_closed(false)
    .keep_alive(KEEP_ALIVE)
    .client_request_timeout(config.server.read_timeout.max(SHORTEST_HEAD))
    .tls_handshake_timeout(config.server.read_timeout)
    .shutdown_timeout(config.server.shutdown_timeout.as_secs());
    let server = match config.server.workers {
        0 => server,
        workers => server.workers(workers),
    };
    let server = match shown {
        Some(shown) => shown
            .acceptor()
            .map_err(std::io::Error::from)
            .and_then(|acceptor| server.listen_openssl(listener, acceptor)),
        None => server.listen(listener),
    };
    server.map(HttpServer::run)
}

/// Closes connections whose answers are left unread for so long: those that are accepted inherit it.
/// actix-web asks nobody for more of an answer while the last piece waits to be written, so only the
/// system can tell a caller that reads nothing.
#[cfg(target_os = "linux")]
fn limit_unread(listener: &TcpListener, write_timeout: Duration) -> Result<(), StartError> {
    let limited = SockRef::from(listener).set_tcp_user_timeout(Some(write_timeout));
    limited.map_err(|error| StartError(format!("server.write_timeout cannot be kept: {error}")))
}

#[cfg(not(target_os = "linux"))]
fn limit_unread(_: &TcpListener, _: Duration) -> Result<(), StartError> {
    Ok(())
}

/// Turns new connections away, also those that the system has accepted. The socket itself belongs to
/// actix-web, which closes it when its workers stop; elsewhere than on Linux they wait until then.
fn stop_listening(listener: TcpListener) {
    let _ = SockRef::from(&listener).shutdown(Shutdown::Both);
}

/// As the standard library does it, but with room for a burst of callers.
fn listen(name: &str, address: SocketAddr, runtime: &Handle) -> Result<TcpListener, StartError> {
    socket(address, runtime).map_err(|error| {
        StartError(format!("{address} cannot be listened on: {error}; choose another {name}"))
    })
}

fn socket(address: SocketAddr, runtime: &Handle) -> std::io::Result<TcpListener> {
    let _context = runtime.enter();
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}
