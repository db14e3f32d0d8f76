//! An APNs that misbehaves on purpose: TLS and raw HTTP/2 frames (RFC 9113), written by hand, each
//! connection led by a script. What it took is on record, as the witness of what callers are told.

mod answering;
mod hpack;
mod reading;
mod record;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openssl::ssl::{
    AlpnError, Ssl, SslAcceptor, SslMethod, SslOptions, SslVerifyMode, select_next_proto,
};
use openssl::x509::X509;
use openssl::x509::store::X509StoreBuilder;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio_openssl::SslStream;

pub use self::answering::Answering;
use self::reading::Reader;
pub use self::record::Record;
use super::keys::{Authority, Identity};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// `SETTINGS_MAX_CONCURRENT_STREAMS`.
pub const STREAMS: u16 = 3;
/// `SETTINGS_INITIAL_WINDOW_SIZE`.
pub const WINDOW: u16 = 4;

/// Error codes (RFC 9113 §7).
pub const NO_ERROR: u32 = 0;
pub const INTERNAL_ERROR: u32 = 2;
pub const REFUSED_STREAM: u32 = 7;
pub const CANCEL: u32 = 8;
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// The highest stream id: what the first of two graceful GOAWAYs names.
pub const LAST: u32 = 0x7fff_ffff;

/// How the peer's TLS side is set up.
pub struct Tls {
    pub identity: Identity,
    /// What ALPN picks from; RFC 7301's form.
    pub protocols: &'static [u8],
    /// Client certificates of another authority meet an alert.
    pub client_authority: Option<X509>,
    /// Connections end with a reset instead of in order.
    pub resets: bool,
}

impl Tls {
    /// As Apple's: `h2`, any client certificate.
    pub fn new(authority: &Authority) -> Self {
        let identity = authority.server_certificate(&["127.0.0.1"]);
        Self { identity, protocols: b"\x02h2", client_authority: None, resets: false }
    }

    fn acceptor(&self) -> SslAcceptor {
        let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
        builder.set_certificate(&self.identity.certificate).unwrap();
        builder.set_private_key(&self.identity.key).unwrap();
        builder.set_options(SslOptions::NO_TICKET);
        builder.set_num_tickets(0).unwrap();
        let protocols = self.protocols;
        builder.set_alpn_select_callback(move |_, offered| {
            select_next_proto(protocols, offered).ok_or(AlpnError::NOACK)
        });
        match &self.client_authority {
            None => builder.set_verify_callback(SslVerifyMode::PEER, |_, _| {
                // What is forgiven must not stay in the thread's queue: OpenSSL would take it for
                // an error of the next read.
                drop(openssl::error::ErrorStack::get());
                true
            }),
            Some(authority) => {
                let mut store = X509StoreBuilder::new().unwrap();
                store.add_cert(authority.clone()).unwrap();
                builder.set_verify_cert_store(store.build()).unwrap();
                builder.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
            }
        }
        builder.build()
    }
}

type Script = dyn Fn(Conn) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync;

/// A listening peer; dropped, it cuts all its connections.
pub struct ScriptedPeer {
    pub address: SocketAddr,
    pub record: Arc<Record>,
    task: JoinHandle<()>,
}

impl Drop for ScriptedPeer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ScriptedPeer {
    /// Listens on a free port; `script` leads each connection once its handshake is done. When the
    /// script ends its connection is closed.
    pub async fn start<F, S>(tls: &Tls, script: F) -> Self
    where
        F: Fn(Conn) -> S + Send + Sync + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::start_on(listener, tls, script)
    }

    /// The same, on this listener.
    pub fn start_on<F, S>(listener: TcpListener, tls: &Tls, script: F) -> Self
    where
        F: Fn(Conn) -> S + Send + Sync + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let address = listener.local_addr().unwrap();
        let record = Arc::new(Record::default());
        let script: Arc<Script> = Arc::new(move |conn| Box::pin(script(conn)));
        let (acceptor, kept, resets) = (tls.acceptor(), Arc::clone(&record), tls.resets);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let (script, record) = (Arc::clone(&script), Arc::clone(&kept));
                let ssl = Ssl::new(acceptor.context()).unwrap();
                if resets {
                    SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
                }
                connections.spawn(serve(ssl, socket, record, script));
            }
        });
        Self { address, record, task }
    }
}

