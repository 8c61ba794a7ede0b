//! The API as a process of its own: settings from the environment, until SIGTERM or Ctrl-C.

use std::process::ExitCode;

use runtime::{config::ProcessEnvironment, exit, shutdown, telemetry};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> ExitCode {
    let config = match api::Config::read(&ProcessEnvironment) {
        Ok(config) => config,
        Err(error) => {
            telemetry::start(telemetry::LogFormat::Text);
            tracing::error!("{error}");
            return exit::code(exit::USAGE);
        }
    };
    telemetry::start(config.log_format);
    match run(config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            exit::code(exit::UNAVAILABLE)
        }
    }
}

async fn run(config: api::Config) -> Result<(), Box<dyn std::error::Error>> {
    let shutdown = shutdown::on_signal()?;
    let address = (config.host.as_str(), config.port);
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| format!("cannot listen on {}:{}: {error}", config.host, config.port))?;
    Ok(api::serve(listener, config, shutdown, || ()).await?)
}
