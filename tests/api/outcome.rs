//! What a caller hears of what became of a message for Apple: the contract's table, row by row.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use pushlet::config::Config;
use pushlet::simulator::script::{Answer, Raw, Rejection, Rule};

use crate::support::relay::{TOKEN, TOPIC};
use crate::support::wire::{Bench, Seen, ok};

pub(super) const ID: &str = "123e4567-e89b-42d3-a456-426614174000";

pub(super) async fn bench(change: impl FnOnce(&mut Config)) -> Bench {
    let bench = Bench::configured(change).await;
    bench.relay.register("app").await;
    bench
}

pub(super) async fn send(bench: &Bench, fields: &[(&str, &str)]) -> Seen {
    let rest =
        [("application_id", "app"), ("device_token", TOKEN), ("alert", "x"), ("apns_id", ID)];
    bench.send(&[&rest, fields].concat()).await
}

/// Sends one message that Apple answers so, each time that it is tried.
pub(super) async fn answered(bench: &Bench, answer: Answer, fields: &[(&str, &str)]) -> Seen {
    bench.peer.simulator.clear_script();
    bench.peer.simulator.script(Rule::next(answer).forever());
    let seen = send(bench, fields).await;
    assert_eq!(bench.peer.simulator.unused_rules(), []);
    bench.peer.simulator.clear_script();
    seen
}

pub(super) fn reject(status: u16, reason: &str) -> Answer {
    Answer::reject(StatusCode::from_u16(status).unwrap(), reason)
}

fn reject_with(status: u16, reason: &str, timestamp_ms: Option<u64>, wait: Option<u32>) -> Answer {
    Answer::Reject(Rejection {
        status: StatusCode::from_u16(status).unwrap(),
        reason: reason.to_owned(),
        timestamp_ms,
        retry_after_secs: wait,
    })
}

pub(super) fn raw(
    status: u16,
    headers: &[(&'static str, &'static str)],
    body: &'static str,
) -> Answer {
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
        .collect();
    let status = StatusCode::from_u16(status).unwrap();
    Answer::Raw(Raw { status, headers, body: Bytes::from_static(body.as_bytes()) })
}