async fn serve(ssl: Ssl, socket: TcpStream, record: Arc<Record>, script: Arc<Script>) {
    let _ = socket.set_nodelay(true);
    let mut stream = SslStream::new(ssl, socket).unwrap();
    if Pin::new(&mut stream).accept().await.is_err() {
        // Closing at once would reset the connection, and the alert would be lost.
        let socket = stream.get_mut();
        let _ = socket.shutdown().await;
        let _ = socket.read_to_end(&mut Vec::new()).await;
        return;
    }
    let chain = stream.ssl().peer_cert_chain().map_or(0, |chain| chain.len());
    record.chain.fetch_max(chain, Ordering::SeqCst);
    let number = record.connections.fetch_add(1, Ordering::SeqCst);
    record.open.fetch_add(1, Ordering::SeqCst);
    let (reader, writer) = tokio::io::split(stream);
    let writer = Arc::new(tokio::sync::Mutex::new(writer));
    let (events, received) = mpsc::unbounded_channel();
    let habits = Arc::new(Habits::default());
    let answering = Answering { writer, record: Arc::clone(&record) };
    let reader = Reader { reader, events, answering: answering.clone(), habits: habits.clone() };
    let reading = tokio::spawn(reader.run());
    let _stops_reading = AbortOnDrop(reading.abort_handle());
    let reading = reading.abort_handle();
    script(Conn { number, received, answering, habits, reading }).await;
    record.open.fetch_sub(1, Ordering::SeqCst);
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a connection does without being told.
#[derive(Default)]
struct Habits {
    /// It does not answer PINGs.
    mute: AtomicBool,
    /// It never opens the flow-control window again.
    window_shut: AtomicBool,
}

/// A whole request.
#[derive(Debug, Clone)]
pub struct Request {
    pub stream: u32,
    pub apns_id: String,
    /// The text of its alert.
    pub message: String,
}

/// The head of a request, before its body has come.
#[derive(Debug, Clone)]
pub struct Head {
    pub stream: u32,
    pub apns_id: String,
}

enum Event {
    Opened(Head),
    Whole(Request),
}

/// One connection in the hands of a script.
pub struct Conn {
    /// 0 for the first connection of the peer.
    pub number: usize,
    received: mpsc::UnboundedReceiver<Event>,
    answering: Answering,
    habits: Arc<Habits>,
    reading: tokio::task::AbortHandle,
}

impl Conn {
    /// The next whole request; `None` when the relay has closed.
    pub async fn request(&mut self) -> Option<Request> {
        loop {
            if let Event::Whole(request) = self.received.recv().await? {
                return Some(request);
            }
        }
    }

    /// The next stream that is opened, before its body has come.
    pub async fn opened(&mut self) -> Option<Head> {
        loop {
            if let Event::Opened(head) = self.received.recv().await? {
                return Some(head);
            }
        }
    }

    /// That many whole requests; fewer only when the relay has closed.
    pub async fn requests(&mut self, count: usize) -> Vec<Request> {
        let mut requests = Vec::new();
        while requests.len() < count {
            let Some(request) = self.request().await else { break };
            requests.push(request);
        }
        requests
    }

    /// Accepts everything until the relay closes.
    pub async fn accept_all(&mut self) {
        while let Some(request) = self.request().await {
            self.accept(&request).await;
        }
    }

    /// Reads and answers nothing, until the relay closes.
    pub async fn ignore_all(&mut self) {
        while self.request().await.is_some() {}
    }

    /// Answers no PING any more.
    pub fn fall_silent(&self) {
        self.habits.mute.store(true, Ordering::SeqCst);
    }

    /// Opens the flow-control window no more.
    pub fn shut_window(&self) {
        self.habits.window_shut.store(true, Ordering::SeqCst);
    }

    /// Opens it again, by this much at once.
    pub async fn reopen_window(&self, bytes: u32) {
        self.habits.window_shut.store(false, Ordering::SeqCst);
        self.open_window(0, bytes).await;
    }

    /// Reads no more, so that TCP's window fills.
    pub fn stop_reading(&self) {
        self.reading.abort();
    }

    /// What can be moved to another task, to answer later.
    pub fn answering(&self) -> Answering {
        self.answering.clone()
    }
}

impl std::ops::Deref for Conn {
    type Target = Answering;

    fn deref(&self) -> &Answering {
        &self.answering
    }
}
