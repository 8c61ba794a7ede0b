//! One delivery from its arrival to its outcome.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use detector::{Detections, ModelError};
use domain::{FailureReason, Job, TaskRecord, TaskState};
use messaging::{
    BeginOutcome, Delivery, FinishOutcome, PictureFetchError, RequeueReason, Snapshot, TaskStore,
    Writes,
};
use opentelemetry::trace::SpanBuilder;
use service::{
    lifecycle::failpoints,
    telemetry::traces::{self, TraceContext},
};
use time::OffsetDateTime;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio_util::sync::CancellationToken;

use crate::{
    cores::Parallelism,
    hints,
    inference::{Batch, Batcher, InferenceError, Picture, Preprocessing, Slots, Work},
    metrics::WorkerMetrics,
    running::RunningTasks,
    settle::{Outcome, RunError},
};

/// What every job of this worker shares.
pub(crate) struct Context {
    pub(crate) tasks: TaskStore,
    pub(crate) writes: Writes,
    pub(crate) metrics: WorkerMetrics,
    pub(crate) preprocessing: Arc<Preprocessing>,
    pub(crate) slots: Arc<Slots>,
    /// Batches pictures; `None`: each is run alone.
    pub(crate) batcher: Option<Batcher>,
    pub(crate) job_deadline: Duration,
    pub(crate) max_attempts: u32,
    pub(crate) most_picture_bytes: u64,
    pub(crate) running: RunningTasks,
    /// Held by every job while it runs; see [`Isolation`].
    pub(crate) isolation: RwLock<()>,
    /// Cancelled when jobs that still run must be released.
    pub(crate) release: CancellationToken,
    /// Cancelled when this process is broken and should be restarted.
    pub(crate) broken: CancellationToken,
}

