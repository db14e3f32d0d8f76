//! A server that we did not write as the APNs end: nginx over TLS with client certificates. It
//! sends no `apns-id`.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reqwest::multipart::{Form, Part};
use tokio::time::{Instant, sleep};

use super::{Bench, assert_all};
use crate::support::keys::Authority;
use crate::support::relay::TOPIC;
use crate::support::tools::require;

/// A running nginx; dropped, it ends.
struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Nginx {
    async fn start(folder: &Path, authority: &Authority, port: u16) -> Self {
        let identity = authority.server_certificate(&["127.0.0.1"]);
        std::fs::write(folder.join("cert.pem"), identity.certificate_pem()).unwrap();
        std::fs::write(folder.join("key.pem"), identity.key_pem()).unwrap();
        std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
        std::fs::write(folder.join("nginx.conf"), configuration(port)).unwrap();
        let mut command = Command::new("nginx");
        command.args(["-e", "error.log", "-c", "nginx.conf", "-p"]).arg(folder);
        let nginx = Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let until = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = std::fs::read_to_string(folder.join("error.log")).unwrap_or_default();
            assert!(Instant::now() < until, "nginx does not start: {log}");
            sleep(Duration::from_millis(20)).await;
        }
        nginx
    }
}

/// Every path is below the folder, so that no rights are needed. After 200 requests nginx ends a
/// connection with GOAWAY.
fn configuration(port: u16) -> String {
    format!(
        "daemon off; master_process off; pid nginx.pid; error_log error.log;
         events {{ worker_connections 256; }}
         http {{
           access_log access.log;
           client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
           uwsgi_temp_path uwsgi; scgi_temp_path scgi;
           keepalive_requests 200;
           server {{
             listen 127.0.0.1:{port} ssl http2;
             ssl_certificate cert.pem; ssl_certificate_key key.pem;
             ssl_client_certificate ca.pem; ssl_verify_client on;
             location / {{ return 200; }}
           }}
         }}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_with_client_certificates_takes_every_message() {
    if !require("nginx with HTTP/2", &["sh", "-c", "nginx -V 2>&1 | grep -q http_v2"]) {
        return;
    }
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let _nginx = Nginx::start(folder.path(), &authority, port).await;
    let bench = Bench::start(&authority, ([127, 0, 0, 1], port).into(), |_| ()).await;
    let p12 = authority.apple_certificate(TOPIC).build().p12("");
    let form = Form::new()
        .text("application_id", "app")
        .part("apns_p12", Part::bytes(p12).file_name("cert.p12"));
    let registered = bench.relay.multipart("/register_application", form).await;
    assert_eq!(registered.status, 200, "{}", registered.body);

    let mut told = Vec::new();
    for _ in 0..10 {
        told.extend(bench.load(100).await);
    }

    assert_all(&told, "ok");
    let log = std::fs::read_to_string(folder.path().join("access.log")).unwrap();
    let arrived = log.lines().filter(|line| line.contains("POST /3/device/")).count();
    assert_eq!(arrived, 1_000, "none is lost, none is doubled");
    bench.relay.stop().await;
}
