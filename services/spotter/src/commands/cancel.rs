//! `spotter cancel`: cancels tasks.

use client::ClientError;

use crate::{
    cli::CancelOptions,
    commands::api_connection::{connect, of_any_request},
    error::CliError,
    output,
};

pub(crate) fn cancel(options: &CancelOptions) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(cancel_all(options))
}

async fn cancel_all(options: &CancelOptions) -> Result<(), CliError> {
    let api = connect(&options.server).await?;
    let mut failed = 0;
    for id in &options.ids {
        match api.cancel(*id).await {
            Ok(_) => output::line(format_args!("{id} is cancelled"))?,
            // It is unknown, has ended or is gone; the others may not be.
            Err(ClientError::Refused { status: 404 | 409 | 410, message }) => {
                failed += 1;
                output::notice(format_args!("{id}  failed: {message}"));
            }
            Err(error) => return Err(of_any_request(&error)),
        }
    }
    match failed {
        0 => Ok(()),
        failed => Err(CliError::NotCancelled { failed, all: options.ids.len() }),
    }
}
