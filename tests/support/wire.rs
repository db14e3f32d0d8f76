//! Calls as a stranger makes them, and everything that comes back.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use http::HeaderMap;
use pushlet::config::Config;
use pushlet::simulator::Options;
use pushlet::simulator::record::Received;
use reqwest::RequestBuilder;
use reqwest::multipart::{Form, Part};
use url::form_urlencoded::Serializer;

use super::openapi;
use super::relay::{Peer, Relay};

pub const REGISTER: &str = "/register_application";
pub const SEND: &str = "/send_notification";
pub const FEEDBACK: &str = "/application_feedback";
/// The three calls.
pub const CALLS: [&str; 3] = [REGISTER, SEND, FEEDBACK];
/// The type of a form's body.
pub const FORM: &str = "application/x-www-form-urlencoded";

/// A relay with a simulator behind it.
pub struct Bench {
    pub peer: Peer,
    pub relay: Relay,
}

impl Bench {
    pub async fn start() -> Self {
        Self::with(Options::default(), |_| ()).await
    }

    /// The same with another configuration.
    pub async fn configured(change: impl FnOnce(&mut Config)) -> Self {
        Self::with(Options::default(), change).await
    }

    pub async fn with(options: Options, change: impl FnOnce(&mut Config)) -> Self {
        let peer = Peer::with(options);
        let mut config = peer.config.clone();
        change(&mut config);
        Self { relay: Relay::start(config).await, peer }
    }

    /// Ends both; what the simulator was told to do and did not do fails the test. It goes first:
    /// the relay would wait for what it leaves unanswered.
    pub async fn stop(self) {
        assert_eq!(self.peer.simulator.unused_rules(), [], "told to the simulator in vain");
        self.peer.simulator.stop().await;
        self.relay.stop().await;
    }

    pub fn post(&self, path: &str) -> RequestBuilder {
        self.relay.client.post(self.relay.url(path))
    }

    /// A call with a form body, to be sent yet.
    pub fn form(&self, path: &str, fields: &[(&str, &str)]) -> RequestBuilder {
        self.post(path).header("content-type", FORM).body(encoded(fields))
    }

    /// A call with a form body that is written already.
    pub async fn text(&self, path: &str, body: &str) -> Seen {
        seen(self.post(path).header("content-type", FORM).body(body.to_owned())).await
    }

    pub async fn json(&self, path: &str, body: &str) -> Seen {
        let json = "application/json";
        seen(self.post(path).header("content-type", json).body(body.to_owned())).await
    }

    /// A registration with a file, to be sent yet.
    pub fn upload(&self, name: &str, file: &[u8], fields: &[(&str, &str)]) -> RequestBuilder {
        let part = Part::bytes(file.to_vec()).file_name("file");
        let form = Form::new().part(name.to_owned(), part);
        let form = fields
            .iter()
            .fold(form, |form, (name, value)| form.text((*name).to_owned(), (*value).to_owned()));
        self.post(REGISTER).multipart(form)
    }

    /// Sends with these fields.
    pub async fn send(&self, fields: &[(&str, &str)]) -> Seen {
        seen(self.form(SEND, fields)).await
    }

    /// The one message that arrived since the last look.
    pub fn arrived(&self) -> Received {
        let mut arrived = self.peer.simulator.received();
        self.peer.simulator.clear();
        assert_eq!(arrived.len(), 1, "one message");
        arrived.remove(0)
    }

    /// How many messages arrived since the last look.
    pub fn count(&self) -> usize {
        let count = self.peer.simulator.received().len();
        self.peer.simulator.clear();
        count
    }
}

/// Writes bytes to an address and reads until the end of the connection.
pub fn raw(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

/// A form's body.
pub fn encoded(fields: &[(&str, &str)]) -> String {
    Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// All of an answer.
#[derive(Debug, Clone)]
pub struct Seen {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Seen {
    /// Status and whole body.
    pub fn told(&self) -> (u16, String) {
        (self.status, self.body.clone())
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Status and the member `error` of the body.
    pub fn code(&self) -> (u16, String) {
        (self.status, self.error())
    }

    /// The member `error` of the body.
    pub fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_default().to_owned()
    }

    /// The `apns-id`: an accepted message has it in the header, the others in the body.
    pub fn apns_id(&self) -> Option<String> {
        let of_failure = || self.json()["apns_id"].as_str().map(ToOwned::to_owned);
        self.header("apns-id").map(ToOwned::to_owned).or_else(of_failure)
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.body))
    }
}

/// Sends a request and keeps all that comes back, which must be as the relay's description says.
pub async fn seen(request: RequestBuilder) -> Seen {
    let (client, request) = request.build_split();
    let request = request.unwrap();
    let (method, path) = (request.method().clone(), request.url().path().to_owned());
    let response =
        client.execute(request).await.unwrap_or_else(|error| panic!("no answer: {error:?}"));
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let body = response.text().await.unwrap();
    openapi::judge(method.as_str(), &path, status, &headers, &body);
    Seen { status, headers, body }
}

/// What [`Seen::told`] is of an error without further members.
pub fn refusal(status: u16, code: &str, message: &str) -> (u16, String) {
    let message = serde_json::to_string(message).unwrap();
    (status, format!("{{\"error\":\"{code}\",\"message\":{message}}}"))
}

/// What [`Seen::code`] is.
pub fn code(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

/// The documented answer to an accepted message.
pub fn ok() -> (u16, String) {
    (200, r#"{"response":"ok"}"#.to_owned())
}
