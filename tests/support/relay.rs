//! A whole relay on a free port, with a simulator behind it: real sockets on both sides.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;

use pushlet::config::Config;
use pushlet::secret::Secret;
use pushlet::server::{Reloaded, Reloader, Server};
use pushlet::simulator::{Options, Simulator};
use reqwest::multipart::Form;
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use url::Url;

use super::keys::Authority;
use super::wire;

/// A token that looks like Apple's.
pub const TOKEN: &str = "740f4707bebcf74f9b7c25d48e3358945f6aa01da5ddb387462c7eaf61bb78ad";
/// The topic of the certificates that [`Relay::register`] makes.
pub const TOPIC: &str = "com.example.app";

/// A running relay. [`Relay::stop`] ends it and fails the test if it did not end well.
pub struct Relay {
    pub address: SocketAddr,
    pub client: reqwest::Client,
    /// What it was started with.
    pub config: Config,
    reloader: Mutex<Reloader>,
    shutdown: Option<oneshot::Sender<()>>,
    running: JoinHandle<std::io::Result<()>>,
}

/// What a caller hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Answer {
    /// The member `error` of the body.
    pub fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_default().to_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.body))
    }
}

impl Relay {
    /// A relay with this configuration, on a free port of loopback.
    pub async fn start(mut config: Config) -> Self {
        if config.server.bind.port() == 9292 {
            config.server.bind = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        }
        config.server.workers = config.server.workers.max(2);
        config.server.shutdown_timeout = std::time::Duration::from_secs(5);
        let mut server = Server::bind(&config, &Handle::current()).unwrap();
        let reloader = Mutex::new(server.reloader().unwrap());
        let address = server.address();
        let (shutdown, told) = oneshot::channel::<()>();
        let running = tokio::spawn(server.run(async {
            let _ = told.await;
        }));
        let client = reqwest::Client::builder()
            .no_proxy()
            // Sooner than the relay does: a call on a connection that it just closed would be lost.
            .pool_idle_timeout(std::time::Duration::from_secs(2))
            .build()
            .unwrap();
        Self { address, client, config, reloader, shutdown: Some(shutdown), running }
    }

    /// Brings another configuration into it, as SIGHUP does: that of its start with a change.
    pub fn reload(&self, change: impl FnOnce(&mut Config)) -> Result<Reloaded, String> {
        let mut config = self.config.clone();
        change(&mut config);
        tokio::task::block_in_place(|| self.reloader.lock().unwrap().reload(config))
    }

    /// Ends the relay as SIGTERM does.
    pub async fn stop(mut self) {
        // Idle connections would hold the drain up until their keep-alive is over.
        self.client = reqwest::Client::new();
        let _ = self.shutdown.take().unwrap().send(());
        self.running.await.unwrap().unwrap();
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A call with a form body.
    pub async fn form(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        answer(self.form_request(path, fields)).await
    }

    /// The same, to be sent yet.
    pub fn form_request(&self, path: &str, fields: &[(&str, &str)]) -> reqwest::RequestBuilder {
        let body = fields.iter().fold(String::new(), |body, (name, value)| {
            let mut encoded = url::form_urlencoded::Serializer::new(body);
            encoded.append_pair(name, value);
            encoded.finish()
        });
        self.client
            .post(self.url(path))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body)
    }

    /// A call with a JSON body.
    pub async fn json(&self, path: &str, body: &str) -> Answer {
        let request = self
            .client
            .post(self.url(path))
            .header("content-type", "application/json")
            .body(body.to_owned());
        answer(request).await
    }

    /// A call with a multipart body.
    pub async fn multipart(&self, path: &str, form: Form) -> Answer {
        answer(self.client.post(self.url(path)).multipart(form)).await
    }

    /// Registers an application with a fresh certificate for [`TOPIC`].
    pub async fn register(&self, application_id: &str) {
        let p12 = Authority::new().apple_certificate(TOPIC).build().p12("");
        let form = Form::new()
            .text("application_id", application_id.to_owned())
            .part("apns_p12", reqwest::multipart::Part::bytes(p12).file_name("cert.p12"));
        let answer = self.multipart("/register_application", form).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    /// Sends `alert` to a token of an application.
    pub async fn send(&self, application_id: &str, device_token: &str, alert: &str) -> Answer {
        let fields =
            [("application_id", application_id), ("device_token", device_token), ("alert", alert)];
        self.form("/send_notification", &fields).await
    }
}

/// Sends a request and reads the answer.
pub async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let seen = wire::seen(request).await;
    Answer { status: seen.status, body: seen.body }
}

/// A simulator, and the configuration of a relay that talks to it. The folder holds the simulator's
/// certificate authority and has to live until the relay has started.
pub struct Peer {
    pub simulator: Simulator,
    pub config: Config,
    _folder: TempDir,
}

impl Peer {
    pub fn start() -> Self {
        Self::with(Options::default())
    }

    pub fn with(options: Options) -> Self {
        let simulator = Simulator::start(options, &Handle::current()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let ca_file = folder.path().join("ca.pem");
        std::fs::write(&ca_file, simulator.ca_pem()).unwrap();
        let mut config = Config::default();
        config.apns.production_url = Url::parse(&simulator.apns_url()).unwrap();
        config.apns.sandbox_url = Url::parse(&simulator.apns_url()).unwrap();
        config.apns.production_channels_url = Url::parse(&simulator.channels_url()).unwrap();
        config.apns.sandbox_channels_url = Url::parse(&simulator.channels_url()).unwrap();
        config.apns.ca_file = Some(ca_file.clone());
        let google = simulator.https_url().unwrap_or_else(|| simulator.http_url());
        config.fcm.url = Url::parse(&google).unwrap();
        config.fcm.ca_file = Some(ca_file);
        let legacy = format!("{}/gcm/send", simulator.http_url());
        config.gcm.legacy_url = Some(Url::parse(&legacy).unwrap());
        Self { simulator, config, _folder: folder }
    }
}

/// One entry of `[[auth.credentials]]`.
pub fn credential(
    username: &str,
    password: &str,
    applications: Option<&[&str]>,
) -> pushlet::api::auth::Credential {
    pushlet::api::auth::Credential {
        username: username.to_owned(),
        password: Secret::new(password.to_owned()),
        applications: applications.map(|globs| globs.iter().map(|&glob| glob.into()).collect()),
        rate_limit: None,
        rate_burst: None,
        weight: 1,
    }
}
