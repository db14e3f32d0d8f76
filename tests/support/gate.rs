//! A port behind which nobody answers until it is opened.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

/// More connections than a test makes.
const ROOM: u32 = 64;
/// A connection that is made at all is made in less, here.
const SOON: Duration = Duration::from_millis(500);

/// A gate; dropped, it ends with what goes through it.
pub struct Gate {
    pub address: SocketAddr,
    /// Where it leads to, once it is open.
    target: watch::Sender<Option<SocketAddr>>,
    waiting: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Gate {
    /// Connections are made, and nothing is read of them.
    pub fn shut() -> Self {
        Self::before(listen(ROOM), false)
    }

    /// No connection is made: as many wait already as the system keeps, and it answers no other one
    /// until the gate is opened.
    pub async fn crowded() -> Self {
        let listener = listen(0);
        let address = listener.local_addr().unwrap();
        let mut crowd = Vec::new();
        while let Ok(connected) = timeout(SOON, TcpStream::connect(address)).await {
            crowd.push(connected.unwrap());
        }
        Self::before(listener, true)
    }

    /// How many connections wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Forwards what waits and what comes.
    pub fn open(&self, target: SocketAddr) {
        self.target.send_replace(Some(target));
    }

    fn before(listener: TcpListener, is_crowded: bool) -> Self {
        let address = listener.local_addr().unwrap();
        let (target, opened) = watch::channel(None);
        let waiting = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&waiting);
        let task = tokio::spawn(async move {
            if is_crowded {
                when_open(opened.clone()).await;
            }
            let mut connections = JoinSet::new();
            while let Ok((from, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                connections.spawn(forward(from, opened.clone()));
            }
        });
        Self { address, target, waiting, task }
    }
}

async fn forward(mut from: TcpStream, opened: watch::Receiver<Option<SocketAddr>>) {
    let Some(target) = when_open(opened).await else { return };
    let Ok(mut to) = TcpStream::connect(target).await else { return };
    // However it ends: whoever is cut off says so.
    let _ = copy_bidirectional(&mut from, &mut to).await;
}

async fn when_open(mut opened: watch::Receiver<Option<SocketAddr>>) -> Option<SocketAddr> {
    opened.wait_for(Option::is_some).await.ok().and_then(|target| *target)
}

fn listen(backlog: u32) -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    socket.listen(backlog).unwrap()
}
