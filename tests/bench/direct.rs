//! Our own transport without the relay around it, with requests made beforehand, as `h2load` has
//! them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request};
use openssl::pkey::PKey;
use openssl::x509::X509;
use pushlet::transport::{self, Endpoint, Homes, Identity, Pool, Settings, Trust};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::watch;
use url::Url;

use crate::measure::Tally;
use crate::phase::{self, Caller, Clock, Pace};
use crate::stage::{APNS_ID, TOKENS, TOPIC, device_token, payload};

/// The argument that makes this program a client of the peer.
pub const KIND: &str = "child-direct";

/// What to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    pub url: String,
    pub ca_file: PathBuf,
    pub pem_file: PathBuf,
    pub streams: usize,
    pub payload_bytes: usize,
    pub pace: Pace,
}

/// The child.
pub async fn child() {
    let plan: Plan = phase::plan();
    let endpoint = Endpoint::of(&Url::parse(&plan.url).unwrap()).unwrap();
    let settings = Settings {
        connections: 1,
        connect_timeout: Duration::from_secs(10),
        keepalive_interval: Duration::from_secs(60),
        keepalive_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(300),
        max_waiting: 10_000,
        max_answer_bytes: 4_096,
    };
    let trust = Trust::new(Some(&plan.ca_file)).unwrap();
    let identity = Some(identity(&plan.pem_file));
    let settings = watch::channel(settings).1;
    let homes = Homes::new(Handle::current());
    let pool = Pool::new(endpoint, trust, identity, settings, Arc::default(), &homes);
    let body = Bytes::from(payload(plan.payload_bytes));
    let heads = (0..TOKENS).map(|token| head(&plan.url, token, body.len())).collect();
    let common = Arc::new(Common { pool, heads, body });
    let stream = |number| Stream { common: Arc::clone(&common), number, step: plan.streams };
    phase::run((0..plan.streams).map(stream).collect(), plan.pace, 1).await;
}

fn identity(pem_file: &Path) -> Identity {
    let pem = std::fs::read(pem_file).unwrap();
    let certificate = X509::from_pem(&pem).unwrap();
    let key = PKey::private_key_from_pem(&pem).unwrap();
    Identity { certificate, chain: Vec::new(), key }
}

struct Common {
    pool: Pool,
    heads: Vec<Request<()>>,
    body: Bytes,
}

struct Stream {
    common: Arc<Common>,
    number: usize,
    step: usize,
}

impl Caller for Stream {
    async fn run(mut self, mut clock: Clock) -> (Self, Tally) {
        let mut tally = Tally::default();
        while let Some(start) = clock.turn().await {
            match self.send().await {
                Ok(status) => tally.answered(status, 200, start),
                Err(_) => tally.broke(),
            }
            self.number += self.step;
        }
        (self, tally)
    }
}

impl Stream {
    async fn send(&self) -> Result<u16, transport::Error> {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        let body = self.common.body.clone();
        let head = self.common.heads[self.number % TOKENS].clone();
        let request = transport::Request { head, body, avoid: None, deadline };
        let answer = self.common.pool.send(request)?.answer().await?;
        Ok(answer.status.as_u16())
    }
}

/// The head that the relay writes, but for its fresh `apns-id`: `h2load` can send one only.
fn head(url: &str, token: usize, length: usize) -> Request<()> {
    Request::builder()
        .method(Method::POST)
        .uri(format!("{url}/3/device/{}", device_token(token)))
        .header("apns-id", HeaderValue::from_static(APNS_ID))
        .header("apns-topic", HeaderValue::from_static(TOPIC))
        .header("apns-push-type", HeaderValue::from_static("alert"))
        .header("content-type", HeaderValue::from_static("application/json"))
        .header("content-length", length)
        .body(())
        .unwrap()
}
