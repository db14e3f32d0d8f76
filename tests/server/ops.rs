//! `ops.bind`: a second address for those who keep the relay running.

use std::net::{SocketAddr, TcpListener, TcpStream};

use crate::support::process::{Process, until};

const CREDENTIAL: [(&str, &str); 2] =
    [("PUSHLET_USERNAME", "backend"), ("PUSHLET_PASSWORD", "a long one")];
const BIND: (&str, &str) = ("PUSHLET_OPS__BIND", "127.0.0.1:0");

/// Where the second one listens.
fn ops_address(process: &Process) -> SocketAddr {
    let line = process.line("metrics, status and health are on http://");
    let (_, rest) = line.split_once("http://").unwrap();
    rest.split(' ').next().unwrap().parse().unwrap()
}

async fn get(address: SocketAddr, path: &str, password: Option<&str>) -> (u16, String) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.get(format!("http://{address}{path}"));
    let request = match password {
        Some(password) => request.basic_auth("backend", Some(password)),
        None => request,
    };
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn both_addresses_tell_of_the_relay_and_one_takes_calls() {
    let process = Process::serve(&[&CREDENTIAL[..], &[BIND]].concat());
    let addresses = [process.address(), ops_address(&process)];

    for address in addresses {
        assert_eq!(get(address, "/healthz", None).await.0, 200);
        assert_eq!(get(address, "/readyz", None).await.0, 200);
        for path in ["/status", "/metrics"] {
            assert_eq!(get(address, path, None).await.0, 401, "{path}");
            assert_eq!(get(address, path, Some("a long one")).await.0, 200, "{path}");
        }
    }
    // 405 where it is a call, 404 where there is none.
    let calls = ["/send_notification", "/register_application", "/application_feedback"];
    for path in calls {
        assert_eq!(get(addresses[0], path, None).await.0, 405);
        assert_eq!(get(addresses[1], path, None).await.0, 404);
    }
    assert_eq!(get(addresses[1], "/openapi.json", None).await.0, 404);
}

#[tokio::test]
async fn open_metrics_are_open_on_the_second_address_alone() {
    let open = ("PUSHLET_OPS__OPEN_METRICS", "true");
    let process = Process::serve(&[&CREDENTIAL[..], &[BIND, open]].concat());

    let ops = ops_address(&process);
    assert_eq!(get(ops, "/metrics", None).await.0, 200);
    assert_eq!(get(ops, "/status", None).await.0, 401);
    assert_eq!(get(process.address(), "/metrics", None).await.0, 401);
}

#[test]
fn an_address_that_others_reach_needs_credentials() {
    let public = ("PUSHLET_OPS__BIND", "0.0.0.0:0");
    let local = ("PUSHLET_SERVER__BIND", "127.0.0.1:0");
    let mut refused = Process::start(&["serve"], &[local, public]);

    assert_eq!(refused.exit_code(), Some(1));
    refused.line("anybody could call: `ops.bind` is `0.0.0.0:0`");

    let let_in = Process::serve(&[&CREDENTIAL[..], &[public]].concat());
    ops_address(&let_in);
}

#[test]
fn an_address_in_use_is_told_by_its_setting() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();

    let mut process = Process::serve(&[("PUSHLET_OPS__BIND", &address)]);

    assert_eq!(process.exit_code(), Some(1));
    process.line(&format!("{address} cannot be listened on"));
    process.line("choose another ops.bind");
}

/// What a load balancer asks on a port of its own is answered to the end.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_can_be_watched_when_no_call_is_taken_any_more() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/gcm/send", held.local_addr().unwrap());
    let environment = [
        BIND,
        ("PUSHLET_GCM__LEGACY_URL", url.as_str()),
        ("PUSHLET_GCM__TIMEOUT", "25s"),
        ("PUSHLET_SERVER__SHUTDOWN_TIMEOUT", "10m"),
    ];
    let mut process = Process::serve(&environment);
    let (address, ops) = (process.address(), ops_address(&process));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let call = client
        .post(format!("http://{address}/send_notification"))
        .header("content-type", "application/json")
        .body(r#"{"gcm_api_key":"KEY","device_token":"a"}"#);
    let sending = tokio::spawn(call.send());
    let (stream, _) = tokio::task::spawn_blocking(move || held.accept().unwrap()).await.unwrap();

    process.signal("TERM");
    process.line("stopping");
    until("new calls are refused", || TcpStream::connect(address).is_err());

    let draining = r#"{"status":"draining"}"#.to_owned();
    assert_eq!(get(ops, "/readyz", None).await, (503, draining));
    assert!(get(ops, "/status", None).await.1.contains(r#""state":"draining""#));
    drop(stream);
    let answer = sending.await.unwrap().unwrap();
    assert_eq!(answer.status().as_u16(), 503, "its endpoint went away");
    assert_eq!(process.exit_code(), Some(0));
    assert!(TcpStream::connect(ops).is_err(), "it ends with the relay");
}
