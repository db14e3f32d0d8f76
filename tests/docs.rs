//! What is written for people is true: the example configuration and the README against the code.

mod openapi;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use pushlet::config::Config;

/// Section, the file that declares its settings, the struct.
const SECTIONS: &[(&str, &str, &str)] = &[
    ("server", "src/config/mod.rs", "Server"),
    ("auth", "src/api/auth.rs", "Settings"),
    ("auth.credentials", "src/api/auth.rs", "Credential"),
    ("apns", "src/providers/apns/mod.rs", "Settings"),
    ("fcm", "src/providers/fcm/mod.rs", "Settings"),
    ("gcm", "src/providers/gcm.rs", "Settings"),
    ("gcm.bridge", "src/providers/gcm.rs", "Bridge"),
    ("proxy", "src/transport/proxy.rs", "Settings"),
    ("compat", "src/api/mod.rs", "Compat"),
    ("feedback", "src/apps/feedback.rs", "Settings"),
    ("idempotency", "src/delivery/idempotency.rs", "Settings"),
    ("ops", "src/api/ops.rs", "Settings"),
    ("log", "src/telemetry.rs", "Settings"),
    ("applications", "src/apps/preload.rs", "Preload"),
];

/// What goes with nothing but another setting of the same section: that, and a value of it.
const COMPANIONS: &[(&str, &str, &str)] = &[
    ("feedback.webhook_url", "webhook_secret", "a long one"),
    ("feedback.webhook_secret", "webhook_url", "https://localhost/dead"),
    ("server.tls_cert", "tls_key", "/k"),
    ("server.tls_key", "tls_cert", "/k"),
];

#[test]
fn example_is_the_defaults() {
    assert_eq!(load(&example()), Config::default());
}

#[test]
fn example_loads_with_every_setting_switched_on() {
    let config = load(&switched_on());

    let ids: Vec<_> = config.applications.iter().map(|app| app.application_id.as_str()).collect();
    assert_eq!(ids, ["shop", "news", "chat"]);
    assert_eq!(config.auth.credentials.len(), 1);
    assert_eq!(config.gcm.bridge.len(), 2);
}

#[test]
fn example_has_every_setting_with_the_words_of_its_field() {
    let mut declared = BTreeMap::new();
    for (section, file, name) in SECTIONS {
        for (field, doc) in fields(file, name) {
            declared.insert(format!("{section}.{field}"), doc);
        }
    }
    for (field, doc) in fields("src/config/mod.rs", "Config") {
        let known = SECTIONS.iter().any(|(section, ..)| *section == field);
        assert!(known, "the section `{field}` is not looked at here");
        // A list is explained where it starts; a section is not.
        if field == "applications" {
            declared.insert(field, doc);
        }
    }

    let mut written = BTreeMap::new();
    for setting in settings() {
        let before: Option<String> = written.insert(setting.name.clone(), setting.comment.clone());
        // A key that comes up again, in a second entry of a list, is explained once.
        if let Some(before) = before {
            assert_eq!(setting.comment, "", "`{}` is explained twice", setting.name);
            written.insert(setting.name, before);
        }
    }

    assert_eq!(written, declared);
}

#[test]
fn every_scalar_setting_is_an_environment_variable() {
    let scalar = |setting: &Setting| {
        !setting.value.is_empty()
            && !setting.value.starts_with('[')
            && !["applications.", "auth.credentials.", "gcm.bridge."]
                .iter()
                .any(|list| setting.name.starts_with(list))
    };
    let settings: Vec<_> = settings().into_iter().filter(scalar).collect();
    assert!(settings.len() > 20, "only {} settings were found", settings.len());
    for Setting { name, value, .. } in settings {
        let (section, key) = name.split_once('.').unwrap();
        let other = another(&name, &value);
        let variable = format!("PUSHLET_{section}__{key}").to_uppercase();
        let text = other.trim_matches(['[', '"', ']']).to_owned();
        let companion = COMPANIONS.iter().find(|(one, ..)| *one == name);
        let beside = companion.map(|(_, key, value)| {
            (format!("PUSHLET_{section}__{key}").to_uppercase(), (*value).to_owned())
        });
        let line = companion.map(|(_, key, value)| format!("{key} = \"{value}\"\n"));

        let variables = [(variable.clone(), text)].into_iter().chain(beside);
        let by_variable = Config::load(None, variables).unwrap();

        assert_ne!(by_variable, Config::default(), "{variable} changes nothing");
        let file = format!("[{section}]\n{key} = {other}\n{}", line.unwrap_or_default());
        assert_eq!(by_variable, load(&file), "{variable}");
    }
}

