//! Service accounts that callers give.

use serde_json::{Value, json};

use crate::support::google::{Google, PROJECT, rows, words};
use crate::support::keys::Authority;
use crate::support::relay::TOPIC;
use crate::support::wire::{REGISTER, SEND, code, ok, refusal, seen};

fn changed(account: &str, name: &str, value: Value) -> String {
    let mut file: Value = serde_json::from_str(account).unwrap();
    file[name] = value;
    file.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_comes_in_every_way() {
    use base64::Engine as _;
    let google = Google::start().await;
    let account = google.account.clone();
    let base64 = base64::engine::general_purpose::STANDARD.encode(&account);
    let told = |id: &str| (200, format!("{{\"application_id\":\"{id}\"}}"));

    let of_json = format!("{{\"application_id\":\"json\",\"fcm_service_account\":{account}}}");
    assert_eq!(google.bench.json(REGISTER, &of_json).await.told(), told("json"));
    let text = json!({"application_id": "text", "fcm_service_account": account}).to_string();
    assert_eq!(google.bench.json(REGISTER, &text).await.told(), told("text"));
    let form = [("application_id", "form"), ("fcm_service_account", base64.as_str())];
    assert_eq!(seen(google.bench.form(REGISTER, &form)).await.told(), told("form"));
    let part = [("application_id", "part")];
    let upload = google.bench.upload("fcm_service_account", account.as_bytes(), &part);
    assert_eq!(seen(upload).await.told(), told("part"));

    for id in ["json", "text", "form", "part"] {
        let answer = google.bench.send(&[("application_id", id), ("to", "t")]).await;
        assert_eq!(words(&rows(&answer)), ["ok"], "{id}");
    }
    assert_eq!(google.token_requests(), 1, "all of them are one account");
    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_may_have_both_services() {
    let google = Google::start().await;
    google.register().await;
    let p12 = Authority::new().apple_certificate(TOPIC).build().p12("");
    let upload = google.bench.upload("apns_p12", &p12, &[("application_id", "app")]);
    assert_eq!(seen(upload).await.status, 200);
    let phone = ("device_token", "ab01");
    let app = ("application_id", "app");

    let neither = google.bench.send(&[app, phone, ("alert", "x")]).await;
    assert_eq!(neither.code(), code(400, "missing_type"));
    let apple = google.bench.send(&[app, phone, ("alert", "x"), ("type", "apns")]).await;
    assert_eq!(apple.told(), ok());
    let of_google = google.bench.send(&[app, phone, ("alert", "x"), ("type", "fcm")]).await;
    assert_eq!(words(&rows(&of_google)), ["ok"]);
    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_none_is_refused_with_what_it_lacks() {
    let google = Google::start().await;
    let account = &google.account;
    let key = openssl::rsa::Rsa::generate(1_024).unwrap();
    let short = String::from_utf8(key.private_key_to_pem().unwrap()).unwrap();
    let start = "could not process fcm_service_account: ";

    for (file, problem) in [
        ("{".to_owned(), "it is not json: EOF while parsing an object at line 1 column 1"),
        ("{}".to_owned(), "it has no `project_id`; give the file that google made"),
        (
            changed(account, "type", json!("authorized_user")),
            "its `type` is not service_account; \
            make a key of a service account in the google cloud console",
        ),
        (
            changed(account, "project_id", json!("a/b")),
            "its `project_id` has characters that no \
            project has",
        ),
        (
            changed(account, "client_email", json!("")),
            "it has no `client_email`; give the file \
            that google made",
        ),
        (
            changed(account, "private_key", json!("hunter2")),
            "its `private_key` is no RSA key in \
            PEM",
        ),
        (
            changed(account, "private_key", json!(short)),
            "its `private_key` is RSA of 1024 bits, \
            2048 to 8192 are usable",
        ),
        (changed(account, "token_uri", json!(5)), "its `token_uri` is no URL"),
    ] {
        let fields = [("fcm_service_account", file.as_str())];
        let answer = seen(google.bench.form(REGISTER, &fields)).await;
        let message = format!("{start}{problem}");
        let expected = refusal(400, "invalid_fcm_service_account", &message);
        assert_eq!(answer.told(), expected, "{problem}");
    }
    google.stop().await;
}

/// A caller must not make the relay connect to wherever he likes.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_come_from_google_or_from_where_messages_go() {
    let google = Google::start().await;
    let base = google.bench.peer.simulator.https_url().unwrap();

    for (token_uri, is_taken) in [
        ("https://oauth2.googleapis.com/token".to_owned(), true),
        (format!("{base}/elsewhere"), true),
        ("http://oauth2.googleapis.com/token".to_owned(), false),
        ("https://oauth2.googleapis.com:8443/token".to_owned(), false),
        ("https://googleapis.com.example.com/token".to_owned(), false),
        ("https://evilgoogleapis.com/token".to_owned(), false),
        ("https://a@oauth2.googleapis.com/token".to_owned(), false),
        ("http://127.0.0.1:1/token".to_owned(), false),
        ("http://169.254.169.254/token".to_owned(), false),
        ("file:///etc/passwd".to_owned(), false),
    ] {
        let file = changed(&google.account, "token_uri", json!(token_uri));
        let fields = [("fcm_service_account", file.as_str())];
        let answer = seen(google.bench.form(REGISTER, &fields)).await;

        let expected = if is_taken { 200 } else { 400 };
        assert_eq!(answer.status, expected, "{token_uri}: {}", answer.body);
    }
    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_of_apple_need_a_credential_of_apple() {
    let google = Google::start().await;
    let file = google.account.clone();

    let fields = [("fcm_service_account", file.as_str()), ("apns_mode", "production")];
    let answer = seen(google.bench.form(REGISTER, &fields)).await;

    assert_eq!(answer.code(), code(400, "missing_apns_certificate"));
    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_account_sends_for_its_own_project() {
    let google = Google::start().await;
    let other = changed(&google.account, "project_id", json!("another-project"));
    let fields = [("application_id", "app"), ("fcm_service_account", other.as_str())];
    assert_eq!(seen(google.bench.form(REGISTER, &fields)).await.status, 200);

    let body = json!({"application_id": "app", "to": "t"}).to_string();
    let answer = google.bench.json(SEND, &body).await;

    assert_eq!(answer.code(), code(502, "invalid_gcm_credentials"));
    let message = answer.json()["message"].as_str().unwrap().to_owned();
    assert!(message.ends_with(": PERMISSION_DENIED"), "{message}");
    assert_ne!(PROJECT, "another-project");
    google.stop().await;
}
