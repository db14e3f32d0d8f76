//! The subcommands, one file each.

pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod demo;
pub(crate) mod health;
pub(crate) mod inspect;
mod password;
mod reload;
pub(crate) mod send;
pub(crate) mod serve;
pub(crate) mod simulate;
pub(crate) mod systemd_unit;

use std::io::Write;
use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Says why it does not go on; the exit code is 1.
pub(crate) fn fail(sentence: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "pushlet: {sentence}");
    ExitCode::FAILURE
}

/// Says what is wrong with the arguments. The exit code is 2, but that of `send` would mean
/// something else.
pub(crate) fn misused(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    let is_send = std::env::args_os().nth(1).is_some_and(|command| command == "send");
    match error.exit_code() {
        2 if is_send => ExitCode::FAILURE,
        code => ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)),
    }
}

/// Says what needs care, beside what was asked for.
pub(crate) fn warn(sentence: &str) {
    let _ = writeln!(std::io::stderr(), "pushlet: warning: {}", plain(sentence));
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
