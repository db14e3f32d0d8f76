//! Reading the configuration anew: on SIGHUP, and when it or a file that it names changed on disk.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use pushlet::config::watch::Watch;
use pushlet::config::{self, Config};
use pushlet::server::{Reloaded, Reloader};
use pushlet::telemetry::Verbosity;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

/// How often the files are looked at; a change counts when they rest for so long.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What asks for a reload, and what one needs beside the relay.
pub(super) struct Reloading {
    hangup: Signal,
    turn: Turn,
}

/// What a reload works with, away from where signals are waited for: a file system may take long,
/// and so may a credential.
struct Turn {
    file: Option<PathBuf>,
    watch: Watch,
    verbosity: Verbosity,
}

impl Reloading {
    /// From here on SIGHUP does not end the process any more.
    pub(super) fn listen(
        file: Option<PathBuf>,
        watch: Watch,
        verbosity: Verbosity,
    ) -> Result<Self, String> {
        let hangup = signal(SignalKind::hangup())
            .map_err(|error| format!("signals could not be listened for: {error}"))?;
        Ok(Self { hangup, turn: Turn { file, watch, verbosity } })
    }

    /// Waits for reasons to reload, and does.
    pub(super) async fn go_on(self, mut reloader: Reloader, runtime: &Handle) -> Infallible {
        let Self { mut hangup, mut turn } = self;
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_asked = tokio::select! {
                _ = hangup.recv() => true,
                _ = looks.tick() => false,
            };
            let taken = runtime.spawn_blocking(move || {
                turn.take(is_asked, &mut reloader);
                (turn, reloader)
            });
            let Ok(back) = taken.await else {
                tracing::error!(
                    "a reload ended in a panic, and there will be no other one until the next \
                     start; this is a bug in pushlet, please report it"
                );
                return std::future::pending().await;
            };
            (turn, reloader) = back;
        }
    }
}

impl Turn {
    fn take(&mut self, is_asked: bool, reloader: &mut Reloader) {
        if is_asked {
            self.watch.settle();
        } else if !self.watch.has_changed() {
            return;
        }
        match self.reload(reloader) {
            Ok(Reloaded { applications, left }) => {
                tracing::info!(
                    added = applications.added,
                    changed = applications.changed,
                    removed = applications.removed,
                    "the configuration was read anew"
                );
                if !left.is_empty() {
                    let settings = left.join(", ");
                    tracing::warn!(settings, "what these settings say now waits for a restart");
                }
            }
            Err(mistakes) => tracing::error!(
                mistakes,
                "the configuration could not be read anew; nothing was changed"
            ),
        }
    }

    fn reload(&mut self, reloader: &mut Reloader) -> Result<Reloaded, String> {
        let config = Config::load(self.file.as_deref(), config::environment())
            .map_err(|mistakes| mistakes.to_string())?;
        // Before they are read, so that no change between is missed.
        self.watch.follow(self.file.iter().cloned().chain(config.files()).collect());
        let level = config.log.level;
        let reloaded = reloader.reload(config)?;
        self.verbosity.set(level);
        Ok(reloaded)
    }
}
