//! Frames out: what a script can write.

use std::sync::Arc;

use tokio::io::{AsyncWriteExt, WriteHalf};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

use super::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Head, RST_STREAM, Record,
    Request, SETTINGS, WINDOW_UPDATE,
};

/// The writing side of a connection.
#[derive(Clone)]
pub struct Answering {
    pub(super) writer: Arc<tokio::sync::Mutex<WriteHalf<SslStream<TcpStream>>>>,
    pub(super) record: Arc<Record>,
}

impl Answering {
    /// Writes a frame. The relay may have left: then it is lost.
    pub async fn frame(&self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], kind, flags];
        bytes.extend_from_slice(&stream.to_be_bytes());
        bytes.extend_from_slice(payload);
        let mut writer = self.writer.lock().await;
        let _ = writer.write_all(&bytes).await;
        let _ = writer.flush().await;
    }

    pub async fn settings(&self, settings: &[(u16, u32)]) {
        let mut payload = Vec::new();
        for (id, value) in settings {
            payload.extend_from_slice(&id.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        self.frame(SETTINGS, 0, 0, &payload).await;
    }

    pub async fn goaway(&self, last: u32, code: u32, debug: &str) {
        let mut payload = last.to_be_bytes().to_vec();
        payload.extend_from_slice(&code.to_be_bytes());
        payload.extend_from_slice(debug.as_bytes());
        self.frame(GOAWAY, 0, 0, &payload).await;
    }

    pub async fn reset(&self, stream: u32, code: u32) {
        self.frame(RST_STREAM, 0, stream, &code.to_be_bytes()).await;
    }

    /// Takes responsibility for a message and says so.
    pub async fn accept(&self, request: &Request) {
        self.take(request);
        self.status(request.stream, 200).await;
    }

    /// Takes responsibility for a message and does not say so.
    pub fn take(&self, request: &Request) {
        self.record.accept(&request.message);
    }

    /// The same of a message that was not read: it is on record by its `apns-id`.
    pub fn take_unread(&self, head: &Head) {
        self.record.accept(&head.apns_id);
    }

    /// An answer without a body.
    pub async fn status(&self, stream: u32, status: u16) {
        self.head(stream, status, &[], END_STREAM).await;
    }

    /// A refusal in Apple's form.
    pub async fn refuse(&self, stream: u32, status: u16, reason: &str) {
        self.answer(stream, status, &[], &format!(r#"{{"reason":"{reason}"}}"#)).await;
    }

    /// An answer with headers, and a body unless that is empty.
    pub async fn answer(&self, stream: u32, status: u16, headers: &[(&str, &str)], body: &str) {
        if body.is_empty() {
            return self.head(stream, status, headers, END_STREAM).await;
        }
        self.head(stream, status, headers, 0).await;
        self.frame(DATA, END_STREAM, stream, body.as_bytes()).await;
    }

    /// The first half of an answer whose other half never comes.
    pub async fn half_answer(&self, stream: u32, status: u16, half_body: &str) {
        self.head(stream, status, &[("content-length", "100")], 0).await;
        self.frame(DATA, 0, stream, half_body.as_bytes()).await;
    }

    /// The first bytes of a HEADERS frame that never ends.
    pub async fn half_headers(&self, stream: u32) {
        let mut bytes = vec![0, 0, 100, HEADERS, END_STREAM | END_HEADERS];
        bytes.extend_from_slice(&stream.to_be_bytes());
        bytes.push(0x88);
        let mut writer = self.writer.lock().await;
        let _ = writer.write_all(&bytes).await;
        let _ = writer.flush().await;
    }

    /// Opens the connection's window.
    pub async fn open_window(&self, stream: u32, bytes: u32) {
        self.frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes()).await;
    }

    /// HEADERS, with as many CONTINUATIONs as they take.
    async fn head(&self, stream: u32, status: u16, headers: &[(&str, &str)], end: u8) {
        let mut block = match status {
            200 => vec![0x88],
            other => [&[0x08, 3][..], other.to_string().as_bytes()].concat(),
        };
        for (name, value) in headers {
            block.push(0);
            text(&mut block, name);
            text(&mut block, value);
        }
        let chunks: Vec<&[u8]> = block.chunks(16_384).collect();
        let last = chunks.len() - 1;
        for (place, chunk) in chunks.into_iter().enumerate() {
            let kind = if place == 0 { HEADERS } else { CONTINUATION };
            let first = if place == 0 { end } else { 0 };
            let flags = first | if place == last { END_HEADERS } else { 0 };
            self.frame(kind, flags, stream, chunk).await;
        }
    }
}

/// A string of HPACK without Huffman (RFC 7541 §5.1, §5.2).
fn text(block: &mut Vec<u8>, text: &str) {
    let length = text.len();
    if length < 127 {
        block.push(u8::try_from(length).unwrap());
    } else {
        block.push(127);
        let mut rest = length - 127;
        while rest >= 128 {
            block.push(u8::try_from(rest % 128).unwrap() | 128);
            rest /= 128;
        }
        block.push(u8::try_from(rest).unwrap());
    }
    block.extend_from_slice(text.as_bytes());
}
