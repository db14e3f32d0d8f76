//! A way to the peer that is long, or bad: it delays what it carries, stalls or breaks off.

use std::io::Write;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

use crate::phase;
use crate::process::{Process, command, own_path};

/// The argument that makes this program a forwarder.
pub const KIND: &str = "child-forward";

/// How the way is.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Way {
    pub to: SocketAddr,
    /// What each direction adds; the bandwidth is not limited.
    pub delay: Duration,
    pub fault: Fault,
    /// When the fault shows, after the start of a connection.
    pub after: Duration,
}

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    None,
    /// It is cut.
    Cut,
    /// Nothing is carried any more, and nobody says so.
    Stall,
}

/// A running forwarder.
pub struct Forwarder {
    pub url: String,
    _process: Process,
}

impl Forwarder {
    pub fn start(way: Way, core: Option<usize>) -> Self {
        let mut command = command(own_path(), core);
        command.arg(KIND).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::start(command);
        let plan = serde_json::to_string(&way).unwrap();
        process.with_input(|mut input| writeln!(input, "{plan}").unwrap());
        let port: u16 = process.await_line(|line| line.parse().ok());
        Self { url: format!("https://localhost:{port}"), _process: process }
    }
}

/// The child.
pub async fn child() {
    let way: Way = phase::plan();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    phase::say(&listener.local_addr().unwrap().port().to_string());
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((socket, _)) = accepted else { continue };
                connections.spawn(connection(socket, way));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(near: TcpStream, way: Way) {
    let Ok(far) = TcpStream::connect(way.to).await else { return };
    let _ = near.set_nodelay(true).and_then(|()| far.set_nodelay(true));
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    let both = async {
        tokio::join!(
            direction(near_read, far_write, way.delay),
            direction(far_read, near_write, way.delay)
        )
    };
    match way.fault {
        Fault::None => {
            both.await;
        }
        Fault::Cut => {
            let _ = tokio::time::timeout(way.after, both).await;
        }
        Fault::Stall => {
            let mut both = std::pin::pin!(both);
            let _ = tokio::time::timeout(way.after, &mut both).await;
            // The sockets stay open, and nobody reads them.
            sleep(Duration::from_secs(3_600)).await;
        }
    }
}

/// Carries one direction: each piece arrives `delay` after it was read.
async fn direction(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) {
    let (pieces, mut queue) = mpsc::unbounded_channel::<(Instant, Bytes)>();
    let reading = async move {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(64 * 1_024);
            match from.read_buf(&mut buffer).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return,
            }
            if pieces.send((Instant::now() + delay, buffer.split().freeze())).is_err() {
                return;
            }
        }
    };
    let writing = async move {
        while let Some((at, bytes)) = queue.recv().await {
            sleep_until(at.into()).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(reading, writing);
}
