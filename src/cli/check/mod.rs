//! `pushlet check`: whether the configuration is right, its credentials are good, and, if asked,
//! whether Apple and Google take them.

mod connect;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use pushlet::config::{self, Config};
use pushlet::providers::fcm::credential::Origin;
use pushlet::providers::fcm::{self, Fcm};
use pushlet::providers::gcm::{Bridge, Gcm};
use pushlet::providers::{Providers, apns};
use pushlet::transport::Homes;
use time::OffsetDateTime;
use tokio::runtime::Handle;

use self::connect::{Clocks, Peers};
use self::report::{Report, Row};
use super::{fail, say, say_json};

/// How many peers are asked at a time.
const AT_A_TIME: usize = 16;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The configuration file (pushlet.toml); the environment variable `PUSHLET_CONFIG` names it as
    /// well. Without either only the environment is looked at
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Ask Apple and Google whether they take each credential, and compare clocks. Nobody's phone
    /// hears of it
    #[arg(long)]
    connect: bool,
    /// Print one JSON object, for programs
    #[arg(long)]
    json: bool,
}

/// Exit code 1: something is wrong.
pub(crate) async fn run(arguments: &Arguments, runtime: &Handle) -> Result<ExitCode, String> {
    let mut report = Report::default();
    match Config::load(arguments.config.as_deref(), config::environment()) {
        Ok(config) => look(&config, arguments.connect, runtime, &mut report).await,
        Err(mistakes) => report.problems.extend_from_slice(mistakes.all()),
    }
    let problems = report.finish();
    if arguments.json {
        say_json(&report)?;
    } else {
        say(&report.sentences());
    }
    Ok(match problems {
        0 => ExitCode::SUCCESS,
        _ if arguments.json => ExitCode::FAILURE,
        1 => fail("1 problem"),
        _ => fail(&format!("{problems} problems")),
    })
}

async fn look(config: &Config, connect: bool, runtime: &Handle, report: &mut Report) {
    report.problems.extend(pushlet::server::obstacles(config));
    let homes = Homes::new(runtime.clone());
    let apns = match apns::Context::new(config.apns.clone(), homes.clone()) {
        Ok(context) => Arc::new(context.through(&config.proxy)),
        Err(problem) => return report.problems.push(problem),
    };
    let fcm = match fcm::Context::new(config.fcm.clone(), homes) {
        Ok(context) => Arc::new(context.through(&config.proxy)),
        Err(problem) => return report.problems.push(problem),
    };
    let mut sides = Vec::new();
    for preload in &config.applications {
        let (providers, problems) = preload.try_load(&apns, &fcm);
        let row = Row::of(&preload.application_id, &providers, OffsetDateTime::now_utc());
        report.add(row, problems);
        sides.push(providers);
    }
    for (place, bridge) in config.gcm.bridge.iter().enumerate() {
        let (fcm, problem) = match bridged(bridge, &fcm) {
            Ok(fcm) => (Some(Arc::new(fcm)), None),
            Err(problem) => (None, Some(problem)),
        };
        let providers = Providers { fcm, ..Providers::default() };
        let name = format!("gcm.bridge[{place}]");
        report.add(Row::of(&name, &providers, OffsetDateTime::now_utc()), problem);
        sides.push(providers);
    }
    if sides.is_empty() {
        let nobody = "no application is configured: all have to be registered by calls, after each \
                      start";
        report.warnings.push(nobody.to_owned());
    }
    if connect {
        let gcm = Gcm::new(&config.gcm, runtime.clone()).through(&config.proxy);
        ask(&Peers { apns: &apns, fcm: &fcm, gcm: &gcm }, &sides, report).await;
    }
}

fn bridged(bridge: &Bridge, context: &Arc<fcm::Context>) -> Result<Fcm, String> {
    let contents = bridge.service_account.contents()?;
    let account = context.read(&contents, Origin::Operator).map_err(|error| error.to_string())?;
    Ok(Fcm::new(context, account))
}

async fn ask(peers: &Peers<'_>, sides: &[Providers], report: &mut Report) {
    let mut clocks = Clocks::default();
    let answers: Vec<_> =
        stream::iter(sides.iter().map(|side| peers.ask(side))).buffered(AT_A_TIME).collect().await;
    for (place, (apple, google)) in answers.into_iter().enumerate() {
        report.answered(place, apple, google, &mut clocks);
    }
    for answer in peers.ask_without_credentials(sides).await {
        report.reached(answer, &mut clocks);
    }
    report.compare(clocks);
}
