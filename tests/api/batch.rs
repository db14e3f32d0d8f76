//! Many messages on one call: what is taken, what is refused as a whole, and the rows.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::multipart::Form;
use serde_json::{Value, json};

use crate::support::google::{Google, KEY};
use crate::support::relay::{TOKEN, credential};
use crate::support::wire::{Bench, SEND, Seen, code, encoded, ok, refusal, seen};

/// Three tokens: one that is fine, one that is dead, one that Apple does not know.
const PHONES: [&str; 3] = [TOKEN, "5e750410aa", "5e750400bb"];

/// The rows of a batch's answer.
pub(super) fn results(answer: &Seen) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["results"].as_array().unwrap_or_else(|| panic!("{}", answer.body)).clone()
}

/// The row without what is different each time and what is for people.
pub(super) fn plain(mut row: Value) -> Value {
    let members = row.as_object_mut().unwrap();
    members.remove("apns_id");
    members.remove("message");
    members.remove("message_id");
    members.remove("timestamp");
    row
}

fn expected() -> Vec<Value> {
    vec![
        json!({ "device_token": PHONES[0], "status": 200, "response": "ok", "action": "none" }),
        json!({
            "device_token": PHONES[1], "status": 410, "error": "device_token_unregistered",
            "reason": "Unregistered", "action": "delete_token",
        }),
        json!({
            "device_token": PHONES[2], "status": 400, "error": "invalid_device_token",
            "reason": "BadDeviceToken", "action": "fix_message",
        }),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn one_message_for_several_phones_has_a_row_for_each_in_order() {
    let bench = Bench::start().await;
    bench.relay.register("app").await;
    let rest = [("application_id", "app"), ("alert", "x")];
    let tokens = PHONES.map(|phone| ("device_token", phone));
    let list = json!(PHONES).to_string();

    let form = bench.send(&[&rest[..], &tokens].concat()).await;
    let text = bench.send(&[&rest[..], &[("device_tokens", &list)]].concat()).await;
    let json = format!(r#"{{"application_id":"app","alert":"x","device_tokens":{list}}}"#);
    let json = bench.json(SEND, &json).await;
    let parts = Form::new().text("application_id", "app").text("alert", "x");
    let parts = PHONES.iter().fold(parts, |parts, phone| parts.text("device_token", *phone));
    let multipart = seen(bench.post(SEND).multipart(parts)).await;

    for answer in [form, text, json, multipart] {
        let rows: Vec<_> = results(&answer).into_iter().map(plain).collect();
        assert_eq!(rows, expected());
    }
    let arrived = bench.peer.simulator.received();
    assert_eq!(arrived.len(), 12);
    let mut ids: Vec<_> = arrived.iter().map(|message| message.apns_id.clone()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 12, "each message has an id of its own");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_has_its_members_in_the_documented_order() {
    let bench = Bench::start().await;
    bench.relay.register("app").await;
    let id = |number: u8| format!("123e4567-e89b-42d3-a456-42661417400{number}");
    let message = |number: usize| {
        json!({
            "application_id": "app", "device_token": PHONES[number], "alert": "x",
            "apns_id": id(u8::try_from(number).unwrap()),
        })
    };

    let body = json!({ "messages": [message(0), message(1)] }).to_string();
    let answer = bench.json(SEND, &body).await;

    let rows = results(&answer);
    let (message, since) = (&rows[1]["message"], &rows[1]["timestamp"]);
    let body = format!(
        "{{\"results\":[{{\"device_token\":\"{TOKEN}\",\"status\":200,\"response\":\"ok\",\
         \"apns_id\":\"{}\",\"action\":\"none\"}},{{\"device_token\":\"5e750410aa\",\
         \"status\":410,\"error\":\"device_token_unregistered\",\"message\":{message},\
         \"reason\":\"Unregistered\",\"apns_id\":\"{}\",\"timestamp\":{since},\
         \"action\":\"delete_token\"}}]}}",
        id(0),
        id(1)
    );
    assert_eq!(answer.told(), (200, body));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_token_is_a_call_of_one_and_a_list_of_one_is_a_batch() {
    let bench = Bench::start().await;
    bench.relay.register("app").await;
    let rest = [("application_id", "app"), ("alert", "x")];

    let one = bench.send(&[&rest[..], &[("device_token", TOKEN)]].concat()).await;
    let list = format!("[\"{TOKEN}\"]");
    let list = bench.send(&[&rest[..], &[("device_tokens", &list)]].concat()).await;

    assert_eq!(one.told(), ok());
    let rows: Vec<_> = results(&list).into_iter().map(plain).collect();
    assert_eq!(rows, expected()[..1]);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_several_applications_and_services_go_on_one_call() {
    let google = Google::start().await;
    google.register().await;
    google.bench.relay.register("apple").await;
    let legacy = json!({ "gcm_api_key": "AIzaLegacy", "device_token": "L1", "alert": "d" });

    let body = json!({ "messages": [
        { "application_id": "apple", "device_token": TOKEN, "alert": "a", "badge": 1 },
        { "application_id": "app", "device_token": "G1", "alert": "b" },
        { "gcm_api_key": KEY, "device_token": "UNREGISTERED", "alert": "c" },
        legacy,
        { "application_id": "app", "to": "/topics/news", "alert": "e" },
    ] });
    let answer = google.bench.json(SEND, &body.to_string()).await;

    let rows = results(&answer);
    let ids = ["apns_id", "message_id", "timestamp", "message_id", "message_id"];
    for (row, id) in rows.iter().zip(ids) {
        assert!(row[id].is_string(), "{row}");
    }
    let rows: Vec<_> = rows.into_iter().map(plain).collect();
    let fine = |token: &str| json!({ "device_token": token, "status": 200, "response": "ok", "action": "none" });
    assert_eq!(
        rows,
        [
            fine(TOKEN),
            fine("G1"),
            json!({
                "device_token": "UNREGISTERED", "status": 410,
                "error": "device_token_unregistered", "reason": "NotRegistered",
                "action": "delete_token",
            }),
            fine("L1"),
            json!({ "status": 200, "response": "ok", "action": "none" }),
        ]
    );
    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_tokens_of_an_fcm_application_are_rows_and_registration_ids_keep_their_answer() {
    let google = Google::start().await;
    google.register().await;
    let rest = [("application_id", "app"), ("alert", "x")];
    let tokens = [("device_token", "G1"), ("device_token", "UNREGISTERED")];

    let rows = results(&google.bench.send(&[&rest[..], &tokens].concat()).await);
    let list = [("registration_ids", r#"["G1","UNREGISTERED"]"#)];
    let documented = google.bench.send(&[&rest[..], &list].concat()).await;

    let actions: Vec<_> = rows.iter().map(|row| row["action"].clone()).collect();
    assert_eq!(actions, ["none", "delete_token"]);
    assert_eq!(documented.json()["results"][1], json!({ "error": "NotRegistered" }));
    google.stop().await;
}

/// Each message that cannot be, and what is told after its place.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "most of it is a table")]
async fn one_message_that_cannot_be_refuses_the_call_and_nothing_is_sent() {
    let google = Google::start().await;
    google.register().await;
    google.bench.relay.register("apple").await;
    let good = json!({ "application_id": "apple", "device_token": TOKEN, "alert": "x" });
    let huge = "x".repeat(5_000);

    for (bad, status, error, message) in [
        (json!(7), 400, "invalid_messages", "messages must hold objects, found number"),
        (
            json!({ "application_id": "apple", "device_token": TOKEN }),
            400,
            "empty_notification",
            "there is nothing to say: give alert, badge, sound, data, content_available or payload",
        ),
        (
            json!({ "application_id": "apple", "device_token": "xyz", "alert": "x" }),
            400,
            "invalid_device_token",
            "device_token must be 1 to 100 bytes in hexadecimal, an even number of digits; send \
             the token that the phone registered",
        ),
        (
            json!({ "application_id": "nobody", "device_token": TOKEN, "alert": "x" }),
            404,
            "application_not_found",
            "no application found for the provided application_id",
        ),
        (
            json!({ "application_id": "apple", "device_token": TOKEN, "alert": "x", "colour": 1 }),
            400,
            "unknown_parameter",
            "there is no parameter `colour` in this call; did you mean category?",
        ),
        (
            json!({ "application_id": "apple", "device_tokens": [TOKEN], "alert": "x" }),
            400,
            "conflicting_parameters",
            "device_tokens stands for many messages, and this is one; give device_token",
        ),
        (
            json!({ "application_id": "apple", "device_token": TOKEN, "alert": "x", "timeout_ms": 0 }),
            400,
            "invalid_timeout_ms",
            "timeout_ms must be a whole number from 1 to 25000, found `0`",
        ),
        (
            json!({ "application_id": "apple", "device_token": TOKEN, "alert": huge }),
            413,
            "payload_too_large",
            "the payload has 5020 bytes and apple takes 4096 for this push_type; shorten it",
        ),
        (
            json!({ "application_id": "app", "registration_ids": ["G1"], "alert": "x" }),
            400,
            "conflicting_parameters",
            "registration_ids is answered by a list of its own; give each token a message",
        ),
        (
            json!({ "application_id": "app", "device_token": "G1", "data": { "gcm": "x" } }),
            400,
            "gcm_rejected",
            "google refused the message: InvalidDataKey; change it",
        ),
    ] {
        let body = json!({ "messages": [good, good, good, bad, good] }).to_string();
        let answer = google.bench.json(SEND, &body).await;

        assert_eq!(answer.code(), code(status, error), "{bad}");
        assert_eq!(answer.json()["message"], format!("messages[3]: {message}"));
    }
    let tokens = json!([TOKEN, "abc"]).to_string();
    let rest = [("application_id", "apple"), ("alert", "x")];
    let answer = google.bench.send(&[&rest[..], &[("device_tokens", &tokens)]].concat()).await;
    assert_eq!(answer.code(), code(400, "invalid_device_token"));
    assert!(answer.body.contains("\"device_tokens[1]: device_token must"), "{}", answer.body);
    assert_eq!(google.bench.count(), 0);
    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_list_and_what_contradicts_it_is_refused() {
    let bench = Bench::configured(|config| config.server.max_batch = 3).await;
    bench.relay.register("app").await;
    let texts = "device_tokens must be a json array of 1 to 3 texts, none of them empty";
    let objects = "messages must be a json array of 1 to 3 objects";
    let many = "there are more than 3 messages on this call; make several calls, or send \
                application/x-ndjson";
    let several =
        "apns_id names one message, and there are several; leave it out, or give messages";

    for (members, status, code, message) in [
        (r#""device_tokens":[]"#, 400, "invalid_device_tokens", texts),
        (r#""device_tokens":["aa",""]"#, 400, "invalid_device_tokens", texts),
        (r#""device_tokens":["aa",7]"#, 400, "invalid_device_tokens", texts),
        (r#""device_tokens":"aa""#, 400, "invalid_device_tokens", texts),
        (r#""device_tokens":["a","a","a","a","a"]"#, 413, "request_too_large", many),
        (
            r#""device_tokens":["aa"],"device_token":"aa""#,
            400,
            "conflicting_parameters",
            "device_tokens and device_token exclude each other; give one of them",
        ),
        (
            r#""device_tokens":["aa"],"apns_id":"123e4567-e89b-42d3-a456-426614174000""#,
            400,
            "conflicting_parameters",
            several,
        ),
        (
            r#""messages":[{}]"#,
            400,
            "conflicting_parameters",
            "messages and application_id exclude each other; give application_id in each message",
        ),
    ] {
        let body = format!(r#"{{"application_id":"app","alert":"x",{members}}}"#);
        assert_eq!(bench.json(SEND, &body).await.told(), refusal(status, code, message), "{body}");
    }
    for (list, status, code, message) in [
        ("[]", 400, "invalid_messages", objects),
        ("{}", 400, "invalid_messages", objects),
        ("[{},{},{},{},{},{}]", 413, "request_too_large", many),
    ] {
        let answer = bench.json(SEND, &format!("{{\"messages\":{list}}}")).await;
        assert_eq!(answer.told(), refusal(status, code, message), "{list}");
    }
    let four = encoded(&[("device_token", TOKEN); 4]);
    let answer = bench.text(SEND, &format!("application_id=app&alert=x&{four}")).await;
    assert_eq!(answer.told(), refusal(413, "request_too_large", many));
    assert_eq!(bench.count(), 0);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_may_be_larger_than_a_single_call() {
    let bench = Bench::configured(|config| {
        config.server.max_body_bytes = 2_000;
        config.server.max_batch_bytes = 8_000;
    })
    .await;
    bench.relay.register("app").await;
    let body = |tokens: usize, alert: usize| {
        let tokens = "&device_token=aabb".repeat(tokens);
        format!("application_id=app&alert={}{tokens}", "x".repeat(alert))
    };
    let too_large = |limit: &str| {
        let message = format!("the body is over {limit}");
        refusal(413, "request_too_large", &message)
    };

    let many = bench.text(SEND, &body(300, 10)).await;
    let single = bench.text(SEND, &body(1, 2_500)).await;
    let over = bench.text(SEND, &body(600, 10)).await;

    assert_eq!(results(&many).len(), 300);
    let one = too_large("2000 bytes; send less, or raise max_body_bytes");
    assert_eq!(single.told(), one);
    let all = too_large("8000 bytes; send less, or raise max_batch_bytes");
    assert_eq!(over.told(), all);
    // Its name stands in it, but it is a call of one all the same.
    let hidden =
        format!("application_id=app&device_token=aabb&alert=messages{}", "x".repeat(2_500));
    assert_eq!(bench.text(SEND, &hidden).await.told(), one);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_outside_the_callers_scope_refuses_the_call() {
    let bench = Bench::configured(|config| {
        config.auth.credentials =
            vec![credential("all", "a", None), credential("shop", "s", Some(&["shop"]))];
    })
    .await;
    let call = |body: Value| {
        let basic = format!("Basic {}", STANDARD.encode("shop:s"));
        let request = bench.post(SEND).header("authorization", basic);
        seen(request.header("content-type", "application/json").body(body.to_string()))
    };
    let message = |id: &str| json!({ "application_id": id, "device_token": TOKEN, "alert": "x" });

    let answer = call(json!({ "messages": [message("news"), message("shop")] })).await;

    let forbidden = "messages[0]: this credential may not use that application; use one that may";
    assert_eq!(answer.told(), refusal(403, "forbidden", forbidden));
    let answer = call(json!({ "messages": [message("shop"), message("news")] })).await;
    assert_eq!(
        answer.code(),
        code(404, "application_not_found"),
        "its own, which nobody registered"
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identifier_ends_the_id_of_each_message() {
    let bench = Bench::start().await;
    bench.relay.register("app").await;
    let rest = [("application_id", "app"), ("alert", "x"), ("identifier", "4660")];
    let tokens = [("device_token", "aa"), ("device_token", "bb")];

    let rows = results(&bench.send(&[&rest[..], &tokens].concat()).await);

    let ids: Vec<_> = rows.iter().map(|row| row["apns_id"].as_str().unwrap()).collect();
    assert!(ids.iter().all(|id| id.ends_with("00001234")), "{ids:?}");
    assert_ne!(ids[0], ids[1]);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_can_be_shown_instead_of_sent() {
    let bench = Bench::start().await;
    bench.relay.register("app").await;
    let url = |token: &str| format!("{}/3/device/{token}", bench.peer.simulator.apns_url());
    let rest = [("application_id", "app"), ("alert", "x"), ("preview", "true")];
    let tokens = [("device_token", "aa"), ("device_token", "<BB>")];

    let shown = results(&bench.send(&[&rest[..], &tokens].concat()).await);

    for (row, (given, token)) in shown.iter().zip([("aa", "aa"), ("<BB>", "bb")]) {
        assert_eq!(row["device_token"], given);
        assert_eq!((&row["status"], &row["dry_run"]), (&json!(200), &json!(true)));
        assert_eq!((&row["action"], row.get("response")), (&json!("none"), None));
        assert_eq!(row["request"]["url"], url(token));
        assert_eq!(row["request"]["payload"], json!({ "aps": { "alert": "x" } }));
    }
    assert_eq!(shown.len(), 2);
    assert_eq!(bench.count(), 0);

    let of_app = |token: &str, is_shown: bool| {
        let (id, alert) = ("app", "x");
        json!({ "application_id": id, "device_token": token, "alert": alert, "dry_run": is_shown })
    };
    let call = json!({ "messages": [of_app("aa", true), of_app(TOKEN, false)] });
    let mixed = results(&bench.json(SEND, &call.to_string()).await);

    assert_eq!(mixed[0]["request"]["url"], url("aa"));
    assert_eq!((&mixed[1]["response"], mixed[1].get("request")), (&json!("ok"), None));
    assert_eq!(bench.arrived().device_token, TOKEN);
    bench.stop().await;
}
