//! The command line: one subcommand for each thing that a person does with a relay.

mod cli;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// A send takes and gives back some seventy pieces of memory, two of 16 KiB among them, and the C
/// library's allocator tidies up at each of those.
#[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A stateless push relay: one HTTP call, and a person is reached.
#[derive(Parser)]
#[command(version = env!("PUSHLET_VERSION"), about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Say whether the configuration and its credentials are good, and whether Apple and Google
    /// take them
    Check(cli::check::Arguments),
    /// Print what a shell needs to complete this command line
    Completions(cli::completions::Arguments),
    /// Run relay and simulator together on 127.0.0.1:9292, and show the calls to try
    Demo,
    /// Say whether a relay answers, for health checks
    Health(cli::health::Arguments),
    /// Say what a certificate, key or service account is, and what is wrong with it
    Inspect(cli::inspect::Arguments),
    /// Send one message without a relay, and tell what became of it
    Send(cli::send::Arguments),
    /// Run the relay
    Serve(cli::serve::Arguments),
    /// Run a fake APNs and GCM to try the relay against
    Simulate(cli::simulate::Arguments),
    /// Print a unit for systemd, with the place of this program in it
    SystemdUnit,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return cli::misused(&error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return cli::fail(&format!("the runtime could not start: {error}")),
    };
    // Each connection takes a file; a soft limit of 1,024 is soon met and helps nobody.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let handle = runtime.handle();
    let ended = runtime.block_on(async {
        match arguments.command {
            Command::Check(arguments) => cli::check::run(&arguments, handle).await,
            Command::Completions(arguments) => {
                cli::completions::run(&arguments, &mut Arguments::command());
                Ok(ExitCode::SUCCESS)
            }
            Command::Demo => cli::demo::run(handle).await.map(done),
            Command::Health(arguments) => cli::health::run(&arguments).await.map(done),
            Command::Inspect(arguments) => cli::inspect::run(&arguments),
            Command::Send(arguments) => cli::send::run(&arguments, handle).await,
            Command::Serve(arguments) => cli::serve::run(&arguments, handle).await.map(done),
            Command::Simulate(arguments) => cli::simulate::run(&arguments, handle).await.map(done),
            Command::SystemdUnit => {
                cli::systemd_unit::run();
                Ok(ExitCode::SUCCESS)
            }
        }
    });
    // What is left on the runtime, such as a look-up that hangs, must not hold the process back.
    runtime.shutdown_background();
    match ended {
        Ok(code) => code,
        Err(sentence) => cli::fail(&sentence),
    }
}

fn done((): ()) -> ExitCode {
    ExitCode::SUCCESS
}
