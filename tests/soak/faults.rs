//! The faults: of the peer, by the simulator's script, and of the network, by the weather.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use pushlet::simulator::Simulator;
use pushlet::simulator::script::{Answer, Raw, Rejection, Rule};

use super::chance::Chance;
use super::weather::{Proxy, Weather};

/// Between two faults of the peer, in milliseconds.
const PEER_PAUSE: (u64, u64) = (50, 400);
/// How long each weather lasts, in milliseconds.
const FOUL: (u64, u64) = (50, 1_800);
const CLEAR: (u64, u64) = (300, 3_000);

/// Scripts faults for the next messages, for ever.
pub async fn of_the_peer(simulator: &Simulator, mut chance: Chance) {
    for number in 0_u64.. {
        let times = u32::try_from(chance.between(1, 6)).unwrap();
        match chance.between(0, 40) {
            // A refused credential silences its application until it is registered anew, and what
            // is never answered keeps its stream for a minute: a few will do.
            0 => simulator.script(Rule::next(credential(&mut chance))),
            1..=2 => simulator.script(Rule::next(Answer::Never)),
            _ => simulator.script(Rule::next(fault(&mut chance, number)).times(times)),
        }
        let (from, to) = PEER_PAUSE;
        tokio::time::sleep(Duration::from_millis(chance.between(from, to))).await;
    }
}

/// Changes the weather, for ever.
pub async fn of_the_network(proxy: &Proxy, mut chance: Chance) {
    loop {
        let foul = match chance.between(0, 7) {
            0 => Weather::Cut { after_bytes: 0 },
            1 | 2 => Weather::Cut { after_bytes: chance.between(1, 400) },
            3 => Weather::Delay(Duration::from_millis(chance.between(5, 300))),
            4 => Weather::Lost,
            5 => Weather::Refused,
            _ => Weather::Stalled,
        };
        for (weather, (from, to)) in [(Weather::Clear, CLEAR), (foul, FOUL)] {
            proxy.turn(weather);
            tokio::time::sleep(Duration::from_millis(chance.between(from, to))).await;
        }
        if foul == Weather::Refused {
            // Whoever is connected would notice nothing of it.
            proxy.turn(Weather::Cut { after_bytes: 0 });
        }
    }
}

fn credential(chance: &mut Chance) -> Answer {
    let reason = chance.pick(&["BadCertificate", "ExpiredProviderToken", "InvalidProviderToken"]);
    Answer::reject(StatusCode::FORBIDDEN, reason)
}

fn fault(chance: &mut Chance, number: u64) -> Answer {
    let rejection = |status, reason: &str| Rejection {
        status,
        reason: reason.to_owned(),
        timestamp_ms: None,
        retry_after_secs: None,
    };
    // A word that no other fault has: an answer that went astray carries it.
    let word = format!("Soak{number}");
    match chance.between(0, 16) {
        0 => Answer::Drop,
        1 => Answer::GoAway { code: None },
        2 => Answer::GoAway { code: Some(*chance.pick(&[0, 2, 11])) },
        3 => Answer::Reset { code: *chance.pick(&[0, 2, 8]) },
        4 | 5 => Answer::Reset { code: 7 },
        6 => Answer::Reject(Rejection {
            timestamp_ms: Some(1_454_948_015_990),
            ..rejection(StatusCode::GONE, "Unregistered")
        }),
        7 => Answer::Reject(rejection(StatusCode::BAD_REQUEST, "BadDeviceToken")),
        8 => Answer::Reject(rejection(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests")),
        9 => Answer::Reject(Rejection {
            retry_after_secs: Some(1),
            ..rejection(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable")
        }),
        10 => Answer::Reject(rejection(StatusCode::INTERNAL_SERVER_ERROR, &word)),
        11 => raw(StatusCode::BAD_GATEWAY, "<html>", 0),
        12 => raw(StatusCode::OK, "", 64 * 1024),
        13 => Answer::Delay {
            by: Duration::from_millis(chance.between(10, 4_000)),
            then: Box::new(Answer::Reject(rejection(StatusCode::BAD_REQUEST, &word))),
        },
        14 => Answer::Delay {
            by: Duration::from_millis(chance.between(10, 4_000)),
            then: Box::new(Answer::Accept),
        },
        _ => Answer::Reject(rejection(StatusCode::BAD_REQUEST, &word)),
    }
}

/// An answer that Apple would not give, with headers of this size.
fn raw(status: StatusCode, body: &'static str, header_bytes: usize) -> Answer {
    let mut headers = HeaderMap::new();
    for _ in 0..header_bytes / 1024 {
        headers.append("x-filler", HeaderValue::try_from("x".repeat(1024)).unwrap());
    }
    Answer::Raw(Raw { status, headers, body: Bytes::from_static(body.as_bytes()) })
}
