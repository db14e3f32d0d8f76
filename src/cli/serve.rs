//! `pushlet serve`: the relay.

use std::path::PathBuf;

use pushlet::config::watch::Watch;
use pushlet::config::{self, Config};
use pushlet::server::Server;
use pushlet::telemetry;
use tokio::runtime::Handle;

use super::Signals;
use super::reload::Reloading;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The configuration file (pushlet.toml); the environment variable `PUSHLET_CONFIG` names it as
    /// well. Without either no file is read
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(crate) async fn run(arguments: &Arguments, runtime: &Handle) -> Result<(), String> {
    let named = std::env::var_os("PUSHLET_CONFIG").map(PathBuf::from);
    let file = arguments.config.clone().or(named);
    let mut watch = Watch::default();
    watch.follow(file.iter().cloned().collect());
    let config = Config::load(file.as_deref(), config::environment())
        .map_err(|mistakes| format!("the configuration is wrong\n{mistakes}"))?;
    // Before they are read, so that no change between is missed.
    watch.follow(file.iter().cloned().chain(config.files()).collect());
    let verbosity = telemetry::start(&config.log);
    let signals = Signals::listen()?;
    let reloading = Reloading::listen(file, watch, verbosity)?;
    let mut server = Server::bind(&config, runtime).map_err(|error| error.to_string())?;
    tracing::info!(
        version = env!("PUSHLET_VERSION"),
        credentials = config.auth.credentials.len(),
        applications = server.applications(),
        "listening on {}",
        server.url()
    );
    if let Some(url) = server.ops_url() {
        tracing::info!("metrics, status and health are on {url} as well");
    }
    let Some(reloader) = server.reloader() else { return until_told(server, signals).await };
    tokio::select! {
        ended = until_told(server, signals) => ended,
        never = reloading.go_on(reloader, runtime) => match never {},
    }
}

/// Serves until the first signal; a second one ends the process where it stands.
pub(super) async fn until_told(server: Server, mut signals: Signals) -> Result<(), String> {
    let (told, shutdown) = tokio::sync::oneshot::channel::<()>();
    let listener = async move {
        signals.next().await;
        let _ = told.send(());
        std::process::exit(signals.next().await);
    };
    let serving = server.run(async {
        let _ = shutdown.await;
    });
    tokio::select! {
        ended = serving => ended.map_err(|error| format!("the server ended: {error}")),
        () = listener => Ok(()),
    }
}
