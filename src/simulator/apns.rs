//! The fake APNs: TLS, HTTP/2 connections and their streams.
//!
//! A connection is one task; its streams are futures inside it, so that whoever ends the task ends
//! all of them. Two habits of Apple's servers are out of reach of `h2`'s server, which neither
//! changes `MAX_CONCURRENT_STREAMS` after the handshake (Apple allows one stream until the first
//! valid provider token) nor writes debug data into a GOAWAY.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use openssl::ssl::{Ssl, SslAcceptor};
use serde_json::json;
use tokio::io::AsyncWrite as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_openssl::SslStream;
use uuid::Uuid;

use super::certificates::Environment;
use super::channels;
use super::checks::{self, Policy, Request, Standing, header};
use super::client::Client;
use super::magic;
use super::provider_token::ProviderToken;
use super::reasons::Refusal;
use super::record::{Provider, Received, Verdict, now_ms};
use super::script::{Answer, Raw, Rejection};
use super::{Shared, Windows};

/// How long a client may take for TLS and the HTTP/2 preface.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// More than any payload that is accepted; what follows is read and dropped.
const PAYLOAD_KEPT_BYTES: usize = 64 * 1_024;
/// What Apple advertises.
const HEADER_LIST_BYTES_MAX: u32 = 8_000;

/// Which of Apple's servers it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    /// Where channels are managed.
    Channels,
    /// Where messages go.
    Push,
}

/// What the fake APNs is made of.
#[derive(Clone)]
pub(super) struct Apns {
    pub(super) service: Service,
    pub(super) acceptor: SslAcceptor,
    pub(super) max_concurrent_streams: u32,
    pub(super) windows: Windows,
    pub(super) policy: Arc<Policy>,
    /// How far Apple's clock is ahead of this machine's.
    pub(super) ahead_secs: i64,
    /// Whether answers carry `Date`.
    pub(super) tells_time: bool,
    /// Whether anything is checked.
    pub(super) checks: bool,
    pub(super) shared: Arc<Shared>,
}

