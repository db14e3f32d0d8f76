//! The peer and the relays that are measured, with credentials made on the spot.

use std::cell::Cell;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use pushlet::simulator::certificates::{Authority, SigningKey, Subject};
use pushlet::simulator::service_account::ServiceAccount;
use tempfile::TempDir;

use crate::process::{Cores, Process, command, pushlet};

/// The credential of the load client.
pub const USERNAME: &str = "backend";
/// Its password.
pub const PASSWORD: &str = "a long one";
/// The topic of every application.
pub const TOPIC: &str = "com.example.app";
/// The one message id of those clients that cannot vary it.
pub const APNS_ID: &str = "123e4567-e89b-12d3-a456-426614174000";
/// Least number of different requests, so that no cache sees the same one at once.
pub const TOKENS: usize = 1_024;
/// The size of a usual payload.
pub const PAYLOAD_BYTES: usize = 120;
/// How long a process may take to listen.
const START_LIMIT: Duration = Duration::from_secs(60);

/// The name of an application.
pub fn application_id(number: usize) -> String {
    format!("app-{number}")
}

/// A token like Apple's, another one for each number.
pub fn device_token(number: usize) -> String {
    format!("{number:016x}cf74f9b7c25d48e3358945f6aa01da5ddb387462c7eaf61b")
}

/// A payload of this size.
pub fn payload(size_bytes: usize) -> String {
    let (start, end) = (r#"{"aps":{"alert":""#, r#""}}"#);
    let room = size_bytes.saturating_sub(start.len() + end.len());
    format!("{start}{}{end}", "x".repeat(room))
}

/// How the applications of a relay are known to Apple, or to Google.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    Certificate,
    ServiceAccount,
    Token,
}

/// A folder with what all runs need, and the peer.
pub struct Stage {
    pub cores: Cores,
    pub peer: Peer,
    folder: TempDir,
    made: Cell<usize>,
}

/// A simulator that accepts everything, as long as it is not told otherwise.
pub struct Peer {
    pub url: String,
    /// Its FCM and its token endpoint, over TLS and HTTP/2 as Google has them.
    pub google_url: String,
    pub ca_file: PathBuf,
    /// Where it is told what to answer.
    control: SocketAddr,
    _process: Process,
}

