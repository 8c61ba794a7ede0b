//! The worker as a process of its own: settings from the environment, until SIGTERM or Ctrl-C.

use std::process::ExitCode;

use runtime::{config::ProcessEnvironment, exit, shutdown, telemetry};

#[tokio::main]
async fn main() -> ExitCode {
    let config = match worker::Config::read(&ProcessEnvironment) {
        Ok(config) => config,
        Err(error) => {
            telemetry::start(&telemetry::LogSettings::default());
            tracing::error!("{error}");
            return exit::code(exit::USAGE);
        }
    };
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
