//! Running shadow jobs while jobs leave a slot idle, and comparing what the models find.

use std::{sync::Arc, time::Duration};

use detector::Detections;
use domain::{
    ComparedRun, Comparison, DetectedObject, DetectionSettings, ModelComparison, ModelName,
    Priority, TaskId, TaskRecord, TaskState,
};
use messaging::{
    Comparisons, MessagingError, SHADOW_JOB_AGE, ShadowDeliveries, ShadowJob, TaskStore,
};
use service::telemetry::traces::TraceContext;
use time::OffsetDateTime;
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep},
};

use super::metrics::{ShadowMetrics, ShadowRunOutcome};
use crate::{
    cores::Parallelism,
    inference::{Batch, InferenceError, PictureFile, Slots, Work},
    load::Load,
    metrics::WorkerMetrics,
    models::ModelCache,
};

/// How often the record of a task is read, and the pause in between: a replica may not have the newest ones.
const RECORD_READS: u32 = 3;
const RECORD_PAUSE: Duration = Duration::from_millis(200);

/// Runs shadow jobs, one at a time.
pub(crate) struct ShadowRunner {
    pub(crate) model: ModelName,
    pub(crate) deliveries: ShadowDeliveries,
    pub(crate) comparisons: Comparisons,
    pub(crate) tasks: TaskStore,
    pub(crate) models: Arc<ModelCache>,
    /// The slot of shadow runs: one that hangs takes none from jobs.
    pub(crate) slots: Slots,
    pub(crate) load: Load,
    /// The longest a run may take.
    pub(crate) deadline: Duration,
    pub(crate) metrics: WorkerMetrics,
    pub(crate) shadow_metrics: ShadowMetrics,
}

/// Why a shadow job has led to no comparison.
#[derive(Debug, thiserror::Error)]
enum NotCompared {
    #[error("the shadow model has not run the picture: {0}")]
    Failed(#[from] InferenceError),
    #[error("there was no idle slot for too long")]
    Late,
    #[error("the task has no result of a run, or not any more")]
    NoResult,
    #[error(
        "other models would have to be dropped from memory for the shadow model (MODEL_MEMORY_BYTES)"
    )]
    NoMemory,
    #[error(transparent)]
    Messaging(#[from] MessagingError),
}

impl NotCompared {
    fn outcome(&self) -> ShadowRunOutcome {
        match self {
            Self::Failed(_) => ShadowRunOutcome::Failed,
            Self::Late | Self::NoResult | Self::NoMemory | Self::Messaging(_) => {
                ShadowRunOutcome::Dropped
            }
        }
    }

    /// Whether the thread of shadow runs can run no more.
    fn is_final(&self) -> bool {
        matches!(self, Self::Failed(InferenceError::Hung(_) | InferenceError::SlotEnded))
    }
}

/// The result of a task, with which the shadow model's is compared.
struct TaskResult {
    run: ComparedRun,
    objects: Vec<DetectedObject>,
    settings: DetectionSettings,
}

impl TaskResult {
    fn of(record: TaskRecord) -> Option<Self> {
        let TaskState::Success {
            objects,
            run: Some(run),
            model_digest: Some(digest),
            cached: false,
            ..
        } = record.state
        else {
            return None;
        };
        let run = ComparedRun { model: record.job.model, digest, infer_ms: run.infer_ms };
        Some(Self { run, objects, settings: record.job.settings })
    }
}

impl ShadowRunner {
    /// Runs shadow jobs while the worker serves the shadow model. Returns only if the model hangs and cannot be cancelled.
    pub(crate) async fn run(mut self) {
        loop {
            self.model_is_served().await;
            self.load.leaves_a_slot_idle().await;
            let Some(job) = self.deliveries.next().await else { continue };
            let outcome = match self.compare(&job).await {
                Ok(outcome) => outcome,
                Err(error) => {
                    tracing::info!(task_id = %job.task_id, model = %self.model, %error, "no comparison");
                    if error.is_final() {
                        self.shadow_metrics.count_run(error.outcome());
                        tracing::error!(model = %self.model, "this worker makes no more shadow runs: the model hangs");
                        return;
                    }
                    error.outcome()
                }
            };
            self.shadow_metrics.count_run(outcome);
        }
    }

    async fn model_is_served(&self) {
        let mut changes = self.models.changes();
        while !self.models.names().contains(&self.model) {
            // Fails only without the cache of models, which `self` holds.
            let _ = changes.changed().await;
        }
    }

    async fn compare(&self, job: &ShadowJob) -> Result<ShadowRunOutcome, NotCompared> {
        let TaskResult { run, objects, settings } = self.result(job.task_id).await?;
        let found = self.run_when_idle(job, &settings).await?;
        self.metrics.record_run(&self.model, found.timings.infer);
        let shadow_run = ComparedRun {
            model: self.model.clone(),
            digest: found.model_digest,
            infer_ms: found.timings.infer.as_secs_f32() * 1000.0,
        };
        // Of thousands of overlapping boxes it takes a while.
        let comparison = spawn_blocking(move || Comparison::of(&objects, &found.objects)).await;
        let comparison = comparison.map_err(|error| InferenceError::Panicked(error.to_string()))?;
        self.shadow_metrics.count_objects(&comparison);
        let is_equal = comparison.disputed() == 0;
        let stored = ModelComparison {
            task_id: job.task_id,
            compared_at: OffsetDateTime::now_utc(),
            a: run,
            b: shadow_run,
            comparison,
        };
        self.comparisons.store(&stored).await?;
        Ok(if is_equal { ShadowRunOutcome::Equal } else { ShadowRunOutcome::Differs })
    }

    async fn result(&self, id: TaskId) -> Result<TaskResult, NotCompared> {
        for _ in 0..RECORD_READS {
            if let Some(record) = self.tasks.ended_elsewhere(id).await? {
                return TaskResult::of(record).ok_or(NotCompared::NoResult);
            }
            sleep(RECORD_PAUSE).await;
        }
        Err(NotCompared::NoResult)
    }

    /// Runs the shadow model while jobs leave a slot idle. When they need it, the run is cancelled, and begins again later.
    async fn run_when_idle(
        &self,
        job: &ShadowJob,
        settings: &DetectionSettings,
    ) -> Result<Detections, NotCompared> {
        let taken = Instant::now();
        loop {
            self.load.leaves_a_slot_idle().await;
            if taken.elapsed() > SHADOW_JOB_AGE {
                return Err(NotCompared::Late);
            }
            tokio::select! {
                biased;
                () = self.load.needs_all_slots() => {}
                found = self.run_model(job, settings) => return found,
            }
        }
    }

    async fn run_model(
        &self,
        job: &ShadowJob,
        settings: &DetectionSettings,
    ) -> Result<Detections, NotCompared> {
        let deadline = self.deadline;
        // However long the load takes, nobody else waits for it.
        let loaded = self.models.get_if_room(&self.model).await?;
        let file = PictureFile {
            bytes: job.picture.clone(),
            model: loaded.ok_or(NotCompared::NoMemory)?,
            settings: settings.clone(),
            parallelism: Parallelism::Slot,
            trace: TraceContext::current(),
        };
        let picture = self.slots.preprocessing().preprocess(file, deadline).await?;
        let (work, answer) = Work::new(picture);
        let mut slot = self.slots.lease(Priority::Low).await;
        slot.run(Batch::of(work), deadline).await;
        Ok(answer.detections().await?)
    }
}
