//! The load client: HTTP/1.1 over kept connections, requests made beforehand.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::measure::Tally;
use crate::phase::{self, Caller, Clock, Pace};
use crate::stage::{PASSWORD, TOKENS, USERNAME, application_id, device_token};

/// The argument that makes this program a load client.
pub const KIND: &str = "child-load";
/// The collapse id that a refused call carries. It is refused after the payload was assembled;
/// only the size of the payload is looked at later.
const TOO_LONG: usize = 65;

/// What to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    pub address: SocketAddr,
    pub callers: usize,
    /// The first application that is called for, and how many.
    pub first: usize,
    pub applications: usize,
    /// Messages of each call: the same one for so many phones.
    pub batch: usize,
    /// Whether the call is one that the relay refuses by its last check.
    pub refused: bool,
    /// Of the assembled payload.
    pub payload_bytes: usize,
    pub pace: Pace,
}

/// The child.
pub async fn child() {
    let plan: Plan = phase::plan();
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let count = plan.applications * TOKENS.div_ceil(plan.applications);
    let requests: Arc<Vec<Vec<u8>>> =
        Arc::new((0..count).map(|number| request(&plan, number)).collect());
    let expected = if plan.refused { 400 } else { 200 };
    let callers = (0..plan.callers).map(|number| Http {
        address: plan.address,
        stream: None,
        buffer: Vec::with_capacity(1_024),
        requests: Arc::clone(&requests),
        next: number,
        step: plan.callers,
        expected,
        batch: plan.batch,
    });
    let at_least = plan.applications.div_ceil(plan.callers);
    phase::run(callers.collect(), plan.pace, at_least).await;
}

fn request(plan: &Plan, number: usize) -> Vec<u8> {
    let application = application_id(plan.first + number % plan.applications);
    let tokens = (0..plan.batch).map(|place| device_token(number * plan.batch + place));
    let tokens = tokens.collect::<Vec<_>>().join("&device_token=");
    let alert = "x".repeat(plan.payload_bytes.saturating_sub(r#"{"aps":{"alert":""}}"#.len()));
    let mut body = format!("application_id={application}&device_token={tokens}&alert={alert}");
    if plan.refused {
        body.push_str("&collapse_id=");
        body.push_str(&"c".repeat(TOO_LONG));
    }
    let credential = openssl::base64::encode_block(format!("{USERNAME}:{PASSWORD}").as_bytes());
    format!(
        "POST /send_notification HTTP/1.1\r\n\
         host: {}\r\n\
         authorization: Basic {credential}\r\n\
         content-type: application/x-www-form-urlencoded\r\n\
         content-length: {}\r\n\r\n{body}",
        plan.address,
        body.len()
    )
    .into_bytes()
}

/// One caller with its connection.
struct Http {
    address: SocketAddr,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
    requests: Arc<Vec<Vec<u8>>>,
    next: usize,
    step: usize,
    expected: u16,
    batch: usize,
}

impl Caller for Http {
    async fn run(mut self, mut clock: Clock) -> (Self, Tally) {
        let mut tally = Tally::default();
        while let Some(start) = clock.turn().await {
            match self.call().await {
                Ok(status) => tally.answered(status, self.expected, start),
                Err(_) => {
                    self.stream = None;
                    tally.broke();
                }
            }
            self.next += self.step;
        }
        (self, tally)
    }
}

impl Http {
    async fn call(&mut self) -> io::Result<u16> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.address).await?;
                stream.set_nodelay(true)?;
                self.stream.insert(stream)
            }
        };
        let request = &self.requests[self.next % self.requests.len()];
        stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            if stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(status) = whole_answer(&self.buffer)? {
                const ACCEPTED: &[u8] = b"\"response\":\"ok\"";
                let rows = self.buffer.windows(ACCEPTED.len()).filter(|word| *word == ACCEPTED);
                if self.batch > 1 && rows.count() != self.batch {
                    return Err(io::Error::other("a message of a batch was not accepted"));
                }
                return Ok(status);
            }
        }
    }
}

/// The status of an answer when all of it is there.
fn whole_answer(bytes: &[u8]) -> io::Result<Option<u16>> {
    const LENGTH: &[u8] = b"\r\ncontent-length: ";
    let Some(head) = find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let foreign = || io::Error::other("this is no answer of the relay");
    let number = |bytes: &[u8]| {
        let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit());
        digits.fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'))
    };
    let length = find(&bytes[..head], LENGTH).ok_or_else(foreign)?;
    let length = number(&bytes[length + LENGTH.len()..]);
    if bytes.len() < head + 4 + length {
        return Ok(None);
    }
    let status = bytes.strip_prefix(b"HTTP/1.1 ").map(number).ok_or_else(foreign)?;
    u16::try_from(status).map(Some).map_err(|_| foreign())
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
