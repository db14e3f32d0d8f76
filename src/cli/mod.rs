//! The subcommands, one file each.

pub(crate) mod check;
pub(crate) mod demo;
pub(crate) mod inspect;
mod password;
mod reload;
pub(crate) mod serve;
pub(crate) mod simulate;

use std::io::Write;
use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Says why it does not go on; the exit code is 1.
pub(crate) fn fail(sentence: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "pushlet: {sentence}");
    ExitCode::FAILURE
}

/// Prints for the person at the terminal. A closed pipe is nobody's fault.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Text of others on a terminal: what would move the cursor, or worse, is spelt out.
pub(crate) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for sign in text.chars() {
        if sign.is_control() { plain.extend(sign.escape_default()) } else { plain.push(sign) }
    }
    plain
}

/// Prints a report as JSON for a program.
pub(crate) fn say_json(report: &impl serde::Serialize) -> Result<(), String> {
    let json = serde_json::to_string(report)
        .map_err(|error| format!("the report could not be written as JSON: {error}"))?;
    say(&json);
    Ok(())
}

/// SIGTERM and SIGINT.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn listen() -> Result<Self, String> {
        let listen = |kind| {
            signal(kind).map_err(|error| format!("signals could not be listened for: {error}"))
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one. What it gives is the exit code of a process that it ends: 128 and
    /// the signal's number.
    pub(crate) async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.terminate.recv() => 143,
            _ = self.interrupt.recv() => 130,
        }
    }
}
