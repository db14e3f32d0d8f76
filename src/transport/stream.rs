//! One request that was written: its stream until the answer is whole.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use h2::client::ResponseFuture;
use h2::{RecvStream, SendStream};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::error::Error;
use super::pool::{Answer, Claim, ConnectionId};

/// How long after its deadline a stream is left open for a late answer.
const LATE_LIMIT: Duration = Duration::from_secs(60);

/// Resolves when the answer is whole or the stream has failed.
pub(super) struct Stream {
    request: Written,
    response: ResponseFuture,
    answer: Option<(Answer, RecvStream)>,
    /// Bytes of its body that are kept.
    max_answer_bytes: usize,
    /// Until it has landed.
    open: Option<(Upload, oneshot::Sender<Result<Answer, Error>>)>,
}

/// A request as it was written.
pub(super) struct Written {
    pub(super) connection: ConnectionId,
    /// Bytes of its body.
    pub(super) bytes: usize,
    pub(super) at: Instant,
    /// When its caller stops waiting.
    pub(super) deadline: Instant,
}

/// The end of a stream.
pub(super) struct Landed {
    pub(super) connection: ConnectionId,
    /// Bytes of the request's body, which count no more.
    pub(super) bytes: usize,
    /// When the request was written.
    pub(super) written: Instant,
    pub(super) result: Result<Answer, h2::Error>,
    pub(super) done: oneshot::Sender<Result<Answer, Error>>,
    /// Its stream, where that has nothing left to say or to hear.
    pub(super) spent: Option<Upload>,
}

impl Stream {
    pub(super) fn new(
        request: Written,
        response: ResponseFuture,
        upload: Upload,
        max_answer_bytes: usize,
        done: oneshot::Sender<Result<Answer, Error>>,
    ) -> Self {
        let open = Some((upload, done));
        Self { request, response, answer: None, max_answer_bytes, open }
    }

    /// Resets a stream that nobody will wait for any longer, which ends it.
    pub(super) fn close_if_late(&mut self, now: Instant) {
        if let Some((upload, _)) = &mut self.open
            && now >= self.request.deadline + LATE_LIMIT
        {
            upload.stream.send_reset(h2::Reason::CANCEL);
        }
    }

    /// The bytes of a stream whose caller has given up, once: they must not keep the connection
    /// from being used while a late answer is awaited. Those that are not even written still wait
    /// for the window, and whatever is sent after them would wait behind them.
    pub(super) fn overdue_bytes(&mut self, now: Instant) -> Option<(ConnectionId, usize)> {
        let is_written = self.open.as_ref().is_some_and(|(upload, _)| upload.is_written());
        let are_overdue = now >= self.request.deadline && is_written;
        (are_overdue && self.request.bytes > 0)
            .then(|| (self.request.connection, std::mem::take(&mut self.request.bytes)))
    }

    /// The answer, and whether `h2` has nothing more of it.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<(Answer, bool), h2::Error>> {
        if self.answer.is_none() {
            let (head, body) = ready!(Pin::new(&mut self.response).poll(cx))?.into_parts();
            let answer = Answer {
                connection: self.request.connection,
                status: head.status,
                headers: head.headers,
                body: Bytes::new(),
                is_whole: true,
            };
            self.answer = Some((answer, body));
        }
        if let Some((answer, body)) = &mut self.answer {
            ready!(poll_body(answer, body, self.max_answer_bytes, cx));
        }
        match self.answer.take() {
            Some((answer, body)) => Poll::Ready(Ok((answer, body.is_end_stream()))),
            None => Poll::Pending,
        }
    }
}

/// Reads to the end, to the limit, or to where the stream broke: the status was said by then, and
/// what it says stays true.
fn poll_body(
    answer: &mut Answer,
    body: &mut RecvStream,
    max_bytes: usize,
    cx: &mut Context<'_>,
) -> Poll<()> {
    while !body.is_end_stream() && answer.body.len() < max_bytes {
        let mut chunk = match ready!(body.poll_data(cx)) {
            Some(Ok(chunk)) => chunk,
            Some(Err(_)) => {
                answer.is_whole = false;
                break;
            }
            None => break,
        };
        let _ = body.flow_control().release_capacity(chunk.len());
        chunk.truncate(max_bytes - answer.body.len());
        if answer.body.is_empty() {
            answer.body = chunk;
        } else {
            let mut joined = BytesMut::with_capacity(answer.body.len() + chunk.len());
            joined.extend_from_slice(&answer.body);
            joined.extend_from_slice(&chunk);
            answer.body = joined.freeze();
        }
    }
    Poll::Ready(())
}

impl Future for Stream {
    type Output = Landed;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Landed> {
        let result = ready!(self.poll_answer(cx));
        let Some((mut upload, done)) = self.open.take() else { return Poll::Pending };
        let is_spent = matches!(result, Ok((_, true))) && upload.is_written();
        if result.is_ok() {
            upload.finish();
        }
        let Written { connection, bytes, at: written, .. } = self.request;
        let (result, spent) = (result.map(|(answer, _)| answer), is_spent.then_some(upload));
        Poll::Ready(Landed { connection, bytes, written, result, done, spent })
    }
}

/// The request's side of a stream. Kept for its reset, since dropping it would not close anything; and
/// after the answer until the connection has more to do.
pub(super) struct Upload {
    stream: SendStream<Body>,
    claim: Arc<Claim>,
}

impl Upload {
    /// Hands the whole body to `h2`, which writes it as far as the flow-control windows let it.
    pub(super) fn start(
        mut stream: SendStream<Body>,
        bytes: Bytes,
        claim: Arc<Claim>,
    ) -> Result<Self, h2::Error> {
        let is_empty = bytes.is_empty();
        let body = Body { bytes, claim: Arc::clone(&claim) };
        if !is_empty {
            stream.send_data(body, true)?;
        }
        Ok(Self { stream, claim })
    }

    fn is_written(&self) -> bool {
        self.claim.is_body_gone()
    }

    /// The answer is whole. A peer may give it before it has the body (RFC 9113 §8.1), and if it
    /// does not reset the stream then, what waits for its window would keep the stream's place
    /// among those that it allows for as long as it likes.
    fn finish(&mut self) {
        if !self.is_written() {
            self.stream.send_reset(h2::Reason::CANCEL);
        }
    }
}

/// The body of a request, which `h2` drops when it is written.
pub(super) struct Body {
    bytes: Bytes,
    claim: Arc<Claim>,
}

impl Drop for Body {
    fn drop(&mut self) {
        self.claim.note_body_gone();
    }
}

impl Buf for Body {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}
