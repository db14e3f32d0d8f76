//! Frames in: what a connection does with them before its script hears of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::io::{AsyncReadExt, ReadHalf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_openssl::SslStream;

use super::hpack::Decoder;
use super::{
    ACK, Answering, DATA, END_HEADERS, END_STREAM, Event, HEADERS, Habits, Head, LAST, PING,
    Request, SETTINGS,
};

pub(super) struct Reader {
    pub(super) reader: ReadHalf<SslStream<TcpStream>>,
    pub(super) events: mpsc::UnboundedSender<Event>,
    pub(super) answering: Answering,
    pub(super) habits: Arc<Habits>,
}

impl Reader {
    pub(super) async fn run(mut self) {
        // An error is the end of the connection, which the script is told.
        let _ = self.read().await;
    }

    async fn read(&mut self) -> std::io::Result<()> {
        let mut preface = [0; 24];
        self.reader.read_exact(&mut preface).await?;
        assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let mut decoder = Decoder::default();
        let mut open: HashMap<u32, (String, Vec<u8>)> = HashMap::new();
        loop {
            let mut head = [0; 9];
            self.reader.read_exact(&mut head).await?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let (kind, flags) = (head[3], head[4]);
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & LAST;
            let mut payload = vec![0; length];
            self.reader.read_exact(&mut payload).await?;
            match kind {
                SETTINGS if flags & ACK == 0 => self.answering.frame(SETTINGS, ACK, 0, &[]).await,
                PING if flags & ACK == 0 => {
                    self.answering.record.pings.fetch_add(1, Ordering::SeqCst);
                    if !self.habits.mute.load(Ordering::SeqCst) {
                        self.answering.frame(PING, ACK, 0, &payload).await;
                    }
                }
                HEADERS => {
                    assert!(flags & END_HEADERS != 0, "requests have few headers");
                    let apns_id = apns_id_of(decoder.read(&payload));
                    open.insert(stream, (apns_id.clone(), Vec::new()));
                    let _ = self.events.send(Event::Opened(Head { stream, apns_id }));
                }
                DATA => {
                    let (apns_id, body) = open.get_mut(&stream).unwrap();
                    body.extend_from_slice(&payload);
                    if !self.habits.window_shut.load(Ordering::SeqCst) && length > 0 {
                        self.answering.open_window(0, u32::try_from(length).unwrap()).await;
                    }
                    if flags & END_STREAM != 0 {
                        let (apns_id, message) = (std::mem::take(apns_id), alert_of(body));
                        open.remove(&stream);
                        let request = Request { stream, apns_id, message };
                        self.answering.record.arrive(&request);
                        let _ = self.events.send(Event::Whole(request));
                    }
                }
                _ => {}
            }
        }
    }
}

/// Empty where a pool is tested alone, which adds no headers.
fn apns_id_of(headers: Vec<(String, String)>) -> String {
    let id = headers.into_iter().find(|(name, _)| name == "apns-id");
    id.map(|(_, id)| id).unwrap_or_default()
}

fn alert_of(body: &[u8]) -> String {
    let payload: serde_json::Value = serde_json::from_slice(body).unwrap();
    payload["aps"]["alert"].as_str().unwrap().to_owned()
}