#[test]
fn readme_names_the_routes_that_there_are() {
    let readme = readme();
    let source = fs::read_to_string(root().join("src/api/mod.rs")).unwrap();
    let (_, routes) = source.split_once("pub fn routes(").unwrap();
    let (routes, _) = routes.split_once("\n}").unwrap();
    // The parts of a page are not for people to call.
    let is_path = |text: &String| text.starts_with('/') && !text.contains('{');
    let served: BTreeSet<_> = quoted(routes).into_iter().filter(is_path).collect();
    for path in &served {
        let ends = ["`", " "].map(|end| format!("{path}{end}"));
        assert!(ends.iter().any(|text| readme.contains(text)), "the README says nothing of {path}");
    }
    for word in words(&readme, "/") {
        let is_call = !word[1..].contains('/') && word.contains('_');
        assert!(!is_call || served.contains(&word), "the README names {word}, which is no route");
    }
}

#[test]
fn readme_names_what_tells_of_the_relay() {
    let source = fs::read_to_string(root().join("src/api/mod.rs")).unwrap();
    let (_, routes) = source.split_once("pub fn ops_routes(").unwrap();
    let (routes, _) = routes.split_once("\n}").unwrap();
    let routes: Vec<_> = quoted(routes).into_iter().filter(|text| text.starts_with('/')).collect();

    assert!(!routes.is_empty());
    for route in routes {
        assert!(readme().contains(&format!("`GET {route}`")), "the README says nothing of {route}");
    }
}

#[test]
fn readme_names_settings_that_there_are() {
    let known: BTreeSet<_> = settings().into_iter().map(|setting| setting.name).collect();
    let sections: BTreeSet<_> =
        known.iter().filter_map(|name| name.split_once('.')).map(|(section, _)| section).collect();
    let readme = readme();
    let mut named: Vec<String> = words(&readme, "PUSHLET_")
        .filter_map(|word| word["PUSHLET_".len()..].split_once("__").map(dotted))
        .collect();
    for code in readme.split('`').skip(1).step_by(2) {
        let section = code.split_once('.').map(|(section, _)| section);
        let is_name = code.chars().all(|sign| sign.is_ascii_lowercase() || "._".contains(sign));
        if is_name && section.is_some_and(|section| sections.contains(section)) {
            named.push(code.to_owned());
        }
    }

    assert!(named.len() > 20, "only {} settings were found", named.len());
    for name in named {
        assert!(known.contains(&name), "the README names `{name}`, which is no setting");
    }
}

fn dotted((section, key): (&str, &str)) -> String {
    format!("{section}.{key}").to_lowercase()
}

#[test]
fn readme_names_every_parameter() {
    let lists = [
        ("src/api/applications.rs", "const KNOWN"),
        ("src/api/apns_message.rs", "const APNS_ONLY"),
        ("src/api/feedback.rs", "const KNOWN"),
        ("src/api/gcm_message.rs", "const GCM_ONLY"),
        ("src/api/message.rs", "const MANY"),
        ("src/api/message.rs", "const SHARED"),
    ];
    let readme = readme();
    for (file, list) in lists {
        let source = fs::read_to_string(root().join(file)).unwrap();
        let (_, list) = source.split_once(list).unwrap();
        let names = quoted(list.split_once("];").unwrap().0);
        assert!(!names.is_empty(), "{file}");
        for name in names {
            let is_named = [format!("`{name}`"), format!("`{name}=")];
            assert!(
                is_named.iter().any(|code| readme.contains(code.as_str())),
                "the README says nothing of `{name}`"
            );
        }
    }
}

#[test]
fn readme_names_places_that_there_are() {
    let readme = readme();
    let places = readme.split('`').skip(1).step_by(2);
    let places: Vec<_> = places
        .filter(|code| ["src/", "tests/", ".ci/"].iter().any(|start| code.starts_with(start)))
        .collect();

    assert!(places.len() > 10, "only {} places were found", places.len());
    for place in places {
        assert!(root().join(place).exists(), "the README names {place}");
    }
}

