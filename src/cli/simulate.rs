//! `pushlet simulate`: a fake APNs, FCM and GCM, to try the relay against.

use std::net::SocketAddr;
use std::path::PathBuf;

use pushlet::simulator::{Options, Simulator};
use tokio::runtime::Handle;

use super::{Signals, say};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where the fake APNs listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:2197")]
    apns: SocketAddr,
    /// Where the fake FCM, GCM and the control routes listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9293")]
    http: SocketAddr,
    /// Where the same listens over TLS, as Google does; nowhere if left out
    #[arg(long, value_name = "ADDRESS")]
    https: Option<SocketAddr>,
    /// Where to write the certificate authority that the relay has to trust
    #[arg(long, value_name = "FILE", default_value = "pushlet-simulator-ca.pem")]
    ca_file: PathBuf,
    /// Accept whatever comes and show nothing, for measurements
    #[arg(long)]
    accept_all: bool,
}

pub(crate) async fn run(arguments: &Arguments, runtime: &Handle) -> Result<(), String> {
    let mut signals = Signals::listen()?;
    let options = Options {
        apns: arguments.apns,
        http: arguments.http,
        https: arguments.https,
        checks: !arguments.accept_all,
        messages_kept: if arguments.accept_all { 0 } else { Options::default().messages_kept },
        on_message: if arguments.accept_all {
            None
        } else {
            Some(Box::new(|message| say(&message.to_string())))
        },
        ..Options::default()
    };
    let simulator = Simulator::start(options, runtime)
        .map_err(|error| format!("the simulator could not start: {error}"))?;
    std::fs::write(&arguments.ca_file, simulator.ca_pem()).map_err(|error| {
        format!("{} could not be written: {error}", arguments.ca_file.display())
    })?;
    let ca_file = std::path::absolute(&arguments.ca_file).unwrap_or(arguments.ca_file.clone());
    say(&format!(
        "# for pushlet.toml\n\
         [apns]\n\
         production_url = \"{apns}\"\n\
         sandbox_url = \"{apns}\"\n\
         production_channels_url = \"{channels}\"\n\
         sandbox_channels_url = \"{channels}\"\n\
         ca_file = {ca_file:?}\n\
         [fcm]\n\
         {google}\n\
         [gcm]\n\
         legacy_url = \"{http}/gcm/send\"\n\
         \n\
         # what arrives is printed here; GET {http}/control/messages has it as JSON, and\n\
         # POST {http}/control/answers says what to answer next",
        apns = simulator.apns_url(),
        channels = simulator.channels_url(),
        http = simulator.http_url(),
        google = match simulator.https_url() {
            Some(https) => format!("url = \"{https}\"\nca_file = {ca_file:?}"),
            None => format!("url = \"{}\"", simulator.http_url()),
        },
    ));
    signals.next().await;
    simulator.stop().await;
    Ok(())
}
