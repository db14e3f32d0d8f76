//! `application/x-ndjson`: any number of messages on one call, a line each, and a row for each as
//! soon as it is known.
//!
//! ```text
//! reading ──end of the body · nothing comes · the relay stops──► ending ──all rows told──► over
//! ```
//!
//! The body is read while the answer is written: no more of it than there are places for messages
//! under way, and nothing while the caller leaves rows unread. So the memory of a stream is bounded
//! whatever its length. Messages go on meanwhile, on the runtime of the connections.

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpMessage, HttpRequest, HttpResponse, web};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{FutureExt, StreamExt, stream};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};
use tracing::{Instrument, Span};

use super::action::Action;
use super::auth::Caller;
use super::error::ApiError;
use super::lines::{Line, Lines};
use super::message::prepare_single;
use super::row::{Row, Single};
use super::{Snapshot, body};
use crate::delivery::Share;

/// The type of a body that is a message on each line.
const NDJSON: &str = "application/x-ndjson";
/// Most messages of one stream under way.
const MAX_UNDER_WAY: usize = 512;
/// Rows are handed over when they come to so many bytes, or when there are no more at the moment.
const PIECE_BYTES: usize = 16 * 1024;
/// How often it is looked whether the relay stops, and how long nothing came.
const LOOK: Duration = Duration::from_millis(200);

/// The longest that a place in a caller's rate is waited for.
const LONGEST_TURN: Duration = Duration::from_secs(60 * 60);

/// Whether a call brings a stream of messages.
pub(super) fn is_asked(request: &HttpRequest) -> bool {
    request.mime_type().is_ok_and(|mime| mime.is_some_and(|mime| mime.essence_str() == NDJSON))
}

/// Answers a stream of messages row by row.
///
/// # Errors
/// `unsupported_media_type`, `invalid_request`, `conflicting_parameters`: what is wrong with the
/// call as such. What is wrong with a message is its row.
pub(super) fn respond(
    request: &HttpRequest,
    payload: web::Payload,
    caller: &Caller<'_>,
    api: &Snapshot,
) -> Result<HttpResponse, ApiError> {
    body::check_head(request)?;
    if request.headers().contains_key("idempotency-key") {
        return Err(ApiError::conflicting_parameters(
            "a stream has no Idempotency-Key, since it is not answered as a whole; leave it out",
        ));
    }
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let rows = Rows {
        api: api.clone(),
        caller: caller.number(),
        share: caller.share().clone(),
        payload,
        lines: Lines::new(api.body.size_bytes),
        next_index: 0,
        under_way: JoinSet::new(),
        bytes_under_way: 0,
        last_byte: Instant::now(),
        look,
        state: State::Reading,
        next_turn: Instant::now(),
        span: Span::current(),
    };
    let pieces = stream::unfold(rows, |mut rows| async move {
        let piece = rows.next().await?;
        Some((Ok::<_, io::Error>(piece), rows))
    });
    Ok(HttpResponse::Ok().content_type(NDJSON).streaming(pieces))
}

/// The answer to a stream. Dropped, it sends nothing more.
struct Rows {
    api: Snapshot,
    /// By which its door finds it again.
    caller: usize,
    share: Share,
    payload: web::Payload,
    lines: Lines,
    /// Of the next line.
    next_index: u64,
    /// The messages under way; each ends as its row and the size of its line.
    under_way: JoinSet<(Row, usize)>,
    bytes_under_way: usize,
    /// When something came last.
    last_byte: Instant,
    look: Interval,
    state: State,
    /// When the next message may go.
    next_turn: Instant,
    span: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    /// No line is read any more.
    Ending(End),
    Over,
}

/// Why no line is read any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The body is over.
    Body,
    /// The body broke off.
    Broken,
    /// Nothing came for as long as a body may take.
    Idle,
    /// The relay stops.
    Stop,
}

/// The last row of a stream whose lines were not all read.
#[derive(Serialize)]
struct Unread {
    error: &'static str,
    message: String,
    /// The first line that was not read.
    next_index: u64,
    action: Action,
}

impl Rows {
    /// The next rows, one a line; `None` when all were told.
    async fn next(&mut self) -> Option<Bytes> {
        let mut rows = BytesMut::new();
        loop {
            while let Some(Ok(ended)) = self.under_way.try_join_next() {
                self.tell(ended, &mut rows);
            }
            if rows.len() >= PIECE_BYTES {
                return Some(rows.freeze());
            }
            if self.has_room()
                && let Some(line) = self.lines.next()
            {
                self.start(line, &mut rows).await;
                continue;
            }
            if let State::Ending(end) = self.state
                && self.under_way.is_empty()
            {
                self.state = State::Over;
                self.tell_end(end, &mut rows);
            }
            if !rows.is_empty() {
                return Some(rows.freeze());
            }
            if self.state == State::Over {
                return None;
            }
            self.wait(&mut rows).await;
        }
    }