/// Whether other jobs run beside a job in this process.
///
/// A picture that crashes its worker interrupts the jobs in the other slots. NATS redelivers all of them
/// at the same time, most likely to the same worker, where they would crash it together until all fail as
/// poison. So a job with an earlier run that failed or did not end runs alone: a crash then is due to that job.
/// The record counts these runs. The count of deliveries does not serve: it rises when a worker that stops
/// releases a job that it has not run, and is reset with a new consumer.
enum Isolation<'a> {
    Shared { _running: RwLockReadGuard<'a, ()> },
    Exclusive { _running: RwLockWriteGuard<'a, ()> },
}

impl<'a> Isolation<'a> {
    /// Waits until the job may run. New jobs do not overtake one that waits for exclusive isolation.
    async fn acquire(context: &'a Context, record: Option<&TaskRecord>) -> Self {
        let earlier_runs = record.map_or(0, |record| record.attempts);
        // At the limit, the job fails as poison and is not run.
        if (1..context.max_attempts).contains(&earlier_runs) {
            Self::Exclusive { _running: context.isolation.write().await }
        } else {
            Self::Shared { _running: context.isolation.read().await }
        }
    }
}

/// What to do with a delivery, by the record of its task.
enum Step {
    /// Run the job; a run has begun in this record.
    Run(Box<TaskRecord>),
    /// Nothing.
    Done(Outcome),
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
    let _running = tokio::select! {
        running = context.running.enter(delivery.job.task_id) => running,
        () = context.release.cancelled() => return Outcome::Released,
        () = context.broken.cancelled() => return Outcome::Released,
    };
    let snapshot = match context.tasks.snapshot(delivery.job.task_id).await {
        Ok(snapshot) => snapshot,
        Err(error) => return Outcome::Failed { error: error.into(), attempt: delivery.attempt },
    };
    if let Some(record) = snapshot.record()
        && record.state.is_terminal()
    {
        return already_terminal(record);
    }
    // Before the run is counted: waiting for other jobs must not cost an attempt.
    let _isolation = tokio::select! {
        isolation = Isolation::acquire(context, snapshot.record()) => isolation,
        () = context.release.cancelled() => return Outcome::Released,
        () = context.broken.cancelled() => return Outcome::Released,
    };
    let begun = match begin(context, delivery, snapshot).await {
        Ok(Step::Run(record)) => record,
        Ok(Step::Done(outcome)) => return outcome,
        Err(error) => return Outcome::Failed { error, attempt: delivery.attempt },
    };
    tokio::select! {
        outcome = run(context, delivery, &begun, parallelism) => match outcome {
            Ok(outcome) => outcome,
            Err(error) => {
                requeue(context, &begun, RequeueReason::RunFailed).await;
                Outcome::Failed { error, attempt: begun.attempts }
            }
        },
        () = context.release.cancelled() => {
            requeue(context, &begun, RequeueReason::Released).await;
            Outcome::Released
        }
        never = keep_extending(context, &begun) => match never {},
    }
}

/// How far ahead the deadline in a run's record is at most. The reconciler leaves a run alone until then, also
/// where its worker has died: clients are promised a terminal state within 60 s of their task's deadline.
const LONGEST_RUN_LEASE: Duration = Duration::from_secs(50);

/// Extends the deadline in the run's record while the run goes on, which takes longer than
/// [`LONGEST_RUN_LEASE`] where `JOB_DEADLINE_SECONDS` allows it or the run waits for a slot. The reconciler
/// calls a run past that deadline lost.
async fn keep_extending(context: &Context, begun: &TaskRecord) -> Infallible {
    let lease = run_lease(context);
    // Thrice in a lease, so that one extension may fail.
    let mut interval = tokio::time::interval(lease / 3);
    interval.tick().await;
    loop {
        interval.tick().await;
        if let Err(error) = context.tasks.extend_run(begun, lease).await {
            tracing::warn!(task_id = %begun.job.task_id, %error, "the deadline of a run was not extended");
        }
    }
}

fn run_lease(context: &Context) -> Duration {
    context.job_deadline.min(LONGEST_RUN_LEASE)
}

async fn begin(
    context: &Context,
    delivery: &Delivery,
    snapshot: Snapshot,
) -> Result<Step, RunError> {
    let begin = context.tasks.begin(&delivery.job, snapshot, run_lease(context));
    let record = match begin.await? {
        BeginOutcome::AlreadyTerminal(end) => return Ok(Step::Done(already_terminal(&end))),
        BeginOutcome::Begun(record) => record,
    };
    let now = OffsetDateTime::now_utc();
    if record.job.is_overdue(now) {
        tracing::info!(task_id = %record.job.task_id, "the job has expired before its run");
        let expired = TaskState::Expired { finished_at: now };
        return finish(context, &record, expired).await.map(Step::Done);
    }
    if record.attempts > context.max_attempts {
        return give_up(context, &record).await.map(Step::Done);
    }
    if record.attempts == 1 {
        context.metrics.record_wait(now - record.job.submitted_at);
    }
    Ok(Step::Run(Box::new(record)))
}

/// The outcome for a task that has reached a terminal state before.
fn already_terminal(record: &TaskRecord) -> Outcome {
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
    begun: &TaskRecord,
    parallelism: Parallelism,
) -> Result<Outcome, RunError> {
    let picture = match delivery.picture_up_to(context.most_picture_bytes).await {
        Ok(picture) => picture,
        Err(error @ PictureFetchError::Gone { .. }) => {
            return fail(context, begun, FailureReason::PictureGone, error.to_string()).await;
        }
        Err(error @ PictureFetchError::TooLarge { .. }) => {
            return fail(context, begun, FailureReason::UndecodablePicture, error.to_string())
                .await;
        }
        Err(error @ PictureFetchError::Transient(_)) => return Err(error.into()),
    };
    match detect(context, picture, &begun.job, parallelism).await {
        Ok(found) => succeed(context, begun, found).await,
        Err(InferenceError::Broken) => {
            requeue(context, begun, RequeueReason::Released).await;
            Ok(Outcome::Released)
        }
        Err(InferenceError::Model(error @ ModelError::NotInstalled { .. })) => {
            fail(context, begun, FailureReason::UnknownModel, hints::model(&error)).await
        }
        Err(InferenceError::Undecodable(error)) => {
            fail(context, begun, FailureReason::UndecodablePicture, error.to_string()).await
        }
        Err(error @ InferenceError::Hung(_)) => {
            context.broken.cancel();
            Err(error.into())
        }
        Err(
            error @ (InferenceError::Detect(_)
            | InferenceError::Runtime(_)
            | InferenceError::Model(_)
            | InferenceError::Panicked(_)
            | InferenceError::SlotEnded
            | InferenceError::DeadlineExceeded(_)
            | InferenceError::Batch(_)),
        ) => Err(error.into()),
    }
}

/// Preprocesses the picture beside other runs, then waits for a slot and runs it.
async fn detect(
    context: &Context,
    file: Bytes,
    job: &Job,
    parallelism: Parallelism,
) -> Result<Detections, InferenceError> {
    let deadline = context.job_deadline;
    let (model, prepared) =
        context.preprocessing.preprocess(file.clone(), job.model.clone(), deadline).await?;
    let (settings, trace) = (job.settings, TraceContext::current());
    let (work, answer) = Work::new(Picture { model, prepared, settings, parallelism, trace, file });
    if let Some(batcher) = &context.batcher
        && parallelism == Parallelism::Slot
    {
        context.metrics.count_picture(parallelism);
        batcher.run(work);
        return answer.detections().await;
    }
    let mut slot = tokio::select! {
        slot = context.slots.lease() => slot,
        // A slot that hangs never becomes idle. Another worker is free sooner.
        () = context.broken.cancelled() => return Err(InferenceError::Broken),
    };
    context.metrics.count_picture(parallelism);
    slot.run(Batch::of(work), deadline).await;
    answer.detections().await
}

async fn succeed(
    context: &Context,
    begun: &TaskRecord,
    found: Detections,
) -> Result<Outcome, RunError> {
    let task_id = begun.job.task_id;
    let (timings, over) = (found.timings, Instant::now());
    context.metrics.record_stages(&timings);
    let state = TaskState::Success {
        started_at: begun.state.started_at(),
        finished_at: OffsetDateTime::now_utc(),
        objects: found.objects,
        width: found.width,
        height: found.height,
        warnings: found.warnings,
        model_digest: Some(found.model_digest),
        cached: false,
    };
    let outcome = finish(context, begun, state).await?;
    context.metrics.record_stage("store", over.elapsed());
    tracing::info!(
        %task_id,
        attempt = begun.attempts,
        decode_ms = milliseconds(timings.decode),
        letterbox_ms = milliseconds(timings.letterbox),
        infer_ms = milliseconds(timings.infer),
        postprocess_ms = milliseconds(timings.postprocess),
        "detected"
    );
    Ok(outcome)
}

async fn fail(
    context: &Context,
    begun: &TaskRecord,
    reason: FailureReason,
    message: String,
) -> Result<Outcome, RunError> {
    tracing::info!(task_id = %begun.job.task_id, ?reason, message, "the job has failed permanently");
    let state = TaskState::Failure { finished_at: OffsetDateTime::now_utc(), reason, message };
    finish(context, begun, state).await
}

async fn give_up(context: &Context, begun: &TaskRecord) -> Result<Outcome, RunError> {
    let message = format!(
        "given up after {} attempts: processing this picture stopped or failed its worker each time",
        context.max_attempts
    );
    let outcome = fail(context, begun, FailureReason::Poison, message).await?;
    Ok(if matches!(outcome, Outcome::Stored) { Outcome::Poison } else { outcome })
}

/// Stores the terminal state. The first one stored wins.
async fn finish(
    context: &Context,
    begun: &TaskRecord,
    state: TaskState,
) -> Result<Outcome, RunError> {
    failpoints::reach("worker-before-store");
    let span = traces::span(|| SpanBuilder::from_name("store"));
    let finished = span.around(context.tasks.finish(&begun.with_state(state))).await;
    if let Err(error) = &finished {
        span.fail("not_stored", || error.to_string());
    }
    match finished? {
        FinishOutcome::Stored => Ok(Outcome::Stored),
        FinishOutcome::AlreadyTerminal(_) => Ok(Outcome::Duplicate),
    }
}

/// Sets the task back to QUEUED. After a failure the record still says STARTED, and a released run counts
/// as an attempt.
async fn requeue(context: &Context, begun: &TaskRecord, reason: RequeueReason) {
    if let Err(error) = context.tasks.requeue(begun, reason).await {
        tracing::warn!(task_id = %begun.job.task_id, %error, "the record was not set back to QUEUED");
    }
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e4).round() / 10.0
}
