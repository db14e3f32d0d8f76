//! The control routes: what to answer next, and what arrived.

use std::time::Duration;

use actix_web::{HttpResponse, web};
use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::Shared;
use super::reasons::status_of;
use super::script::{Answer, Rejection, Rule};

/// The body of `POST /control/answers`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    /// To whom; left out: to whom the next message goes.
    device_token: Option<String>,
    /// How often; 0 is without an end. Left out: once.
    times: Option<u32>,
    answer: Kind,
    /// `reject`: left out, it is Apple's for this reason, or 400.
    status: Option<u16>,
    /// `reject`: needed.
    reason: Option<String>,
    /// `reject`: milliseconds since 1970.
    timestamp: Option<u64>,
    /// `reject`: seconds.
    retry_after: Option<u32>,
    /// With any answer: it comes that much later.
    delay_ms: Option<u64>,
    /// `goaway`: left out, it is a graceful one. `reset`: left out, `REFUSED_STREAM`.
    code: Option<u32>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Accept,
    Delay,
    Drop,
    GoAway,
    Never,
    Reject,
    Reset,
}

const REFUSED_STREAM: u32 = 7;

impl Order {
    fn into_rule(self) -> Result<Rule, &'static str> {
        let of_reject = self.status.is_some()
            || self.reason.is_some()
            || self.timestamp.is_some()
            || self.retry_after.is_some();
        if of_reject && self.answer != Kind::Reject {
            return Err("status, reason, timestamp and retry_after go with answer=reject only");
        }
        if self.code.is_some() && !matches!(self.answer, Kind::GoAway | Kind::Reset) {
            return Err("code goes with answer=goaway and answer=reset only");
        }
        let answer = match self.answer {
            Kind::Accept => Answer::Accept,
            Kind::Delay if self.delay_ms.is_none() => return Err("answer=delay needs delay_ms"),
            Kind::Delay => Answer::Accept,
            Kind::Drop => Answer::Drop,
            Kind::GoAway => Answer::GoAway { code: self.code },
            Kind::Never => Answer::Never,
            Kind::Reject => Answer::Reject(self.rejection()?),
            Kind::Reset => Answer::Reset { code: self.code.unwrap_or(REFUSED_STREAM) },
        };
        let answer = match self.delay_ms {
            Some(delay_ms) => {
                Answer::Delay { by: Duration::from_millis(delay_ms), then: Box::new(answer) }
            }
            None => answer,
        };
        let times = match self.times {
            None => Some(1),
            Some(0) => None,
            Some(times) => Some(times),
        };
        Ok(Rule { device_token: self.device_token, times, answer })
    }

    fn rejection(&self) -> Result<Rejection, &'static str> {
        let reason = self.reason.clone().ok_or("answer=reject needs a reason")?;
        let status = match self.status {
            Some(status) => StatusCode::from_u16(status)
                .ok()
                .filter(|status| (200..600).contains(&status.as_u16()))
                .ok_or("status is an HTTP status from 200 to 599")?,
            None => status_of(&reason).unwrap_or(StatusCode::BAD_REQUEST),
        };
        Ok(Rejection {
            status,
            reason,
            timestamp_ms: self.timestamp,
            retry_after_secs: self.retry_after,
        })
    }
}

/// `POST /control/answers`.
pub(super) async fn add_answer(shared: web::Data<Shared>, body: Bytes) -> HttpResponse {
    let order = serde_json::from_slice::<Order>(&body).map_err(|error| error.to_string());
    match order.and_then(|order| order.into_rule().map_err(str::to_owned)) {
        Ok(rule) => {
            shared.script.add(rule);
            HttpResponse::NoContent().finish()
        }
        Err(fault) => {
            let message = format!("the answer can't be scripted: {fault}");
            HttpResponse::BadRequest().json(json!({ "message": message }))
        }
    }
}

/// `DELETE /control/answers`.
pub(super) async fn clear_answers(shared: web::Data<Shared>) -> HttpResponse {
    shared.script.clear();
    HttpResponse::NoContent().finish()
}

/// `DELETE /control/tokens`: FCM refuses all access tokens that it gave.
pub(super) async fn revoke_tokens(shared: web::Data<Shared>) -> HttpResponse {
    shared.grants.revoke();
    HttpResponse::NoContent().finish()
}

/// `GET /control/messages`.
pub(super) async fn messages(shared: web::Data<Shared>) -> HttpResponse {
    HttpResponse::Ok().json(shared.record.all())
}

/// `DELETE /control/messages`.
pub(super) async fn clear_messages(shared: web::Data<Shared>) -> HttpResponse {
    shared.record.clear();
    HttpResponse::NoContent().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(order: &str) -> Result<Rule, String> {
        serde_json::from_str::<Order>(order)
            .map_err(|error| error.to_string())?
            .into_rule()
            .map_err(str::to_owned)
    }

    #[test]
    fn the_status_follows_from_apples_reason() {
        let unregistered = rule(r#"{"answer":"reject","reason":"Unregistered","timestamp":5}"#);

        let rejection = Rejection {
            status: StatusCode::GONE,
            reason: "Unregistered".to_owned(),
            timestamp_ms: Some(5),
            retry_after_secs: None,
        };
        assert_eq!(unregistered, Ok(Rule::next(Answer::Reject(rejection))));
    }

    #[test]
    fn every_answer_can_be_ordered() {
        let next = |answer| Ok(Rule::next(answer));
        let by = Duration::from_millis(9);
        let delay = |then| Answer::Delay { by, then: Box::new(then) };

        assert_eq!(rule(r#"{"answer":"accept"}"#), next(Answer::Accept));
        assert_eq!(rule(r#"{"answer":"delay","delay_ms":9}"#), next(delay(Answer::Accept)));
        assert_eq!(rule(r#"{"answer":"drop","delay_ms":9}"#), next(delay(Answer::Drop)));
        assert_eq!(rule(r#"{"answer":"goaway"}"#), next(Answer::GoAway { code: None }));
        assert_eq!(rule(r#"{"answer":"goaway","code":2}"#), next(Answer::GoAway { code: Some(2) }));
        assert_eq!(rule(r#"{"answer":"never"}"#), next(Answer::Never));
        assert_eq!(rule(r#"{"answer":"reset"}"#), next(Answer::Reset { code: 7 }));
        assert_eq!(
            rule(r#"{"answer":"never","device_token":"ab","times":0}"#),
            Ok(Rule::token("ab", Answer::Never).forever())
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for order in [
            "",
            "[]",
            "{}",
            r#"{"answer":"perhaps"}"#,
            r#"{"answer":"accept","colour":1}"#,
            r#"{"answer":"accept","status":410}"#,
            r#"{"answer":"accept","code":7}"#,
            r#"{"answer":"reject"}"#,
            r#"{"answer":"reject","reason":"x","status":99}"#,
            r#"{"answer":"reject","reason":"x","status":1000}"#,
            r#"{"answer":"delay"}"#,
            r#"{"answer":"accept","times":-1}"#,
        ] {
            assert!(rule(order).is_err(), "{order}");
        }
    }
}
