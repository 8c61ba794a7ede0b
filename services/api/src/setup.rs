//! Making streams, buckets and the consumer before anything else runs: `spotter-api setup`.
//!
//! Where every part of the system logs in as a user of its own, only this one may make them.

use std::time::Duration;

use messaging::{
    ErrorKind, Messaging, MessagingConfig, MessagingError, ProvisionOutcome, Provisioned, Role,
};
use service::{
    config::{ConfigError, Reader, Source},
    telemetry::LogSettings,
};
use tokio::time::{Instant, sleep};

/// How long the servers may take to come up, and a cluster of them to elect its leaders.
const PATIENCE: Duration = Duration::from_secs(300);

/// The pause before it is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// The settings of the set-up: those of the queue that every part of the system is given.
#[derive(Clone)]
pub struct SetUpConfig {
    /// `NATS_URL` and what else there is about the queue and the records.
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
        let messaging = MessagingConfig { connect_timeout: PATIENCE, ..messaging };
        let log = LogSettings::read(&mut reader);
        reader.finish(Self { messaging, log })
    }
}

/// Makes what is missing and changes what is there to what `config` says. Waits up to five minutes
/// for the servers. Returns a line for each thing, to be shown to people. Doing it again changes
/// nothing.
///
/// # Errors
/// [`MessagingError`] of the last attempt.
pub async fn set_up(config: &SetUpConfig) -> Result<Vec<String>, MessagingError> {
    let messaging = Messaging::connect(config.messaging.clone()).await?;
    let outcome = patiently(&messaging, config.messaging.replicas).await;
    messaging.close().await;
    outcome
}

async fn patiently(messaging: &Messaging, replicas: usize) -> Result<Vec<String>, MessagingError> {
    let deadline = Instant::now() + PATIENCE;
    let mut said = String::new();
    loop {
        match once(messaging).await {
            Err(error) if may_pass(&error, replicas) && Instant::now() < deadline => {
                let text = error.to_string();
                if text != said {
                    tracing::warn!(%error, "not yet; trying again");
                    said = text;
                }
                sleep(PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}

async fn once(messaging: &Messaging) -> Result<Vec<String>, MessagingError> {
    let mut lines: Vec<String> = messaging.provision().await?.iter().map(line).collect();
    match messaging.free_stuck_jobs().await? {
        0 => {}
        jobs => lines.push(format!("consumer made anew: it handed {jobs} jobs to nobody")),
    }
    Ok(lines)
}

/// Whether waiting may help. A cluster that is just forming refuses what it cannot place yet.
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
        ProvisionOutcome::Updated => "updated to the present settings",
        ProvisionOutcome::Unchanged => "there already",
        ProvisionOutcome::Differs => "left as it is: these credentials may not change it",
    };
    format!("{what}: {done}")
}
