//! The worker's heartbeats: they tell the APIs which models this worker serves, for as long as it runs.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use detector::{ModelBundle, ModelInput};
use domain::{ModelName, Sha256Digest};
use messaging::{
    DescribedInput, HEARTBEAT_TTL, Messaging, MessagingError, ModelDescription, ModelDescriptions,
    ModelReport, WorkerHeartbeats,
};
use time::OffsetDateTime;
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::models::{ModelCache, ServedModel};

/// The interval of heartbeats, a part of their TTL.
const INTERVAL: Duration = Duration::from_secs(8);
/// How long a worker that stops waits until its heartbeats are withdrawn.
const WITHDRAW_TIMEOUT: Duration = Duration::from_secs(1);
/// The interval in which the description of a model is stored again, so that it does not expire.
const DESCRIBE_AGAIN: Duration = Duration::from_secs(24 * 3600);

const _: () = assert!(INTERVAL.as_secs() * 3 <= HEARTBEAT_TTL.as_secs());

/// Heartbeats that are renewed until this is dropped.
pub(crate) struct Heartbeat {
    stop: DropGuard,
    renewing: JoinHandle<()>,
}

/// What a worker tells of its models.
struct Reports {
    /// The name of the worker.
    worker: String,
    models: Arc<ModelCache>,
    heartbeats: WorkerHeartbeats,
    descriptions: ModelDescriptions,
    /// The models that were reported last, and when each version was described.
    reported: HashMap<ModelName, Option<(Sha256Digest, Instant)>>,
}

impl Heartbeat {
    /// Sends the heartbeats of all models once, and renews them in a task of its own. A failure does not stop the
    /// worker: while a model is unknown, the API runs every picture.
    pub(crate) async fn start(
        messaging: &Messaging,
        worker: String,
        models: Arc<ModelCache>,
    ) -> Self {
        let mut changes = models.changes();
        let mut reports = Reports {
            worker,
            models,
            heartbeats: messaging.heartbeats().of_worker(),
            descriptions: messaging.model_descriptions(),
            reported: HashMap::new(),
        };
        reports.send().await;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let renewing = tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = stopped.cancelled() => break,
                    () = sleep(INTERVAL) => {}
                    Ok(()) = changes.changed() => {}
                }
                reports.send().await;
            }
            reports.withdraw_all().await;
        });
        Self { stop: stop.drop_guard(), renewing }
    }

    /// Withdraws the heartbeats. If NATS does not answer soon, they expire instead.
    pub(crate) async fn stop(self) {
        drop(self.stop);
        if let Ok(Err(error)) = timeout(WITHDRAW_TIMEOUT, self.renewing).await {
            tracing::error!(%error, "the task that renews the heartbeats has failed");
        }
    }
}

impl Reports {
    async fn send(&mut self) {
        if let Err(error) = self.try_send().await {
            tracing::debug!(%error, "the heartbeats were not renewed; they are retried");
        }
    }

    async fn try_send(&mut self) -> Result<(), MessagingError> {
        let served = self.models.served();
        for (name, model) in &served {
            self.heartbeats.renew(name, &report(&self.worker, model)).await?;
            self.describe(name, &model.bundle).await?;
        }
        let gone: Vec<_> =
            self.reported.keys().filter(|name| !served.contains_key(*name)).cloned().collect();
        for name in gone {
            self.heartbeats.withdraw(&name).await?;
            self.reported.remove(&name);
        }
        Ok(())
    }

    async fn describe(
        &mut self,
        name: &ModelName,
        bundle: &ModelBundle,
    ) -> Result<(), MessagingError> {
        let described = self.reported.entry(name.clone()).or_default();
        if let Some((digest, since)) = described
            && *digest == bundle.digest()
            && since.elapsed() < DESCRIBE_AGAIN
        {
            return Ok(());
        }
        self.descriptions.store(name, &description(bundle)).await?;
        *described = Some((bundle.digest(), Instant::now()));
        Ok(())
    }

    async fn withdraw_all(self) {
        for name in self.reported.keys() {
            if let Err(error) = self.heartbeats.withdraw(name).await {
                tracing::debug!(%error, "the heartbeat was not withdrawn; it expires");
            }
        }
    }
}

fn report(worker: &str, model: &ServedModel) -> ModelReport {
    let milliseconds = |time: Duration| time.as_secs_f32() * 1000.0;
    let (mean, p95) = model.runs.times.unzip();
    ModelReport {
        model_digest: model.bundle.digest(),
        worker: Some(worker.to_owned()),
        in_memory: Some(model.memory_bytes.is_some()),
        runs: model.runs.runs,
        mean_ms: mean.map(milliseconds),
        p95_ms: p95.map(milliseconds),
    }
}

fn description(bundle: &ModelBundle) -> ModelDescription {
    let manifest = bundle.manifest();
    let input = match manifest.input {
        ModelInput::Dynamic { long_side, .. } => DescribedInput::LongSide(long_side),
        ModelInput::Fixed { width, height } => DescribedInput::Fixed { width, height },
    };
    ModelDescription {
        model_digest: bundle.digest(),
        head: manifest.head.name().to_owned(),
        input,
        labels: manifest.labels.clone(),
        license: manifest.license.clone(),
        producer: manifest.producer.clone(),
        source_sha256: manifest.source_sha256,
        stored_at: OffsetDateTime::now_utc(),
    }
}
