//! `pushlet inspect`: what a certificate, key or service account is, and what is wrong with it.

use std::fmt::Write as _;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use pushlet::config::Config;
use pushlet::providers::apns::credential::{Environments, Format};
use pushlet::providers::apns::inspection::{self, CertificateReport, Inspection, KeyReport};
use pushlet::providers::fcm::credential::{Origin, ServiceAccount};
use pushlet::providers::file;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::password::{Password, ask};
use super::{fail, plain, say, say_json};

/// Larger than any credential.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// A certificate that runs out within so many days is worth a warning.
const SOON_DAYS: i64 = 30;
const DAY_SECS: i64 = 24 * 60 * 60;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A PKCS#12, PEM or .p8 file or a service account, as it is or in base64; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    password: Password,
    /// Print one JSON object, for programs
    #[arg(long)]
    json: bool,
}

/// Exit code 1: the file cannot be used, or could not be read.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    let file = read(&arguments.file)?;
    let given = arguments.password.given()?;
    let now = OffsetDateTime::now_utc();
    let report = match file::contents(&file) {
        Some(file) if file.trim_ascii_start().first() == Some(&b'{') => {
            Report::of_service_account(&file)
        }
        contents => {
            // What is no base64 either is still looked at: it may be damaged text.
            let file = contents.unwrap_or(file);
            let open = |password: &str| inspection::inspect(&file, password, now);
            let password = given.as_ref().map_or("", |password| password.expose());
            let found = open(password);
            let found =
                if given.is_none() { ask(found, |found| found.is_locked, open)? } else { found };
            Report::of_apple(found, &arguments.file, now)
        }
    };
    let name = plain(&arguments.file.display().to_string());
    if arguments.json {
        say_json(&report)?;
    } else {
        say(&report.sentences(&name));
    }
    Ok(match &report.problem {
        None => ExitCode::SUCCESS,
        Some(_) if arguments.json => ExitCode::FAILURE,
        Some(problem) => fail(&format!("{name} cannot be used: {problem}")),
    })
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("{} could not be read: {error}", path.display());
    let source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(path).map_err(failed)?)
    };
    let mut file = Vec::new();
    source.take(MAX_FILE_BYTES + 1).read_to_end(&mut file).map_err(failed)?;
    if file.len() as u64 > MAX_FILE_BYTES {
        let path = path.display();
        return Err(format!("{path} is over {MAX_FILE_BYTES} bytes: no credential is that large"));
    }
    Ok(file)
}

/// What is told, to people and to programs.
#[derive(Serialize)]
struct Report {
    /// The parameter of `register_application` that takes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    usable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<Certificate>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    chain: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Key>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_account: Option<Account>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct Certificate {
    subject: String,
    issuer: String,
    serial: String,
    sha256: String,
    topics: Vec<String>,
    environments: Vec<&'static str>,
    not_before: String,
    not_after: String,
    days_left: i64,
}

#[derive(Serialize)]
struct Key {
    kind: String,
    bits: u32,
    /// The ten characters that name a signing key, where the file's own name has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
}

#[derive(Serialize)]
struct Account {
    project_id: String,
    client_email: String,
    token_uri: String,
}

impl Report {
    fn of_apple(found: Inspection, path: &Path, now: OffsetDateTime) -> Self {
        let Inspection { format, certificate, chain, key, problem, .. } = found;
        let certificate = certificate.map(|report| Certificate::of(report, now));
        let warnings = match &certificate {
            Some(certificate) if problem.is_none() => certificate.warnings(),
            Some(_) | None => Vec::new(),
        };
        let id = key_id(path).filter(|_| format == Some(Format::P8));
        Self {
            kind: format.map(Format::parameter),
            usable: problem.is_none(),
            problem,
            certificate,
            chain,
            key: key.map(|KeyReport { kind, bits }| Key { kind, bits, id }),
            service_account: None,
            warnings,
        }
    }

