//! The API that a command talks to.

use client::{Client, ClientError, Timeouts};
use service::config::address;

use crate::{cli::ApiOptions, error::CliError};

/// A client of the API. Fails at once, rather than for each picture, if no API answers.
pub(super) async fn connect(options: &ApiOptions) -> Result<Client, CliError> {
    if address::try_redact(&options.api).is_none() {
        return Err(CliError::Usage(format!(
            "--api: not an address (not shown, since it may contain a password): expected \
             http://host:port; {}",
            address::ADVICE
        )));
    }
    let mut api = Client::new(&options.api, Timeouts::default())
        .map_err(|error| CliError::Unavailable(error.to_string()))?;
    if let Some(key) = &options.api_key {
        api = api.with_api_key(key.expose()).map_err(|error| CliError::Usage(error.to_string()))?;
    }
    match api.check().await {
        Ok(()) => Ok(api),
        Err(problem) => Err(CliError::Unavailable(format!(
            "no API answers at {}: {problem}; start one with `spotter up`, or name another with --api",
            address::redact(options.api.trim_end_matches('/'))
        ))),
    }
}

/// Why a request came to nothing that would come to nothing for any picture or task.
pub(super) fn of_any_request(error: &ClientError) -> CliError {
    match error {
        ClientError::Refused { status: 500.., .. } => CliError::Unavailable(error.to_string()),
        ClientError::Refused { .. } => CliError::Usage(error.to_string()),
        _ => CliError::Unavailable(error.to_string()),
    }
}
