//! `pushlet completions`: what a shell needs to complete the command line.

use clap::Command;
use clap_complete::Shell;

use super::say;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script, to be put where the shell looks for such.
pub(crate) fn run(arguments: &Arguments, command: &mut Command) {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, command, "pushlet", &mut script);
    say(String::from_utf8_lossy(&script).trim_end());
}