    fn of_service_account(file: &[u8]) -> Self {
        let google = Config::default().fcm.url;
        let report = Self {
            kind: Some("fcm_service_account"),
            usable: false,
            problem: None,
            certificate: None,
            chain: Vec::new(),
            key: None,
            service_account: None,
            warnings: Vec::new(),
        };
        let account = match ServiceAccount::parse(file, Origin::Operator, &google) {
            Ok(account) => account,
            Err(problem) => return Self { problem: Some(problem.to_string()), ..report },
        };
        let is_googles = ServiceAccount::parse(file, Origin::Caller, &google).is_ok();
        let stranger = || {
            "its token_uri is not Google's: the relay takes such a file from its configuration \
             alone, not from register_application"
                .to_owned()
        };
        let id = account.private_key_id().map(str::to_owned);
        Self {
            usable: true,
            key: Some(Key { kind: "RSA".to_owned(), bits: account.key_bits(), id }),
            service_account: Some(Account {
                project_id: account.project_id().to_owned(),
                client_email: account.client_email().to_owned(),
                token_uri: account.token_uri().to_string(),
            }),
            warnings: (!is_googles).then(stranger).into_iter().collect(),
            ..report
        }
    }

    fn sentences(&self, name: &str) -> String {
        let what = match self.kind {
            Some("apns_p12") => "Apple certificate and key in PKCS#12 (apns_p12)",
            Some("apns_pem") => "Apple certificate and key in PEM (apns_pem)",
            Some("apns_p8") => "Apple signing key (apns_p8)",
            Some("fcm_service_account") => "Google service account (fcm_service_account)",
            Some(_) | None => "no credential that Pushlet can use",
        };
        let mut text = format!("{name}: {what}");
        // A text can always be written to.
        let mut line = |label: &str, value: &str| {
            let _ = write!(text, "\n  {label:<14}{}", plain(value));
        };
        if let Some(certificate) = &self.certificate {
            certificate.lines(&mut line);
        }
        for other in &self.chain {
            line("chain", other);
        }
        if let Some(key) = &self.key {
            line("key", &format!("{}, {} bits", key.kind, key.bits));
            if let Some(id) = &key.id {
                line("key id", id);
            }
        }
        if self.kind == Some("apns_p8") && self.usable {
            line("topics", "all of the team that Apple issued it to");
            line("environments", "as it was made at Apple: both, or one");
            line("valid", "until it is revoked at Apple");
        }
        if let Some(account) = &self.service_account {
            line("project", &account.project_id);
            line("e-mail", &account.client_email);
            line("tokens from", &account.token_uri);
        }
        for warning in &self.warnings {
            line("warning", warning);
        }
        text
    }
}

impl Certificate {
    fn of(report: CertificateReport, now: OffsetDateTime) -> Self {
        let moment = |time: OffsetDateTime| time.format(&Rfc3339).unwrap_or_default();
        Self {
            environments: match report.environments {
                Environments::Both => vec!["production", "development"],
                Environments::Development => vec!["development"],
                Environments::Production => vec!["production"],
                Environments::Unknown => Vec::new(),
            },
            subject: report.subject,
            issuer: report.issuer,
            serial: report.serial,
            sha256: report.sha256,
            topics: report.topics,
            not_before: moment(report.not_before),
            not_after: moment(report.not_after),
            // Rounded down: what is over since an hour has -1 days left.
            days_left: (report.not_after - now).whole_seconds().div_euclid(DAY_SECS),
        }
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.days_left <= SOON_DAYS {
            warnings.push(format!("it runs out in {} days; renew it", self.days_left));
        }
        if self.topics.is_empty() {
            warnings.push(
                "it names no topic; give apns_topic when it is registered, or topic with each \
                 message"
                    .to_owned(),
            );
        }
        if self.environments.is_empty() {
            warnings.push(
                "it carries none of Apple's marks for push: it may be no push certificate"
                    .to_owned(),
            );
        }
        warnings
    }

    fn lines(&self, line: &mut impl FnMut(&str, &str)) {
        line("subject", &self.subject);
        line("issuer", &self.issuer);
        line("serial", &self.serial);
        line("sha-256", &self.sha256);
        if !self.topics.is_empty() {
            line("topics", &self.topics.join(", "));
        }
        if !self.environments.is_empty() {
            line("environments", &self.environments.join(", "));
        }
        let left = match self.days_left {
            1.. => format!("{} days left", self.days_left),
            0 => "less than a day left".to_owned(),
            _ => "which is over".to_owned(),
        };
        line("valid", &format!("{} to {}, {left}", self.not_before, self.not_after));
    }
}

/// Apple names the file after the key: `AuthKey_ABC123DEFG.p8`.
fn key_id(path: &Path) -> Option<String> {
    let id = path.file_stem()?.to_str()?.strip_prefix("AuthKey_")?;
    let is_id = pushlet::providers::apns::credential::valid_apple_identifier(id);
    is_id.then(|| id.to_owned())
}
