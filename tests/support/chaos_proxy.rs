//! TCP in the middle: forwards, delays, goes dead without a word, cuts, leads elsewhere.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

/// A proxy in front of one address; dropped, it cuts everything.
pub struct ChaosProxy {
    pub address: SocketAddr,
    state: watch::Sender<State>,
    task: JoinHandle<()>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    /// Connections of an older era are cut.
    era: u64,
    /// Those of this era and older pass nothing any more: packets dropped, no FIN.
    dead_until_era: u64,
    /// One way.
    delay: Duration,
    /// Where new connections lead.
    target: SocketAddr,
}

impl Drop for ChaosProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ChaosProxy {
    /// Listens on a free port and forwards to `target`.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = State { era: 1, dead_until_era: 0, delay: Duration::ZERO, target };
        let (state, seen) = watch::channel(state);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                connections.spawn(forward(socket, seen.clone()));
            }
        });
        Self { address, state, task }
    }

    /// Every byte takes so long each way, however many there are.
    pub fn delay(&self, one_way: Duration) {
        self.state.send_modify(|state| state.delay = one_way);
    }

    /// What is connected goes dead without a word; new connections pass.
    pub fn black_hole(&self) {
        self.state.send_modify(|state| {
            state.dead_until_era = state.era;
            state.era += 1;
        });
    }

    /// New connections lead to another address.
    pub fn lead_to(&self, target: SocketAddr) {
        self.state.send_modify(|state| state.target = target);
    }

    /// What is connected, and is not dead, is reset.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.era += 1);
    }
}

async fn forward(client: TcpStream, mut state: watch::Receiver<State>) {
    let State { era, target, .. } = *state.borrow();
    let Ok(server) = TcpStream::connect(target).await else { return };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    // Closed while this is on, TCP sends a reset.
    let _ = client.set_zero_linger();
    let _ = server.set_zero_linger();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut pumps = JoinSet::new();
    pumps.spawn(pump(from_client, to_server, state.clone(), era));
    pumps.spawn(pump(from_server, to_client, state.clone(), era));
    let is_cut = |state: &State| state.era > era && state.dead_until_era < era;
    let cut = async { drop(state.wait_for(is_cut).await) };
    tokio::select! {
        () = cut => {}
        () = async { while pumps.join_next().await.is_some() {} } => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<State>,
    era: u64,
) {
    let (chunks, mut queue) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let delays = state.clone();
    let reading = async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            let due = Instant::now() + delays.borrow().delay;
            if chunks.send((due, buffer[..read].to_vec())).is_err() {
                break;
            }
        }
        drop(chunks);
        from
    };
    let writing = async move {
        while let Some((due, chunk)) = queue.recv().await {
            sleep_until(due).await;
            if to.write_all(&chunk).await.is_err() {
                break;
            }
        }
        let _ = to.shutdown().await;
        to
    };
    let dead = async { drop(state.wait_for(|state| state.dead_until_era >= era).await) };
    let mut both = Box::pin(futures_util::future::join(reading, writing));
    tokio::select! {
        // Nothing is read any more and nothing closed: the sender fills TCP's window.
        () = dead => std::future::pending().await,
        _ = &mut both => {}
    }
}
