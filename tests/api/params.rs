//! Values in all three bodies: files, numbers, what is left out, what stands twice.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use reqwest::multipart::{Form, Part};

use crate::support::keys::{Authority, Identity, signing_key_p8};
use crate::support::relay::{TOKEN, TOPIC};
use crate::support::wire::{Bench, FEEDBACK, FORM, REGISTER, SEND, Seen, code, ok, refusal, seen};

fn identity() -> Identity {
    Authority::new().apple_certificate(TOPIC).build()
}

fn registered(answer: &Seen) {
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.json()["apns"]["topics"][0], TOPIC);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_takes_the_same_parameters_in_all_three_bodies() {
    let bench = Bench::start().await;
    let key = String::from_utf8(signing_key_p8()).unwrap();
    let fields = [
        ("application_id", "app"),
        ("apns_p8", &*key),
        ("apns_key_id", "KEY1234567"),
        ("apns_team_id", "TEAM123456"),
        ("apns_topic", TOPIC),
        ("apns_mode", "sandbox"),
    ];
    let send =
        [("application_id", "app"), ("device_token", TOKEN), ("alert", "é+ &"), ("badge", "1")];
    let feedback = [("application_id", "app"), ("keep", "true")];

    for (path, fields) in [(REGISTER, &fields[..]), (SEND, &send), (FEEDBACK, &feedback)] {
        let object: serde_json::Map<_, _> =
            fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let parts = fields.iter().fold(Form::new(), |form, (name, value)| {
            form.text((*name).to_owned(), (*value).to_owned())
        });
        let files = fields.iter().fold(Form::new(), |form, (name, value)| {
            let part = Part::bytes(value.as_bytes().to_vec()).file_name("text.txt");
            form.part((*name).to_owned(), part)
        });

        let of_form = seen(bench.form(path, fields)).await.told();

        assert_eq!(of_form.0, 200, "{}", of_form.1);
        let object = serde_json::to_string(&object).unwrap();
        assert_eq!(bench.json(path, &object).await.told(), of_form);
        assert_eq!(seen(bench.post(path).multipart(parts)).await.told(), of_form);
        assert_eq!(seen(bench.post(path).multipart(files)).await.told(), of_form);
    }
    let payloads: Vec<_> =
        bench.peer.simulator.received().into_iter().map(|message| message.payload).collect();
    assert_eq!(payloads, [r#"{"aps":{"alert":"é+ &","badge":1}}"#; 4]);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_p12_may_come_as_bytes_or_base64_in_any_body() {
    let bench = Bench::start().await;
    let der = identity().p12("secret");
    let standard = STANDARD.encode(&der);
    let (head, tail) = standard.split_at(64);
    let spellings = [
        standard.clone(),
        STANDARD_NO_PAD.encode(&der),
        URL_SAFE.encode(&der),
        URL_SAFE_NO_PAD.encode(&der),
        format!("\r\n {head}\r\n\t{tail}\n\n"),
    ];
    let der = der.as_slice();

    let encoded = percent_encode(der, NON_ALPHANUMERIC);
    registered(&bench.text(REGISTER, &format!("apns_p12_pass=secret&apns_p12={encoded}")).await);
    for part in [Part::bytes(der.to_vec()), Part::bytes(der.to_vec()).file_name("c.p12")] {
        let form = Form::new().text("apns_p12_pass", "secret").part("apns_p12", part);
        registered(&seen(bench.post(REGISTER).multipart(form)).await);
    }
    for text in &spellings {
        let fields = [("apns_p12_pass", "secret"), ("apns_p12", text)];
        registered(&seen(bench.form(REGISTER, &fields)).await);
        let json = serde_json::json!({ "apns_p12_pass": "secret", "apns_p12": text }).to_string();
        registered(&bench.json(REGISTER, &json).await);
        let form = Form::new().text("apns_p12_pass", "secret").text("apns_p12", text.clone());
        registered(&seen(bench.post(REGISTER).multipart(form)).await);
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pem_is_taken_as_it_is_or_in_base64() {
    let bench = Bench::start().await;
    let pem = String::from_utf8(identity().pem()).unwrap();
    let spellings = [pem.clone(), format!("Bag Attributes\r\n{pem}"), STANDARD.encode(&pem)];

    for text in &spellings {
        registered(&seen(bench.form(REGISTER, &[("apns_pem", text)])).await);
        let json = serde_json::json!({ "apns_pem": text }).to_string();
        registered(&bench.json(REGISTER, &json).await);
        let part = Part::bytes(text.clone().into_bytes()).file_name("c.pem");
        let form = Form::new().part("apns_pem", part);
        registered(&seen(bench.post(REGISTER).multipart(form)).await);
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_file_is_refused() {
    let bench = Bench::start().await;
    let start = "could not process apns_p12 certificate, check that it is in p12 format and is \
                 valid: ";

    let neither = "it is neither DER nor PEM nor base64 (in a form, write each `+` as `%2B`)";

    for (body, rest) in [
        ("\"no base64!\"", neither),
        ("\" \"", neither),
        ("{\"type\":\"service_account\"}", "expected text with base64 or PEM, found object"),
        ("[48,130]", "expected text with base64 or PEM, found array"),
        ("true", "expected text with base64 or PEM, found boolean"),
    ] {
        let answer = bench.json(REGISTER, &format!("{{\"apns_p12\":{body}}}")).await;

        let message = format!("{start}{rest}");
        assert_eq!(answer.told(), refusal(400, "invalid_apns_p12", &message), "{body}");
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn null_and_empty_ids_tokens_keys_and_credentials_are_left_out() {
    let bench = Bench::start().await;
    bench.relay.register("app").await;
    let missing = |answer: &Seen, error| assert_eq!(answer.code(), code(400, error));

    for empty in ["null", "\"\""] {
        let member = |name| format!("{{\"{name}\":{empty}}}");
        missing(&bench.json(SEND, &member("application_id")).await, "missing_identifier");
        missing(&bench.json(SEND, &member("gcm_api_key")).await, "missing_identifier");
        missing(&bench.json(FEEDBACK, &member("application_id")).await, "missing_application_id");
        for name in ["apns_p12", "apns_pem", "apns_p8"] {
            missing(&bench.json(REGISTER, &member(name)).await, "missing_apns_certificate");
        }
        let token = format!(r#"{{"application_id":"app","device_token":{empty}}}"#);
        missing(&bench.json(SEND, &token).await, "device_token_required");
    }
    missing(&bench.text(SEND, "application_id=&gcm_api_key=").await, "missing_identifier");
    missing(&bench.text(SEND, "application_id=app&device_token=").await, "device_token_required");
    missing(&bench.text(FEEDBACK, "application_id").await, "missing_application_id");

    let rest = format!("application_id=app&gcm_api_key=&device_token={TOKEN}&alert=x");
    let empty = "collapse_id=&apns_id=&thread_id=&target_content_id=";
    assert_eq!(bench.text(SEND, &format!("{rest}&{empty}")).await.told(), ok());
    assert_eq!(bench.arrived().payload, r#"{"aps":{"alert":"x"}}"#);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_empty_values_count() {
    let bench = Bench::start().await;
    bench.relay.register("app").await;
    let rest = format!("application_id=app&device_token={TOKEN}");

    assert_eq!(bench.text(SEND, &format!("{rest}&alert=&sound=&category")).await.told(), ok());
    assert_eq!(bench.arrived().payload, r#"{"aps":{"alert":"","sound":"","category":""}}"#);
    for name in ["badge", "type", "push_type", "topic", "priority", "ttl", "expiration", "payload"]
    {
        let alert = if matches!(name, "badge" | "payload") { "" } else { "&alert=x" };
        let answer = bench.text(SEND, &format!("{rest}{alert}&{name}=")).await;
        assert_eq!(answer.code(), code(400, &format!("invalid_{name}")));
    }
    let answer = bench.text(SEND, &format!("{rest}&data=")).await;
    assert_eq!(answer.code(), code(400, "invalid_data_json"));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn booleans_and_integers_may_be_spelt_in_a_few_ways_only() {
    let bench = Bench::start().await;
    bench.relay.register("app").await;
    let json = |member: &str| {
        format!(
            "{{\"application_id\":\"app\",\"device_token\":\"{TOKEN}\",\"alert\":\"\",{member}}}"
        )
    };

    for (value, arrives) in [
        ("true", true),
        ("1", true),
        ("\"1\"", true),
        ("\"true\"", true),
        ("false", false),
        ("0", false),
        ("\"0\"", false),
        ("\"false\"", false),
    ] {
        let answer = bench.json(SEND, &json(&format!("\"mutable_content\":{value}"))).await;
        assert_eq!(answer.told(), ok(), "{value}");
        let aps = if arrives { r#""alert":"","mutable-content":1"# } else { r#""alert":"""# };
        assert_eq!(bench.arrived().payload, format!("{{\"aps\":{{{aps}}}}}"), "{value}");
    }
    for (value, arrives) in [("7", 7), ("\"7\"", 7), ("\"007\"", 7), ("2147483647", 2_147_483_647)]
    {
        let answer = bench.json(SEND, &json(&format!("\"badge\":{value}"))).await;
        assert_eq!(answer.told(), ok(), "{value}");
        let aps = format!("{{\"aps\":{{\"alert\":\"\",\"badge\":{arrives}}}}}");
        assert_eq!(bench.arrived().payload, aps);
    }
    for value in ["\"True\"", "\"yes\"", "\"on\"", "2", "1.0", "\"\"", "[]", "\" 1\""] {
        let answer = bench.json(SEND, &json(&format!("\"mutable_content\":{value}"))).await;
        assert_eq!(answer.code(), code(400, "invalid_mutable_content"), "{value}");
    }
    for value in
        ["-1", "1.0", "1e1", "\"+1\"", "\"0x1\"", "\"1_0\"", "\"\"", "true", "[1]", "\"١\""]
    {
        let answer = bench.json(SEND, &json(&format!("\"badge\":{value}"))).await;
        assert_eq!(answer.code(), code(400, "invalid_badge"), "{value}");
    }
    assert_eq!(bench.count(), 0);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_given_twice_is_refused_in_each_body() {
    let bench = Bench::start().await;
    let twice = |name: &str| {
        let message = format!("{name} is given twice; give it once");
        refusal(400, "conflicting_parameters", &message)
    };

    assert_eq!(bench.text(SEND, "alert=a&alert=a").await.told(), twice("alert"));
    assert_eq!(bench.json(SEND, r#"{"badge":1,"b\u0061dge":1}"#).await.told(), twice("badge"));
    let form = Form::new().text("keep", "1").text("keep", "0");
    assert_eq!(seen(bench.post(FEEDBACK).multipart(form)).await.told(), twice("keep"));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_that_exclude_each_other_are_refused() {
    let bench = Bench::start().await;
    bench.relay.register("app").await;
    let rest = format!("application_id=app&device_token={TOKEN}");
    let conflict = |left: &str, right: &str| {
        let message = format!("{left} and {right} exclude each other; give one of them");
        refusal(400, "conflicting_parameters", &message)
    };

    for part in [
        "alert",
        "title",
        "subtitle",
        "badge",
        "sound",
        "category",
        "thread_id",
        "content_available",
        "mutable_content",
        "interruption_level",
        "relevance_score",
        "target_content_id",
        "data",
    ] {
        let answer = bench.text(SEND, &format!("{rest}&payload=%7B%7D&{part}=1")).await;
        assert_eq!(answer.told(), conflict("payload", part));
    }
    let answer = bench.text(SEND, &format!("{rest}&alert=x&ttl=1&expiration=0")).await;
    assert_eq!(answer.told(), conflict("expiration", "ttl"));
    let answer = bench.text(SEND, "gcm_api_key=k&device_token=42&registration_ids=[\"42\"]").await;
    assert_eq!(answer.told(), conflict("device_token", "registration_ids"));
    for (left, right) in
        [("apns_p12", "apns_pem"), ("apns_p12", "apns_p8"), ("apns_pem", "apns_p8")]
    {
        let answer = bench.text(REGISTER, &format!("{right}=MAAA&{left}=MAAA")).await;
        assert_eq!(answer.told(), conflict(left, right));
    }
    assert_eq!(bench.count(), 0);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_parse_is_an_invalid_request() {
    let bench = Bench::start().await;
    let multipart = "multipart/form-data; boundary=B";
    let part = "--B\r\nContent-Disposition: form-data; name=\"alert\"\r\n\r\nx\r\n";

    for (content_type, body) in [
        (FORM, b"alert=%".to_vec()),
        (FORM, b"alert=%4".to_vec()),
        (FORM, b"alert=%zz".to_vec()),
        (FORM, b"%ff=x".to_vec()),
        ("application/json", b"".to_vec()),
        ("application/json", b"{".to_vec()),
        ("application/json", b"{}x".to_vec()),
        ("application/json", b"[]".to_vec()),
        ("application/json", b"null".to_vec()),
        ("application/json", b"{\"alert\":\"\xff\"}".to_vec()),
        ("application/json", b"{\"alert\":\"\\ud800\"}".to_vec()),
        ("application/json", b"{'alert':1}".to_vec()),
        (multipart, part.into()),
        (multipart, b"nothing".to_vec()),
        ("multipart/form-data", format!("{part}--B--\r\n").into()),
        (multipart, b"--B\r\n\r\nx\r\n--B--\r\n".to_vec()),
    ] {
        let shown = String::from_utf8_lossy(&body).into_owned();
        let answer = seen(bench.post(SEND).header("content-type", content_type).body(body)).await;

        assert_eq!(answer.code(), code(400, "invalid_request"), "{content_type} {shown}");
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_is_not_utf_8_is_refused() {
    let bench = Bench::start().await;
    bench.relay.register("app").await;

    for name in ["alert", "title", "sound", "category", "data", "payload", "topic", "device_token"]
    {
        let token = if name == "device_token" { "" } else { TOKEN };
        let body = format!("application_id=app&device_token={token}&{name}=%ff%fe");
        let body = body.replace("device_token=&", "");
        let answer = bench.text(SEND, &body).await;

        let message = format!("{name} is not utf-8; send it as utf-8");
        assert_eq!(answer.told(), refusal(400, "invalid_request", &message));
    }
    assert_eq!(bench.count(), 0);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_is_no_text_is_refused_before_anything_is_looked_at() {
    let bench = Bench::start().await;

    for name in ["alert", "device_token", "nobody_knows_this"] {
        let answer = bench.text(SEND, &format!("{name}=%ff")).await;

        let message = format!("{name} is not utf-8; send it as utf-8");
        assert_eq!(answer.told(), refusal(400, "invalid_request", &message));
    }
    bench.stop().await;
}
