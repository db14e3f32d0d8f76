//! How it leaves: what is in flight is finished, what is idle does not hold it up.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pushlet::simulator::script::{Answer, Rule};
use tokio::task::JoinHandle;

use crate::support::keys::Authority;
use crate::support::process::{Process, until};
use crate::support::relay::{Peer, TOKEN, TOPIC};

/// The longest that may be configured: whoever waits for it fails its test.
const ENDLESS: (&str, &str) = ("PUSHLET_SERVER__SHUTDOWN_TIMEOUT", "10m");
/// The longest that a send may be given.
const PATIENT: [(&str, &str); 2] =
    [("PUSHLET_APNS__TIMEOUT", "25s"), ("PUSHLET_GCM__TIMEOUT", "25s")];

/// One call with a JSON body, under way: its status and its answer.
type Call = JoinHandle<reqwest::Result<(u16, String)>>;

fn call(address: SocketAddr, path: &str, body: String) -> Call {
    let url = format!("http://{address}{path}");
    tokio::spawn(async move {
        let client = reqwest::Client::builder().no_proxy().build()?;
        let request = client.post(url).header("content-type", "application/json").body(body);
        let response = request.send().await?;
        Ok((response.status().as_u16(), response.text().await?))
    })
}

/// Registers `app` and sends to it what the rule is for; returns when the simulator has it.
async fn send_under(peer: &Peer, process: &Process, answer: Answer) -> Call {
    let p12 = STANDARD.encode(Authority::new().apple_certificate(TOPIC).build().p12(""));
    let body = format!(r#"{{"application_id":"app","apns_p12":"{p12}"}}"#);
    let registered = call(process.address(), "/register_application", body).await.unwrap().unwrap();
    assert_eq!(registered.0, 200, "{}", registered.1);
    peer.simulator.script(Rule::token(TOKEN, answer));
    let body = format!(r#"{{"application_id":"app","device_token":"{TOKEN}","alert":"hello"}}"#);
    let sending = call(process.address(), "/send_notification", body);
    until("the simulator has the message", || !peer.simulator.received().is_empty());
    sending
}

/// A legacy endpoint of Google that has one request and answers when it is told.
struct Gate {
    url: String,
    arrived: mpsc::Receiver<()>,
    answer: mpsc::Sender<()>,
}

impl Gate {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/gcm/send", listener.local_addr().unwrap());
        let (here, arrived) = mpsc::channel();
        let (answer, told) = mpsc::channel();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            // The body of this request ends with the only `]}` in it.
            while !request.ends_with(b"]}") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            here.send(()).unwrap();
            told.recv().unwrap();
            let body = r#"{"multicast_id":1,"success":1,"failure":0,"canonical_ids":0,"results":[{"message_id":"1:01"}]}"#;
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .unwrap();
        });
        Self { url, arrived, answer }
    }
}

