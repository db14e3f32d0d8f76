//! What it takes to start, and what is said about it.

use std::net::{SocketAddr, TcpListener};
use std::process::Command;

use crate::support::keys::Authority;
use crate::support::process::Process;
use crate::support::relay::TOPIC;

const CREDENTIAL: [(&str, &str); 2] =
    [("PUSHLET_USERNAME", "backend"), ("PUSHLET_PASSWORD", "a long one")];

/// A configuration file that brings one application and two credentials.
struct File(tempfile::TempDir);

impl File {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let p12 = Authority::new().apple_certificate(TOPIC).build().p12("");
        std::fs::write(folder.path().join("shop.p12"), p12).unwrap();
        let text = "[server]\n\
                    bind = \"127.0.0.1:0\"\n\
                    [[auth.credentials]]\n\
                    username = \"one\"\n\
                    password = \"first\"\n\
                    [[auth.credentials]]\n\
                    username = \"two\"\n\
                    password = \"second\"\n\
                    [[applications]]\n\
                    application_id = \"shop\"\n\
                    apns_p12_file = \"shop.p12\"\n";
        std::fs::write(folder.path().join("pushlet.toml"), text).unwrap();
        Self(folder)
    }

    fn path(&self) -> String {
        self.0.path().join("pushlet.toml").display().to_string()
    }
}

/// What it wrote before it refused to start.
fn refusal(environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut process = Process::start(&["serve"], environment);
    let code = process.exit_code();
    process.line("pushlet: ");
    (code, process.log().join("\n"))
}

#[test]
fn port_in_use_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();

    let refused = refusal(&[("PUSHLET_SERVER__BIND", &address)]);

    let sentence = format!(
        "pushlet: {address} cannot be listened on: Address already in use (os error 98); choose \
         another server.bind"
    );
    assert_eq!(refused, (Some(1), sentence));
}

#[test]
fn public_address_without_credentials_is_refused() {
    let refused = refusal(&[("PUSHLET_SERVER__BIND", "0.0.0.0:0")]);

    let sentences = "pushlet: the configuration is wrong\n\
                     anybody could call: `server.bind` is `0.0.0.0:0`, which others can reach, and \
                     no credential is configured; set `PUSHLET_USERNAME` and `PUSHLET_PASSWORD`, \
                     or give `[[auth.credentials]]`, or listen on 127.0.0.1, or allow it with \
                     `auth.allow_anonymous = true`";
    assert_eq!(refused, (Some(1), sentences.to_owned()));
}

#[test]
fn port_alone_is_a_public_address() {
    let (code, log) = refusal(&[("PORT", "0")]);

    assert_eq!(code, Some(1));
    assert!(log.contains("`server.bind` is `0.0.0.0:0`"), "{log}");
}

#[test]
fn start_is_one_line_of_text() {
    let file = File::new();
    let process = Process::start(&["serve", "--config", &file.path()], &CREDENTIAL);
    let address = process.address();

    let log = process.log();

    let [line] = log.as_slice() else { panic!("not one line: {log:?}") };
    let (time, line) = line.split_once("  ").unwrap();
    assert!(time.ends_with('Z'), "{time}");
    assert_eq!(
        line,
        format!(
            "INFO pushlet::cli::serve: listening on http://{address} version=\"{}\" credentials=3 \
             applications=1",
            env!("CARGO_PKG_VERSION")
        )
    );
}

#[test]
fn start_is_one_line_of_json() {
    let file = File::new();
    let path = file.path();
    let json = [("PUSHLET_LOG__FORMAT", "json"), ("PUSHLET_CONFIG", &path)];
    let process = Process::start(&["serve"], &json);
    let address = process.address();

    let log = process.log();

    let [line] = log.as_slice() else { panic!("not one line: {log:?}") };
    let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
    line.as_object_mut().unwrap().remove("timestamp").unwrap();
    let expected = serde_json::json!({
        "level": "INFO",
        "target": "pushlet::cli::serve",
        "message": format!("listening on http://{address}"),
        "version": env!("CARGO_PKG_VERSION"),
        "credentials": 2,
        "applications": 1,
    });
    assert_eq!(line, expected);
}

#[test]
fn bind_variable_comes_before_port_and_port_before_the_file() {
    let file = File::new();
    let path = file.path();
    let named = ("PUSHLET_CONFIG", path.as_str());

    let by_file = Process::start(&["serve"], &[named]).address();
    let by_port = Process::start(&["serve"], &[named, ("PORT", "0")]).address();
    let bind = ("PUSHLET_SERVER__BIND", "127.0.0.2:0");
    let by_bind = Process::start(&["serve"], &[named, ("PORT", "0"), bind]).address();

    let hosts = [by_file, by_port, by_bind].map(|address: SocketAddr| address.ip().to_string());
    assert_eq!(hosts, ["127.0.0.1", "0.0.0.0", "127.0.0.2"]);
}

#[tokio::test]
async fn user_name_and_password_of_the_environment_are_a_credential() {
    let process = Process::serve(&CREDENTIAL);
    let call = |password| {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://{}/application_feedback", process.address());
        client.post(url).basic_auth("backend", Some(password)).send()
    };

    let statuses = (call("a long one").await.unwrap(), call("a wrong one").await.unwrap());

    // 400: the call was let in, and lacks its parameter.
    assert_eq!((statuses.0.status().as_u16(), statuses.1.status().as_u16()), (400, 401));
}

#[test]
fn limit_of_open_files_is_raised_to_its_hard_value() {
    let mut command = Command::new("/bin/sh");
    let program = env!("CARGO_BIN_EXE_pushlet");
    command.args(["-c", &format!("ulimit -Sn 64 && exec '{program}' serve")]);
    let process = Process::spawn(command, &[("PUSHLET_SERVER__BIND", "127.0.0.1:0")]);
    process.address();

    let limits = std::fs::read_to_string(format!("/proc/{}/limits", process.id())).unwrap();

    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let values: Vec<_> = line.split_whitespace().collect();
    assert_eq!(values[0], values[1], "soft and hard: {line}");
    assert_ne!(values[0], "64");
}
