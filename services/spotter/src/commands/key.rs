//! `spotter key`: creates, lists and revokes API keys.

use domain::{ApiKey, KeyId};
use messaging::{ApiKeys, CreateKeyError};
use time::OffsetDateTime;

use crate::{
    cli::{KeyChoice, KeyCommand, KeyCreateOptions, KeyListOptions},
    commands::queue_connection::connect,
    error::CliError,
    output::{self, results::Format, times::to_second},
};

const NONE: &str = "there are no API keys";

pub(crate) fn key(command: KeyCommand) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(command))
}

async fn run(command: KeyCommand) -> Result<(), CliError> {
    let messaging = connect(command.server()).await?;
    let keys = messaging.api_keys();
    let outcome = match command {
        KeyCommand::Create(options) => create(&keys, options).await,
        KeyCommand::List(options) => list(&keys, &options).await,
        KeyCommand::Revoke(choice) => revoke(&keys, &choice).await,
    };
    messaging.close().await;
    outcome
}

/// Prints the key alone to standard output, so that a script can take it from there.
async fn create(keys: &ApiKeys, options: KeyCreateOptions) -> Result<(), CliError> {
    let token = ApiKeys::new_token();
    let now = OffsetDateTime::now_utc();
    let scopes = match options.scopes.is_empty() {
        true => Default::default(),
        false => options.scopes.into_iter().collect(),
    };
    let key = ApiKey {
        id: token.id(),
        name: options.name,
        secret_sha256: token.secret_sha256(),
        scopes,
        rate: options.rate,
        quota: options.quota,
        created_at: now,
        expires_at: options.expires.map(|expiry| expiry.after(now)),
    };
    if key.is_expired(now) {
        return Err(CliError::Usage("--expires: that time has passed".to_owned()));
    }
    keys.create(&key).await.map_err(|error| match error {
        CreateKeyError::TooMany => CliError::Usage(error.to_string()),
        CreateKeyError::Messaging(error) => CliError::Queue(error),
    })?;
    output::line(token.expose())?;
    output::notice(format_args!(
        "this is key {} ({}), scopes: {}; it is shown this once only",
        key.id,
        key.name.as_str(),
        key.scopes
    ));
    Ok(())
}

async fn list(keys: &ApiKeys, options: &KeyListOptions) -> Result<(), CliError> {
    let all = keys.list().await?;
    match Format::new(options.json) {
        Format::Json => all.iter().try_for_each(|key| output::json("a key", &shown(key))),
        Format::Table if all.is_empty() => {
            output::notice(NONE);
            Ok(())
        }
        Format::Table => table(&all).into_iter().try_for_each(output::line),
    }
}

/// A key without the digest of its secret.
fn shown(key: &ApiKey) -> serde_json::Value {
    serde_json::json!({
        "id": key.id,
        "name": key.name,
        "scopes": key.scopes,
        "rate": key.rate,
        "quota": key.quota,
        "created_at": to_second(key.created_at),
        "expires_at": key.expires_at.map(to_second),
        "expired": key.is_expired(OffsetDateTime::now_utc()),
    })
}

fn table(keys: &[ApiKey]) -> Vec<String> {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let expiry = |key: &ApiKey| match key.is_expired(OffsetDateTime::now_utc()) {
        true => "expired".to_owned(),
        false => or_none(key.expires_at.map(to_second)),
    };
    let rows = keys.iter().map(|key| {
        [
            key.id.to_string(),
            key.scopes.to_string(),
            or_none(key.rate.map(|rate| rate.to_string())),
            or_none(key.quota.map(|quota| quota.to_string())),
            to_second(key.created_at),
            expiry(key),
            key.name.as_str().to_owned(),
        ]
    });
    let headings = ["ID", "SCOPES", "RATE", "QUOTA", "CREATED", "EXPIRES", "NAME"];
    let rows: Vec<_> = [headings.map(str::to_owned)].into_iter().chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths = std::array::from_fn::<_, 7, _>(|column| width(column).unwrap_or(0));
    rows.iter()
        .map(|row| {
            let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
        .collect()
}

async fn revoke(keys: &ApiKeys, choice: &KeyChoice) -> Result<(), CliError> {
    let known: Vec<KeyId> = keys.list().await?.into_iter().map(|key| key.id).collect();
    // All are looked up before the first one is revoked.
    if let Some(unknown) = choice.ids.iter().find(|id| !known.contains(id)) {
        return Err(CliError::NoKey(*unknown));
    }
    for id in &choice.ids {
        if let Some(key) = keys.revoke(*id).await? {
            output::line(format_args!("{id} is revoked ({})", key.name.as_str()))?;
        }
    }
    Ok(())
}
