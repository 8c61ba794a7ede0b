//! The notifier as a process of its own: settings from the environment, until SIGTERM or Ctrl-C.
//!
//! `spotter-notifier healthcheck`, with the same environment, checks whether the running notifier is ready.

use std::process::ExitCode;

use service::{
    config::ProcessEnvironment,
    lifecycle::{exit, shutdown},
    probes::healthcheck,
    telemetry,
};

#[tokio::main]
async fn main() -> ExitCode {
    let config = match notifier::Config::read(&ProcessEnvironment) {
        Ok(config) => config,
        Err(error) => return wrong_usage(&error.to_string()),
    };
    match std::env::args_os().nth(1) {
        None => notify(config).await,
        Some(command) if command == "healthcheck" => {
            healthcheck::command(config.probes_address).await
        }
        Some(unknown) => {
            let unknown = unknown.display();
            wrong_usage(&format!("no such command: {unknown}; there is: healthcheck"))
        }
    }
}

async fn notify(config: notifier::Config) -> ExitCode {
    telemetry::start(&config.log);
    let shutdown = match shutdown::on_signal() {
        Ok(shutdown) => shutdown,
        Err(error) => {
            tracing::error!(%error, "cannot listen for signals");
            return exit::code(exit::SOFTWARE);
        }
    };
    match notifier::run(config, shutdown, || ()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            exit::code(error.exit_code())
        }
    }
}

fn wrong_usage(error: &str) -> ExitCode {
    telemetry::start(&telemetry::LogSettings::default());
    tracing::error!("{error}");
    exit::code(exit::USAGE)
}
