//! Which service a send is for, and the answer to a value that cannot be.

use crate::support::keys::{Authority, Identity, ec_key};
use crate::support::relay::{TOKEN, TOPIC};
use crate::support::wire::{Bench, REGISTER, SEND, code, encoded, ok, refusal, seen};

const APP: (&str, &str) = ("application_id", "app");
const KEY: (&str, &str) = ("gcm_api_key", "AIzaSample");
const PHONE: (&str, &str) = ("device_token", TOKEN);
const ALERT: (&str, &str) = ("alert", "x");

fn missing_identifier() -> (u16, String) {
    let message = "an application_id or gcm_api_key are required for this call";
    refusal(400, "missing_identifier", message)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_follows_from_the_identifier() {
    let bench = Bench::start().await;
    bench.relay.register("app").await;
    let apple = ok();
    let google = |multicast, message| {
        let body = format!(
            "{{\"multicast_id\":{multicast},\"success\":1,\"failure\":0,\"canonical_ids\":0,\
             \"results\":[{{\"message_id\":\"1:{message}\"}}]}}"
        );
        (200, body)
    };
    let missing_type = || {
        let message = "both services are possible here; give type as apns or gcm";
        refusal(400, "missing_type", message)
    };

    for (identifiers, expected) in [
        (&[APP][..], apple.clone()),
        (&[APP, ("type", "apns")], apple.clone()),
        (&[KEY], google(108, "08")),
        (&[KEY, ("type", "gcm")], google(109, "09")),
        (&[KEY, ("type", "fcm")], google(110, "10")),
        (&[KEY, APP, ("type", "gcm")], google(111, "11")),
        (&[KEY, APP, ("type", "fcm")], google(112, "12")),
        (&[KEY, APP, ("type", "apns")], apple),
        (&[KEY, ("application_id", "nobody"), ("type", "gcm")], google(113, "13")),
        (&[KEY, APP], missing_type()),
        (&[KEY, ("type", "apns")], missing_identifier()),
        (&[("type", "apns")], missing_identifier()),
        (&[("type", "gcm")], missing_identifier()),
        (&[], missing_identifier()),
    ] {
        let fields = [identifiers, &[PHONE, ALERT]].concat();

        assert_eq!(bench.send(&fields).await.told(), expected, "{identifiers:?}");
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_the_application_lacks_is_named() {
    let bench = Bench::start().await;
    bench.relay.register("app").await;

    for word in ["gcm", "fcm"] {
        let answer = bench.send(&[APP, PHONE, ALERT, ("type", word)]).await;

        let message = "this application has no credential for gcm; register one";
        assert_eq!(answer.told(), refusal(400, "missing_credentials", message));
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn documented_errors_are_answered_to_the_byte() {
    let bench = Bench::start().await;
    bench.relay.register("app").await;

    for (fields, status, body) in [
        (
            &[][..],
            400,
            r#"{"error":"missing_identifier","message":"an application_id or gcm_api_key are required for this call"}"#,
        ),
        (
            &[APP],
            400,
            r#"{"error":"device_token_required","message":"device_token is required, which is registed with the application on your phone"}"#,
        ),
        (
            &[KEY],
            400,
            r#"{"error":"device_token_required","message":"device_token is required, which is registed with the application on your phone"}"#,
        ),
        (
            &[("application_id", "nobody"), PHONE],
            404,
            r#"{"error":"application_not_found","message":"no application found for the provided application_id"}"#,
        ),
        (
            &[("application_id", "a b"), PHONE],
            404,
            r#"{"error":"application_not_found","message":"no application found for the provided application_id"}"#,
        ),
        (
            &[APP, PHONE, ("data", "hello")],
            400,
            r#"{"error":"invalid_data_json","message":"data could not be converted to json: expected value at line 1 column 1"}"#,
        ),
        (
            &[KEY, PHONE, ("data", "hello")],
            400,
            r#"{"error":"invalid_data_json","message":"data could not be converted to json: expected value at line 1 column 1"}"#,
        ),
        (
            &[APP, PHONE, ("data", "[1]")],
            400,
            r#"{"error":"invalid_data_json","message":"data could not be converted to json: expected an object, found array"}"#,
        ),
        (
            &[KEY, PHONE, ("data", "\"{}\"")],
            400,
            r#"{"error":"invalid_data_json","message":"data could not be converted to json: expected an object, found string"}"#,
        ),
    ] {
        assert_eq!(bench.send(fields).await.told(), (status, body.to_owned()), "{fields:?}");
    }
    assert_eq!(bench.count(), 0);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_with_nothing_to_say_is_refused() {
    let bench = Bench::start().await;
    bench.relay.register("app").await;
    let message = "there is nothing to say: give alert, badge, sound, data, content_available or \
                   payload";

    for field in [
        None,
        Some(("content_available", "0")),
        Some(("mutable_content", "1")),
        Some(("category", "c")),
        Some(("thread_id", "t")),
        Some(("priority", "10")),
    ] {
        let fields: Vec<_> = [APP, PHONE].into_iter().chain(field).collect();
        let answer = bench.send(&fields).await;

        assert_eq!(answer.told(), refusal(400, "empty_notification", message), "{field:?}");
    }
    assert_eq!(bench.count(), 0);
    bench.stop().await;
}

const INT: &str = "must be a whole number from 0 to 2147483647, found";
const BOOLEAN: &str = "must be true, false, 1 or 0, found";

/// Each parameter that Apple's service has, a value in JSON that it cannot have, and what is told
/// after its name.
#[rustfmt::skip]
const BAD_VALUES: &[(&str, &str, &str)] = &[
    ("type", "\"apple\"", "must be apns or gcm"),
    ("alert", "7", "must be text or an object, found number"),
    ("alert", "[]", "must be text or an object, found array"),
    ("title", "{}", "must be text, found object"),
    ("subtitle", "true", "must be text, found boolean"),
    ("badge", "-1", "{INT} `-1`"),
    ("badge", "2147483648", "{INT} `2147483648`"),
    ("sound", "1", "must be text or an object, found number"),
    ("category", "[1]", "must be text, found array"),
    ("thread_id", "1", "must be text, found number"),
    ("content_available", "2", "{BOOLEAN} `2`"),
    ("mutable_content", "\"no\"", "{BOOLEAN} `no`"),
    ("at_least_once", "\"\"", "{BOOLEAN} ``"),
    ("interruption_level", "\"loud\"", "must be passive, active, time-sensitive or critical, found `loud`"),
    ("relevance_score", "\"high\"", "must be a number, such as 0.5, found `high`"),
    ("relevance_score", "1.5", "must be from 0 to 1; only a liveactivity takes other numbers"),
    ("target_content_id", "false", "must be text, found boolean"),
    ("topic", "\"a b\"", "must be 1 to 255 visible ASCII characters, such as a bundle id"),
    ("topic", "\"a\\r\\nb\"", "must be 1 to 255 visible ASCII characters, such as a bundle id"),
    ("push_type", "\"hologram\"", "must be alert, background, complication, controls, fileprovider, liveactivity, location, mdm, pushtotalk, voip or widgets; another word, of letters only, needs a payload"),
    ("priority", "2", "must be 10, 5 or 1, found `2`"),
    ("priority", "\"high\"", "must be a whole number from 1 to 10, found `high`"),
    ("expiration", "\"tomorrow\"", "must be a whole number from 0 to 18446744073709551615, found `tomorrow`"),
    ("ttl", "-5", "{INT} `-5`"),
    ("collapse_id", "\"a\\r\\nb\"", "must be at most 64 bytes, without control characters and without spaces at its ends"),
    ("apns_id", "\"7\"", "must be a UUID such as 123e4567-e89b-42d3-a456-426614174000, found `7`"),
    ("identifier", "4294967296", "must be a whole number from 0 to 4294967295, found `4294967296`"),
    ("identifier", "-1", "must be a whole number from 0 to 4294967295, found `-1`"),
    ("payload", "\"x\"", "could not be converted to json: expected value at line 1 column 1"),
    ("payload", "7", "could not be converted to json: expected an object, found number"),
    ("device_token", "7", "must be text, found number"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_parameter_refuses_what_it_cannot_be() {
    let bench = Bench::start().await;
    bench.relay.register("app").await;

    for (name, value, problem) in BAD_VALUES {
        let mut members = vec![format!("\"{name}\":{value}"), "\"application_id\":\"app\"".into()];
        if *name != "device_token" {
            members.push(format!("\"device_token\":\"{TOKEN}\""));
        }
        if !matches!(*name, "alert" | "payload") {
            members.push("\"alert\":\"x\"".into());
        }
        let answer = bench.relay.json(SEND, &format!("{{{}}}", members.join(","))).await;

        let problem = problem.replace("{INT}", INT).replace("{BOOLEAN}", BOOLEAN);
        let expected = refusal(400, &format!("invalid_{name}"), &format!("{name} {problem}"));
        assert_eq!((answer.status, answer.body), expected, "{value}");
    }
    assert_eq!(bench.count(), 0, "nothing was sent in part");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_background_message_of_priority_10_is_refused() {
    let bench = Bench::start().await;
    bench.relay.register("app").await;
    let message = "priority must be 5 or 1 for a background notification, found `10`; leave it out \
                   and 5 is sent";

    for field in [("content_available", "1"), ("push_type", "background")] {
        let alert = if field.0 == "push_type" { ALERT } else { ("data", "{}") };
        let answer = bench.send(&[APP, PHONE, field, alert, ("priority", "10")]).await;

        assert_eq!(answer.told(), refusal(400, "invalid_priority", message), "{field:?}");
    }
    assert_eq!(bench.count(), 0);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_was_refused_registers_nothing() {
    let bench = Bench::start().await;
    let identity = Authority::new().apple_certificate(TOPIC).build();
    let stranger = Identity { key: ec_key(), ..identity };
    let pem = String::from_utf8(stranger.pem()).unwrap();

    let answer = seen(bench.form(REGISTER, &[APP, ("apns_pem", &pem)])).await;

    assert_eq!(answer.code(), code(400, "invalid_apns_pem"));
    let answer = bench.text(SEND, &encoded(&[APP, PHONE, ALERT])).await;
    assert_eq!(answer.code(), code(404, "application_not_found"));
    bench.stop().await;
}
