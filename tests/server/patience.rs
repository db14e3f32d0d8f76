//! How long a caller is waited for.

use std::time::Duration;

use pushlet::config::Config;

use crate::support::relay::Relay;
use crate::support::wire::raw;

/// Each as often as it takes to meet every state of a clock that ticks twice a second.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_head_that_does_not_come_is_408_however_short_the_limit() {
    let mut config = Config::default();
    config.server.read_timeout = Duration::from_millis(100);
    let relay = Relay::start(config).await;
    let address = relay.address;

    let calls: Vec<_> = (0..10)
        .flat_map(|_| [&b""[..], b"POST /send_notification HTTP/1.1\r\n"])
        .map(|head| {
            std::thread::sleep(Duration::from_millis(70));
            std::thread::spawn(move || raw(address, head))
        })
        .collect();

    for call in calls {
        let answer = call.join().unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer:?}");
    }
    relay.stop().await;
}
