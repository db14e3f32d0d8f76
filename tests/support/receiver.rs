//! A receiver of webhooks: it keeps what it got, and answers as it was told to.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use url::Url;

/// How long anything may take that is waited for here.
const LIMIT: Duration = Duration::from_secs(60);

/// What a receiver does with a report; without one it answers 200.
#[derive(Debug, Clone, Copy)]
pub enum Reply {
    /// A status, and further lines of the head.
    Answer(u16, &'static str),
    /// The connection is closed without an answer.
    Close,
    /// There is no answer.
    Silence,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Posted {
    /// Method and path.
    pub line: String,
    /// The names in lower case.
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
    pub at: Instant,
}

impl Posted {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn delivery(&self) -> &str {
        &self.headers["pushlet-delivery"]
    }

    /// The tokens that it reports.
    pub fn tokens(&self) -> Vec<String> {
        let body = self.json();
        let rows = body["tokens"].as_array().unwrap();
        rows.iter().map(|row| row["device_token"].as_str().unwrap().to_owned()).collect()
    }
}

pub struct Receiver {
    pub url: Url,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    posted: Mutex<Vec<Posted>>,
    replies: Mutex<VecDeque<Reply>>,
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?key=k", listener.local_addr().unwrap());
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&own)));
            }
        });
        Self { url: Url::parse(&url).unwrap(), shared, serving }
    }

    /// What is done with the next reports, one each.
    pub fn reply(&self, replies: &[Reply]) {
        self.shared.replies.lock().unwrap().extend(replies);
    }

    /// What was received so far.
    pub fn posted(&self) -> Vec<Posted> {
        self.shared.posted.lock().unwrap().clone()
    }

    /// Waits until there were so many, and gives them.
    pub async fn wait_for(&self, count: usize) -> Vec<Posted> {
        let until = Instant::now() + LIMIT;
        loop {
            let posted = self.posted();
            if posted.len() >= count {
                return posted;
            }
            assert!(Instant::now() < until, "{count} reports were expected: {posted:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    let mut bytes = Vec::new();
    while let Some(posted) = request(&mut stream, &mut bytes).await {
        shared.posted.lock().unwrap().push(posted);
        let reply = shared.replies.lock().unwrap().pop_front();
        match reply.unwrap_or(Reply::Answer(200, "")) {
            Reply::Answer(status, lines) => {
                let head = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n{lines}\r\n");
                if stream.write_all(head.as_bytes()).await.is_err() {
                    return;
                }
            }
            Reply::Close => return,
            Reply::Silence => std::future::pending().await,
        }
    }
}

/// The next request of a connection.
async fn request(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<Posted> {
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let line = lines.next()?.trim_end_matches(" HTTP/1.1").to_owned();
    let headers: HashMap<_, _> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length: usize = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    while bytes.len() < end + 4 + length {
        if stream.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    }
    let body = bytes[end + 4..end + 4 + length].to_vec();
    bytes.drain(..end + 4 + length);
    Some(Posted { line, headers, body, at: Instant::now() })
}
