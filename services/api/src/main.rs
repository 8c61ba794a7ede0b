//! The API as a process: settings from the environment, until SIGTERM or Ctrl-C.
//!
//! `spotter-api setup` creates streams, buckets and the consumer, reports what it did, and exits.
//! `spotter-api healthcheck`, with the same environment, checks whether the running API is ready.

use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

use service::{
    config::{ConfigError, ProcessEnvironment},
    lifecycle::{exit, shutdown},
    probes::healthcheck,
    telemetry::{self, LogSettings},
};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match arguments.iter().map(|argument| argument.to_str()).collect::<Vec<_>>()[..] {
        [] => serve().await,
        [Some("setup")] => set_up().await,
        [Some("healthcheck")] => check_health().await,
        _ => {
            telemetry::start(&LogSettings::default());
            tracing::error!(
                "expected no argument, `setup` or `healthcheck`; settings come from the environment"
            );
            exit::code(exit::USAGE)
        }
    }
}

async fn serve() -> ExitCode {
    let config = match api::Config::read(&ProcessEnvironment) {
        Ok(config) => config,
        Err(error) => return report(&error),
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

async fn check_health() -> ExitCode {
    match api::Config::read(&ProcessEnvironment) {
        Ok(config) => match config.probes_address {
            Some(address) => healthcheck::command(Some(address)).await,
            None => healthcheck::command(Some((config.host.as_str(), config.port))).await,
        },
        Err(error) => report(&error),
    }
}

async fn set_up() -> ExitCode {
    let config = match api::SetUpConfig::read(&ProcessEnvironment) {
        Ok(config) => config,
        Err(error) => return report(&error),
    };
    telemetry::start(&config.log);
    let outcome = match shutdown::on_signal() {
        Ok(shutdown) => tokio::select! {
            outcome = api::set_up(&config) => outcome.map_err(api::ServeError::from),
            () = shutdown.cancelled() => return exit::code(exit::UNAVAILABLE),
        },
        Err(error) => Err(error.into()),
    };
    let written = outcome.and_then(|done| Ok(writeln!(io::stdout(), "{}", done.join("\n"))?));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            exit::code(error.exit_code())
        }
    }
}

fn report(error: &ConfigError) -> ExitCode {
    telemetry::start(&LogSettings::default());
    tracing::error!("{error}");
    exit::code(exit::USAGE)
}
