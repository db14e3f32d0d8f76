//! The composition root: it binds, builds what all calls share, serves and drains.

use std::fmt;
use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer, web};
use tokio::net::TcpSocket;
use tokio::runtime::Handle;

use crate::api::auth::Door;
use crate::api::body::Limits;
use crate::api::current::Current;
use crate::api::{self, Api, Bridged};
use crate::apps::feedback::{self, Feedback};
use crate::apps::registration::Registrar;
use crate::apps::registry::Registry;
use crate::apps::{Application, ApplicationId};
use crate::config::Config;
use crate::delivery::{self, Dispatcher};
use crate::providers::fcm::credential::Origin;
use crate::providers::fcm::{self, Fcm};
use crate::providers::gcm::{self, Gcm};
use crate::providers::{Providers, apns};

/// How many connections may wait to be accepted; the system may have a lower limit.
const BACKLOG: u32 = 4_096;

/// How long an idle connection of a caller is kept. A call that sets out while the connection is
/// being closed fails at the caller, who cannot know whether it was read; actix-web's 5 s make that
/// common. Stopping does not wait for idle connections.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// A relay that listens and does not serve yet.
pub struct Server {
    address: SocketAddr,
    applications: usize,
    listening: actix_web::dev::Server,
    handle: ServerHandle,
    current: web::Data<Current>,
}

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
    /// will live on `runtime`, which no handler can stall.
    ///
    /// # Errors
    /// An address that cannot be had, certificate authorities that cannot be read.
    pub fn bind(config: &Config, runtime: &Handle) -> Result<Self, StartError> {
        let bind = config.server.bind;
        let listener = listen(bind, runtime).map_err(|error| {
            StartError(format!("{bind} cannot be listened on: {error}; choose another server.bind"))
        })?;
        let failed = |error: std::io::Error| StartError(format!("the start failed: {error}"));
        let address = listener.local_addr().map_err(failed)?;
        let api = state(config, address, runtime)?;
        let applications = api.registry.len();
        let current = web::Data::new(Current::new(api));
        let shared = current.clone();
        let drop_in = config.gcm.drop_in_routes;
        let server = HttpServer::new(move || {
            App::new()
                .app_data(shared.clone())
                .wrap(from_fn(api::identify))
                .wrap(from_fn(api::unread::close))
                .configure(|routes| {
                    if drop_in {
                        api::drop_in_routes(routes)
                    }
                })
                .configure(api::routes)
        })
        .disable_signals()
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(config.server.read_timeout)
        .shutdown_timeout(config.server.shutdown_timeout.as_secs());
        let server = match config.server.workers {
            0 => server,
            workers => server.workers(workers),
        };
        let listening = server.listen(listener).map_err(failed)?.run();
        let handle = listening.handle();
        Ok(Self { address, applications, listening, handle, current })
    }

    /// The address that it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many applications the configuration brought.
    #[must_use]
    pub fn applications(&self) -> usize {
        self.applications
    }

    /// Serves until `shutdown` is ready. Then it takes no new connection, finishes what is in
    /// flight within `server.shutdown_timeout`, and returns.
    ///
    /// # Errors
    /// When the system takes the listening socket away.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> std::io::Result<()> {
        let Self { mut listening, handle, current, .. } = self;
        tokio::select! {
            ended = &mut listening => return ended,
            () = shutdown => {}
        }
        tracing::info!("stopping: no new connections, finishing what is in flight");
        current.api().draining.store(true, Ordering::Relaxed);
        let (ended, ()) = tokio::join!(listening, handle.stop(true));
        ended
    }
}

/// As the standard library does it, but with room for a burst of callers.
fn listen(address: SocketAddr, runtime: &Handle) -> std::io::Result<TcpListener> {
    let _context = runtime.enter();
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

fn state(config: &Config, address: SocketAddr, runtime: &Handle) -> Result<Api, StartError> {
    let context = apns::Context::new(config.apns.clone(), runtime.clone()).map_err(StartError)?;
    let context = Arc::new(context);
    let gcm = Gcm::new(&config.gcm, runtime.clone());
    let fcm = fcm::Context::new(config.fcm.clone(), runtime.clone());
    let fcm = Arc::new(fcm);
    let registry = Registry::new(config.server.max_applications, config.feedback.clone());
    for preload in &config.applications {
        let Some(id) = ApplicationId::parse(&preload.application_id) else { continue };
        let full = |_| StartError("[[applications]] names more than max_applications".to_owned());
        registry.register(id, preload.load(&context, &fcm)).map_err(full)?;
    }
    let bridge = config.gcm.bridge.iter().map(|entry| bridged(entry, &fcm)).collect();
    Ok(Api {
        door: Door::new(&config.auth, address.ip().to_canonical().is_loopback()),
        body: Limits { size_bytes: config.server.max_body_bytes, time: config.server.read_timeout },
        compat: config.compat.clone(),
        registry: Arc::new(registry),
        registrar: Registrar::start(context, fcm)
            .map_err(|error| StartError(format!("no thread for credentials: {error}")))?
            .into(),
        dispatcher: Dispatcher::new(&delivery::Settings {
            max_in_flight_per_application: config.apns.max_in_flight_per_application,
            max_in_flight: config.server.max_in_flight,
        })
        .into(),
        bare_keys: Arc::new(nameless(Providers {
            gcm: Some(Arc::new(gcm)),
            ..Providers::default()
        })),
        bridge,
        draining: Arc::default(),
    })
}

/// Stands for those who send with a `gcm_api_key`: no list of dead tokens is kept for them.
fn nameless(providers: Providers) -> Application {
    Application {
        id: ApplicationId::bare_keys(),
        providers,
        feedback: Arc::new(Feedback::new(&feedback::Settings { max_tokens: 0 })),
        in_flight: Arc::default(),
        repeats: Arc::default(),
    }
}

/// What an old key stands for. An account that cannot be used refuses the messages of its key,
/// and keeps nobody else from running.
fn bridged(entry: &gcm::Bridge, context: &Arc<fcm::Context>) -> (gcm::KeyHash, Bridged) {
    let contents = entry.service_account.contents().map_err(|reason| {
        (reason, "its service account could not be read at the start of the relay".to_owned())
    });
    let read = contents.and_then(|contents| {
        context.read(&contents, Origin::Operator).map_err(|error| {
            let reason = error.to_string();
            (reason.clone(), reason)
        })
    });
    let fcm = match read {
        Ok(account) => Fcm::new(context, account),
        Err((reason, told)) => {
            tracing::error!(
                reason,
                "a service account of [[gcm.bridge]] cannot be used; the messages of its key are \
                 refused"
            );
            Fcm::unusable(context, told)
        }
    };
    let application = nameless(Providers { fcm: Some(Arc::new(fcm)), ..Providers::default() });
    let bridged = Bridged { application: Arc::new(application), fcm_target: entry.fcm_target };
    (entry.api_key.clone(), bridged)
}
