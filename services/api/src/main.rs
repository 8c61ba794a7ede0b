//! The API as a process of its own: settings from the environment, until SIGTERM or Ctrl-C.

use std::process::ExitCode;

use runtime::{config::ProcessEnvironment, exit, shutdown, telemetry};

#[tokio::main]
async fn main() -> ExitCode {
    let config = match api::Config::read(&ProcessEnvironment) {
        Ok(config) => config,
        Err(error) => {
            telemetry::start(&telemetry::LogSettings::default());
            tracing::error!("{error}");
            return exit::code(exit::USAGE);
        }
    };
    telemetry::start(&config.log);
    match run(config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            exit::code(error.exit_code())
        }
    }
}

async fn run(config: api::Config) -> Result<(), api::ServeError> {
    let shutdown = shutdown::on_signal()?;
    let listener = api::listen(&config).await?;
    api::serve(listener, config, shutdown, || ()).await
}
