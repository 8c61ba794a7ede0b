//! `spotter`: the command people type.
//!
//! Runs everything on one machine (`up`), finds objects without any server (`detect`), talks to a
//! running API (`submit`, `tasks`, `cancel`, `watch`), installs and compares models (`model`), and manages dead letters (`dlq`),
//! webhooks that were given up (`webhooks`) and API keys (`key`).

mod bench;
mod catalogue;
mod cli;
mod commands;
mod eight_bits;
mod error;
mod loaded_model;
mod output;
mod paths;
mod pictures;
mod supervisor;

use std::process::ExitCode;

use crate::{
    cli::{Cli, Command},
    commands::{
        cancel, detect, dlq, key, model, run_service, shell, submit, tasks, up, watch, webhooks,
    },
    error::CliError,
};

fn main() -> ExitCode {
    detector::disable_telemetry();
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(error) => {
            // Prints help or version to standard output, a usage error to standard error.
            let _ = error.print();
            return if error.use_stderr() { CliError::usage_code() } else { ExitCode::SUCCESS };
        }
    };
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error.print();
            error.exit_code()
        }
    }
}

fn run(command: Command) -> Result<(), CliError> {
    match command {
        Command::Up(options) => up::up(options),
        Command::Detect(options) => detect::detect(&options),
        Command::Submit(options) => submit::submit(options),
        Command::Tasks(options) => tasks::tasks(&options),
        Command::Watch(options) => watch::watch(&options),
        Command::Cancel(options) => cancel::cancel(&options),
        Command::Model(command) => model::model(command),
        Command::Dlq(command) => dlq::dlq(command),
        Command::Webhooks(command) => webhooks::webhooks(command),
        Command::Key(command) => key::key(command),
        Command::Bench(options) => bench::bench(options),
        Command::Completions(options) => shell::completions(&options),
        Command::Man(options) => shell::man(&options),
        Command::Api => run_service::api(),
        Command::Worker => run_service::worker(),
        Command::Notifier => run_service::notifier(),
        Command::Setup => run_service::setup(),
        Command::Openapi => {
            let what = "the OpenAPI document";
            let document = api::openapi_document();
            output::document(&document.map_err(|source| CliError::Json { what, source })?)
        }
    }
}
