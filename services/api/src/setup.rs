//! `spotter-api setup`: creates streams, buckets and consumers before anything else runs.
//!
//! If every part of the system has a NATS user of its own, only the one of the set-up may create them.

use std::time::Duration;

use domain::{ModelName, ModelNames};
use messaging::{
    ErrorKind, Messaging, MessagingConfig, MessagingError, ProvisionOutcome, Provisioned, Role,
};
use service::{
    config::{ConfigError, Reader, Source},
    telemetry::LogSettings,
};
use tokio::time::{Instant, sleep};

/// Timeout for the servers to start, and for a cluster to elect its leaders.
const TIMEOUT: Duration = Duration::from_secs(300);

/// The pause before a retry.
const PAUSE: Duration = Duration::from_secs(1);

/// The settings of the set-up: the common ones of the queue, and the models.
#[derive(Clone)]
pub struct SetUpConfig {
    /// `MODEL` (default `yolov8n`) and `MODELS`: the models whose jobs get consumers.
    pub models: Vec<ModelName>,
    /// `SHADOW_MODEL`: the model whose shadow runs get what they need. Default: none.
    pub shadow_model: Option<ModelName>,
    /// `NATS_URL` and the other settings of the queue and the records.
    pub messaging: MessagingConfig,
    /// `LOG_FORMAT` and `RUST_LOG`.
    pub log: LogSettings,
}

impl SetUpConfig {
    /// Reads the settings from `source`.
    ///
    /// # Errors
    /// [`ConfigError`] with every setting that cannot be used.
    pub fn read(source: &dyn Source) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(source);
        let messaging = MessagingConfig::read(&mut reader, Role::Setup);
        let messaging = MessagingConfig { connect_timeout: TIMEOUT, ..messaging };
        let model = reader.read("MODEL", ModelName::default());
        let others = reader.read_optional::<ModelNames>("MODELS");
        let others = others.into_iter().flatten().filter(|other| *other != model);
        let models = std::iter::once(model.clone()).chain(others).collect();
        let shadow_model = reader.read_optional("SHADOW_MODEL");
        let log = LogSettings::read(&mut reader);
        reader.finish(Self { models, shadow_model, messaging, log })
    }
}

/// Creates what is missing and updates what exists to `config`. Waits up to five minutes for the servers.
/// Returns a line for each stream, bucket and consumer, for operators. Idempotent.
///
/// # Errors
/// [`MessagingError`] of the last attempt.
pub async fn set_up(config: &SetUpConfig) -> Result<Vec<String>, MessagingError> {
    let messaging = Messaging::connect(config.messaging.clone()).await?;
    let outcome = with_retries(&messaging, config).await;
    messaging.close().await;
    outcome
}

async fn with_retries(
    messaging: &Messaging,
    config: &SetUpConfig,
) -> Result<Vec<String>, MessagingError> {
    let deadline = Instant::now() + TIMEOUT;
    let mut logged = String::new();
    loop {
        match once(messaging, config).await {
            Err(error)
                if may_pass(&error, config.messaging.replicas) && Instant::now() < deadline =>
            {
                let text = error.to_string();
                if text != logged {
                    tracing::warn!(%error, "set-up failed; retrying");
                    logged = text;
                }
                sleep(PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}

async fn once(messaging: &Messaging, config: &SetUpConfig) -> Result<Vec<String>, MessagingError> {
    let mut provisioned = messaging.provision(config.models.iter().cloned()).await?;
    if let Some(model) = &config.shadow_model {
        provisioned.extend(messaging.provision_shadow(model).await?);
    }
    let mut lines: Vec<String> = provisioned.iter().map(line).collect();
    match messaging.free_stuck_jobs().await? {
        0 => {}
        jobs => lines.push(format!("consumers recreated: {jobs} jobs were not being delivered")),
    }
    Ok(lines)
}

/// Whether a retry may help. A cluster that is still forming rejects streams that it cannot place yet.
fn may_pass(error: &MessagingError, replicas: usize) -> bool {
    match error.kind() {
        ErrorKind::Transient => true,
        ErrorKind::Provisioning => replicas > 1,
        ErrorKind::Configuration | ErrorKind::NotProvisioned | ErrorKind::Data => false,
    }
}

fn line(Provisioned { what, outcome }: &Provisioned) -> String {
    let done = match outcome {
        ProvisionOutcome::Created => "created",
        ProvisionOutcome::Updated => "updated",
        ProvisionOutcome::Unchanged => "unchanged",
        ProvisionOutcome::Differs => "differs, not updated: these credentials do not permit it",
    };
    format!("{what}: {done}")
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn the_models_are_the_default_one_and_those_that_are_listed() {
        let cases = [
            (&[][..], &["yolov8n"][..]),
            (&[("MODEL", "a")], &["a"]),
            (&[("MODELS", "a, yolov8n,b")], &["yolov8n", "a", "b"]),
            (&[("MODEL", "a"), ("MODELS", "b,a")], &["a", "b"]),
        ];
        for (variables, expected) in cases {
            let source: HashMap<String, String> =
                variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
            let config = SetUpConfig::read(&source).unwrap();
            let models: Vec<_> = config.models.iter().map(ModelName::as_str).collect();
            assert_eq!(models, expected, "{variables:?}");
        }
    }
}
