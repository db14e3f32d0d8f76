//! An HTTP proxy that forwards what CONNECT asks for, or does not.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// A running proxy; dropped, it ends with everything that goes through it.
pub struct ConnectProxy {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

/// What is done with whoever asks.
#[derive(Debug, Clone, Copy)]
pub enum Manner {
    /// Forwards.
    Forward,
    /// Writes these bytes and closes.
    Say(&'static str),
    /// Reads and says nothing.
    Stall,
    /// Forwards so many bytes to the target, and then resets both sides.
    CutAfter(u64),
}

impl Drop for ConnectProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ConnectProxy {
    /// The connections are treated in these manners, one after the other; the last one goes on.
    pub async fn start(manners: &[Manner]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let (record, manners) = (Arc::clone(&asked), manners.to_vec());
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            let mut number = 0;
            while let Ok((socket, _)) = listener.accept().await {
                let manner = manners[number.min(manners.len() - 1)];
                number += 1;
                connections.spawn(treat(socket, manner, Arc::clone(&record)));
            }
        });
        Self { address, asked, task }
    }

    /// The heads of all that asked, in lower case.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn treat(mut client: TcpStream, manner: Manner, record: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match client.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    record.lock().unwrap().push(head.to_lowercase());
    let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next());
    let target = target.expect("only CONNECT is asked for").to_owned();
    match manner {
        Manner::Say(answer) => drop(client.write_all(answer.as_bytes()).await),
        Manner::Stall => std::future::pending().await,
        Manner::Forward => {
            let mut server = through(&mut client, &target).await;
            let _ = copy_bidirectional(&mut client, &mut server).await;
        }
        Manner::CutAfter(bytes) => {
            let server = through(&mut client, &target).await;
            let (mut from_server, mut to_server) = server.into_split();
            let (from_client, mut to_client) = client.split();
            let mut some = from_client.take(bytes);
            tokio::select! {
                _ = tokio::io::copy(&mut some, &mut to_server) => {}
                _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
            }
            let _ = client.set_zero_linger();
        }
    }
}

async fn through(client: &mut TcpStream, target: &str) -> TcpStream {
    let server = TcpStream::connect(target).await.unwrap();
    client
        .write_all(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 test\r\n\r\n")
        .await
        .unwrap();
    server
}
