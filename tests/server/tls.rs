//! HTTPS for callers.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use openssl::ssl::{SslConnector, SslMethod, SslStream, SslVersion};
use openssl::x509::X509;
use pushlet::config::Config;
use tempfile::TempDir;

use crate::support::keys::{Authority, Identity};
use crate::support::process::{Process, until};
use crate::support::relay::{Peer, Relay, TOKEN};
use crate::support::tools::require_curl;
use crate::support::wire::{FEEDBACK, SEND, code, ok, seen};

/// An authority, and the files of a certificate by it.
struct Files {
    authority: Authority,
    folder: TempDir,
}

impl Files {
    fn new() -> Self {
        let files = Self { authority: Authority::new(), folder: tempfile::tempdir().unwrap() };
        files.put("127.0.0.1");
        fs::write(files.path("ca.pem"), files.authority.pem()).unwrap();
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Another certificate; its common name is `name`.
    fn put(&self, name: &str) -> Identity {
        let identity = self.authority.server_certificate(&[name, "127.0.0.1"]);
        fs::write(
            self.path("cert.pem"),
            [identity.certificate_pem(), self.authority.pem()].concat(),
        )
        .unwrap();
        fs::write(self.path("key.pem"), identity.key_pem()).unwrap();
        identity
    }

    fn configure(&self, config: &mut Config) {
        config.server.tls_cert = Some(self.path("cert.pem"));
        config.server.tls_key = Some(self.path("key.pem"));
    }

    async fn serve(&self, change: impl FnOnce(&mut Config)) -> Relay {
        let mut config = Config::default();
        self.configure(&mut config);
        change(&mut config);
        Relay::start(config).await
    }

    /// A client that trusts the authority.
    fn client(&self) -> reqwest::Client {
        let root = reqwest::Certificate::from_pem(&self.authority.pem()).unwrap();
        reqwest::Client::builder().no_proxy().add_root_certificate(root).build().unwrap()
    }

    /// A connection of this version, offering these protocols.
    fn connect(
        &self,
        address: SocketAddr,
        version: SslVersion,
        protocols: &[u8],
    ) -> Result<SslStream<TcpStream>, String> {
        let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
        connector.cert_store_mut().add_cert(self.authority.certificate.clone()).unwrap();
        connector.set_min_proto_version(Some(version)).unwrap();
        connector.set_max_proto_version(Some(version)).unwrap();
        // The library's own rules would keep the oldest versions from being tried at all.
        connector.set_security_level(0);
        if !protocols.is_empty() {
            connector.set_alpn_protos(protocols).unwrap();
        }
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        connector.build().connect("127.0.0.1", stream).map_err(|error| error.to_string())
    }

    /// The common name of what new connections are shown.
    fn shown(&self, address: SocketAddr) -> String {
        common_name(&self.connect(address, SslVersion::TLS1_3, b"").unwrap())
    }
}

fn common_name(stream: &SslStream<TcpStream>) -> String {
    let certificate: X509 = stream.ssl().peer_certificate().unwrap();
    let name = certificate.subject_name().entries().next().unwrap();
    name.data().to_string().unwrap()
}

/// Everything until the end of a connection.
fn rest(mut stream: impl Read) -> String {
    let mut answer = Vec::new();
    // Some ends come without TLS's word of goodbye; no end at all is something else.
    if let Err(error) = stream.read_to_end(&mut answer) {
        let answer = String::from_utf8_lossy(&answer);
        assert_ne!(error.kind(), ErrorKind::WouldBlock, "it stays open: {answer}");
    }
    String::from_utf8(answer).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_answered_over_https_and_not_over_http() {
    let files = Files::new();
    let peer = Peer::start();
    let mut config = peer.config.clone();
    files.configure(&mut config);
    let p12 = Authority::new().apple_certificate("com.example.app").build().p12("");
    fs::write(files.path("app.p12"), p12).unwrap();
    config.applications = vec![pushlet::apps::preload::Preload {
        application_id: "app".to_owned(),
        apns_p12: Some(pushlet::apps::preload::Source::File(files.path("app.p12"))),
        ..Default::default()
    }];
    let relay = Relay::start(config).await;
    let url = format!("https://{}{SEND}", relay.address);
    let body = format!(r#"{{"application_id":"app","device_token":"{TOKEN}","alert":"hello"}}"#);

    let call = files.client().post(url).header("content-type", "application/json").body(body);
    assert_eq!(seen(call).await.told(), ok());
    let plain = relay.client.post(relay.url(SEND)).send().await;
    assert!(plain.is_err(), "{plain:?}");
    relay.stop().await;
}

/// HTTP/1.1 is what the limits of the relay are made for, so nothing else is agreed on.
#[tokio::test(flavor = "multi_thread")]
async fn tls_is_1_2_or_1_3_and_carries_http_1_1() {
    let files = Files::new();
    let relay = files.serve(|_| ()).await;

    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let both = b"\x02h2\x08http/1.1";
        let mut stream = files.connect(relay.address, version, both).unwrap();
        assert_eq!(stream.ssl().selected_alpn_protocol(), Some(&b"http/1.1"[..]));
        let chain = stream.ssl().peer_cert_chain().unwrap().len();
        assert_eq!(chain, 2, "the authority goes with it");
        stream
            .write_all(b"GET /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            .unwrap();
        let answer = rest(stream);
        assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\n"), "{answer}");
    }
    for version in [SslVersion::TLS1, SslVersion::TLS1_1] {
        assert!(files.connect(relay.address, version, b"").is_err());
    }
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_trusts_it_and_speaks_http_1_1() {
    if !require_curl() {
        return;
    }
    let files = Files::new();
    let relay = files.serve(|_| ()).await;
    let url = format!("https://{}{FEEDBACK}", relay.address);
    let ca_file = files.path("ca.pem");

    let mut curl = Command::new("curl");
    curl.args(["--silent", "--http2", "--noproxy", "*", "--cacert", ca_file.to_str().unwrap()])
        .args(["--write-out", " %{http_version} %{http_code}", "--data", "", &url]);
    let curl = tokio::task::block_in_place(|| curl.output());

    let said = String::from_utf8(curl.unwrap().stdout).unwrap();
    assert!(said.contains("missing_application_id") && said.ends_with(" 1.1 400"), "{said}");
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_slow_is_let_go_over_tls_too() {
    let files = Files::new();
    let limit = Duration::from_millis(300);
    let relay = files.serve(|config| config.server.read_timeout = limit).await;
    let connect = || files.connect(relay.address, SslVersion::TLS1_3, b"").unwrap();

    // No hello.
    let silent = TcpStream::connect(relay.address).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    assert_eq!(rest(silent), "");
    // No whole head.
    let mut slow = connect();
    slow.write_all(b"POST /send_notification HTTP/1.1\r\n").unwrap();
    let answer = rest(slow);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer:?}");
    // No end of a body.
    let mut endless = connect();
    endless
        .write_all(
            b"POST /send_notification HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\
              Content-Type: application/json\r\n\r\n1\r\n{\r\n",
        )
        .unwrap();
    let answer = rest(endless);
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("invalid_request"), "{answer}");
    // Refused before its body is read, of which there is no end.
    let mut refused = connect();
    refused
        .write_all(
            b"POST /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
        )
        .unwrap();
    assert!(rest(refused).starts_with("HTTP/1.1 404 "));
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_connections_get_the_new_pair_and_a_bad_one_replaces_none() {
    let files = Files::new();
    files.put("first.example");
    let relay = files.serve(|_| ()).await;
    assert_eq!(files.shown(relay.address), "first.example");
    let client = files.client();
    let url = format!("https://{}{FEEDBACK}", relay.address);
    let call = async || seen(client.post(&url)).await.code();
    assert_eq!(call().await, code(400, "missing_application_id"));
    let mut open = files.connect(relay.address, SslVersion::TLS1_3, b"").unwrap();

    files.put("second.example");
    assert_eq!(files.shown(relay.address), "first.example", "nobody asked yet");
    let reloaded = relay.reload(|config| config.compat.ignore_unknown = true).unwrap();
    assert_eq!(reloaded.left, Vec::<&str>::new());
    assert_eq!(files.shown(relay.address), "second.example");
    assert_eq!(call().await, code(400, "missing_application_id"), "its connection stays");
    open.write_all(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").unwrap();
    assert!(rest(open).starts_with("HTTP/1.1 404 "), "so does one that had said nothing yet");

    let old_key = fs::read(files.path("key.pem")).unwrap();
    files.put("third.example");
    fs::write(files.path("key.pem"), old_key).unwrap();
    assert!(relay.reload(|_| ()).is_ok());
    assert_eq!(files.shown(relay.address), "second.example", "key and certificate do not fit");
    fs::remove_file(files.path("cert.pem")).unwrap();
    assert!(relay.reload(|_| ()).is_ok());
    assert_eq!(files.shown(relay.address), "second.example");
    files.put("fourth.example");
    assert!(relay.reload(|_| ()).is_ok());
    assert_eq!(files.shown(relay.address), "fourth.example");

    let off = relay.reload(|config| (config.server.tls_cert, config.server.tls_key) = (None, None));
    assert_eq!(off.unwrap().left, ["server.tls_cert", "server.tls_key"]);
    assert_eq!(files.shown(relay.address), "fourth.example");
    relay.stop().await;
}

#[test]
fn a_pair_that_is_replaced_on_disk_is_shown_without_being_asked_and_a_bad_one_is_an_error() {
    let files = Files::new();
    files.put("first.example");
    let (cert, key) = (files.path("cert.pem"), files.path("key.pem"));
    let process = Process::serve(&[
        ("PUSHLET_SERVER__TLS_CERT", cert.to_str().unwrap()),
        ("PUSHLET_SERVER__TLS_KEY", key.to_str().unwrap()),
    ]);
    let line = process.line("listening on https://");
    let (_, rest) = line.split_once("listening on https://").unwrap();
    let address: SocketAddr = rest.split(' ').next().unwrap().parse().unwrap();
    assert_eq!(files.shown(address), "first.example");

    files.put("second.example");
    until("the new certificate is shown", || files.shown(address) == "second.example");

    fs::write(&key, "no key").unwrap();
    let line = process.line("the listener keeps the certificate that it has");
    assert!(line.contains(" ERROR ") && line.contains("server.tls_key"), "{line}");
    assert_eq!(files.shown(address), "second.example");
}

/// What the start says of these files, with `CERT` and `KEY` for their paths.
fn refusal(files: &Files) -> String {
    let (cert, key) = (files.path("cert.pem"), files.path("key.pem"));
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let environment = [
        ("PUSHLET_SERVER__BIND", "127.0.0.1:0"),
        ("PUSHLET_SERVER__TLS_CERT", cert),
        ("PUSHLET_SERVER__TLS_KEY", key),
    ];
    let mut process = Process::start(&["serve"], &environment);
    assert_eq!(process.exit_code(), Some(1));
    process.line("pushlet: ").replace(cert, "CERT").replace(key, "KEY")
}

#[test]
fn a_pair_that_cannot_be_used_stops_the_start_with_the_name_of_its_setting() {
    let files = Files::new();
    let identity = files.put("127.0.0.1");

    fs::write(files.path("key.pem"), identity.encrypted_key_pem("secret")).unwrap();
    let no_key = "pushlet: `server.tls_key` names `KEY`, which holds no key in PEM, or an encrypted \
                  one; give one that is not encrypted";
    assert_eq!(refusal(&files), no_key);
    fs::write(files.path("key.pem"), "").unwrap();
    assert_eq!(refusal(&files), no_key);
    fs::write(files.path("key.pem"), crate::support::keys::signing_key_p8()).unwrap();
    assert_eq!(
        refusal(&files),
        "pushlet: `server.tls_key` names `KEY`, whose key does not belong to the first certificate \
         in `CERT`; put the server's own certificate first"
    );
    fs::remove_file(files.path("key.pem")).unwrap();
    assert_eq!(
        refusal(&files),
        "pushlet: `server.tls_key` names `KEY`, which cannot be read: No such file or directory \
         (os error 2)"
    );
    fs::write(files.path("cert.pem"), "no certificate").unwrap();
    assert_eq!(
        refusal(&files),
        "pushlet: `server.tls_cert` names `CERT`, which holds no certificate in PEM"
    );
}

#[test]
fn a_certificate_without_a_key_is_a_mistake_and_tls_opens_no_public_address() {
    let told = |environment: &[(&str, &str)]| {
        let variables = environment.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        Config::load(None, variables).unwrap_err().all().to_vec()
    };

    let (cert, key) = (("PUSHLET_SERVER__TLS_CERT", "c"), ("PUSHLET_SERVER__TLS_KEY", "k"));
    assert_eq!(told(&[cert]), ["server has `tls_cert` without `tls_key`; give both or none"]);
    assert_eq!(told(&[key]), ["server has `tls_key` without `tls_cert`; give both or none"]);
    let open = told(&[cert, key, ("PORT", "443")]);
    assert!(open[0].starts_with("anybody could call: `server.bind` is `0.0.0.0:443`"), "{open:?}");
}