    /// Waits until there is something to do.
    async fn wait(&mut self, rows: &mut BytesMut) {
        let reads = self.state == State::Reading;
        let has_room = self.has_room();
        tokio::select! {
            Some(Ok(ended)) = self.under_way.join_next(), if !self.under_way.is_empty() => {
                self.tell(ended, rows);
            }
            piece = self.payload.next(), if reads && has_room => match piece {
                Some(Ok(piece)) => {
                    self.last_byte = Instant::now();
                    self.lines.push(&piece);
                }
                Some(Err(_)) => self.end(End::Broken),
                None => {
                    self.lines.end();
                    self.end(End::Body);
                }
            },
            () = sleep_until(self.next_turn), if !self.has_turn() => {}
            _ = self.look.tick(), if reads => self.look(),
        }
    }

    /// Whether the caller's rate lets a message go.
    fn has_turn(&self) -> bool {
        self.next_turn <= Instant::now()
    }

    fn has_room(&self) -> bool {
        self.has_turn()
            && self.under_way.len() < MAX_UNDER_WAY
            && self.bytes_under_way < self.api.batch.size_bytes
    }

    fn look(&mut self) {
        if self.api.draining.load(Ordering::Relaxed) {
            self.end(End::Stop);
        } else if !self.under_way.is_empty() || !self.has_room() {
            // It is not the caller's silence alone.
            self.last_byte = Instant::now();
        } else if self.last_byte.elapsed() >= self.api.body.time {
            self.end(End::Idle);
        }
    }

    /// Lines that were read and not started are not told: they count as not read.
    fn end(&mut self, end: End) {
        self.state = State::Ending(end);
        if end != End::Body {
            self.lines = Lines::new(self.api.body.size_bytes);
        }
    }

    /// Checks a line and sends its message.
    async fn start(&mut self, line: Line, rows: &mut BytesMut) {
        let index = self.next_index;
        self.next_index = self.next_index.saturating_add(1);
        let line = match line {
            Line::Whole(line) => line,
            Line::TooLong => return write(&self.too_long(index), rows),
        };
        let size_bytes = line.len();
        let checking = self.check(&line).instrument(self.span.clone());
        let checked = AssertUnwindSafe(checking).catch_unwind().await;
        let single = match checked.unwrap_or_else(|_| {
            tracing::error!("a line ended in a panic; this is a bug in pushlet, please report it");
            Err(Box::new(Row::refused(&ApiError::internal_error(), false)))
        }) {
            Ok(single) => single,
            Err(row) => return write(&Row { index: Some(index), ..*row }, rows),
        };
        if !single.is_preview {
            self.pay();
        }
        self.bytes_under_way = self.bytes_under_way.saturating_add(size_bytes);
        let (api, share, start) = (self.api.clone(), self.share.clone(), Instant::now());
        let send = async move {
            let row = single.deliver(&api.dispatcher, &share, start).await;
            (Row { index: Some(index), ..row }, size_bytes)
        };
        self.under_way.spawn_on(send.instrument(self.span.clone()), &self.api.runtime);
    }

    /// Takes the place of one message; the next line waits until there is one for it too.
    fn pay(&mut self) {
        let Some(caller) = self.api.door.again(self.caller) else { return };
        let Some(rate) = caller.rate() else { return };
        let now = Instant::now();
        // Other calls of the caller may have taken the place meanwhile: then the next one waits longer.
        let (Ok(turn) | Err(turn)) =
            rate.reserve(1, now, now + LONGEST_TURN).map_err(|wait| now + wait);
        self.next_turn = turn.max(rate.opens_at(now));
    }

    /// The message of a line, or the row that says why it is none.
    async fn check(&self, line: &[u8]) -> Result<Single, Box<Row>> {
        let refused = |error: &ApiError| Box::new(Row::refused(error, false));
        let mut params = body::json(line).map_err(|error| refused(&error))?;
        let device_token = params.peek("device_token").map(std::borrow::Cow::into_owned);
        let Some(caller) = self.api.door.again(self.caller) else {
            return Err(refused(&ApiError::internal_error()));
        };
        let single = prepare_single(&mut params, &caller, &self.api).await;
        single.map_err(|error| Box::new(Row { device_token, ..*refused(&error) }))
    }

    fn too_long(&self, index: u64) -> Row {
        let limit = self.api.body.size_bytes;
        let message = format!("the line is over {limit} bytes; send less, or raise max_body_bytes");
        let error = ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", message);
        Row { index: Some(index), ..Row::refused(&error, false) }
    }

    fn tell(&mut self, (row, size_bytes): (Row, usize), rows: &mut BytesMut) {
        self.bytes_under_way = self.bytes_under_way.saturating_sub(size_bytes);
        write(&row, rows);
    }

    fn tell_end(&self, end: End, rows: &mut BytesMut) {
        let next_index = self.next_index;
        let time = self.api.body.time;
        let (error, why) = match end {
            End::Body => return,
            End::Broken => ("invalid_request", "the body ended before it was complete".to_owned()),
            End::Idle => ("invalid_request", format!("nothing came for {time:?}")),
            End::Stop => ("stopping", "the relay stops".to_owned()),
        };
        let message = format!(
            "{why}; lines were read up to the one with index {next_index}, which was not sent: \
             send it and those after it again"
        );
        write(&Unread { error, message, next_index, action: Action::Retry }, rows);
    }
}

fn write(row: &impl Serialize, rows: &mut BytesMut) {
    // What a row is made of has a spelling in JSON.
    let _ = serde_json::to_writer(rows.writer(), row);
    rows.put_u8(b'\n');
}
