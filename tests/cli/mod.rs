//! The subcommands, run as processes.

mod arguments;
mod check;
mod completions;
mod demo;
mod health;
mod inspect;
mod packaging;
mod send;
mod simulate;
mod version;

use std::io::Write as _;
use std::process::{Command, Stdio};

/// What a process came to: exit code, standard output, standard error.
type Ended = (Option<i32>, String, String);

/// Runs `pushlet` to its end, without any environment.
fn run(arguments: &[&str]) -> Ended {
    run_with(arguments, &[], b"")
}

/// The same, with these variables and this standard input.
fn run_with(arguments: &[&str], environment: &[(&str, &str)], input: &[u8]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pushlet"));
    command.args(arguments).env_clear().envs(environment.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // One that does not read its input may be gone by now.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// A file in a folder of its own.
struct File {
    folder: tempfile::TempDir,
    path: String,
}

impl File {
    fn new(name: &str, contents: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, contents).unwrap();
        Self { path: path.to_str().unwrap().to_owned(), folder }
    }

    /// Another file beside it; gives its path.
    fn beside(&self, name: &str, contents: &[u8]) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, contents).unwrap();
        path.to_str().unwrap().to_owned()
    }
}
