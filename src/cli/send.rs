//! `pushlet send`: one call of `POST /send_notification` without a relay, and an exit code that
//! tells what became of it.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use pushlet::api::REGISTRATION_PARAMETERS;
use pushlet::config::{self, Config};
use pushlet::server::{Answer, Direct};
use pushlet::telemetry;
use serde_json::Value;
use tokio::runtime::Handle;

use super::{fail, plain, say};

/// Those that are taken byte for byte; of a text the end of its last line does not count.
const FILES: &[&str] = &["apns_p12", "apns_p8", "apns_pem", "fcm_service_account"];
/// Those that may come from an environment variable: no secret has to stand in the arguments, where
/// others can see it.
const SECRETS: &[&str] = &[
    "apns_p12",
    "apns_p12_pass",
    "apns_p8",
    "apns_pem",
    "apns_pem_pass",
    "fcm_service_account",
    "gcm_api_key",
];

const EXIT_CODES: &str = "\
Exit codes:
  0  Apple or Google accepted the message
  1  the call is wrong as it stands (arguments, files, configuration); nothing was sent
  2  the message or the token was refused: change the one, or forget the other
  3  the credentials were refused, or cannot be used
  4  not sent; it is safe to repeat the call
  5  unknown: the message may have arrived, and sending it again may notify twice
Of several tokens the worst counts: 5, then 4, 3, 2.";

const EXAMPLES: &str = "\
Examples:
  pushlet send apns_p12=@cert.p12 apns_p12_pass_env=PASSWORD device_token=740f… alert=Hello
  pushlet send --config pushlet.toml application_id=shop device_token=740f… alert=Hello";

#[derive(clap::Args)]
#[command(after_help = EXIT_CODES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Arguments {
    /// Parameters of `/send_notification`, and of `/register_application` where the credential comes
    /// along. NAME=@FILE takes the contents of a file, NAME=@- standard input, NAME=@@TEXT a text
    /// that begins with @; `NAME_env=VARIABLE` takes a credential, password or key from the
    /// environment
    #[arg(value_name = "NAME=VALUE", required = true)]
    parameters: Vec<String>,
    /// A configuration file, for its applications and settings; the environment variable
    /// `PUSHLET_CONFIG` names it as well
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the answer of the call as it is: JSON
    #[arg(long)]
    json: bool,
}

type Parameters = Vec<(String, Vec<u8>)>;

pub(crate) async fn run(arguments: &Arguments, runtime: &Handle) -> Result<ExitCode, String> {
    let parameters = arguments.parameters.iter().map(|one| parameter(one));
    let parameters = parameters.collect::<Result<Parameters, String>>()?;
    let (mut registration, mut message): (Parameters, Parameters) =
        parameters.into_iter().partition(|(name, _)| belongs_to_registration(name));
    let mut config = Config::load_unserved(arguments.config.as_deref(), config::environment())
        .map_err(|mistakes| format!("the configuration is wrong\n{mistakes}"))?;
    let given_id = message.iter().find(|(name, _)| name == "application_id").cloned();
    if let Some((_, id)) = &given_id {
        // The credentials of all others need not be read.
        config.applications.retain(|entry| entry.application_id.as_bytes() == id);
    }
    telemetry::start(&telemetry::Settings { level: telemetry::Level::Error, ..config.log });
    let relay = Direct::new(&config, runtime).map_err(|error| error.to_string())?;
    if !registration.is_empty() {
        registration.extend(given_id);
        let answer = relay.call("/register_application", &registration).await;
        let Some(id) = registered(&answer) else { return told(&answer, arguments.json) };
        message.retain(|(name, _)| name != "application_id");
        message.push(("application_id".to_owned(), id.into_bytes()));
    }
    told(&relay.call("/send_notification", &message).await, arguments.json)
}

/// All of them but the one that a message has too.
fn belongs_to_registration(name: &str) -> bool {
    name != "application_id" && REGISTRATION_PARAMETERS.contains(&name)
}

fn parameter(argument: &str) -> Result<(String, Vec<u8>), String> {
    let Some((name, value)) = argument.split_once('=').filter(|(name, _)| !name.is_empty()) else {
        return Err(format!("`{}` is no NAME=VALUE; write it so", plain(argument)));
    };
    let secret = name.strip_suffix("_env").filter(|name| SECRETS.contains(name));
    if let Some(name) = secret {
        let contents = std::env::var_os(value).map(std::ffi::OsString::into_encoded_bytes);
        let missing = || format!("the environment variable {value} is not set; set it");
        return Ok((name.to_owned(), contents.ok_or_else(missing)?));
    }
    let contents = match value.strip_prefix('@') {
        None => value.as_bytes().to_vec(),
        Some(text) if text.starts_with('@') => text.as_bytes().to_vec(),
        Some(path) => file(name, path)?,
    };
    Ok((name.to_owned(), contents))
}

fn file(name: &str, path: &str) -> Result<Vec<u8>, String> {
    let mut contents = Vec::new();
    let read = if path == "-" {
        std::io::stdin().read_to_end(&mut contents)
    } else {
        std::fs::File::open(path).and_then(|mut file| file.read_to_end(&mut contents))
    };
    read.map_err(|error| format!("{path} could not be read for {name}: {error}"))?;
    if !FILES.contains(&name) && contents.ends_with(b"\n") {
        contents.pop();
        if contents.ends_with(b"\r") {
            contents.pop();
        }
    }
    Ok(contents)
}

