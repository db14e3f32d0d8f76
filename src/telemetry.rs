//! The log: its format and its level.

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
    /// Each frame of the libraries too.
    Trace,
}

impl Default for Settings {
    fn default() -> Self {
        Self { format: Format::Text, level: Level::Info }
    }
}
