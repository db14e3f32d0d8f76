//! The load client's side of the talk with the benchmark: warm up, say so, wait, run, report.

use std::io::{BufRead, Write};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::measure::Tally;
use crate::process;

/// How long, and how fast.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Pace {
    pub warm_up_secs: f64,
    pub secs: f64,
    /// Calls a second of all callers together; `None`: each calls again when it is answered.
    pub per_sec: Option<f64>,
}

/// When one caller calls.
pub struct Clock {
    /// When the last call may start.
    pub end: Instant,
    /// Calls that are made even after the end.
    pub at_least: usize,
    next: Instant,
    step: Option<Duration>,
    /// Comes when the next call is due.
    tick: Arc<Notify>,
}

impl Clock {
    /// Waits until the next call is due, and says when it counts as started; `None` at the end.
    /// That is when it was due, however late it starts: what holds up a client that sends itself, and
    /// with it all that it has to send, counts like what holds up a relay while others send.
    pub async fn turn(&mut self) -> Option<Instant> {
        let now = Instant::now();
        if now >= self.end && self.at_least == 0 {
            return None;
        }
        self.at_least = self.at_least.saturating_sub(1);
        let Some(step) = self.step else { return Some(now) };
        let due = self.next;
        self.next += step;
        if due >= self.end {
            return None;
        }
        // A tick may be left over from when it was late.
        while Instant::now() < due {
            self.tick.notified().await;
        }
        Some(due)
    }
}

/// One of many callers.
pub trait Caller: Send + Sized + 'static {
    /// Calls until its clock says that it is over.
    fn run(self, clock: Clock) -> impl Future<Output = (Self, Tally)> + Send;
}

/// The plan, from standard input.
pub fn plan<T: DeserializeOwned>() -> T {
    serde_json::from_str(&line()).expect("the plan can be read")
}

/// The two phases with these callers, each of which makes `at_least` calls to warm up.
pub async fn run<C: Caller>(callers: Vec<C>, pace: Pace, at_least: usize) {
    let warm_up = Pace { secs: pace.warm_up_secs, per_sec: None, ..pace };
    let (callers, _) = phase(callers, warm_up, at_least).await;
    say("warm");
    line();
    let (start, cpu) = (Instant::now(), process::own_cpu());
    let (_callers, tally) = phase(callers, pace, 0).await;
    let outcome = tally.outcome(start.elapsed(), process::own_cpu() - cpu);
    say(&serde_json::to_string(&outcome).expect("an outcome can be written"));
}

async fn phase<C: Caller>(callers: Vec<C>, pace: Pace, at_least: usize) -> (Vec<C>, Tally) {
    let start = Instant::now();
    let end = start + Duration::from_secs_f64(pace.secs);
    let count = callers.len();
    let step = pace.per_sec.map(|rate| Duration::from_secs_f64(count as f64 / rate));
    let ticks: Vec<Arc<Notify>> = (0..count).map(|_| Arc::default()).collect();
    let mut running = JoinSet::new();
    for ((number, caller), tick) in callers.into_iter().enumerate().zip(ticks.clone()) {
        let next = start + offset(step.unwrap_or_default(), number, count);
        running.spawn(caller.run(Clock { end, at_least, next, step, tick }));
    }
    if let Some(step) = step {
        thread::spawn(move || give_ticks(&ticks, start, end, step));
    }
    let (mut callers, mut tally) = (Vec::new(), Tally::default());
    while let Some(ended) = running.join_next().await {
        let (caller, counted) = ended.expect("a caller runs to its end");
        callers.push(caller);
        tally.add(counted);
    }
    (callers, tally)
}

/// Wakes each caller in its turn. Timers of the runtime go off once a millisecond, all that are due by
/// then together; and what comes in bursts waits for each other.
fn give_ticks(ticks: &[Arc<Notify>], start: Instant, end: Instant, step: Duration) {
    for round in 0.. {
        for (number, tick) in ticks.iter().enumerate() {
            let due = start + step * round + offset(step, number, ticks.len());
            if due >= end {
                return;
            }
            thread::sleep(due.saturating_duration_since(Instant::now()));
            tick.notify_one();
        }
    }
}

/// When the first call of one of so many callers is due, who share each step evenly.
fn offset(step: Duration, number: usize, count: usize) -> Duration {
    step.mul_f64(number as f64 / count as f64)
}

fn line() -> String {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).expect("the benchmark speaks");
    line
}

/// A line on standard output.
pub fn say(text: &str) {
    let mut output = std::io::stdout();
    writeln!(output, "{text}").and_then(|()| output.flush()).expect("the benchmark listens");
}
