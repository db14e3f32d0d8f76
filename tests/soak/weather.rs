//! The network between relay and simulator: a proxy that forwards, slows down, stalls, loses and
//! cuts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// What happens to what is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    Clear,
    /// Half of the connections are reset, after so many more bytes of answers.
    Cut {
        after_bytes: u64,
    },
    /// Every read is passed on so much later.
    Delay(Duration),
    /// Whatever is sent vanishes, and no connection that lost something ever works again, though
    /// none is closed.
    Lost,
    /// New connections are reset at once.
    Refused,
    /// Nothing is passed on until it is over.
    Stalled,
}

/// The proxy; dropped, it cuts everything.
pub struct Proxy {
    pub address: SocketAddr,
    weather: watch::Sender<Weather>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// Listens on a free port and forwards to `target`.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (weather, seen) = watch::channel(Weather::Clear);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            let mut number: u64 = 0;
            while let Ok((client, _)) = listener.accept().await {
                number += 1;
                // Closed while this is on, TCP sends a reset.
                let _ = client.set_zero_linger();
                if *seen.borrow() != Weather::Refused {
                    connections.spawn(forward(client, target, seen.clone(), number));
                }
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, weather, task }
    }

    pub fn turn(&self, weather: Weather) {
        let _ = self.weather.send(weather);
    }
}

/// What the two directions of a connection share.
struct Line {
    lost: AtomicBool,
    /// How many more bytes of answers pass before the end.
    left_bytes: AtomicU64,
}

async fn forward(
    client: TcpStream,
    target: SocketAddr,
    mut weather: watch::Receiver<Weather>,
    number: u64,
) {
    let Ok(server) = TcpStream::connect(target).await else { return };
    for socket in [&client, &server] {
        let _ = socket.set_nodelay(true);
    }
    let _ = server.set_zero_linger();
    let line =
        Arc::new(Line { lost: AtomicBool::new(false), left_bytes: AtomicU64::new(u64::MAX) });
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let up = pump(from_client, to_server, weather.clone(), Arc::clone(&line), false);
    let down = pump(from_server, to_client, weather.clone(), Arc::clone(&line), true);
    let cut = async {
        while weather.changed().await.is_ok() {
            let now = *weather.borrow_and_update();
            if let (Weather::Cut { after_bytes }, true) = (now, number.is_multiple_of(2)) {
                line.left_bytes.store(after_bytes, Ordering::Relaxed);
                if after_bytes == 0 {
                    return;
                }
            }
        }
    };
    tokio::select! { () = up => {}, () = down => {}, () = cut => {} }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
    line: Arc<Line>,
    answers: bool,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let now = *weather.borrow();
        match now {
            Weather::Delay(by) => tokio::time::sleep(by).await,
            Weather::Lost => line.lost.store(true, Ordering::Relaxed),
            Weather::Stalled => drop(weather.wait_for(|now| *now != Weather::Stalled).await),
            Weather::Clear | Weather::Cut { .. } | Weather::Refused => {}
        }
        if line.lost.load(Ordering::Relaxed) {
            continue;
        }
        let left = line.left_bytes.load(Ordering::Relaxed);
        let passes =
            if answers { read.min(usize::try_from(left).unwrap_or(usize::MAX)) } else { read };
        if to.write_all(&buffer[..passes]).await.is_err() || passes < read {
            return;
        }
        if answers && left != u64::MAX {
            line.left_bytes.fetch_sub(passes as u64, Ordering::Relaxed);
        }
    }
}
