//! `pushlet health`: what a health check sees of a relay.

use super::{File, run, run_with};
use crate::support::keys::Authority;
use crate::support::process::Process;

#[test]
fn relay_that_answers_is_healthy() {
    let relay = Process::serve(&[]);
    let address = relay.address();
    let url = format!("http://{address}");
    let here = [("PUSHLET_SERVER__BIND", format!("0.0.0.0:{}", address.port()))];
    let here = here.each_ref().map(|(name, value)| (*name, value.as_str()));
    let ok = (Some(0), "{\"status\":\"ok\"}\n".to_owned(), String::new());

    assert_eq!(run(&["health", &url]), ok);
    assert_eq!(run_with(&["health"], &here, b""), ok, "every address is also this machine's own");
    let (code, output, _) = run(&["health", "--ready", &url]);
    assert_eq!((code, output.as_str()), (Some(0), "{\"status\":\"ready\"}\n"));
}

/// Its certificate is for the name that callers know.
#[test]
fn relay_that_speaks_tls_is_asked_so() {
    let shown = Authority::new().server_certificate(&["push.example.com"]);
    let file = File::new("cert.pem", &shown.certificate_pem());
    let key = file.beside("key.pem", &shown.key_pem());
    let pair =
        [("PUSHLET_SERVER__TLS_CERT", file.path.as_str()), ("PUSHLET_SERVER__TLS_KEY", &key)];
    let relay = Process::serve(&pair);
    let line = relay.line("listening on https://");
    let (_, rest) = line.split_once("listening on https://").unwrap();
    let bind = rest.split(['"', ' ']).next().unwrap();
    let here = [&pair[..], &[("PUSHLET_SERVER__BIND", bind)]].concat();

    let (code, output, errors) = run_with(&["health"], &here, b"");

    assert_eq!((code, output.as_str(), errors.as_str()), (Some(0), "{\"status\":\"ok\"}\n", ""));
    let url = format!("https://{bind}");
    let (code, _, errors) = run(&["health", &url]);
    assert_eq!(code, Some(1), "whoever else is asked has to prove who it is");
    assert!(errors.starts_with(&format!("pushlet: {url}/healthz does not answer: ")), "{errors}");
}

#[test]
fn what_does_not_answer_well_is_not_healthy() {
    let relay = Process::serve(&[]);
    let elsewhere = format!("http://{}/nowhere", relay.address());
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();

    let (code, output, errors) = run(&["health", &elsewhere]);
    assert_eq!((code, output.as_str()), (Some(1), ""));
    let start = format!("pushlet: {elsewhere}/healthz answers 404: {{\"error\":\"not_found\"");
    assert!(errors.starts_with(&start), "{errors}");

    let (code, output, errors) = run(&["health", &format!("http://{closed}")]);
    assert_eq!((code, output.as_str()), (Some(1), ""));
    let start = format!("pushlet: http://{closed}/healthz does not answer: ");
    assert!(errors.starts_with(&start), "{errors}");
    let (code, _, _) = run_with(&["health"], &[("PUSHLET_SERVER__BIND", &closed.to_string())], b"");
    assert_eq!(code, Some(1));
}
