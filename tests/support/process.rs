//! The program itself, as a process of its own: its signals, its exit code, what it writes.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::relay::Peer;

/// How long anything may take that is waited for here; a slow machine needs far less.
const LIMIT: Duration = Duration::from_secs(60);

/// A running `pushlet`. It sees no environment but the one it was given, and ends with its test.
pub struct Process {
    child: Child,
    output: Lines,
    log: Lines,
}

/// What came out of it so far, line by line.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn read(from: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let written = lines.clone();
        thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                written.0.lock().unwrap().push(line);
            }
        });
        lines
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Process {
    /// `pushlet` with these arguments and variables.
    pub fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pushlet"));
        command.args(arguments);
        Self::spawn(command, environment)
    }

    /// A command that becomes `pushlet`.
    pub fn spawn(mut command: Command, environment: &[(&str, &str)]) -> Self {
        command.env_clear().envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let output = Lines::read(child.stdout.take().unwrap());
        let log = Lines::read(child.stderr.take().unwrap());
        Self { child, output, log }
    }

    /// `pushlet serve` on a free port of loopback, with these variables beside.
    pub fn serve(environment: &[(&str, &str)]) -> Self {
        let bind = ("PUSHLET_SERVER__BIND", "127.0.0.1:0");
        Self::start(&["serve"], &[&[bind], environment].concat())
    }

    /// The same, in front of a simulator.
    pub fn serve_before(peer: &Peer, environment: &[(&str, &str)]) -> Self {
        let apns = peer.config.apns.production_url.as_str();
        let gcm = peer.config.gcm.legacy_url.as_ref().unwrap().as_str();
        let of_peer = [
            ("PUSHLET_APNS__PRODUCTION_URL", apns),
            ("PUSHLET_APNS__SANDBOX_URL", apns),
            ("PUSHLET_APNS__CA_FILE", peer.config.apns.ca_file.as_ref().unwrap().to_str().unwrap()),
            ("PUSHLET_GCM__LEGACY_URL", gcm),
        ];
        Self::serve(&[&of_peer, environment].concat())
    }

    /// Where it listens, as soon as it says so.
    pub fn address(&self) -> SocketAddr {
        let line = self.line("listening on http://");
        let (_, rest) = line.split_once("listening on http://").unwrap();
        rest.split(['"', ' ']).next().unwrap().parse().unwrap()
    }

    /// The first line of the log that contains this, as soon as there is one.
    pub fn line(&self, part: &str) -> String {
        self.find(&self.log, part)
    }

    /// The same of standard output.
    pub fn printed(&self, part: &str) -> String {
        self.find(&self.output, part)
    }

    /// The log so far.
    pub fn log(&self) -> Vec<String> {
        self.log.all()
    }

    /// Standard output so far.
    pub fn output(&self) -> Vec<String> {
        self.output.all()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let arguments = ["-c".to_owned(), format!("kill -{name} {}", self.id())];
        assert!(Command::new("sh").args(arguments).status().unwrap().success());
    }

    /// Waits until it has ended, and gives its exit code.
    pub fn exit_code(&mut self) -> Option<i32> {
        self.ended().code()
    }

    fn ended(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                start.elapsed() < LIMIT,
                "it does not end; its log:\n{}",
                self.log().join("\n")
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn find(&self, lines: &Lines, part: &str) -> String {
        let start = Instant::now();
        loop {
            if let Some(line) = lines.all().into_iter().find(|line| line.contains(part)) {
                return line;
            }
            assert!(
                start.elapsed() < LIMIT,
                "no line with {part:?}:\n{}\n{}",
                self.output().join("\n"),
                self.log().join("\n")
            );
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until a condition holds.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LIMIT, "it never came true: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
