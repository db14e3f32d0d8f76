//! What cannot be run here is held against the sources: the image, Heroku's description, the unit.

use std::fs;
use std::path::Path;
use std::process::Command;

use pushlet::config::Config;
use serde_json::Value;

use crate::support::tools::require;

/// Variables that are read and are no setting of a section.
const VARIABLES: &[&str] = &["PORT", "PUSHLET_CONFIG", "PUSHLET_PASSWORD", "PUSHLET_USERNAME"];

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Exit code and standard output of `pushlet`.
fn pushlet(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pushlet"));
    let output = command.args(arguments).env_clear().output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

/// A variable that the relay reads, with a value that it takes.
fn assert_is_setting(name: &str, value: Option<&str>) {
    if VARIABLES.contains(&name) {
        return;
    }
    let text = value.unwrap_or_else(|| panic!("{name} has no value to try"));
    let variable = (name.to_owned(), text.to_owned());
    Config::load(None, [variable].into_iter()).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(name.starts_with("PUSHLET_") && name.contains("__"), "nobody reads {name}");
}

/// The instructions of the Dockerfile: lines that end in `\` go on.
fn instructions() -> Vec<(String, String)> {
    let text = read("Dockerfile").replace("\\\n", " ");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| line.split_once(' ').unwrap())
        .map(|(word, rest)| {
            (word.to_owned(), rest.split_whitespace().collect::<Vec<_>>().join(" "))
        })
        .collect()
}

/// The last value of an instruction.
fn last(instructions: &[(String, String)], word: &str) -> String {
    let found = instructions.iter().rfind(|(found, _)| found == word);
    found.unwrap_or_else(|| panic!("no {word}")).1.clone()
}

#[test]
fn image_is_built_with_the_rust_that_the_package_asks_for() {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let wanted = manifest["package"]["rust-version"].as_str().unwrap();

    let instructions = instructions();

    let (_, first) = instructions.iter().find(|(word, _)| word == "FROM").unwrap();
    let found = first.strip_prefix("rust:").unwrap().split('-').next().unwrap();
    assert_eq!(found, wanted);
}

#[test]
fn image_runs_without_root_and_checks_its_own_health() {
    let instructions = instructions();
    let words = |value: &str| -> Vec<String> { serde_json::from_str(value).unwrap() };

    let base = last(&instructions, "FROM");
    assert!(!base.starts_with("rust:"), "the compiler is part of the image: {base}");
    let user = last(&instructions, "USER");
    let ids = user.split(':').map(|id| id.parse::<u32>().unwrap());
    assert!(ids.into_iter().all(|id| id > 0), "{user}");
    let entry = words(&last(&instructions, "ENTRYPOINT"));
    let command = words(&last(&instructions, "CMD"));
    let health = last(&instructions, "HEALTHCHECK");
    let health = words(health.split_once("CMD ").unwrap().1);
    assert_eq!(
        (entry.as_slice(), health[0].as_str()),
        (["pushlet".to_owned()].as_slice(), "pushlet")
    );
    for arguments in [&command, &health[1..].to_vec()] {
        let arguments: Vec<_> = arguments.iter().map(String::as_str).chain(["--help"]).collect();
        assert_eq!(pushlet(&arguments).0, Some(0), "{arguments:?}");
    }
    for (_, variable) in instructions.iter().filter(|(word, _)| word == "ENV") {
        let (name, value) = variable.split_once('=').unwrap();
        assert_is_setting(name, Some(value));
    }
}

#[test]
fn image_is_given_what_the_build_reads_and_no_credential() {
    let ignored = read(".dockerignore");
    let ignored: Vec<_> = ignored.lines().filter(|line| !line.starts_with('#')).collect();

    for needed in ["Cargo.toml", "Cargo.lock", "src", "tests", "README.md"] {
        assert!(!ignored.contains(&needed), "{needed}");
    }
    for secret in [".git", "*.p12", "*.p8", "*.pem", "pushlet.toml"] {
        assert!(ignored.contains(&secret), "{secret}");
    }
}

#[test]
fn heroku_is_told_of_settings_that_there_are() {
    let app: Value = serde_json::from_str(&read("app.json")).unwrap();
    let procfile = read("Procfile");

    let variables = app["env"].as_object().unwrap();
    assert!(["PUSHLET_USERNAME", "PUSHLET_PASSWORD"].iter().all(|n| variables.contains_key(*n)));
    for (name, variable) in variables {
        assert_is_setting(name, variable["value"].as_str());
        assert!(variable["description"].as_str().is_some_and(|text| !text.is_empty()), "{name}");
    }
    assert_eq!(variables["PUSHLET_PASSWORD"]["generator"], "secret");
    for process in app["formation"].as_object().unwrap().keys() {
        let start = format!("{process}: ");
        assert!(procfile.lines().any(|line| line.starts_with(&start)), "{process}");
    }
}

/// The values of a key of the unit, in order.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    unit.lines()
        .filter_map(|line| line.split_once('=').filter(|(found, _)| *found == key))
        .map(|(_, value)| value)
        .collect()
}

#[test]
fn unit_is_printed_with_the_place_of_the_program() {
    let (code, unit) = pushlet(&["systemd-unit"]);

    let start = format!("{} serve", env!("CARGO_BIN_EXE_pushlet"));
    assert_eq!((code, values(&unit, "ExecStart")), (Some(0), vec![start.as_str()]));
    let as_written = unit.replace(env!("CARGO_BIN_EXE_pushlet"), "/usr/local/bin/pushlet");
    assert_eq!(as_written, read("src/cli/pushlet.service"));
}

#[test]
fn unit_leaves_time_to_stop_and_names_settings_that_there_are() {
    let unit = read("src/cli/pushlet.service");
    let config = Config::default().server;

    let seconds = values(&unit, "TimeoutStopSec")[0].strip_suffix('s').unwrap();
    let needed = config.drain_delay + config.shutdown_timeout;
    assert!(seconds.parse::<u64>().unwrap() > needed.as_secs() + 5, "{needed:?}");
    for variable in values(&unit, "Environment") {
        let (name, value) = variable.split_once('=').unwrap();
        assert_is_setting(name, Some(value));
    }
}

#[test]
fn systemd_takes_the_unit_and_finds_it_closed() {
    if !require("systemd-analyze", &["systemd-analyze", "--version"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pushlet.service");
    fs::write(&path, pushlet(&["systemd-unit"]).1).unwrap();
    let analyze = |arguments: &[&str]| {
        let mut command = Command::new("systemd-analyze");
        let output = command.args(arguments).arg(&path).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    };

    assert_eq!(analyze(&["verify"]), (true, String::new()));
    // Of 100, which is everything open.
    let (is_closed, report) = analyze(&["security", "--offline=true", "--threshold=20"]);
    assert!(is_closed, "{report}");
}
