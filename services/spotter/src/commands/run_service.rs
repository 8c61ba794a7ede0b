//! `spotter api`, `spotter worker`, `spotter notifier` and `spotter setup`: one service as a process of its own.
//!
//! All but the last print one line to standard output once they are ready; the supervisor and the tests wait for it.

use std::io::{self, Write};

use service::{config::ProcessEnvironment, lifecycle::shutdown, telemetry};

use crate::{error::CliError, output};

/// The API until SIGTERM or Ctrl-C. Prints `listening on http://HOST:PORT`.
pub(crate) fn api() -> Result<(), CliError> {
    let config = api::Config::read(&ProcessEnvironment)?;
    telemetry::start(&config.log);
    tokio_runtime()?.block_on(async {
        let shutdown = shutdown::on_signal()?;
        let listener = api::listen(&config).await?;
        let address = listener.local_addr()?;
        let ready = move || announce(&format!("listening on http://{address}"));
        Ok(api::serve(listener, config, shutdown, ready).await?)
    })
}

/// A worker until SIGTERM or Ctrl-C. Prints `ready`.
pub(crate) fn worker() -> Result<(), CliError> {
    let config = worker::Config::read(&ProcessEnvironment)?;
    telemetry::start(&config.log);
    tokio_runtime()?.block_on(async {
        let shutdown = shutdown::on_signal()?;
        Ok(worker::run(config, shutdown, || announce("ready")).await?)
    })
}

/// A notifier until SIGTERM or Ctrl-C. Prints `ready`.
pub(crate) fn notifier() -> Result<(), CliError> {
    let config = notifier::Config::read(&ProcessEnvironment)?;
    telemetry::start(&config.log);
    tokio_runtime()?.block_on(async {
        let shutdown = shutdown::on_signal()?;
        Ok(notifier::run(config, shutdown, || announce("ready")).await?)
    })
}

/// Creates the streams, the buckets and the consumer. Prints a line for each.
pub(crate) fn setup() -> Result<(), CliError> {
    let config = api::SetUpConfig::read(&ProcessEnvironment)?;
    telemetry::start(&config.log);
    let done = tokio_runtime()?.block_on(api::set_up(&config))?;
    done.iter().try_for_each(output::line)
}

fn tokio_runtime() -> Result<tokio::runtime::Runtime, CliError> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

fn announce(text: &str) {
    let mut stdout = io::stdout().lock();
    // A closed standard output must not keep the service from running.
    let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}
