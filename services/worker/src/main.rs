//! The worker as a process of its own: settings from the environment, until SIGTERM or Ctrl-C.
//!
//! `spotter-worker healthcheck`, with the same environment, checks whether the running worker is ready.

use std::process::ExitCode;

use service::{
    config::ProcessEnvironment,
    lifecycle::{exit, shutdown},
    probes::healthcheck,
    telemetry,
};

fn main() -> ExitCode {
    // Before there are other threads.
    detector::disable_telemetry();
    start()
}

#[tokio::main]
async fn start() -> ExitCode {
    let config = match worker::Config::read(&ProcessEnvironment) {
        Ok(config) => config,
        Err(error) => return wrong_usage(&error.to_string()),
    };
    match std::env::args_os().nth(1) {
        None => work(config).await,
        Some(command) if command == "healthcheck" => {
            healthcheck::command(config.probes_address).await
        }
        Some(unknown) => {
            let unknown = unknown.display();
            wrong_usage(&format!("no such command: {unknown}; there is: healthcheck"))
        }
    }
}

async fn work(config: worker::Config) -> ExitCode {
    telemetry::start(&config.log);
    let shutdown = match shutdown::on_signal() {
        Ok(shutdown) => shutdown,
        Err(error) => {
            tracing::error!(%error, "cannot listen for signals");
            return exit::code(exit::SOFTWARE);
        }
    };
    match worker::run(config, shutdown, || ()).await {
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
