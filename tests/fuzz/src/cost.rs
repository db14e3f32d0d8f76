//! What reading one file may cost.

use std::fs;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use openssl::hash::MessageDigest;
use openssl::pkcs5;

/// The bound of a file is 4,000,000 iterations and 256 MiB of scrypt. One iteration may be three of
/// SHA-1, where key and vector take as many blocks, and an empty password is tried in two ways. A
/// file that asks for all of that takes about sixteen times as long as a million iterations of
/// PBKDF2 on the same machine; this is half as much again.
const MOST: u32 = 24;
/// What everything else may take.
const SLACK: Duration = Duration::from_secs(1);

/// Reads something, and panics if that took longer than the cost of key derivation allows.
pub fn bounded<T>(read: impl FnOnce() -> T) -> T {
    let limit = million_iterations() * MOST + SLACK;
    let start = Clock::now();
    let result = read();
    let taken = start.elapsed();
    assert!(taken < limit, "it took {taken:?}, and {limit:?} is the limit here");
    result
}

/// How long a million iterations take here, measured once.
fn million_iterations() -> Duration {
    static TAKEN: OnceLock<Duration> = OnceLock::new();
    *TAKEN.get_or_init(|| {
        let mut key = [0; 32];
        let start = Clock::now();
        pkcs5::pbkdf2_hmac(b"password", b"salt", 1_000_000, MessageDigest::sha256(), &mut key)
            .expect("PBKDF2 works");
        start.elapsed()
    })
}

/// The time that this thread ran, so that a busy machine is no slow input; where the system does
/// not tell it, the time that passed.
enum Clock {
    Passed(Instant),
    Ran(Duration),
}

impl Clock {
    fn now() -> Self {
        ran().map_or_else(|| Self::Passed(Instant::now()), Self::Ran)
    }

    fn elapsed(&self) -> Duration {
        match self {
            Self::Passed(start) => start.elapsed(),
            Self::Ran(start) => ran().unwrap_or_default().saturating_sub(*start),
        }
    }
}

fn ran() -> Option<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}
