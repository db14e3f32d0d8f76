//! Start, stop, and what becomes of the connections.

use std::net::{TcpListener, TcpStream};
use std::pin::Pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use pushlet::simulator::{Options, Simulator};
use tokio_openssl::SslStream;

use super::Bench;

#[test]
fn stopping_frees_both_addresses() {
    let bench = Bench::new(Options::default());
    let apns = bench.simulator.apns_address();
    let http = bench.simulator.http_url().replace("http://", "");
    let _connected = TcpStream::connect(apns).unwrap();

    bench.stop();

    assert!(TcpStream::connect(apns).is_err());
    assert!(TcpStream::connect(http).is_err());
}

#[test]
fn dropping_frees_both_addresses() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let simulator = Simulator::start(Options::default(), runtime.handle()).unwrap();
    let apns = simulator.apns_address();
    let http = simulator.http_url().replace("http://", "");

    drop(simulator);

    let limit = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(apns).is_ok() || TcpStream::connect(&http).is_ok() {
        assert!(Instant::now() < limit, "somebody still listens");
        std::thread::yield_now();
    }
}

#[test]
fn an_address_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let options = Options { apns: address, ..Options::default() };

    let error = Simulator::start(options, runtime.handle()).err().unwrap();

    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

/// 500 connections of our own `h2` client, one message on each, all open at once.
#[test]
fn five_hundred_connections_are_served_at_once() {
    // Both ends of each are in this process.
    rlimit::increase_nofile_limit(8_192).unwrap();
    let bench = Bench::new(Options { checks: false, ..Options::default() });
    let port = bench.simulator.apns_address().port();
    let mut builder = SslConnector::builder(SslMethod::tls_client()).unwrap();
    builder.set_alpn_protos(b"\x02h2").unwrap();
    builder.set_verify(SslVerifyMode::NONE);
    let connector = builder.build();

    let open = futures_util::future::join_all((0..500).map(|_| connect(&connector, port)));
    let connections = bench.runtime.block_on(open);
    let answers = bench.runtime.block_on(futures_util::future::join_all(
        connections.into_iter().enumerate().map(|(index, sender)| push(sender, index)),
    ));

    assert!(answers.iter().all(|status| *status == 200));
    let mut numbers: Vec<_> =
        bench.simulator.received().iter().filter_map(|received| received.connection).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=500).collect::<Vec<_>>());
}

async fn connect(connector: &SslConnector, port: u16) -> SendRequest<Bytes> {
    let socket = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let ssl = connector.configure().unwrap().into_ssl("localhost").unwrap();
    let mut stream = SslStream::new(ssl, socket).unwrap();
    Pin::new(&mut stream).connect().await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn push(sender: SendRequest<Bytes>, index: usize) -> u16 {
    let uri = format!("https://localhost/3/device/{index:04x}");
    let request = http::Request::post(uri).body(()).unwrap();
    let mut sender = sender.ready().await.unwrap();
    let (answer, mut body) = sender.send_request(request, false).unwrap();
    body.send_data(Bytes::from_static(b"{}"), true).unwrap();
    answer.await.unwrap().status().as_u16()
}