fn is_refused(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn signal_ends_listening_first_and_the_process_after_its_last_answer() {
    for signal in ["TERM", "INT"] {
        let gate = Gate::new();
        let url = ("PUSHLET_GCM__LEGACY_URL", gate.url.as_str());
        let mut process = Process::serve(&[&[url, ENDLESS], &PATIENT[..]].concat());
        let address = process.address();
        let body = r#"{"gcm_api_key":"KEY","registration_ids":["a"]}"#.to_owned();
        let sending = call(address, "/send_notification", body);
        gate.arrived.recv_timeout(Duration::from_secs(20)).unwrap();

        process.signal(signal);
        process.line("stopping: no new connections, finishing what is in flight");
        until("new connections are refused", || is_refused(address));
        gate.answer.send(()).unwrap();

        let answer = sending.await.unwrap().unwrap();
        let expected = r#"{"multicast_id":1,"success":1,"failure":0,"canonical_ids":0,"results":[{"message_id":"1:01"}]}"#;
        assert_eq!(answer, (200, expected.to_owned()), "{signal}");
        assert_eq!(process.exit_code(), Some(0), "{signal}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn send_that_apple_answers_after_the_signal_is_answered() {
    let peer = Peer::start();
    let mut process = Process::serve_before(&peer, &[&[ENDLESS], &PATIENT[..]].concat());
    let late = Answer::Delay { by: Duration::from_secs(2), then: Box::new(Answer::Accept) };
    let sending = send_under(&peer, &process, late).await;

    process.signal("TERM");

    let answer = sending.await.unwrap().unwrap();
    assert_eq!(answer, (200, r#"{"response":"ok"}"#.to_owned()));
    assert_eq!(process.exit_code(), Some(0));
}

/// The connections of an application live with one worker, and most of its callers with others, who may
/// have nobody else to wait for.
#[tokio::test(flavor = "multi_thread")]
async fn no_worker_takes_the_messages_of_another_along() {
    let peer = Peer::start();
    let workers = ("PUSHLET_SERVER__WORKERS", "8");
    let mut process = Process::serve_before(&peer, &[&[ENDLESS, workers], &PATIENT[..]].concat());
    let address = process.address();
    let late = Answer::Delay { by: Duration::from_secs(1), then: Box::new(Answer::Accept) };
    let first = send_under(&peer, &process, late.clone()).await;
    peer.simulator.script(Rule::token(TOKEN, late).times(5));
    // On six of the workers, by turns: one or more of them are idle, wherever the connection is.
    let body = format!(r#"{{"application_id":"app","device_token":"{TOKEN}","alert":"hello"}}"#);
    let more: Vec<_> = (0..5).map(|_| call(address, "/send_notification", body.clone())).collect();
    until("the simulator has all of them", || peer.simulator.received().len() == 6);

    process.signal("TERM");

    for sending in more.into_iter().chain([first]) {
        let answer = sending.await.unwrap().unwrap();
        assert_eq!(answer, (200, r#"{"response":"ok"}"#.to_owned()));
    }
    assert_eq!(process.exit_code(), Some(0));
}

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let response = client.get(format!("http://{address}{path}")).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

/// A load balancer asks on a connection of its own, and calls still come until it has noticed.
#[tokio::test(flavor = "multi_thread")]
async fn readiness_ends_before_the_listener_does() {
    let gate = Gate::new();
    let url = ("PUSHLET_GCM__LEGACY_URL", gate.url.as_str());
    let delay = ("PUSHLET_SERVER__DRAIN_DELAY", "10m");
    let mut process = Process::serve(&[url, delay]);
    let address = process.address();
    let word = |word: &str| format!(r#"{{"status":"{word}"}}"#);
    assert_eq!(get(address, "/readyz").await, (200, word("ready")));

    process.signal("TERM");
    process.line("draining: not ready any more, and serving all the same");

    assert_eq!(get(address, "/readyz").await, (503, word("draining")));
    assert_eq!(get(address, "/healthz").await, (200, word("ok")));
    assert!(get(address, "/status").await.1.contains(r#""state":"draining""#));
    gate.answer.send(()).unwrap();
    let body = r#"{"gcm_api_key":"KEY","registration_ids":["a"]}"#.to_owned();
    let (status, _) = call(address, "/send_notification", body).await.unwrap().unwrap();
    assert_eq!(status, 200, "a late call is served");
    process.signal("TERM");
    assert_eq!(process.exit_code(), Some(143));
}

#[test]
fn listener_ends_when_readiness_has_been_over_for_long_enough() {
    let mut process = Process::serve(&[ENDLESS, ("PUSHLET_SERVER__DRAIN_DELAY", "300ms")]);
    process.address();

    process.signal("TERM");

    assert_eq!(process.exit_code(), Some(0));
    let log = process.log();
    let line = |part: &str| log.iter().position(|line| line.contains(part)).unwrap();
    assert!(line("draining") < line("stopping"), "{log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn second_signal_leaves_at_once() {
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let peer = Peer::start();
        let mut process = Process::serve_before(&peer, &[&[ENDLESS], &PATIENT[..]].concat());
        let sending = send_under(&peer, &process, Answer::Never).await;

        process.signal(signal);
        process.line("stopping");
        process.signal(signal);

        assert_eq!(process.exit_code(), Some(code));
        assert!(sending.await.unwrap().is_err(), "the call was not waited for");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_too_long_is_cut() {
    let peer = Peer::start();
    let short = ("PUSHLET_SERVER__SHUTDOWN_TIMEOUT", "1s");
    let mut process = Process::serve_before(&peer, &[&[short], &PATIENT[..]].concat());
    let sending = send_under(&peer, &process, Answer::Never).await;

    process.signal("TERM");

    assert_eq!(process.exit_code(), Some(0));
    // The worker with its connection may end before its own, which then has time to say so.
    if let Ok((status, body)) = sending.await.unwrap() {
        assert_eq!(status, 503, "{body}");
        assert!(body.contains("\"delivery\":\"unknown\""), "{body}");
    }
}

#[test]
fn idle_connections_do_not_hold_it_up() {
    let mut process = Process::serve(&[ENDLESS]);
    let mut used = TcpStream::connect(process.address()).unwrap();
    write!(used, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"/application_feedback\"}") {
        let mut byte = [0];
        used.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }

    process.signal("TERM");

    assert_eq!(process.exit_code(), Some(0));
    assert_eq!(used.read(&mut [0]).unwrap(), 0, "the connection is closed in order");
}

#[test]
fn body_that_does_not_come_is_not_waited_for() {
    let process = Process::serve(&[("PUSHLET_SERVER__READ_TIMEOUT", "3s")]);
    let framings = ["Content-Length: 9\r\n\r\n{", "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"];
    let streams = framings.map(|framing| {
        let mut stream = TcpStream::connect(process.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let head = "POST /send_notification HTTP/1.1\r\nHost: localhost\r\n\
                    Content-Type: application/json\r\n";
        stream.write_all(format!("{head}{framing}").as_bytes()).unwrap();
        stream
    });

    for mut stream in streams {
        // To the end: the connection is of no use any more and is closed.
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();

        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head}");
        assert_eq!(
            body,
            r#"{"error":"invalid_request","message":"the body was not complete 3s after its head; send it again"}"#
        );
    }
}

#[test]
fn refused_call_does_not_wait_for_its_body() {
    let process = Process::serve(&[]);
    let mut stream = TcpStream::connect(process.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(
        stream,
        "POST /nowhere HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{{\r\n"
    )
    .unwrap();

    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();

    assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\n"), "{answer}");
}

#[test]
fn head_that_does_not_come_is_not_waited_for() {
    let process = Process::serve(&[("PUSHLET_SERVER__READ_TIMEOUT", "300ms")]);
    let mut stream = TcpStream::connect(process.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(stream, "POST /send_noti").unwrap();

    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();

    assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
}