/// The words that begin so, without what follows them.
fn words<'a>(text: &'a str, start: &'a str) -> impl Iterator<Item = String> + use<'a> {
    text.match_indices(start).map(|(place, _)| {
        let is_part = |sign: &char| sign.is_ascii_alphanumeric() || "_/".contains(*sign);
        text[place..].chars().take_while(is_part).collect()
    })
}

/// What stands in quotation marks.
fn quoted(source: &str) -> Vec<String> {
    source.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).unwrap()
}

/// A value that is right and not the default.
fn another(name: &str, value: &str) -> String {
    match (name, value) {
        ("server.bind" | "ops.bind", _) => "\"127.0.0.1:1\"".to_owned(),
        // An absolute path, since the file's are relative to the file.
        ("apns.ca_file" | "fcm.ca_file" | "server.tls_cert" | "server.tls_key", _) => {
            "\"/etc/pushlet/ca.pem\"".to_owned()
        }
        ("log.format", _) => "\"json\"".to_owned(),
        ("log.level", _) => "\"trace\"".to_owned(),
        ("server.secret_key" | "server.previous_secret_keys", _) => {
            format!("\"{}\"", "1f".repeat(32))
        }
        ("proxy.url", _) => "\"http://localhost:3128\"".to_owned(),
        (_, "[]") => "[\"10.0.0.1\"]".to_owned(),
        (_, "false") => "true".to_owned(),
        (_, url) if url.starts_with("\"https:") => "\"https://localhost:2197\"".to_owned(),
        (_, text) if text.starts_with('"') => "\"7s\"".to_owned(),
        (_, number) => (number.parse::<usize>().unwrap() + 3).to_string(),
    }
}

/// One `key = value` or list header of the example.
struct Setting {
    name: String,
    value: String,
    comment: String,
}

/// The example's settings in their order, whether commented out or not.
fn settings() -> Vec<Setting> {
    let mut settings = Vec::new();
    let mut section = String::new();
    let mut comment = Vec::new();
    for line in example().lines() {
        if let Some(words) = line.strip_prefix("# ") {
            comment.push(words.to_owned());
            continue;
        }
        let line = line.strip_prefix('#').unwrap_or(line);
        let comment = std::mem::take(&mut comment).join(" ");
        if let Some(list) = line.strip_prefix("[[").and_then(|rest| rest.strip_suffix("]]")) {
            section = list.to_owned();
            settings.push(Setting { name: section.clone(), value: String::new(), comment });
        } else if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
        } else if let Some((key, value)) = line.split_once(" = ") {
            // A credential's field is given as text, file or variable.
            let key = match section.as_str() {
                "gcm.bridge" => key.trim_end_matches("_sha256"),
                "applications" => key.trim_end_matches("_file").trim_end_matches("_env"),
                _ => key,
            };
            let name = format!("{section}.{key}");
            settings.push(Setting { name, value: value.to_owned(), comment });
        }
    }
    settings
}

/// The fields of a struct and their documentation.
fn fields(file: &str, name: &str) -> Vec<(String, String)> {
    let source = fs::read_to_string(root().join(file)).unwrap();
    let (_, body) = source
        .split_once(&format!("pub struct {name} {{\n"))
        .unwrap_or_else(|| panic!("{file} has no struct {name}"));
    let (body, _) = body.split_once("\n}").unwrap();
    let mut fields = Vec::new();
    let mut doc = Vec::new();
    for line in body.lines().map(str::trim) {
        if let Some(words) = line.strip_prefix("/// ") {
            doc.push(words.to_owned());
        } else if let Some((field, _)) =
            line.strip_prefix("pub ").and_then(|rest| rest.split_once(':'))
        {
            fields.push((field.to_owned(), std::mem::take(&mut doc).join(" ")));
        }
    }
    assert!(!fields.is_empty(), "{file}: {name} has no fields");
    fields
}

fn load(text: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pushlet.toml");
    fs::write(&file, text).unwrap();
    Config::load(Some(&file), std::iter::empty()).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

/// The example with each `#key = value` and `#[[list]]` uncommented.
fn switched_on() -> String {
    let on = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => format!("{rest}\n"),
        _ => format!("{line}\n"),
    };
    example().lines().map(on).collect()
}

fn example() -> String {
    fs::read_to_string(root().join("config.example.toml")).unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
