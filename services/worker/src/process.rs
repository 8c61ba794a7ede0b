//! One delivery from its arrival to its outcome.

mod isolation;
mod model_run;
mod record;

use std::{sync::Arc, time::Duration};

use domain::{FailureReason, TaskRecord, TaskState};
use messaging::{Delivery, MessagingError, RequeueReason, Snapshot, TaskStore, Writes};
use time::OffsetDateTime;
use tokio::sync::RwLock;
use tokio_util::sync::CancellationToken;

use self::{
    isolation::Isolation,
    model_run::{Interruption, run_model},
    record::{expire, give_up, requeue, store_end},
};
use crate::{
    cores::Parallelism,
    drawing::Drawer,
    inference::{Batcher, Placement, Slots},
    load::Load,
    metrics::WorkerMetrics,
    models::ModelCache,
    recorded_run::{RecordedRun, Start},
    running::{RunningTask, RunningTasks},
    settle::Outcome,
    shadow::ShadowPublisher,
};

/// What every job of this worker shares.
pub(crate) struct Context {
    /// The name of this worker.
    pub(crate) name: String,
    pub(crate) tasks: TaskStore,
    pub(crate) writes: Writes,
    pub(crate) metrics: WorkerMetrics,
    pub(crate) models: Arc<ModelCache>,
    pub(crate) placement: Placement,
    pub(crate) slots: Arc<Slots>,
    /// Batches pictures; `None`: each is run alone.
    pub(crate) batcher: Option<Batcher>,
    /// The most pictures of one run of the model.
    pub(crate) max_batch: usize,
    pub(crate) job_deadline: Duration,
    pub(crate) max_attempts: u32,
    pub(crate) most_picture_bytes: u64,
    pub(crate) drawer: Drawer,
    /// `None` without a shadow model.
    pub(crate) shadow_jobs: Option<ShadowPublisher>,
    pub(crate) load: Load,
    pub(crate) running: RunningTasks,
    /// Held by every job while it runs; see [`Isolation`].
    pub(crate) isolation: RwLock<()>,
    /// Cancelled when jobs that still run must be released.
    pub(crate) release: CancellationToken,
    /// Cancelled when this process is broken and should be restarted.
    pub(crate) broken: CancellationToken,
}

/// Processes one delivery. A [`RunError`] within is retried; what can never succeed becomes a stored
/// record.
pub(crate) async fn process(
    context: &Context,
    delivery: &Delivery,
    parallelism: Parallelism,
) -> Outcome {
    // A task extends the lease on the job while this function runs.
    let _keep_alive = delivery.keep_alive();
    let running = tokio::select! {
        running = context.running.enter(&delivery.job) => running,
        () = context.release.cancelled() => return Outcome::Released,
        () = context.broken.cancelled() => return Outcome::Released,
    };
    let snapshot = match snapshot(context, delivery).await {
        Ok(snapshot) => snapshot,
        Err(error) => return Outcome::Failed { error: error.into(), attempt: delivery.attempt },
    };
    if let Some(record) = snapshot.record()
        && record.state.is_terminal()
    {
        return already_terminal(&context.tasks, record).await;
    }
    let earlier_runs = TaskRecord::earlier_runs(snapshot.record(), delivery.attempt);
    // Before the run is counted: waiting for other jobs must not cost an attempt.
    let _isolation = tokio::select! {
        isolation = Isolation::acquire(context, earlier_runs) => isolation,
        () = context.release.cancelled() => return Outcome::Released,
        () = context.broken.cancelled() => return Outcome::Released,
        record = running.revoked(&context.tasks) => return already_terminal(&context.tasks, &record).await,
    };
    let is_overdue = delivery.job.is_overdue(OffsetDateTime::now_utc());
    if !is_overdue && earlier_runs < context.max_attempts {
        return run(context, delivery, snapshot, parallelism, &running).await;
    }
    let present = TaskRecord { attempts: earlier_runs, ..TaskRecord::queued(delivery.job.clone()) };
    context.tasks.note_known(delivery.job.task_id, snapshot);
    let outcome =
        if is_overdue { expire(context, &present).await } else { give_up(context, &present).await };
    outcome.unwrap_or_else(|error| Outcome::Failed { error, attempt: delivery.attempt })
}

/// The task's record, from the second delivery on. A first delivery hardly ever has one, and its first write finds
/// out.
async fn snapshot(context: &Context, delivery: &Delivery) -> Result<Snapshot, MessagingError> {
    if delivery.attempt == 1 {
        return Ok(Snapshot::unread());
    }
    context.tasks.snapshot(delivery.job.task_id).await
}

/// The outcome for a task that has reached a terminal state before. Whoever stored it may have ended before it
/// announced that.
pub(crate) async fn already_terminal(tasks: &TaskStore, record: &TaskRecord) -> Outcome {
    if let Err(error) = tasks.announce(record).await {
        return Outcome::Failed { error: error.into(), attempt: record.attempts.max(1) };
    }
    match record.state {
        // A worker may have died after the record and before the dead letter. Writing the letter twice
        // has no effect.
        TaskState::Failure { reason: FailureReason::Poison, .. } => Outcome::Poison,
        _ => Outcome::Duplicate,
    }
}

async fn run(
    context: &Context,
    delivery: &Delivery,
    snapshot: Snapshot,
    parallelism: Parallelism,
    running: &RunningTask<'_>,
) -> Outcome {
    let start = RecordedRun::start(&context.tasks, context.job_deadline, delivery, snapshot);
    let mut run = match start.await {
        Ok(Start::Run(run)) => run,
        Ok(Start::AlreadyTerminal(record)) => {
            return already_terminal(&context.tasks, &record).await;
        }
        Err(error) => {
            return Outcome::Failed { error: error.into(), attempt: delivery.attempt };
        }
    };
    if let Some(wait) = run.wait() {
        context.metrics.record_wait(wait);
    }
    let end = tokio::select! {
        end = run_model(context, delivery, parallelism) => end,
        () = context.release.cancelled() => Err(Interruption::Released),
        record = run.keep_recorded() => return already_terminal(&context.tasks, &record).await,
        record = running.revoked(&context.tasks) => return already_terminal(&context.tasks, &record).await,
    };
    let begun = run.into_record();
    let error = match end {
        Ok(end) => match store_end(context, &begun, end).await {
            Ok(outcome) => return outcome,
            Err(error) => error,
        },
        Err(Interruption::Released) => {
            requeue(context, &begun, RequeueReason::Released).await;
            return Outcome::Released;
        }
        Err(Interruption::Failed(error)) => error,
    };
    requeue(context, &begun, RequeueReason::RunFailed).await;
    Outcome::Failed { error, attempt: begun.attempts }
}
