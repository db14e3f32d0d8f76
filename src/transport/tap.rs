//! The two ends of the TLS session: what goes into it from the socket, and what `h2` gets out of it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_openssl::SslStream;

use super::error::certificate_alert;

/// What the byte stream below `h2` saw.
#[derive(Debug)]
pub(super) struct Seen {
    /// Such as `TLSv1.3`.
    pub(super) tls_version: &'static str,
    start: Instant,
    /// Milliseconds after `start` at which bytes were last read.
    last_read: AtomicU64,
    /// OpenSSL's reason code of the error that ended it, 0 for none.
    tls_error: AtomicI32,
}

impl Seen {
    pub(super) fn new(tls_version: &'static str) -> Self {
        let start = Instant::now();
        Self { tls_version, start, last_read: AtomicU64::new(0), tls_error: AtomicI32::new(0) }
    }

    pub(super) fn last_read(&self) -> Instant {
        self.start + Duration::from_millis(self.last_read.load(Ordering::Relaxed))
    }

    pub(super) fn alert(&self) -> Option<&'static str> {
        certificate_alert(self.tls_error.load(Ordering::Relaxed))
    }

    fn note_read(&self) {
        let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_read.store(millis, Ordering::Relaxed);
    }

    fn note_error(&self, error: &io::Error) {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<openssl::ssl::Error>());
        if let Some(code) = inner.and_then(tls_reason_code) {
            self.tls_error.store(code, Ordering::Relaxed);
        }
    }
}

/// OpenSSL's reason code of an error, where it has one.
pub(super) fn tls_reason_code(error: &openssl::ssl::Error) -> Option<i32> {
    Some(error.ssl_error()?.errors().first()?.reason_code())
}

/// The byte stream below `h2`. It keeps what `h2` forgets: the cause of an I/O error, the time of a read.
pub(super) struct Tap {
    stream: SslStream<Socket>,
    /// Whether OpenSSL holds nothing that could be read. Only the socket can change that, so OpenSSL is
    /// not asked again before the socket has something: each time it would take a buffer of 16 KiB and
    /// give it back.
    is_drained: bool,
    seen: Arc<Seen>,
}

impl Tap {
    pub(super) fn new(stream: SslStream<Socket>, seen: Arc<Seen>) -> Self {
        Self { stream, is_drained: false, seen }
    }

    fn records(&mut self) -> &mut Records {
        &mut self.stream.get_mut().records
    }
}

impl AsyncRead for Tap {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_drained && self.stream.get_ref().tcp.poll_read_ready(cx).is_pending() {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.is_drained = match &result {
            Poll::Ready(Ok(())) => {
                self.seen.note_read();
                let is_at_an_end = self.stream.ssl().pending() == 0;
                if is_at_an_end && buffer.filled().len() > before {
                    self.records().take_one();
                }
                is_at_an_end && self.records().is_none_left()
            }
            Poll::Ready(Err(error)) => {
                self.seen.note_error(error);
                false
            }
            // It may also wait for room to write in, where it owes the peer an answer of its own.
            Poll::Pending if self.stream.get_ref().is_dry => {
                self.records().take_all();
                true
            }
            Poll::Pending => false,
        };
        result
    }
}

impl AsyncWrite for Tap {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        // A write may take in what came (TLS 1.2, renegotiation).
        self.is_drained = self.is_drained && self.records().is_none_left();
        if let Poll::Ready(Err(error)) = &result {
            self.seen.note_error(error);
        }
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The socket below OpenSSL, which reads ahead and does not say how much it keeps.
pub(super) struct Socket {
    tcp: TcpStream,
    records: Records,
    /// Whether it was last asked for bytes and had none; if it was asked for room to write, and had
    /// none, that came earlier.
    is_dry: bool,
}

impl Socket {
    pub(super) fn new(tcp: TcpStream) -> Self {
        Self { tcp, records: Records::default(), is_dry: false }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.tcp).poll_read(cx, buffer);
        self.records.add(buffer.filled().get(before..).unwrap_or_default());
        self.is_dry = result.is_pending();
        result
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.tcp).poll_write(cx, bytes);
        self.is_dry = self.is_dry && result.is_ready();
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

/// How many whole TLS records OpenSSL may hold: never fewer than it does, or what it holds would wait
/// for the next bytes from the peer. Counted from the connection's first byte; one is taken when the
/// last of its data was read. Those that carry none OpenSSL takes in without a word, and they count on
/// until it says that it has nothing, which costs one question more.
#[derive(Debug, Default)]
struct Records {
    whole: usize,
    /// Bytes of the header of the next one that are there already: type, version, length
    /// (RFC 8446 §5.1).
    header: usize,
    /// Of the one that has begun: bytes that are still to come after its header.
    rest: usize,
}

impl Records {
    const HEADER: usize = 5;

    fn add(&mut self, mut bytes: &[u8]) {
        while let Some((first, others)) = bytes.split_first() {
            if self.header < Self::HEADER {
                self.header += 1;
                if self.header + 1 >= Self::HEADER {
                    self.rest = self.rest << 8 | usize::from(*first);
                }
                bytes = others;
            } else {
                let part = self.rest.min(bytes.len());
                self.rest -= part;
                bytes = bytes.get(part..).unwrap_or_default();
            }
            if self.header == Self::HEADER && self.rest == 0 {
                self.whole += 1;
                self.header = 0;
            }
        }
    }

    fn take_one(&mut self) {
        self.whole = self.whole.saturating_sub(1);
    }

    fn take_all(&mut self) {
        self.whole = 0;
    }

    fn is_none_left(&self) -> bool {
        self.whole == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record with so many bytes in it.
    fn record(length: u16) -> Vec<u8> {
        let [high, low] = length.to_be_bytes();
        let mut record = vec![23, 3, 3, high, low];
        record.resize(5 + usize::from(length), 0xff);
        record
    }

    #[test]
    fn records_are_counted_however_they_are_cut() {
        let bytes = [record(1), record(300), record(0), record(16_401)].concat();
        for size in [1, 2, 3, 4, 5, 6, 7, 300, 311, 16_000, bytes.len()] {
            let mut records = Records::default();
            for part in bytes.chunks(size) {
                records.add(part);
            }
            assert_eq!(records.whole, 4, "in parts of {size}");
            assert_eq!((records.header, records.rest), (0, 0), "in parts of {size}");
        }
    }

    #[test]
    fn a_record_counts_when_all_of_it_is_there() {
        let mut records = Records::default();
        let bytes = record(300);
        records.add(&bytes[..4]);
        assert!(records.is_none_left());
        records.add(&bytes[4..304]);
        assert!(records.is_none_left());
        records.add(&bytes[304..]);
        assert!(!records.is_none_left());
        records.take_one();
        assert!(records.is_none_left());
        records.take_one();
        assert!(records.is_none_left(), "more is never taken than was there");
    }
}
