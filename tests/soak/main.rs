//! The soak: a whole relay under steady load while its peer and the network fail at random and its
//! applications are registered anew. In the end every call has one answer, and each is true.
//!
//! `cargo bench --bench soak -- --seconds 1800 --seed 7`; both may be left out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    unreachable_pub,
    missing_docs,
    reason = "a test that cannot go on panics, and may block or spawn where it stands"
)]

mod calls;
mod chance;
mod faults;
mod judge;
mod registrations;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod support;
mod weather;
mod witness;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pushlet::simulator::Options;
use tokio::task::JoinSet;
use url::Url;

use calls::{Desk, Heard};
use chance::Chance;
use judge::Judgement;
use registrations::Wallet;
use support::relay::{Peer, Relay};
use weather::{Proxy, Weather};
use witness::{Number, Witness};

const CALLERS: usize = 32;
/// A call ends within the relay's own limit; past this one it counts as lost.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// What was written and not answered may still arrive for so long.
const SETTLING: Duration = Duration::from_secs(5);
/// After the last fault every application has to work again.
const RECOVERY_LIMIT: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let seconds = argument("--seconds").unwrap_or(60);
    let seed = argument("--seed").unwrap_or_else(|| u64::from(std::process::id()));
    println!("soak: {seconds} s, seed {seed}");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let judgement = runtime.block_on(soak(Duration::from_secs(seconds), Chance::new(seed)));
    judgement.print();
    // Else the faults were too few, or too many for anything to be shown.
    let kinds = [judgement.ok, judgement.not_sent, judgement.refused, judgement.unknown];
    let total: u64 = kinds.iter().sum();
    let is_mixed = kinds.iter().all(|count| *count > 0) && judgement.ok > total / 4;
    if judgement.wrong.is_empty() && is_mixed {
        println!("soak: every answer was true");
        return ExitCode::SUCCESS;
    }
    println!("soak: FAILED, {} wrong, a mixture: {is_mixed}", judgement.wrong.len());
    ExitCode::FAILURE
}

/// The number after this argument.
fn argument(name: &str) -> Option<u64> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1).map(|number| number.parse().expect("the argument is a number"))
}

async fn soak(time: Duration, mut chance: Chance) -> Judgement {
    let witness = Arc::new(Witness::default());
    let mut peer = Peer::with(Options {
        max_concurrent_streams: 16,
        messages_kept: 0,
        on_message: Some(witness.listener()),
        ..Options::default()
    });
    let proxy = Proxy::start(peer.simulator.apns_address()).await;
    let url = Url::parse(&format!("https://localhost:{}", proxy.address.port())).unwrap();
    let apns = &mut peer.config.apns;
    (apns.production_url, apns.timeout) = (url, Duration::from_secs(3));
    apns.connect_timeout = Duration::from_secs(2);
    (apns.keepalive_interval, apns.keepalive_timeout) =
        (Duration::from_secs(1), Duration::from_secs(1));
    apns.idle_timeout = Duration::from_secs(2);
    apns.max_in_flight_per_application = 24;
    let relay = Relay::start(peer.config.clone()).await;
    let wallet = Wallet::new();
    let applications: Vec<String> = ["anna", "berta", "carla", "dora"].map(str::to_owned).into();
    for application in &applications {
        wallet.register(&relay, application, &mut chance).await;
    }

    let desk = Arc::new(Desk {
        client: reqwest::Client::builder().no_proxy().timeout(ANSWER_LIMIT).build().unwrap(),
        url: relay.url("/send_notification"),
        applications: applications.clone(),
        next: AtomicU64::new(1),
        closed: AtomicBool::new(false),
        slowest_ms: AtomicU64::new(0),
    });
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        callers.spawn(calls::call(Arc::clone(&desk), chance.split()));
    }
    let (peers, networks, registrars) = (chance.split(), chance.split(), chance.split());
    tokio::select! {
        () = faults::of_the_peer(&peer.simulator, peers) => {}
        () = faults::of_the_network(&proxy, networks) => {}
        () = wallet.replace(&relay, &applications, registrars) => {}
        () = progress(&desk) => {}
        () = tokio::time::sleep(time) => {}
    }
    proxy.turn(Weather::Clear);
    peer.simulator.clear_script();
    desk.closed.store(true, Ordering::Relaxed);
    let mut heard: Vec<(Number, Heard)> = callers.join_all().await.concat();
    for application in &applications {
        wallet.register(&relay, application, &mut chance).await;
        recover(&desk, application, &mut heard).await;
    }
    tokio::time::sleep(SETTLING).await;
    relay.stop().await;
    println!("{:>9} ms for the slowest call", desk.slowest_ms.load(Ordering::Relaxed));
    let (seen, wrong) = witness.take();
    let mut judgement = Judgement::of(&heard, &seen);
    judgement.wrong.extend(wrong);
    judgement
}

/// Sends until a message is accepted.
async fn recover(desk: &Desk, application: &str, heard: &mut Vec<(Number, Heard)>) {
    let start = Instant::now();
    while start.elapsed() < RECOVERY_LIMIT {
        let number = desk.next.fetch_add(1, Ordering::Relaxed);
        let answer = calls::send(&desk.client, &desk.url, application, number).await;
        let is_well = answer == Heard::Ok;
        heard.push((number, answer));
        if is_well {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{application} does not work again, {RECOVERY_LIMIT:?} after the last fault");
}

/// Says now and then that it goes on.
async fn progress(desk: &Desk) {
    loop {
        tokio::time::sleep(Duration::from_secs(60)).await;
        println!("{:>9} calls so far", desk.next.load(Ordering::Relaxed));
    }
}