/// Accepts connections until the task is aborted, which ends them all.
pub(super) async fn serve(listener: TcpListener, apns: Arc<Apns>, runtime: Handle) -> Infallible {
    let mut connections = JoinSet::new();
    let mut number: u64 = 0;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => {
                    number = number.saturating_add(1);
                    connections.spawn_on(serve_socket(socket, Arc::clone(&apns), number), &runtime);
                }
                // Out of file descriptors, most likely: one may be free again soon.
                Err(_) => sleep(Duration::from_millis(100)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_socket(socket: TcpStream, apns: Arc<Apns>, number: u64) {
    // Without it answers wait for acknowledgements; harmless where it can't be set.
    let _ = socket.set_nodelay(true);
    let Ok(Some((http, client))) = timeout(HANDSHAKE_LIMIT, handshake(socket, &apns)).await else {
        return;
    };
    let standing = Mutex::new(Standing { client, ..Standing::default() });
    serve_connection(http, &Connection { apns, number, standing }).await;
}

type Http = h2::server::Connection<SslStream<TcpStream>, Bytes>;

/// TLS and HTTP/2; `None` if the client did not get through either.
async fn handshake(socket: TcpStream, apns: &Apns) -> Option<(Http, Option<Client>)> {
    let ssl = Ssl::new(apns.acceptor.context()).ok()?;
    let mut stream = SslStream::new(ssl, socket).ok()?;
    if Pin::new(&mut stream).accept().await.is_err() {
        linger(stream.get_mut()).await;
        return None;
    }
    // A client that offers no protocol at all gets through the ALPN callback.
    if stream.ssl().selected_alpn_protocol() != Some(b"h2") {
        return None;
    }
    let certificate = stream.ssl().peer_certificate().and_then(|found| found.to_der().ok());
    let client = certificate.and_then(|der| Client::from_der(&der));
    let http = h2::server::Builder::new()
        .max_concurrent_streams(apns.max_concurrent_streams)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .initial_window_size(apns.windows.stream_bytes)
        .initial_connection_window_size(apns.windows.connection_bytes)
        .handshake(stream)
        .await
        .ok()?;
    Some((http, client))
}

/// Ends our side and waits for the client to end its own. Closing at once while its request arrives
/// would reset the connection, and the alert that says why would be lost.
async fn linger(socket: &mut TcpStream) {
    let _ = poll_fn(|context| Pin::new(&mut *socket).poll_shutdown(context)).await;
    let mut unread = [0; 4_096];
    while socket.readable().await.is_ok() {
        match socket.try_read(&mut unread) {
            Ok(1..) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => return,
        }
    }
}

/// One connection.
struct Connection {
    apns: Arc<Apns>,
    number: u64,
    /// Guards who sends here; held for the checks of one request.
    standing: Mutex<Standing>,
}

/// What a stream does to its connection when it is done.
enum After {
    Continue,
    Cut,
    GoAway(Reason),
    Retire,
}

async fn serve_connection(mut http: Http, connection: &Connection) {
    let mut streams = FuturesUnordered::new();
    loop {
        tokio::select! {
            request = http.accept() => match request {
                Some(Ok((request, respond))) => streams.push(connection.serve(request, respond)),
                Some(Err(_)) | None => return,
            },
            Some(after) = streams.next() => match after {
                After::Continue => {}
                After::Cut => return,
                After::GoAway(reason) => http.abrupt_shutdown(reason),
                After::Retire => http.graceful_shutdown(),
            },
        }
    }
}

impl Connection {
    async fn serve(
        &self,
        request: http::Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
    ) -> After {
        let (head, body) = request.into_parts();
        let Ok(payload) = read(body).await else {
            return After::Continue;
        };
        let (delay, answer) = self.decide(&head, &payload);
        if !delay.is_zero() {
            sleep(delay).await;
        }
        match answer {
            Decision::Answer { response, then } => {
                // An error means that the client left or reset the stream: nobody waits for this.
                let (head, body) = response.into_parts();
                let head = Response::from_parts(head, ());
                if let Ok(mut stream) = respond.send_response(head, body.is_empty())
                    && !body.is_empty()
                {
                    let _ = stream.send_data(body, true);
                }
                then
            }
            Decision::End(then) => then,
            Decision::Never => {
                let _ = poll_fn(|context| respond.poll_reset(context)).await;
                After::Continue
            }
            Decision::Reset(reason) => {
                respond.send_reset(reason);
                After::Continue
            }
        }
    }

    /// Script, magic token, checks, in this order; and the entry in the record.
    fn decide(&self, head: &Parts, payload: &Bytes) -> (Duration, Decision) {
        let now_ms = now_ms();
        let path = head.uri.path();
        let bundle = self.bundle_of_channels(path);
        let (token, id_name) = match bundle {
            Some(_) => (header(&head.headers, "apns-channel-id"), "apns-request-id"),
            None => (checks::device_token(path), "apns-id"),
        };
        let token = token.unwrap_or_default();
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        let scripted = self.apns.shared.script.take(token);
        let (delay, answer) = scripted
            .or_else(|| magic::apns(token, standing.client.is_some(), now_ms))
            .map_or((Duration::ZERO, Answer::Accept), Answer::into_parts);
        let retires = answer == Answer::GoAway { code: None };
        let answer = if retires || answer == Answer::Accept {
            self.check(head, payload, &mut standing, now_ms)
        } else {
            answer
        };
        if let Answer::Reject(rejection) = &answer {
            standing.token.is_wedged |= rejection.reason == "ExpiredProviderToken";
        }
        let apns_id = header(&head.headers, id_name)
            .filter(|id| checks::is_message_id(id))
            .map_or_else(|| Uuid::new_v4().to_string().to_uppercase(), str::to_owned);
        let record = &self.apns.shared.record;
        if record.is_kept() {
            let authenticated_as = authenticated_as(&standing, &head.headers);
            drop(standing);
            let text = |name| header(&head.headers, name).map(str::to_owned);
            record.push(Received {
                provider: Provider::Apns,
                connection: Some(self.number),
                device_token: if bundle.is_none() { token.to_owned() } else { String::new() },
                channel_id: text("apns-channel-id"),
                topic: text("apns-topic").or_else(|| bundle.map(str::to_owned)),
                push_type: text("apns-push-type"),
                priority: text("apns-priority"),
                expiration: text("apns-expiration"),
                collapse_id: text("apns-collapse-id"),
                apns_id: Some(apns_id.clone()),
                authenticated_as,
                payload: payload.clone(),
                verdict: verdict(&answer),
                received_at_ms: now_ms,
            });
        }
        let then = if retires { After::Retire } else { After::Continue };
        (delay, self.decision(answer, (id_name, &apns_id), then))
    }

    /// The bundle id of a request that is about channels.
    fn bundle_of_channels<'a>(&self, path: &'a str) -> Option<&'a str> {
        match self.apns.service {
            Service::Channels => Some(path.split('/').nth(3).unwrap_or_default()),
            Service::Push => channels::broadcast_to(path),
        }
    }

    fn check(&self, head: &Parts, payload: &[u8], standing: &mut Standing, now_ms: u64) -> Answer {
        if !self.apns.checks && self.apns.service == Service::Push {
            return Answer::Accept;
        }
        let path = head.uri.path();
        let request = Request { method: &head.method, path, headers: &head.headers, payload };
        let now_secs = i64::try_from(now_ms / 1_000).unwrap_or(i64::MAX);
        let now_secs = now_secs.saturating_add(self.apns.ahead_secs);
        let Apns { policy, shared, service, .. } = &*self.apns;
        let bundle = channels::broadcast_to(path);
        if *service == Service::Push && bundle.is_none() {
            return answer_of(checks::check(&request, policy, standing, now_secs));
        }
        if let Err(refusal) = checks::check_sender(&head.headers, policy, standing, now_secs) {
            return answer_of(Err(refusal));
        }
        match (service, bundle) {
            (Service::Push, Some(bundle)) => {
                answer_of(shared.channels.check_broadcast(bundle, &request, standing))
            }
            (Service::Channels, _) | (Service::Push, None) => {
                match shared.channels.manage(&request, standing) {
                    Ok(raw) => Answer::Raw(raw),
                    Err(refusal) => answer_of(Err(refusal)),
                }
            }
        }
    }

    fn decision(&self, answer: Answer, id: (&'static str, &str), then: After) -> Decision {
        match answer {
            Answer::Accept | Answer::Delay { .. } | Answer::GoAway { code: None } => {
                let response = self.response(StatusCode::OK, id, Bytes::new());
                Decision::Answer { response, then }
            }
            Answer::Drop => Decision::End(After::Cut),
            Answer::GoAway { code: Some(code) } => Decision::End(After::GoAway(Reason::from(code))),
            Answer::Never => Decision::Never,
            Answer::Raw(Raw { status, headers, body }) => {
                let mut response = Response::new(body);
                *response.status_mut() = status;
                *response.headers_mut() = headers;
                Decision::Answer { response, then }
            }
            Answer::Reject(rejection) => {
                let body = rejection_body(&rejection);
                let mut response = self.response(rejection.status, id, body);
                if let Some(secs) = rejection.retry_after_secs {
                    response.headers_mut().insert(http::header::RETRY_AFTER, secs.into());
                }
                Decision::Answer { response, then }
            }
            Answer::Reset { code } => Decision::Reset(Reason::from(code)),
        }
    }

    fn response(
        &self,
        status: StatusCode,
        id: (&'static str, &str),
        body: Bytes,
    ) -> Response<Bytes> {
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        let (id_name, id) = id;
        if let Ok(value) = HeaderValue::from_str(id) {
            headers.insert(HeaderName::from_static(id_name), value);
        }
        if self.apns.tells_time
            && let Some(date) = self.date()
        {
            headers.insert(http::header::DATE, date);
        }
        if self.apns.policy.environment == Environment::Sandbox
            && let Ok(value) = HeaderValue::from_str(&Uuid::new_v4().to_string())
        {
            headers.insert(HeaderName::from_static("apns-unique-id"), value);
        }
        response
    }

    fn date(&self) -> Option<HeaderValue> {
        let offset = Duration::from_secs(self.apns.ahead_secs.unsigned_abs());
        let now = SystemTime::now();
        let time = if self.apns.ahead_secs < 0 {
            now.checked_sub(offset)
        } else {
            now.checked_add(offset)
        };
        HeaderValue::try_from(httpdate::fmt_http_date(time?)).ok()
    }
}

/// What is done with a stream.
enum Decision {
    Answer { response: Response<Bytes>, then: After },
    End(After),
    Never,
    Reset(Reason),
}

fn answer_of(checked: Result<(), Refusal>) -> Answer {
    match checked {
        Ok(()) => Answer::Accept,
        Err(refusal) => Answer::reject(refusal.status, refusal.reason),
    }
}

fn verdict(answer: &Answer) -> Verdict {
    match answer {
        Answer::Accept | Answer::Delay { .. } | Answer::GoAway { code: None } => Verdict::Accepted,
        Answer::Drop => Verdict::Unanswered { by: "drop" },
        Answer::GoAway { code: Some(_) } => Verdict::Unanswered { by: "goaway" },
        Answer::Never => Verdict::Unanswered { by: "never" },
        Answer::Raw(raw) if raw.status.is_success() => Verdict::Accepted,
        Answer::Raw(raw) => Verdict::Refused { status: raw.status.as_u16(), reason: String::new() },
        Answer::Reject(rejection) => {
            Verdict::Refused { status: rejection.status.as_u16(), reason: rejection.reason.clone() }
        }
        Answer::Reset { .. } => Verdict::Unanswered { by: "reset" },
    }
}

fn rejection_body(rejection: &Rejection) -> Bytes {
    let body = match rejection.timestamp_ms {
        Some(timestamp) => json!({ "reason": rejection.reason, "timestamp": timestamp }),
        None => json!({ "reason": rejection.reason }),
    };
    Bytes::from(body.to_string())
}

fn authenticated_as(standing: &Standing, headers: &HeaderMap) -> Option<String> {
    if let Some(client) = &standing.client {
        return Some(format!("certificate {}", client.uid.as_deref().unwrap_or("without UID")));
    }
    let token = ProviderToken::parse(header(headers, "authorization")?)?;
    Some(format!("key {} of team {}", token.key_id, token.team_id))
}

async fn read(mut body: RecvStream) -> Result<Bytes, h2::Error> {
    let mut payload = BytesMut::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        let room = PAYLOAD_KEPT_BYTES.saturating_sub(payload.len());
        payload.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
    }
    Ok(payload.freeze())
}
