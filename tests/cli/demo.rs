//! `pushlet demo`, used as a stranger would: each line of its screen is pasted into a shell.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::Command;

use pushlet::providers::apns::credential::{Credential, Raw};
use pushlet::secret::Secret;
use time::OffsetDateTime;

use crate::support::process::{Process, until};
use crate::support::tools::require;

/// The lines of the original's documentation, but for the file, the id of the device and what
/// follows `YOUR_`.
const DOCUMENTED: [&str; 3] = [
    r#"curl http://127.0.0.1:9292/register_application -F "apns_p12=@FILE" -F "application_id=YOUR_APPLICATION_NAME""#,
    r#"curl http://127.0.0.1:9292/send_notification -d "device_token=TOKEN&alert=YOUR+TEXT+MESSAGE&application_id=YOUR_APPLICATION_NAME""#,
    r#"curl http://127.0.0.1:9292/send_notification -d "device_token=YOUR_GCM_DEVICE_KEY&gcm_api_key=YOUR_GCM_API_KEY&data=%7B%22text%22%3A%22hello%22%7D""#,
];

/// The demo has one address; who holds this may use it, in whichever test process of this machine.
/// The name is of Linux's own kind (unix(7), "abstract"): it is free again when its holder ends.
fn lock() -> UnixListener {
    let name = SocketAddr::from_abstract_name("pushlet demo tests").unwrap();
    let mut lock = UnixListener::bind_addr(&name);
    until("the demo's address is left to this test", || {
        if lock.is_err() {
            lock = UnixListener::bind_addr(&name);
        }
        lock.is_ok()
    });
    lock.unwrap()
}

/// The demo's address, if nobody has it. Somebody else's server there is no fault of ours; where
/// there is nobody else, under `CI`, the test fails.
fn take_address() -> Option<TcpListener> {
    let listener = TcpListener::bind("127.0.0.1:9292");
    if let Err(error) = &listener {
        assert!(std::env::var_os("CI").is_none(), "127.0.0.1:9292: {error}");
        println!("skipped: 127.0.0.1:9292: {error}");
    }
    listener.ok()
}

/// What a line prints when it is pasted into a shell.
fn paste(line: &str) -> String {
    let mut shell = Command::new("sh");
    let output = shell.args(["-c", &format!("{line} --silent --noproxy '*'")]);
    let output = output.output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What stands between two parts of a line.
fn between<'a>(line: &'a str, before: &str, after: &str) -> &'a str {
    let (_, rest) = line.split_once(before).unwrap();
    rest.split_once(after).unwrap().0
}

#[test]
fn every_line_of_its_screen_works() {
    if !require("curl", &["curl", "--version"]) {
        return;
    }
    let _lock = lock();
    if take_address().is_none() {
        return;
    }
    let mut demo = Process::start(&["demo"], &[("PORT", "1"), ("PUSHLET_SERVER__BIND", "no")]);
    demo.printed("Stop with Ctrl-C.");
    let screen = demo.output();
    let lines: Vec<&str> =
        screen.iter().map(String::as_str).filter(|line| line.starts_with("curl ")).collect();
    let [register, apple, google, feedback, gone] = lines.as_slice() else {
        panic!("not five calls: {lines:?}")
    };
    let file = between(register, "apns_p12=@", "\"");
    let token = between(apple, "device_token=", "&");
    let dead_token = between(gone, "device_token=", "&");

    let documented = DOCUMENTED.map(|line| line.replace("FILE", file).replace("TOKEN", token));
    assert_eq!([*register, *apple, *google].map(str::to_owned), documented);
    assert_is_a_p12_without_password(file);

    let registered: serde_json::Value = serde_json::from_str(&paste(register)).unwrap();
    assert_eq!(registered["application_id"], "YOUR_APPLICATION_NAME");
    assert_eq!(registered["apns"]["topics"][0], "com.example.app");
    assert_eq!(paste(apple), r#"{"response":"ok"}"#);
    assert_eq!(
        paste(google),
        r#"{"multicast_id":108,"success":1,"failure":0,"canonical_ids":0,"results":[{"message_id":"1:08"}]}"#
    );
    assert_eq!(paste(feedback), r#"{"response":[]}"#);
    let refused: serde_json::Value = serde_json::from_str(&paste(gone)).unwrap();
    assert_eq!(refused["error"], "device_token_unregistered");
    let listed = paste(feedback);
    let since = refused["timestamp"].as_str().unwrap();
    assert_eq!(
        listed,
        format!(r#"{{"response":[{{"device_token":"{dead_token}","timestamp":"{since}"}}]}}"#)
    );
    assert_eq!(paste(feedback), r#"{"response":[]}"#, "reading empties the list");

    for seen in [
        r#"the simulator got: apns 740f4707… com.example.app alert: accepted {"aps":{"alert":"YOUR TEXT MESSAGE"}}"#,
        r#"the simulator got: gcm YOUR_GCM…: accepted "#,
        r#"the simulator got: apns 5e750410… com.example.app alert: 410 Unregistered {"aps":{"alert":"hello"}}"#,
    ] {
        demo.printed(seen);
    }
    demo.signal("INT");
    assert_eq!(demo.exit_code(), Some(0));
    assert!(!std::path::Path::new(file).exists(), "it clears its files away");
}

fn assert_is_a_p12_without_password(file: &str) {
    let der = std::fs::read(file).unwrap();
    let raw = Raw::P12 { der, password: Secret::new(String::new()) };
    assert!(matches!(
        Credential::read(&raw, OffsetDateTime::now_utc()),
        Ok(Credential::Certificate(_))
    ));
}

#[test]
fn address_in_use_is_told() {
    let _lock = lock();
    let Some(_taken) = take_address() else { return };

    let mut demo = Process::start(&["demo"], &[]);

    assert_eq!(demo.exit_code(), Some(1));
    demo.line(
        "pushlet: 127.0.0.1:9292 cannot be listened on: Address already in use (os error 98); \
         choose another server.bind",
    );
    demo.line("the demo needs that address; stop what listens there and try again");
}
