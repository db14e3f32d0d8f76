//! The log: its format and its level.

use std::io::{self, IsTerminal};

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::{MakeWriter, layer};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry, reload};

/// The section `[log]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `text` for people, `json` for programs: one object a line.
    pub format: Format,
    /// How much is logged: `error`, `warn`, `info`, `debug` (a line for each notification) or
    /// `trace`.
    pub level: Level,
}

/// How a line of the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// Plain text.
    Text,
}

/// The least important line that is still logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Someone must act.
    Error,
    /// We coped.
    Warn,
    /// The life cycle.
    Info,
    /// Each notification.
    Debug,
    /// What the libraries do, frame by frame, too.
    Trace,
}

impl Default for Settings {
    fn default() -> Self {
        Self { format: Format::Text, level: Level::Info }
    }
}

/// Writes the log of the whole process to standard error from here on. Lines carry the time in UTC
/// as RFC 3339 has it and the fields of the spans they stand in. The libraries are heard one step
/// more quietly than we are. What is given changes the level of this log.
///
/// Where something already receives the log, as beside other tests, that stays.
pub fn start(settings: &Settings) -> Verbosity {
    let (subscriber, verbosity) = subscriber(settings, io::stderr, io::stderr().is_terminal());
    // The error says only that there is one already.
    let _ = tracing::subscriber::set_global_default(subscriber);
    verbosity
}

/// How much a running log says.
#[derive(Debug, Clone)]
pub struct Verbosity(reload::Handle<Targets, Registry>);

impl Verbosity {
    /// Logs at another level from here on.
    pub fn set(&self, level: Level) {
        // The error says only that the log is gone.
        let _ = self.0.reload(filter(level));
    }
}

fn subscriber<W>(
    settings: &Settings,
    writer: W,
    colours: bool,
) -> (Box<dyn Subscriber + Send + Sync>, Verbosity)
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let lines = layer().with_writer(writer);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match settings.format {
        Format::Json => {
            Box::new(lines.json().flatten_event(true).with_current_span(false).with_span_list(true))
        }
        Format::Text => Box::new(lines.with_ansi(colours)),
    };
    let (filter, handle) = reload::Layer::new(filter(settings.level));
    (Box::new(Registry::default().with(lines.with_filter(filter))), Verbosity(handle))
}

fn filter(level: Level) -> Targets {
    let (ours, libraries) = match level {
        Level::Error => (LevelFilter::ERROR, LevelFilter::OFF),
        Level::Warn => (LevelFilter::WARN, LevelFilter::ERROR),
        Level::Info => (LevelFilter::INFO, LevelFilter::WARN),
        Level::Debug => (LevelFilter::DEBUG, LevelFilter::INFO),
        Level::Trace => (LevelFilter::TRACE, LevelFilter::DEBUG),
    };
    // It calls every malformed request of a stranger an error, which nobody has to act on.
    let server = if ours >= LevelFilter::DEBUG { libraries } else { LevelFilter::OFF };
    Targets::new()
        .with_default(libraries)
        .with_target("actix_http", server)
        .with_target(env!("CARGO_CRATE_NAME"), ours)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex, PoisonError};

    use serde_json::Value;
    use time::format_description::well_known::Rfc3339;
    use time::{OffsetDateTime, UtcOffset};

    use super::{Format, Level, Settings, start, subscriber};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What is written while `act` runs.
    fn logged(format: Format, level: Level, act: impl FnOnce()) -> Vec<String> {
        let lines = Lines::default();
        let writer = lines.clone();
        let (subscriber, _) =
            subscriber(&Settings { format, level }, move || writer.clone(), false);
        tracing::subscriber::with_default(subscriber, act);
        let bytes = lines.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()
    }

    #[test]
    fn json_is_one_object_a_line_with_time_and_span() {
        let lines = logged(Format::Json, Level::Info, || {
            tracing::info_span!("call", request_id = "r1")
                .in_scope(|| tracing::warn!(app.id = "shop", "two\nlines"));
        });

        let [line] = lines.as_slice() else { panic!("not one line: {lines:?}") };
        let line: Value = serde_json::from_str(line).unwrap_or_default();
        assert_eq!(
            (&line["level"], &line["message"], &line["app.id"], &line["spans"][0]["request_id"]),
            (&"WARN".into(), &"two\nlines".into(), &"shop".into(), &"r1".into())
        );
        let time = line["timestamp"].as_str().unwrap_or_default();
        let offset = OffsetDateTime::parse(time, &Rfc3339).map(OffsetDateTime::offset);
        assert_eq!(offset, Ok(UtcOffset::UTC), "{time}");
    }

    #[test]
    fn text_line_has_message_and_span() {
        let lines = logged(Format::Text, Level::Info, || {
            tracing::info_span!("call", request_id = "r1").in_scope(|| tracing::info!("hello"));
        });

        let [line] = lines.as_slice() else { panic!("not one line: {lines:?}") };
        assert!(
            line.ends_with("call{request_id=\"r1\"}: pushlet::telemetry::tests: hello"),
            "{line}"
        );
    }

    #[test]
    fn libraries_are_one_step_more_quiet() {
        let levels = [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace];

        let counts = levels.map(|level| {
            let ours = logged(Format::Text, level, || {
                tracing::error!("x");
                tracing::warn!("x");
                tracing::info!("x");
                tracing::debug!("x");
                tracing::trace!("x");
            });
            let theirs = logged(Format::Text, level, || {
                tracing::error!(target: "h2::codec", "x");
                tracing::warn!(target: "h2::codec", "x");
                tracing::info!(target: "h2::codec", "x");
                tracing::debug!(target: "h2::codec", "x");
                tracing::trace!(target: "h2::codec", "x");
            });
            (ours.len(), theirs.len())
        });

        assert_eq!(counts, [(1, 0), (2, 1), (3, 2), (4, 3), (5, 4)]);
    }

    #[test]
    fn second_start_leaves_the_first_alone() {
        start(&Settings::default());
        start(&Settings::default());
    }
}