/// The id under which the credential was taken; what is to be said of it goes beside the answer.
fn registered(answer: &Answer) -> Option<String> {
    if !answer.is_success {
        return None;
    }
    let body: Value = serde_json::from_str(&answer.body).ok()?;
    for warning in body["warnings"].as_array().into_iter().flatten() {
        super::warn(warning.as_str().unwrap_or_default());
    }
    body["application_id"].as_str().map(str::to_owned)
}

/// Prints an answer; the exit code says what became of the message.
fn told(answer: &Answer, as_json: bool) -> Result<ExitCode, String> {
    let body: Value = serde_json::from_str(&answer.body)
        .map_err(|error| format!("the answer is no JSON, which is a bug in pushlet: {error}"))?;
    let fate = Fate::of(&body);
    if as_json {
        say(&answer.body);
        return Ok(fate.code());
    }
    if let Some(sentence) = body["message"].as_str() {
        let _ = fail(&plain(sentence));
    } else if let Some(rows) = body["results"].as_array() {
        let rows: Vec<_> = rows.iter().map(row).collect();
        say(&rows.join("\n"));
    } else if let Some(id) = &answer.apns_id {
        say(&format!("accepted by Apple, apns-id {id}"));
    } else {
        say(&plain(&answer.body));
    }
    Ok(fate.code())
}

/// One row of an answer for several tokens.
fn row(row: &Value) -> String {
    let text = |name: &str| row[name].as_str().unwrap_or_default();
    let sentence = match (text("error"), text("delivery"), text("message_id")) {
        ("", _, "") => "accepted".to_owned(),
        ("", _, id) => format!("accepted, message id {id}"),
        (error, "unknown", _) => {
            format!("no answer ({error}); it may have arrived, sending it again may notify twice")
        }
        (error, _, _) => format!("refused: {error}"),
    };
    plain(&sentence)
}

/// What became of a message, or of the worst of several; better ones come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Accepted,
    Misused,
    Refused,
    CredentialsRefused,
    NotSent,
    Unknown,
}

impl Fate {
    fn of(body: &Value) -> Self {
        match (body["error"].as_str(), body["results"].as_array()) {
            (Some(_), _) if is_put_off(body) => Self::NotSent,
            (Some(code), _) => Self::of_error(code, body["delivery"].as_str()),
            (None, Some(rows)) => rows.iter().map(Self::of_row).max().unwrap_or(Self::Accepted),
            (None, None) => Self::Accepted,
        }
    }

    fn of_error(code: &str, delivery: Option<&str>) -> Self {
        match (code, delivery) {
            // What answered is not who was asked, or we failed: nobody can say.
            (_, Some("unknown"))
            | ("apns_protocol_error" | "gcm_protocol_error" | "internal_error", None) => {
                Self::Unknown
            }
            (_, Some(_)) => Self::NotSent,
            (
                "apns_credentials_rejected"
                | "invalid_apns_p12"
                | "invalid_apns_p8"
                | "invalid_apns_pem"
                | "invalid_fcm_service_account"
                | "invalid_gcm_credentials",
                None,
            ) => Self::CredentialsRefused,
            (
                "application_not_found"
                | "conflicting_parameters"
                | "device_token_required"
                | "invalid_apns_key_id"
                | "invalid_apns_mode"
                | "invalid_apns_team_id"
                | "invalid_apns_topic"
                | "invalid_application_id"
                | "invalid_request"
                | "invalid_type"
                | "missing_apns_certificate"
                | "missing_apns_key_id"
                | "missing_apns_team_id"
                | "missing_credentials"
                | "missing_identifier"
                | "missing_type"
                | "request_too_large"
                | "unknown_parameter",
                None,
            ) => Self::Misused,
            _ => Self::Refused,
        }
    }

    /// A row has a code of ours, or a word of Google's legacy protocol.
    fn of_row(row: &Value) -> Self {
        match (row["error"].as_str(), row["delivery"].as_str()) {
            (None, _) => Self::Accepted,
            (Some(_), Some("unknown")) => Self::Unknown,
            (Some(_), _) if is_put_off(row) => Self::NotSent,
            (
                Some(
                    "DeviceMessageRateExceeded"
                    | "InternalServerError"
                    | "TopicsMessageRateExceeded"
                    | "Unavailable",
                ),
                _,
            ) => Self::NotSent,
            (Some("InvalidApnsCredential"), _) => Self::CredentialsRefused,
            (Some(code), delivery) => Self::of_error(code, delivery),
        }
    }

    fn code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Accepted => 0,
            Self::Misused => 1,
            Self::Refused => 2,
            Self::CredentialsRefused => 3,
            Self::NotSent => 4,
            Self::Unknown => 5,
        })
    }
}

/// It is said when to come back, and so nothing can have arrived.
fn is_put_off(answer: &Value) -> bool {
    answer["retry_after"].is_number()
}
