//! Programs of others that take part in the tests.

use std::process::{Command, Stdio};

/// Whether a program can be used: its probe runs and succeeds. Where it is missing the test that
/// asks is skipped, with a line that says so; under `CI` it fails instead.
pub fn require(name: &str, probe: &[&str]) -> bool {
    let (program, arguments) = probe.split_first().expect("a probe has a program");
    let status =
        Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let is_there = status.is_ok_and(|status| status.success());
    if !is_there {
        assert!(std::env::var_os("CI").is_none(), "{name} is missing: {probe:?} failed");
        println!("skipped: {name} is missing ({probe:?} failed)");
    }
    is_there
}

/// curl, speaking HTTP/2.
pub fn require_curl() -> bool {
    require("curl with HTTP/2", &["sh", "-c", "curl --version | grep -q HTTP2"])
}

/// Python's `h2`.
pub fn require_python_h2() -> bool {
    require("the Python package h2", &["python3", "-c", "import h2.connection"])
}
