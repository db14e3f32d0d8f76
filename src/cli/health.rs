//! `pushlet health`: whether a relay answers, for health checks that have nothing but this program.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use pushlet::config::{self, Config};
use url::Url;

use super::{plain, say};

/// How long the relay may take.
const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where the relay is, such as `http://127.0.0.1:9292`; left out, where its configuration makes it
    /// listen on this machine
    #[arg(value_name = "URL")]
    url: Option<Url>,
    /// The configuration file (pushlet.toml); the environment variable `PUSHLET_CONFIG` names it as
    /// well
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    config: Option<PathBuf>,
    /// Ask whether it takes traffic, not only whether it lives
    #[arg(long)]
    ready: bool,
}

/// Nothing wrong: it answered 200.
pub(crate) async fn run(arguments: &Arguments) -> Result<(), String> {
    let (mut url, is_ours) = match &arguments.url {
        Some(url) => (url.clone(), false),
        None => (here(arguments)?, true),
    };
    let route = if arguments.ready { "readyz" } else { "healthz" };
    let path = format!("{}/{route}", url.path().trim_end_matches('/'));
    url.set_path(&path);
    let unreached = |error: &reqwest::Error| {
        let mut sentence = format!("{url} does not answer");
        let mut cause = std::error::Error::source(error);
        while let Some(inner) = cause {
            sentence = format!("{sentence}: {inner}");
            cause = inner.source();
        }
        sentence
    };
    // Our own certificate is for the name that callers know, and not for this address. Nothing but
    // the question is sent.
    let client = reqwest::Client::builder().tls_danger_accept_invalid_certs(is_ours);
    let client = client.no_proxy().timeout(TIMEOUT).build();
    let client = client.map_err(|error| unreached(&error))?;
    let answer = client.get(url.clone()).send().await.map_err(|error| unreached(&error))?;
    let status = answer.status();
    let body = answer.text().await.unwrap_or_default();
    let body: String = plain(body.trim()).chars().take(200).collect();
    if status != reqwest::StatusCode::OK {
        return Err(format!("{url} answers {}: {body}", status.as_u16()));
    }
    say(&body);
    Ok(())
}

fn here(arguments: &Arguments) -> Result<Url, String> {
    let config = Config::load_unserved(arguments.config.as_deref(), config::environment())
        .map_err(|mistakes| format!("the configuration is wrong\n{mistakes}"))?;
    let bind = config.server.bind;
    // An address that means all of them is none to go to.
    let ip = match bind.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    let address = SocketAddr::new(ip, bind.port());
    let scheme = if config.server.tls_cert.is_some() { "https" } else { "http" };
    Url::parse(&format!("{scheme}://{address}")).map_err(|error| format!("{address}: {error}"))
}