/// The members after the sentence, as they were written.
pub(super) fn members(answer: &Seen, error: &str) -> String {
    let message = answer.json()["message"].to_string();
    let start = format!("{{\"error\":\"{error}\",\"message\":{message}");
    let rest = answer.body.strip_prefix(&start);
    let rest = rest.unwrap_or_else(|| panic!("not {error}: {} {}", answer.status, answer.body));
    rest.trim_start_matches(',').trim_end_matches('}').to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn accepted_is_the_documented_answer_with_apples_id() {
    let bench = bench(|_| ()).await;

    let answer = send(&bench, &[]).await;
    assert_eq!((answer.told(), answer.header("apns-id")), (ok(), Some(ID)));
    let upper = raw(200, &[("apns-id", "AAAAAAAA-E89B-42D3-A456-426614174000")], "");
    let answer = answered(&bench, upper, &[]).await;
    assert_eq!(answer.told(), ok());
    assert_eq!(answer.header("apns-id"), Some("AAAAAAAA-E89B-42D3-A456-426614174000"));
    let answer = answered(&bench, raw(200, &[], ""), &[]).await;
    assert_eq!(
        (answer.told(), answer.header("apns-id")),
        (ok(), Some(ID)),
        "ours if it gives none"
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_token_is_410_since_apples_time() {
    let bench = bench(|_| ()).await;

    for reason in ["Unregistered", "ExpiredToken"] {
        let answer =
            answered(&bench, reject_with(410, reason, Some(1_354_055_047_999), None), &[]).await;

        let body = format!(
            "{{\"error\":\"device_token_unregistered\",\"message\":\"the device token is dead \
             since 2012-11-27T22:24:07Z: the app was removed or the token replaced; delete \
             it\",\"status\":410,\"reason\":\"{reason}\",\"apns_id\":\"{ID}\",\
             \"timestamp\":\"2012-11-27T22:24:07Z\"}}"
        );
        assert_eq!(answer.told(), (410, body));
        assert_eq!((answer.header("apns-id"), answer.header("retry-after")), (None, None));
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_token_without_a_time_is_dead_since_the_answer() {
    let bench = bench(|_| ()).await;
    let now = || time::OffsetDateTime::now_utc().unix_timestamp();
    let before = now();

    let answer = answered(&bench, reject(410, "Unregistered"), &[]).await;

    let told = answer.json()["timestamp"].as_str().unwrap().to_owned();
    let rfc3339 = &time::format_description::well_known::Rfc3339;
    let since = time::OffsetDateTime::parse(&told, rfc3339).unwrap().unix_timestamp();
    assert!((before..=now()).contains(&since), "{told}");
    bench.stop().await;
}

/// Apple's answer, whether the caller named the topic, and status and error of ours. Older text of
/// Apple's has `ExpiredToken` under 400.
#[rustfmt::skip]
const REFUSALS: &[(u16, &str, bool, u16, &str)] = &[
    (400, "ExpiredToken", false, 410, "device_token_unregistered"),
    (400, "BadDeviceToken", false, 400, "invalid_device_token"),
    (400, "DeviceTokenNotForTopic", false, 400, "invalid_device_token"),
    (400, "DeviceTokenNotForTopic", true, 400, "invalid_device_token"),
    (403, "BadCertificate", false, 502, "apns_credentials_rejected"),
    (403, "BadCertificateEnvironment", false, 502, "apns_credentials_rejected"),
    (403, "ExpiredProviderToken", false, 502, "apns_credentials_rejected"),
    (403, "InvalidProviderToken", false, 502, "apns_credentials_rejected"),
    (403, "MissingProviderToken", false, 502, "apns_credentials_rejected"),
    (403, "UnrelatedKeyIdInToken", false, 502, "apns_credentials_rejected"),
    (403, "BadEnvironmentKeyIdInToken", false, 502, "apns_credentials_rejected"),
    (403, "Forbidden", true, 502, "apns_credentials_rejected"),
    (403, "SomethingOfTomorrow", false, 502, "apns_credentials_rejected"),
    (400, "TopicDisallowed", false, 502, "apns_credentials_rejected"),
    (400, "BadTopic", false, 502, "apns_credentials_rejected"),
    (400, "TopicDisallowed", true, 400, "apns_rejected"),
    (400, "BadTopic", true, 400, "apns_rejected"),
    (400, "BadCollapseId", false, 400, "apns_rejected"),
    (400, "BadExpirationDate", false, 400, "apns_rejected"),
    (400, "BadMessageId", false, 400, "apns_rejected"),
    (400, "BadPriority", false, 400, "apns_rejected"),
    (400, "DuplicateHeaders", false, 400, "apns_rejected"),
    (400, "InvalidPushType", false, 400, "apns_rejected"),
    (400, "PayloadEmpty", false, 400, "apns_rejected"),
    (400, "SomethingOfTomorrow", false, 400, "apns_rejected"),
    (413, "PayloadTooLarge", false, 400, "apns_rejected"),
    (404, "BadPath", false, 502, "apns_protocol_error"),
    (405, "MethodNotAllowed", false, 502, "apns_protocol_error"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_has_its_status_and_apples_words() {
    let bench = bench(|_| ()).await;

    for (status, reason, topic_given, expected, error) in REFUSALS {
        let fields: &[(&str, &str)] = if *topic_given { &[("topic", TOPIC)] } else { &[] };
        // A credential that was refused is not shown to Apple again for a while.
        bench.relay.register("app").await;

        let answer = answered(&bench, reject(*status, reason), fields).await;

        assert_eq!(answer.status, *expected, "{reason}: {}", answer.body);
        let told = members(&answer, error);
        let told = told.split(",\"timestamp\"").next().unwrap();
        assert_eq!(
            told,
            format!("\"status\":{status},\"reason\":\"{reason}\",\"apns_id\":\"{ID}\"")
        );
        assert_eq!(answer.header("retry-after"), None);
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_token_is_told_the_usual_causes() {
    let bench = bench(|_| ()).await;

    let answer = answered(&bench, reject(400, "BadDeviceToken"), &[]).await;

    let body = format!(
        "{{\"error\":\"invalid_device_token\",\"message\":\"apple does not know this device token \
         here; usual causes: a token of the sandbox sent to production or the other way round \
         (apns_mode), or a token of an app with another topic\",\"status\":400,\
         \"reason\":\"BadDeviceToken\",\"apns_id\":\"{ID}\"}}"
    );
    assert_eq!(answer.told(), (400, body));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn throttling_says_when_to_come_back() {
    let bench = bench(|_| ()).await;

    for (given, told) in [(Some(7), "7"), (None, "10")] {
        let answer = answered(&bench, reject_with(429, "TooManyRequests", None, given), &[]).await;

        assert_eq!(answer.status, 429);
        assert_eq!(
            members(&answer, "apns_throttled"),
            format!(
                "\"status\":429,\"reason\":\"TooManyRequests\",\"retry_after\":{told},\
                 \"apns_id\":\"{ID}\""
            )
        );
        assert_eq!(answer.header("retry-after"), Some(told));
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apple_that_cannot_now_is_503_and_nothing_was_sent() {
    let bench = bench(|config| config.apns.timeout = Duration::from_secs(4)).await;

    for (status, reason, wait, told) in [
        (500, "InternalServerError", None, "1"),
        (503, "ServiceUnavailable", None, "1"),
        (503, "ServiceUnavailable", Some(30), "30"),
        (503, "Shutdown", Some(30), "30"),
        (429, "TooManyProviderTokenUpdates", None, "1"),
    ] {
        let answer = answered(&bench, reject_with(status, reason, None, wait), &[]).await;

        assert_eq!(answer.status, 503, "{}", answer.body);
        assert_eq!(
            members(&answer, "apns_unavailable"),
            format!(
                "\"status\":{status},\"reason\":\"{reason}\",\"retry_after\":{told},\
                 \"apns_id\":\"{ID}\",\"delivery\":\"not_sent\""
            )
        );
        assert_eq!(answer.header("retry-after"), Some(told));
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_500_that_passes_is_not_noticed() {
    let bench = bench(|_| ()).await;
    bench.peer.simulator.script(Rule::next(reject(500, "InternalServerError")));

    assert_eq!(send(&bench, &[]).await.told(), ok());

    let ids: Vec<_> =
        bench.peer.simulator.received().into_iter().map(|message| message.apns_id).collect();
    assert_eq!(ids, [Some(ID.to_owned()), Some(ID.to_owned())], "the same on each try");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_answer_of_apns_is_502() {
    let bench = bench(|_| ()).await;
    let html = "<html>not here</html>";

    for (status, body) in [
        (404, html),
        (405, ""),
        (400, html),
        (403, html),
        (410, ""),
        (413, html),
        (400, "{\"reason\":7}"),
        (204, ""),
        (302, ""),
        (502, html),
        (599, ""),
    ] {
        let answer =
            answered(&bench, raw(status, &[("content-type", "text/html")], body), &[]).await;

        assert_eq!(answer.status, 502, "{}", answer.body);
        let expected = format!("\"status\":{status},\"apns_id\":\"{ID}\"");
        assert_eq!(members(&answer, "apns_protocol_error"), expected);
    }
    bench.stop().await;
}
