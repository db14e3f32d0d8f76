//! Access tokens: one for all, fetched once, and whose fault it is when there is none.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::StatusCode;
use pushlet::simulator::Options;
use pushlet::simulator::script::{Answer, Rejection, Rule, TOKEN_REQUEST};

use super::messages::raw;
use crate::support::google::{Google, rows, words};
use crate::support::wire::code;

fn refuse(status: StatusCode, reason: &str) -> Rule {
    Rule::token(TOKEN_REQUEST, Answer::reject(status, reason))
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_cold_callers_make_one_request() {
    let google = Google::start().await;
    google.register().await;
    let slow = Answer::Delay { by: Duration::from_millis(300), then: Box::new(Answer::Accept) };
    google.bench.peer.simulator.script(Rule::token(TOKEN_REQUEST, slow));

    // The bridged key and the application have the same account, and so the same token.
    let of_key = (0..10).map(|_| google.send(&[("to", "t")]));
    let fields = [("application_id", "app"), ("to", "t")];
    let of_app = (0..10).map(|_| google.bench.send(&fields));
    let (of_key, of_app) = tokio::join!(join_all(of_key), join_all(of_app));

    for answer in of_key.iter().chain(&of_app) {
        assert_eq!(words(&rows(answer)), ["ok"]);
    }
    assert_eq!((google.token_requests(), google.fcm().len()), (1, 20));
    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_connection_is_made_before_the_first_message() {
    let google = Google::start().await;
    google.register().await;

    assert_eq!(google.bench.peer.simulator.received(), []);
    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_that_passes_harms_no_longer_than_it_lasts() {
    let google = Google::start().await;
    let simulator = &google.bench.peer.simulator;

    for fault in [
        raw(503, "{\"error\":{\"code\":503,\"status\":\"UNAVAILABLE\"}}"),
        raw(503, "<html>"),
        raw(200, "{\"error\":\"none\"}"),
        raw(200, "{\"access_token\":\"\",\"expires_in\":3600}"),
        raw(200, &" ".repeat(65 * 1_024)),
        Answer::Drop,
    ] {
        simulator.revoke_access_tokens();
        // The first message meets the refusal of the old token if there is one, and each message
        // tries twice to get another.
        simulator.script(Rule::token(TOKEN_REQUEST, fault.clone()).times(2));
        assert_eq!(words(&google.rows(&["t"]).await), ["Unavailable"], "{fault:?}");
        assert_eq!(words(&google.rows(&["t"]).await), ["ok"], "{fault:?}");
    }
    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_hangs_is_given_up() {
    let google = Google::start().await;
    google.bench.peer.simulator.script(Rule::token(TOKEN_REQUEST, Answer::Never));
    let start = Instant::now();

    // Given up after five seconds, it is asked once more within the ten of the call.
    assert_eq!(words(&google.rows(&["t"]).await), ["ok"]);

    assert!(start.elapsed() >= Duration::from_secs(4), "{:?}", start.elapsed());
    assert_eq!(google.token_requests(), 2);
    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_account_is_remembered_for_a_moment() {
    let google = Google::start().await;
    google.bench.peer.simulator.script(refuse(StatusCode::BAD_REQUEST, "invalid_grant"));

    for _ in 0..3 {
        let answer = google.send(&[("to", "t")]).await;
        assert_eq!(answer.code(), code(403, "invalid_gcm_credentials"));
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains(": the token endpoint refused"), "{message}");
        assert!(message.contains("invalid_grant"), "{message}");
        assert!(!message.contains("scripted"), "never echoed: {message}");
    }
    assert_eq!(google.token_requests(), 1);

    let limit = Instant::now() + Duration::from_secs(60);
    while google.send(&[("to", "t")]).await.status != 200 {
        assert!(Instant::now() < limit, "still refused");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(google.token_requests(), 2);
    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_accounts_fault_is_nobody_elses() {
    let google = Google::start().await;
    let other = google.bench.peer.simulator.service_account("other-project").unwrap();
    let fields = [("application_id", "app"), ("fcm_service_account", other.as_str())];
    assert_eq!(google.bench.relay.form("/register_application", &fields).await.status, 200);
    google.bench.peer.simulator.script(refuse(StatusCode::BAD_REQUEST, "invalid_grant"));

    let refused = google.bench.send(&[("application_id", "app"), ("to", "t")]).await;
    assert_eq!(refused.code(), code(502, "invalid_gcm_credentials"));
    assert_eq!(words(&google.rows(&["t"]).await), ["ok"]);
    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_is_replaced_once() {
    let google = Google::start().await;
    assert_eq!(words(&google.rows(&["t"]).await), ["ok"]);

    google.bench.peer.simulator.revoke_access_tokens();
    assert_eq!(words(&google.rows(&["a", "b", "c"]).await), ["ok", "ok", "ok"]);

    assert_eq!(google.token_requests(), 2);
    let refused = google.send(&[("to", "html-401")]).await;
    assert_eq!(refused.code(), code(403, "invalid_gcm_credentials"));
    assert!(google.token_requests() <= 3);
    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_renewed_while_it_still_serves() {
    let life = Duration::from_secs(8);
    let options = Options { access_token_life: life, ..Options::default() };
    let google = Google::with(options, |_| ()).await;
    assert_eq!(words(&google.rows(&["t"]).await), ["ok"]);
    let slow = Answer::Delay { by: Duration::from_secs(60), then: Box::new(Answer::Accept) };
    google.bench.peer.simulator.script(Rule::token(TOKEN_REQUEST, slow));

    tokio::time::sleep(Duration::from_millis(6_200)).await;
    let start = Instant::now();
    let answer = google.rows(&["t"]).await;

    // Who waits for the slow endpoint waits for five seconds.
    assert_eq!(words(&answer), ["ok"]);
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    while google.token_requests() < 2 {
        assert!(start.elapsed() < Duration::from_secs(30), "nobody renews it");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    google.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_endpoint_says_when_to_come_back() {
    let google = Google::start().await;
    let rejection = Rejection {
        status: StatusCode::TOO_MANY_REQUESTS,
        reason: "slow_down".to_owned(),
        timestamp_ms: None,
        retry_after_secs: Some(33),
    };
    google.bench.peer.simulator.script(Rule::token(TOKEN_REQUEST, Answer::Reject(rejection)));

    let answer = google.send(&[("to", "t")]).await;

    assert_eq!(words(&rows(&answer)), ["Unavailable"]);
    assert_eq!(answer.header("retry-after"), Some("33"));
    google.stop().await;
}
