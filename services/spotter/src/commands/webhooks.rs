//! `spotter webhooks`: lists, shows and replays webhooks that were given up.

use domain::TaskId;
use messaging::{DeadWebhook, DeadWebhooks, Ended};
use serde::Serialize;
use time::OffsetDateTime;

use crate::{
    cli::{DlqListOptions, WebhookChoice, WebhooksCommand},
    commands::queue_connection::connect,
    error::CliError,
    output::{self, results::Format, times::to_second},
};

const NONE: &str = "no webhook was given up in the last seven days";

/// One webhook, without its URL, which may contain a token.
#[derive(Serialize)]
struct WebhookJson<'a> {
    task_id: TaskId,
    #[serde(with = "time::serde::rfc3339")]
    given_up_at: OffsetDateTime,
    attempts: u32,
    reason: &'a str,
    state: &'static str,
}

#[derive(Serialize)]
struct DetailsJson<'a> {
    #[serde(flatten)]
    webhook: WebhookJson<'a>,
    /// With the URL.
    record: &'a Ended,
}

impl<'a> From<&'a DeadWebhook> for WebhookJson<'a> {
    fn from(webhook: &'a DeadWebhook) -> Self {
        Self {
            task_id: webhook.ended.id(),
            given_up_at: webhook.given_up_at,
            attempts: webhook.attempts,
            reason: &webhook.reason,
            state: webhook.ended.state(),
        }
    }
}

pub(crate) fn webhooks(command: WebhooksCommand) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(command))
}

async fn run(command: WebhooksCommand) -> Result<(), CliError> {
    let messaging = connect(command.server()).await?;
    let webhooks = messaging.dead_webhooks();
    let outcome = match command {
        WebhooksCommand::List(options) => list(&webhooks, &options).await,
        WebhooksCommand::Show(options) => show(&webhooks, options.id).await,
        WebhooksCommand::Replay(choice) => replay(&webhooks, &choice).await,
    };
    messaging.close().await;
    outcome
}

async fn list(webhooks: &DeadWebhooks, options: &DlqListOptions) -> Result<(), CliError> {
    let all = all(webhooks).await?;
    if all.is_empty() {
        output::notice(NONE);
    }
    all.iter().try_for_each(|webhook| match Format::new(options.json) {
        Format::Json => output::json("a webhook", &WebhookJson::from(webhook)),
        Format::Table => {
            let WebhookJson { task_id, given_up_at, attempts, reason, state } = webhook.into();
            let given_up_at = to_second(given_up_at);
            output::line(format_args!(
                "{task_id}  {state}  {given_up_at}  {attempts} tries  {reason}"
            ))
        }
    })
}

async fn show(webhooks: &DeadWebhooks, id: TaskId) -> Result<(), CliError> {
    let webhook = find(webhooks, id).await?;
    let details = DetailsJson { webhook: (&webhook).into(), record: &webhook.ended };
    output::json("a webhook", &details)
}

async fn replay(webhooks: &DeadWebhooks, choice: &WebhookChoice) -> Result<(), CliError> {
    let mut chosen = Vec::new();
    if choice.all {
        chosen = all(webhooks).await?;
    }
    // All are looked up before the first one is replayed.
    for id in &choice.ids {
        chosen.push(find(webhooks, *id).await?);
    }
    for webhook in &chosen {
        webhooks.replay(webhook).await?;
        output::line(format_args!("{} is delivered again", webhook.ended.id()))?;
    }
    Ok(())
}

async fn find(webhooks: &DeadWebhooks, id: TaskId) -> Result<DeadWebhook, CliError> {
    webhooks.get(id).await?.ok_or(CliError::NoWebhook(id))
}

async fn all(webhooks: &DeadWebhooks) -> Result<Vec<DeadWebhook>, CliError> {
    let mut all: Vec<DeadWebhook> = Vec::new();
    loop {
        let last = all.last().map_or(0, |webhook| webhook.sequence);
        match webhooks.list_after(last).await? {
            more if more.is_empty() => return Ok(all),
            more => all.extend(more),
        }
    }
}
