//! The simulator, seen by clients that are not ours: curl, and Python's `h2`.

mod apns;
mod control;
mod gcm;
mod lifetime;
mod streams;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use pushlet::simulator::certificates::{Authority, Identity, Subject};
use pushlet::simulator::{Options, Simulator};
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A simulator on a runtime of its own, and a directory for the files that the clients need.
pub struct Bench {
    pub simulator: Simulator,
    runtime: Runtime,
    directory: TempDir,
}

impl Bench {
    pub fn new(options: Options) -> Self {
        let runtime = Runtime::new().unwrap();
        let simulator = Simulator::start(options, runtime.handle()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), simulator.ca_pem()).unwrap();
        Self { simulator, runtime, directory }
    }

    /// Stops the simulator and waits for it.
    pub fn stop(self) {
        self.runtime.block_on(self.simulator.stop());
    }

    /// Writes a certificate and its key into one file, as curl and Python read them.
    pub fn write_identity(&self, identity: &Identity) -> PathBuf {
        let mut pem = identity.certificate_pem().unwrap();
        pem.extend(identity.key_pem().unwrap());
        let file = tempfile::Builder::new().suffix(".pem").tempfile_in(self.directory.path());
        let (_, path) = file.unwrap().keep().unwrap();
        std::fs::write(&path, pem).unwrap();
        path
    }

    /// The client certificate of an app.
    pub fn client(&self, subject: Subject) -> PathBuf {
        let authority = Authority::generate("Somebody").unwrap();
        self.write_identity(&authority.client(&Subject { elliptic: true, ..subject }).unwrap())
    }

    fn curl(&self) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--include", "--http2", "--max-time", "20", "--noproxy", "*"]);
        curl.arg("--cacert").arg(self.directory.path().join("ca.pem"));
        curl
    }

    /// One request by curl to the fake APNs.
    pub fn push(&self, path: &str, certificate: Option<&Path>, arguments: &[&str]) -> Answer {
        let mut curl = self.curl();
        if let Some(certificate) = certificate {
            curl.arg("--cert").arg(certificate);
        }
        curl.args(arguments);
        curl.arg("--path-as-is").arg(format!("{}{path}", self.simulator.apns_url()));
        Answer::parse(&curl.output().unwrap())
    }

    /// One request by curl to the plain HTTP port.
    pub fn http(&self, path: &str, arguments: &[&str]) -> Answer {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--include", "--http1.1", "--max-time", "20", "--noproxy", "*"]);
        curl.args(arguments).arg(format!("{}{path}", self.simulator.http_url()));
        Answer::parse(&curl.output().unwrap())
    }

    /// Requests over one connection by Python's `h2`.
    pub fn h2(&self, certificate: Option<&Path>, requests: Vec<Value>, patience: f32) -> Seen {
        let task = json!({
            "port": self.simulator.apns_address().port(),
            "ca": self.directory.path().join("ca.pem"),
            "cert": certificate,
            "requests": requests,
            "patience": patience,
        });
        let mut python = Command::new("python3")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/simulator/client.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        python.stdin.take().unwrap().write_all(task.to_string().as_bytes()).unwrap();
        let output = python.wait_with_output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// An answer as curl shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// 0: there was none.
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: String,
    /// curl's exit code.
    pub exit: i32,
    /// All that curl printed.
    pub text: String,
}

impl Answer {
    fn parse(output: &Output) -> Self {
        let exit = output.status.code().unwrap();
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let (status, body) = (status.unwrap_or(0), body.to_owned());
        Self { status, headers, body, exit, text }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// What Python's `h2` saw of a connection.
#[derive(Debug, Deserialize)]
pub struct Seen {
    pub answers: BTreeMap<usize, H2Answer>,
    pub resets: BTreeMap<usize, u32>,
    /// Error code and last stream id of each GOAWAY.
    pub goaway: Vec<(u32, u32)>,
    pub closed: bool,
    pub settings: BTreeMap<u16, u32>,
}

#[derive(Debug, Deserialize)]
pub struct H2Answer {
    pub status: Option<u16>,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}