impl Stage {
    pub fn set() -> Self {
        let cores = Cores::find();
        let folder = tempfile::Builder::new().prefix("pushlet-bench-").tempdir().unwrap();
        let peer = Peer::start(folder.path().join("ca.pem"), cores.peer);
        write_credentials(folder.path(), &peer);
        std::fs::write(folder.path().join("payload.json"), payload(PAYLOAD_BYTES)).unwrap();
        let uri = |token| format!("{}/3/device/{}\n", peer.url, device_token(token));
        let uris: String = (0..TOKENS).map(uri).collect();
        std::fs::write(folder.path().join("uris.txt"), uris).unwrap();
        Self { cores, peer, folder, made: Cell::new(0) }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn write_credentials(folder: &Path, peer: &Peer) {
    let identity = Authority::generate("Pushlet benchmark").unwrap();
    let identity = identity.client(&Subject::of_app(TOPIC)).unwrap();
    let pem = [identity.certificate_pem().unwrap(), identity.key_pem().unwrap()].concat();
    std::fs::write(folder.join("app.pem"), pem).unwrap();
    let key = SigningKey::generate("KEY1234567", "TEAM123456").unwrap();
    std::fs::write(folder.join("app.p8"), key.p8().unwrap()).unwrap();
    let account = ServiceAccount::generate("benchmark").unwrap();
    let account = account.json(&format!("{}/token", peer.google_url));
    std::fs::write(folder.join("account.json"), account).unwrap();
}

impl Peer {
    pub fn start(ca_file: PathBuf, core: Option<usize>) -> Self {
        let mut command = command(pushlet(), core);
        command
            .args(["simulate", "--accept-all", "--apns", "127.0.0.1:0"])
            .args(["--http", "127.0.0.1:0", "--https", "127.0.0.1:0"])
            .arg("--ca-file")
            .arg(&ca_file)
            .stdout(Stdio::piped());
        let mut process = Process::start(command);
        let (mut url, mut google_url) = (None, None);
        let (url, google_url, control) = process.await_line(|line| {
            let value = |key| line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"');
            url = url.take().or(value("production_url").map(str::to_owned));
            google_url = google_url.take().or(value("url").map(str::to_owned));
            // This one comes last.
            let control = value("legacy_url")?.strip_prefix("http://")?.split('/').next()?;
            Some((url.take()?, google_url.take()?, control.parse().ok()?))
        });
        Self { url, google_url, ca_file, control, _process: process }
    }

    /// Says what it answers from now on: the body of `POST /control/answers`.
    pub fn script(&self, answer: &str) {
        let mut socket = TcpStream::connect(self.control).unwrap();
        write!(
            socket,
            "POST /control/answers HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\
             content-length: {}\r\n\r\n{answer}",
            self.control,
            answer.len()
        )
        .unwrap();
        let mut said = String::new();
        socket.read_to_string(&mut said).unwrap();
        assert!(said.starts_with("HTTP/1.1 204 "), "the peer does not take the answer: {said}");
    }

    /// Its port on loopback.
    pub fn address(&self) -> SocketAddr {
        let port = self.url.rsplit(':').next().and_then(|port| port.parse().ok());
        SocketAddr::from(([127, 0, 0, 1], port.expect("the peer's URL has a port")))
    }
}

/// What a relay is started with.
#[derive(Debug, Clone)]
pub struct Shape<'a> {
    pub program: &'a Path,
    pub applications: usize,
    /// Applications beyond those, numbered after them, whose peer is `sandbox_url`.
    pub sandboxed: usize,
    pub credential: Credential,
    pub url: &'a str,
    pub sandbox_url: &'a str,
    /// Further settings of `[apns]`.
    pub apns: &'a str,
}

impl<'a> Shape<'a> {
    /// So many applications with certificates, everything else as it comes.
    pub fn plain(stage: &'a Stage, applications: usize) -> Self {
        let url = &stage.peer.url;
        let credential = Credential::Certificate;
        let program = pushlet();
        Self { program, applications, sandboxed: 0, credential, url, sandbox_url: url, apns: "" }
    }
}

/// A running relay.
pub struct Relay {
    pub process: Process,
    pub address: SocketAddr,
}

impl Relay {
    pub fn start(stage: &Stage, shape: &Shape<'_>) -> Self {
        let number = stage.made.replace(stage.made.get() + 1);
        let config_file = stage.file(&format!("relay-{number}.toml"));
        std::fs::write(&config_file, config(stage, shape)).unwrap();
        let log_file = stage.file(&format!("relay-{number}.log"));
        let log = std::fs::File::create(&log_file).unwrap();
        let mut command = command(shape.program, stage.cores.measured);
        command.arg("serve").arg("--config").arg(&config_file).stderr(log);
        let process = Process::start(command);
        let address = await_address(&log_file);
        Self { process, address }
    }
}

fn config(stage: &Stage, shape: &Shape<'_>) -> String {
    let ca_file = &stage.peer.ca_file;
    let mut text = format!(
        "[server]\nbind = \"127.0.0.1:0\"\n\
         [[auth.credentials]]\nusername = {USERNAME:?}\npassword = {PASSWORD:?}\n\
         [fcm]\nurl = {:?}\nca_file = {ca_file:?}\n\
         [apns]\nproduction_url = {:?}\nsandbox_url = {:?}\nca_file = {ca_file:?}\n{}\n",
        stage.peer.google_url, shape.url, shape.sandbox_url, shape.apns
    );
    let credential = match shape.credential {
        Credential::Certificate => format!("apns_pem_file = {:?}", stage.file("app.pem")),
        Credential::ServiceAccount => {
            format!("fcm_service_account_file = {:?}", stage.file("account.json"))
        }
        Credential::Token => format!(
            "apns_p8_file = {:?}\napns_key_id = \"KEY1234567\"\napns_team_id = \"TEAM123456\"\n\
             apns_topic = {TOPIC:?}",
            stage.file("app.p8")
        ),
    };
    for number in 0..shape.applications + shape.sandboxed {
        let mode = if number < shape.applications { "production" } else { "development" };
        let id = application_id(number);
        let mode = match shape.credential {
            Credential::ServiceAccount => String::new(),
            Credential::Certificate | Credential::Token => format!("apns_mode = {mode:?}\n"),
        };
        let entry = format!("application_id = {id:?}\n{mode}{credential}");
        writeln!(text, "[[applications]]\n{entry}").unwrap();
    }
    text
}

/// The relay logs where it listens.
fn await_address(log_file: &Path) -> SocketAddr {
    let limit = Instant::now() + START_LIMIT;
    loop {
        let log = std::fs::read_to_string(log_file).unwrap_or_default();
        let found = log.lines().find_map(|line| {
            let (_, address) = line.split_once("listening on http://")?;
            address.split_whitespace().next()?.parse().ok()
        });
        if let Some(address) = found {
            return address;
        }
        assert!(Instant::now() < limit, "the relay does not listen; its log:\n{log}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
