//! `pushlet demo`: relay and simulator in one process, and the documented calls ready to paste.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use pushlet::config::Config;
use pushlet::server::Server;
use pushlet::simulator::certificates::{Authority, Subject};
use pushlet::simulator::{Options, Simulator};
use pushlet::telemetry;
use tokio::runtime::Handle;
use url::Url;

use super::serve::until_told;
use super::{Signals, say};

/// The documentation's own address, whatever the environment says.
const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9292);
const TOPIC: &str = "com.example.app";
/// A token like Apple's.
const TOKEN: &str = "740f4707bebcf74f9b7c25d48e3358945f6aa01da5ddb387462c7eaf61bb78ad";

pub(crate) async fn run(runtime: &Handle) -> Result<(), String> {
    let signals = Signals::listen()?;
    let wrong = |error: io::Error| format!("the demo could not start: {error}");
    let show = |message: &pushlet::simulator::record::Received| {
        say(&format!("the simulator got: {message}"));
    };
    let options = Options { on_message: Some(Box::new(show)), ..Options::default() };
    let simulator = Simulator::start(options, runtime).map_err(wrong)?;
    let folder = tempfile::Builder::new().prefix("pushlet-demo-").tempdir().map_err(wrong)?;
    let ca_file = folder.path().join("ca.pem");
    let p12_file = folder.path().join("cert.p12");
    std::fs::write(&ca_file, simulator.ca_pem()).map_err(wrong)?;
    std::fs::write(&p12_file, sample_p12().map_err(|error| wrong(error.into()))?).map_err(wrong)?;

    let url = |text: &str| Url::parse(text).map_err(|error| format!("{text} is no URL: {error}"));
    let mut config = Config::default();
    config.server.bind = ADDRESS;
    config.apns.production_url = url(&simulator.apns_url())?;
    config.apns.production_channels_url = url(&simulator.channels_url())?;
    config.apns.sandbox_channels_url = url(&simulator.channels_url())?;
    config.apns.sandbox_url = url(&simulator.apns_url())?;
    config.apns.ca_file = Some(ca_file);
    config.fcm.url = url(&simulator.http_url())?;
    config.gcm.legacy_url = Some(url(&format!("{}/gcm/send", simulator.http_url()))?);
    let _ = telemetry::start(&config.log);
    let server = Server::bind(&config, runtime).map_err(|error| {
        format!("{error}\nthe demo needs that address; stop what listens there and try again")
    })?;
    say(&lines(&p12_file.display().to_string()));
    let ended = until_told(server, signals).await;
    simulator.stop().await;
    ended
}

/// A certificate like Apple's, without password.
fn sample_p12() -> Result<Vec<u8>, openssl::error::ErrorStack> {
    Authority::generate("Pushlet demo")?.client(&Subject::of_app(TOPIC))?.p12("")
}

/// The calls of the documentation.
fn lines(p12_file: &str) -> String {
    let base = format!("http://{ADDRESS}");
    format!(
        r#"Pushlet listens on {base}; a simulator plays Apple and Google. In another terminal:

# 1. register an application with its Apple certificate
curl {base}/register_application -F "apns_p12=@{p12_file}" -F "application_id=YOUR_APPLICATION_NAME"

# 2. send to an iPhone
curl {base}/send_notification -d "device_token={TOKEN}&alert=YOUR+TEXT+MESSAGE&application_id=YOUR_APPLICATION_NAME"

# 3. send to an Android phone
curl {base}/send_notification -d "device_token=YOUR_GCM_DEVICE_KEY&gcm_api_key=YOUR_GCM_API_KEY&data=%7B%22text%22%3A%22hello%22%7D"

# 4. ask which phones are gone
curl {base}/application_feedback -d "application_id=YOUR_APPLICATION_NAME"

# a phone that is gone: this token makes the simulator say so, and number 4 then lists it
curl {base}/send_notification -d "device_token=5e750410{rest}&alert=hello&application_id=YOUR_APPLICATION_NAME"

What the simulator gets is printed here. Stop with Ctrl-C."#,
        rest = &TOKEN[8..],
    )
}
