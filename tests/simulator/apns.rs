//! Apple's statuses and reasons, seen by curl.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use openssl::ecdsa::EcdsaSig;
use openssl::hash::{MessageDigest, hash};
use pushlet::simulator::Options;
use pushlet::simulator::certificates::{Authority, Environment, SigningKey, Subject};
use pushlet::simulator::script::{Answer as Scripted, Rule};

use super::Bench;
use crate::support::tools::require_curl;

const TOPIC: &[&str] = &["-H", "apns-topic: com.example"];
const DATA: &[&str] = &["--data", "{\"aps\":{}}"];

fn now_secs() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

/// An `authorization` header with a token of this age.
fn bearer(key: &SigningKey, age_secs: i64) -> String {
    let header = format!(r#"{{"alg":"ES256","kid":"{}"}}"#, key.key_id);
    let claims = format!(r#"{{"iss":"{}","iat":{}}}"#, key.team_id, now_secs() - age_secs);
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let digest = hash(MessageDigest::sha256(), signed.as_bytes()).unwrap();
    let signature = EcdsaSig::sign(&digest, &key.key.ec_key().unwrap()).unwrap();
    let mut raw = signature.r().to_vec_padded(32).unwrap();
    raw.extend(signature.s().to_vec_padded(32).unwrap());
    format!("authorization: bearer {signed}.{}", URL_SAFE_NO_PAD.encode(raw))
}

fn reason(reason: &str) -> String {
    format!(r#"{{"reason":"{reason}"}}"#)
}

#[test]
fn an_accepted_message_echoes_its_id() {
    if !require_curl() {
        return;
    }
    let bench = Bench::new(Options::default());
    let certificate = bench.client(Subject::of_app("com.example"));
    let id = "123e4567-e89b-12d3-a456-42665544abcd";

    let answer = bench.push(
        "/3/device/00ab",
        Some(&certificate),
        &[TOPIC, DATA, &["-H", &format!("apns-id: {id}")]].concat(),
    );

    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    assert_eq!(answer.header("apns-id"), Some(id));
    assert_eq!(answer.header("apns-unique-id"), None);
    let received = bench.simulator.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].to_string(), "apns 00ab… com.example: accepted {\"aps\":{}}");
}

#[test]
fn a_missing_id_is_made() {
    if !require_curl() {
        return;
    }
    let options = Options { environment: Environment::Sandbox, ..Options::default() };
    let bench = Bench::new(options);
    let certificate = bench.client(Subject::of_app("com.example"));

    let answer = bench.push("/3/device/00ab", Some(&certificate), &[TOPIC, DATA].concat());

    let id = answer.header("apns-id").unwrap();
    assert_eq!(id, uuid::Uuid::try_parse(id).unwrap().to_string().to_uppercase());
    assert!(uuid::Uuid::try_parse(answer.header("apns-unique-id").unwrap()).is_ok());
}

/// `(reason, status, path, curl's arguments)` of requests with the certificate of `com.example`.
type Row<'a> = (&'a str, u16, &'a str, &'a [&'a str]);

#[test]
fn every_fault_of_a_request_has_its_row() {
    if !require_curl() {
        return;
    }
    let bench = Bench::new(Options::default());
    let certificate = bench.client(Subject::of_app("com.example"));
    let long = "x".repeat(4_097);
    let long_id = format!("apns-collapse-id: {}", "x".repeat(65));
    let t = "apns-topic: com.example";
    let rows: &[Row<'_>] = &[
        ("BadCollapseId", 400, "/3/device/ab", &["-H", t, "-H", &long_id, "-d", "{}"]),
        ("BadDeviceToken", 400, "/3/device/abc", &["-H", t, "-d", "{}"]),
        (
            "BadExpirationDate",
            400,
            "/3/device/ab",
            &["-H", t, "-H", "apns-expiration: soon", "-d", "{}"],
        ),
        ("BadMessageId", 400, "/3/device/ab", &["-H", t, "-H", "apns-id: 1", "-d", "{}"]),
        ("BadPath", 404, "/4/device/ab", &["-H", t, "-d", "{}"]),
        ("BadPriority", 400, "/3/device/ab", &["-H", t, "-H", "apns-priority: 7", "-d", "{}"]),
        ("BadTopic", 400, "/3/device/ab", &["-H", "apns-topic: <com.example>", "-d", "{}"]),
        (
            "DeviceTokenNotForTopic",
            400,
            "/3/device/ab",
            &["-H", t, "-H", "apns-push-type: voip", "-d", "{}"],
        ),
        ("DuplicateHeaders", 400, "/3/device/ab", &["-H", t, "-H", t, "-d", "{}"]),
        (
            "InvalidPushType",
            400,
            "/3/device/ab",
            &["-H", t, "-H", "apns-push-type: shout", "-d", "{}"],
        ),
        ("MethodNotAllowed", 405, "/3/device/ab", &["-H", t]),
        ("MissingDeviceToken", 400, "/3/device/", &["-H", t, "-d", "{}"]),
        ("MissingTopic", 400, "/3/device/ab", &["-d", "{}"]),
        ("PayloadEmpty", 400, "/3/device/ab", &["-H", t, "-X", "POST"]),
        ("PayloadTooLarge", 413, "/3/device/ab", &["-H", t, "-d", &long]),
        ("TopicDisallowed", 400, "/3/device/ab", &["-H", "apns-topic: com.other", "-d", "{}"]),
    ];

    for (expected, status, path, arguments) in rows {
        let answer = bench.push(path, Some(&certificate), arguments);

        assert_eq!((answer.status, answer.body), (*status, reason(expected)), "{expected}");
        assert!(answer.headers.contains_key("apns-id"), "{expected}");
    }
    assert!(bench.simulator.received().iter().all(|received| !received.accepted()));
}

#[test]
fn certificates_out_of_time_or_place_are_forbidden() {
    if !require_curl() {
        return;
    }
    let options = Options { environment: Environment::Production, ..Options::default() };
    let bench = Bench::new(options);
    let app = Subject::of_app("com.example");
    let expired = bench.client(Subject { starts_in_days: -9, ends_in_days: -1, ..app.clone() });
    let sandbox = bench.client(Subject { environment: Environment::Sandbox, ..app });
    let push = |certificate: &Path| {
        let answer = bench.push("/3/device/ab", Some(certificate), &[TOPIC, DATA].concat());
        (answer.status, answer.body)
    };

    assert_eq!(push(&expired), (403, reason("BadCertificate")));
    assert_eq!(push(&sandbox), (403, reason("BadCertificateEnvironment")));
}

#[test]
fn certificates_of_other_authorities_meet_an_alert() {
    if !require_curl() {
        return;
    }
    let authority = Authority::generate("Known").unwrap();
    let trusted = authority.client(&Subject::of_app("com.example")).unwrap();
    let bench = Bench::new(Options {
        client_authorities: Some(authority.pem().unwrap()),
        ..Options::default()
    });
    let stranger = bench.client(Subject::of_app("com.example"));
    let trusted = bench.write_identity(&trusted);
    let push = |certificate: &Path, version| {
        let arguments = [TOPIC, DATA, &["--tls-max", version, "--verbose", "--stderr", "-"]];
        bench.push("/3/device/ab", Some(certificate), &arguments.concat())
    };
    let alert = "alert unknown ca";

    assert!(push(&trusted, "1.3").text.contains("HTTP/2 200"));
    // The TLS 1.2 handshake ends with it; that of TLS 1.3 is over for the client when it comes.
    assert_eq!(push(&stranger, "1.2").exit, 35);
    assert!(push(&stranger, "1.2").text.contains(alert));
    assert!(push(&stranger, "1.3").text.contains(alert));
    assert_eq!(bench.simulator.received().len(), 1);
}

#[test]
fn only_http_2_is_spoken() {
    if !require_curl() {
        return;
    }
    let bench = Bench::new(Options::default());
    let push = |arguments| bench.push("/3/device/ab", None, arguments);

    // 35: the TLS handshake failed. Without ALPN the connection is closed after it.
    assert_eq!(push(&["--http1.1"]).exit, 35);
    assert_eq!(push(&["--no-alpn", "--http2-prior-knowledge"]).status, 0);
    assert_eq!(push(&["--tls-max", "1.1"]).exit, 35);
    assert_eq!(bench.simulator.received(), []);
}

#[test]
fn provider_tokens_are_checked() {
    if !require_curl() {
        return;
    }
    let key = SigningKey::generate("KEY1234567", "TEAM123456").unwrap();
    let forged = SigningKey::generate("KEY1234567", "TEAM123456").unwrap();
    let bench =
        Bench::new(Options { provider_keys: vec![key.public().unwrap()], ..Options::default() });
    let push = |arguments: &[&str]| {
        let answer = bench.push("/3/device/ab", None, &[TOPIC, DATA, arguments].concat());
        (answer.status, answer.body)
    };
    let shouted = bearer(&key, 0).replace("bearer", "Bearer");

    assert_eq!(push(&["-H", &bearer(&key, 0)]), (200, String::new()));
    assert_eq!(push(&["-H", &bearer(&key, 3_500)]), (200, String::new()));
    assert_eq!(push(&[]), (403, reason("MissingProviderToken")));
    assert_eq!(push(&["-H", &bearer(&forged, 0)]), (403, reason("InvalidProviderToken")));
    assert_eq!(push(&["-H", &shouted]), (403, reason("InvalidProviderToken")));
    assert_eq!(push(&["-H", &bearer(&key, 3_700)]), (403, reason("ExpiredProviderToken")));
    assert_eq!(push(&["-H", &bearer(&key, -600)]), (403, reason("ExpiredProviderToken")));
    let authenticated_as = bench.simulator.received()[0].authenticated_as.clone();
    assert_eq!(authenticated_as.as_deref(), Some("key KEY1234567 of team TEAM123456"));
}

#[test]
fn a_certificate_makes_tokens_irrelevant() {
    if !require_curl() {
        return;
    }
    let bench = Bench::new(Options::default());
    let certificate = bench.client(Subject::of_app("com.example"));
    let arguments = [TOPIC, DATA, &["-H", "authorization: nonsense"]].concat();

    assert_eq!(bench.push("/3/device/ab", Some(&certificate), &arguments).status, 200);
}

#[test]
fn a_second_token_within_20_minutes_is_too_many() {
    if !require_curl() {
        return;
    }
    let key = SigningKey::generate("KEY1234567", "TEAM123456").unwrap();
    let bench = Bench::new(Options { limit_token_updates: true, ..Options::default() });
    let push = |header: &str| {
        let answer = bench.push("/3/device/ab", None, &[TOPIC, DATA, &["-H", header]].concat());
        (answer.status, answer.body)
    };
    let first = bearer(&key, 60);

    assert_eq!(push(&first), (200, String::new()));
    assert_eq!(push(&bearer(&key, 0)), (429, reason("TooManyProviderTokenUpdates")));
    assert_eq!(push(&first), (200, String::new()));
}

/// Status and whether a new connection was made, of requests that curl sends one after the other
/// with these headers.
fn one_after_the_other(bench: &Bench, headers: &[&str]) -> Vec<String> {
    let mut curl = bench.curl();
    for (index, header) in headers.iter().enumerate() {
        if index > 0 {
            curl.args(["--next", "--silent", "--http2"]);
            curl.arg("--cacert").arg(bench.directory.path().join("ca.pem"));
        }
        curl.args(["--output", "/dev/null", "--write-out", "%{http_code} %{num_connects}\n"]);
        curl.args(["-H", header]).args(TOPIC).args(DATA);
        curl.arg(format!("{}/3/device/ab", bench.simulator.apns_url()));
    }
    let output = curl.output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn an_expired_token_wedges_the_connection() {
    if !require_curl() {
        return;
    }
    let key = SigningKey::generate("KEY1234567", "TEAM123456").unwrap();
    let bench = Bench::new(Options::default());
    let (old, new) = (bearer(&key, 3_700), bearer(&key, 0));

    let seen = one_after_the_other(&bench, &[&new, &old, &new]);

    assert_eq!(seen, ["200 1", "403 0", "403 0"]);
    assert_eq!(one_after_the_other(&bench, &[&new]), ["200 1"]);
}

#[test]
fn a_scripted_expiry_wedges_the_connection_too() {
    if !require_curl() {
        return;
    }
    let key = SigningKey::generate("KEY1234567", "TEAM123456").unwrap();
    let bench = Bench::new(Options::default());
    let expired = Scripted::reject(StatusCode::FORBIDDEN, "ExpiredProviderToken");
    bench.simulator.script(Rule::next(expired));
    let header = bearer(&key, 0);

    let seen = one_after_the_other(&bench, &[&header, &header]);

    assert_eq!(seen, ["403 1", "403 0"]);
}

#[test]
fn a_connection_belongs_to_one_team() {
    if !require_curl() {
        return;
    }
    let one = SigningKey::generate("KEY1234567", "TEAM1").unwrap();
    let two = SigningKey::generate("KEY7654321", "TEAM2").unwrap();
    let bench = Bench::new(Options::default());

    let seen = one_after_the_other(&bench, &[&bearer(&one, 0), &bearer(&two, 0)]);

    assert_eq!(seen, ["200 1", "403 0"]);
}

#[test]
fn without_checks_everything_is_taken() {
    if !require_curl() {
        return;
    }
    let bench = Bench::new(Options { checks: false, ..Options::default() });

    assert_eq!(bench.push("/nowhere", None, &["-d", "?"]).status, 200);
}

#[test]
fn magic_tokens_are_answered_as_they_ask() {
    if !require_curl() {
        return;
    }
    let bench = Bench::new(Options::default());
    let certificate = bench.client(Subject::of_app("com.example"));
    let push = |digits: &str| {
        let path = format!("/3/device/5e75{digits}00000000");
        let answer = bench.push(&path, Some(&certificate), &[TOPIC, DATA].concat());
        (answer.status, answer.body)
    };

    assert_eq!(push("0400"), (400, reason("BadDeviceToken")));
    assert_eq!(push("0403"), (403, reason("BadCertificate")));
    assert_eq!(push("0413"), (413, reason("PayloadTooLarge")));
    assert_eq!(push("0429"), (429, reason("TooManyRequests")));
    assert_eq!(push("0500"), (500, reason("InternalServerError")));
    assert_eq!(push("0503"), (503, reason("ServiceUnavailable")));
    assert_eq!(push("1234"), (200, String::new()));
    let (status, body) = push("0410");
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    let age_ms = now_secs() * 1_000 - body["timestamp"].as_i64().unwrap();
    assert_eq!((status, body["reason"].as_str()), (410, Some("Unregistered")));
    assert!((-2_000..60_000).contains(&age_ms), "{age_ms}");
    // A reset stream, a cut connection, a graceful GOAWAY.
    assert_eq!(push("5e70").0, 0);
    assert_eq!(push("d20b").0, 0);
    assert_eq!(push("904a").0, 200);
}

#[test]
fn magic_credentials_of_a_token() {
    if !require_curl() {
        return;
    }
    let key = SigningKey::generate("KEY1234567", "TEAM123456").unwrap();
    let bench = Bench::new(Options::default());
    let header = bearer(&key, 0);
    let arguments = [TOPIC, DATA, &["-H", &header]].concat();

    let answer = bench.push("/3/device/5e750403", None, &arguments);

    assert_eq!((answer.status, answer.body), (403, reason("InvalidProviderToken")));
}

#[test]
fn a_delayed_answer_comes_later_and_is_recorded_at_once() {
    if !require_curl() {
        return;
    }
    let bench = Bench::new(Options::default());
    let certificate = bench.client(Subject::of_app("com.example"));
    let push = |arguments: &[&str]| {
        let all = [TOPIC, DATA, arguments].concat();
        bench.push("/3/device/5e75de1a", Some(&certificate), &all)
    };

    // 28: curl's patience ended.
    assert_eq!(push(&["--max-time", "0.7"]).exit, 28);
    assert_eq!(bench.simulator.received().len(), 1);
    assert_eq!(push(&[]).status, 200);
}
