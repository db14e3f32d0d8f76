//! The list `[[applications]]`: where each credential is, and which belong together.

use crate::apps::preload::{Preload, Source};
use crate::config::reader::Table;
use crate::config::values::{self, text, word};
use crate::providers::apns::Mode;

/// The list, as far as it is right.
pub(super) fn applications(root: &mut Table) -> Vec<Preload> {
    let mut applications = Vec::<Preload>::new();
    for mut entry in root.entries("applications") {
        if let Some(application) = application(&mut entry) {
            let id = &application.application_id;
            if applications.iter().any(|known| known.application_id == *id) {
                entry.wrong(&format!("has the `application_id` `{id}` again; give each its own"));
            }
            applications.push(application);
        }
        root.append(entry.finish());
    }
    applications
}

fn application(entry: &mut Table) -> Option<Preload> {
    check_id(entry);
    check_credentials(entry);
    let application_id = entry.take("application_id", values::application_id);
    let modes = [
        ("auto", Mode::Auto),
        ("production", Mode::Production),
        ("development", Mode::Development),
        ("sandbox", Mode::Development),
    ];
    let application = Preload {
        application_id: application_id.clone().unwrap_or_default(),
        apns_p12: source(entry, P12),
        apns_p12_pass: password(entry, P12_PASS),
        apns_pem: source(entry, PEM),
        apns_pem_pass: password(entry, PEM_PASS),
        apns_p8: source(entry, P8),
        apns_key_id: entry.take("apns_key_id", text),
        apns_team_id: entry.take("apns_team_id", text),
        apns_topic: entry.take("apns_topic", text),
        apns_mode: entry.take("apns_mode", word(&modes)).unwrap_or_default(),
        fcm_service_account: source(entry, FCM),
        webhook_url: entry.take("webhook_url", values::https_or_loopback),
        webhook_secret: password(entry, WEBHOOK_SECRET),
    };
    application_id.map(|_| application)
}

fn check_id(entry: &mut Table) {
    if !entry.has("application_id") {
        entry.wrong("has no `application_id`; give it one");
    }
}

/// What is given decides here, not whether it is right: that is a mistake of its own.
fn check_credentials(entry: &mut Table) {
    let given = |names: &[&str]| names.iter().any(|name| entry.has(name));
    let (p12, pem, p8, fcm) = (given(&P12), given(&PEM), given(&P8), given(&FCM));
    let mut wrong = Vec::new();
    let kinds = [(p12, "`apns_p12`"), (pem, "`apns_pem`"), (p8, "`apns_p8`")];
    let kinds: Vec<_> =
        kinds.into_iter().filter(|(given, _)| *given).map(|(_, kind)| kind).collect();
    match kinds.len() {
        0 if fcm => {}
        0 => wrong.push(
            "has no credential; give `apns_p12`, `apns_pem`, `apns_p8` or \
             `fcm_service_account`, or one with `_file` or `_env`"
                .to_owned(),
        ),
        1 => {}
        _ => wrong.push(format!("has {}; keep one of them", kinds.join(" and "))),
    }
    let pairs = [
        (given(&P12_PASS), "apns_p12_pass", p12, "apns_p12"),
        (given(&PEM_PASS), "apns_pem_pass", pem, "apns_pem"),
        (given(&["apns_key_id"]), "apns_key_id", p8, "apns_p8"),
        (given(&["apns_team_id"]), "apns_team_id", p8, "apns_p8"),
        (p8, "apns_p8", given(&["apns_key_id"]), "apns_key_id"),
        (p8, "apns_p8", given(&["apns_team_id"]), "apns_team_id"),
        (given(&["webhook_url"]), "webhook_url", given(&WEBHOOK_SECRET), "webhook_secret"),
        (given(&WEBHOOK_SECRET), "webhook_secret", given(&["webhook_url"]), "webhook_url"),
    ];
    for (given, name, needed, other) in pairs {
        if given && !needed {
            wrong.push(format!("has `{name}` without `{other}`; give both or none"));
        }
    }
    wrong.iter().for_each(|wrong| entry.wrong(wrong));
}

/// A credential, by one of three names.
fn source(entry: &mut Table, names: [&'static str; 3]) -> Option<Source> {
    check_one(entry, &names);
    let [in_text, in_file, in_variable] = names;
    let text = entry.take(in_text, values::secret).map(Source::Text);
    let file = entry.take_path(in_file).map(Source::File);
    let variable = entry.take(in_variable, values::variable_name).map(Source::Env);
    text.or(file).or(variable)
}

/// A password, by one of two names.
fn password(entry: &mut Table, names: [&'static str; 2]) -> Option<Source> {
    check_one(entry, &names);
    let [in_text, in_variable] = names;
    let text = entry.take(in_text, values::any_secret).map(Source::Text);
    let variable = entry.take(in_variable, values::variable_name).map(Source::Env);
    text.or(variable)
}

fn check_one(entry: &mut Table, names: &[&str]) {
    let given = names.iter().filter(|name| entry.has(name)).map(|name| format!("`{name}`"));
    let given: Vec<_> = given.collect();
    if given.len() > 1 {
        entry.wrong(&format!("has {}; keep one of them", given.join(" and ")));
    }
}

const FCM: [&str; 3] =
    ["fcm_service_account", "fcm_service_account_file", "fcm_service_account_env"];
const P12: [&str; 3] = ["apns_p12", "apns_p12_file", "apns_p12_env"];
const P12_PASS: [&str; 2] = ["apns_p12_pass", "apns_p12_pass_env"];
const PEM: [&str; 3] = ["apns_pem", "apns_pem_file", "apns_pem_env"];
const PEM_PASS: [&str; 2] = ["apns_pem_pass", "apns_pem_pass_env"];
const P8: [&str; 3] = ["apns_p8", "apns_p8_file", "apns_p8_env"];
const WEBHOOK_SECRET: [&str; 2] = ["webhook_secret", "webhook_secret_env"];
