//! Processes: where they run, what they cost, and that none is left behind.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde::Serialize;

use crate::measure::Outcome;

/// Clock ticks a second in `/proc` (`USER_HZ`), the same on every Linux of today.
const TICKS_PER_SEC: f64 = 100.0;

/// Which core each process has to itself, where there are enough of them.
#[derive(Debug, Clone, Default)]
pub struct Cores {
    /// What is measured runs here, alone.
    pub measured: Option<usize>,
    pub peer: Option<usize>,
    pub load: Option<usize>,
}

impl Cores {
    /// From the cores that this process may use; none is assigned where there is one only, or no
    /// `taskset`.
    pub fn find() -> Self {
        let allowed = allowed_cores();
        if allowed.len() < 2 || !is_on_path("taskset") {
            return Self::default();
        }
        let load = allowed.get(2).unwrap_or(&allowed[1]);
        Self { measured: Some(allowed[0]), peer: Some(allowed[1]), load: Some(*load) }
    }
}

/// `Cpus_allowed_list` of `/proc/self/status`, such as `0-3,8`.
fn allowed_cores() -> Vec<usize> {
    let list = status_field("self", "Cpus_allowed_list").unwrap_or_default();
    let number = |text: &str| text.trim().parse::<usize>().ok();
    list.split(',')
        .filter_map(|part| match part.split_once('-') {
            Some((first, last)) => Some(number(first)?..=number(last)?),
            None => number(part).map(|only| only..=only),
        })
        .flatten()
        .collect()
}

/// Whether a program can be found.
pub fn is_on_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|paths| {
        std::env::split_paths(&paths).any(|folder| folder.join(program).is_file())
    })
}

/// A command that runs on this core, with nothing of ours in its environment.
pub fn command(program: impl AsRef<OsStr>, core: Option<usize>) -> Command {
    let mut command = match core {
        Some(core) => {
            let mut taskset = Command::new("taskset");
            taskset.arg("-c").arg(core.to_string()).arg(program);
            taskset
        }
        None => Command::new(program),
    };
    for (name, _) in std::env::vars_os() {
        if name == "PORT" || name.to_string_lossy().starts_with("PUSHLET_") {
            command.env_remove(name);
        }
    }
    command
}

/// A process that ends with its owner.
pub struct Process {
    child: Child,
}

impl Process {
    pub fn start(mut command: Command) -> Self {
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child }
    }

    /// Its first lines on standard output, until `wanted` finds something in one.
    pub fn await_line<T>(&mut self, mut wanted: impl FnMut(&str) -> Option<T>) -> T {
        let output = self.child.stdout.take().expect("its standard output is a pipe");
        BufReader::new(output)
            .lines()
            .map_while(Result::ok)
            .find_map(|line| wanted(&line))
            .expect("the process says where it listens")
    }

    /// Its standard input, which closes afterwards.
    pub fn with_input(&mut self, write: impl FnOnce(ChildStdin)) {
        write(self.child.stdin.take().expect("its standard input is a pipe"));
    }

    /// User and system time so far.
    pub fn cpu(&self) -> Duration {
        cpu_of(&self.child.id().to_string(), 11)
    }

    /// Resident memory now and at its highest, in KiB.
    pub fn rss_kib(&self) -> (u64, u64) {
        let field = |name| {
            let text = status_field(&self.child.id().to_string(), name).unwrap_or_default();
            text.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
        };
        (field("VmRSS"), field("VmHWM"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// User and system time of this process.
pub fn own_cpu() -> Duration {
    cpu_of("self", 11)
}

/// User and system time of the children that this process has waited for.
pub fn children_cpu() -> Duration {
    cpu_of("self", 13)
}

/// The sum of a field of `/proc/PID/stat` and its successor, counted after the name in brackets
/// (`proc_pid_stat(5)`: utime, stime, cutime, cstime).
fn cpu_of(pid: &str, field: usize) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process lives");
    let (_, fields) = text.rsplit_once(')').expect("a stat line has a name");
    let ticks: f64 = fields
        .split_whitespace()
        .skip(field)
        .take(2)
        .map(|number| number.parse::<f64>().expect("ticks are a number"))
        .sum();
    Duration::from_secs_f64(ticks / TICKS_PER_SEC)
}

fn status_field(pid: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

/// A load client: this program, run again. It warms up, says so, waits to be told, runs, reports.
pub struct Worker {
    _process: Process,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts it and waits until it is warm.
    pub fn warm(kind: &str, plan: &impl Serialize, core: Option<usize>) -> Self {
        let mut command = command(own_path(), core);
        command.arg(kind).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::start(command);
        let stdin = process.child.stdin.take().expect("its standard input is a pipe");
        let stdout = process.child.stdout.take().expect("its standard output is a pipe");
        let mut worker = Self { _process: process, stdin, stdout: BufReader::new(stdout) };
        worker.say(&serde_json::to_string(plan).expect("a plan can be written"));
        assert_eq!(worker.hear(), "warm", "the load client has failed");
        worker
    }

    pub fn go(&mut self) {
        self.say("go");
    }

    /// Waits for its end.
    pub fn outcome(mut self) -> Outcome {
        let line = self.hear();
        let outcome = serde_json::from_str(&line);
        outcome.unwrap_or_else(|error| panic!("the load client said {line:?}: {error}"))
    }

    fn say(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").expect("the load client listens");
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("the load client speaks");
        line.trim().to_owned()
    }
}

/// This program.
pub fn own_path() -> std::path::PathBuf {
    std::env::current_exe().expect("this program has a path")
}

/// The relay and the simulator.
pub fn pushlet() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_pushlet"))
}
