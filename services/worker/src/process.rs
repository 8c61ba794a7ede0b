//! One delivery from its arrival to its outcome.

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use detector::{Detections, ModelError};
use domain::{FailureReason, Job, ModelName, Priority, RunReport, TaskRecord, TaskState, Tiling};
use futures_util::{StreamExt, TryStreamExt, stream};
use messaging::{
    Delivery, FinishOutcome, MessagingError, PictureFetchError, RequeueReason, Snapshot,
    StoredDrawing, TaskStore, Writes,
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
    drawing::Drawer,
    hints,
    inference::{
        Batch, Batcher, InferenceError, Picture, PictureFile, Placement, SlotLease, Slots,
        TiledJob, Work,
    },
    load::{CountedJob, Load},
    metrics::{Stage, WorkerMetrics},
    models::{LoadedModel, ModelCache},
    recorded_run::{RecordedRun, Start},
    running::{RunningTask, RunningTasks},
    settle::{Outcome, RunError},
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

/// Whether other jobs run beside a job in this process.
///
/// A picture that crashes its worker interrupts the jobs in the other slots. NATS redelivers all of them
/// at the same time, most likely to the same worker, where they would crash it together until all fail as
/// poison. So a job with an earlier run that failed or did not end runs alone: a crash then is due to that job.
/// The record counts these runs, except for a first one that ended its worker within a second: that one counts if
/// the first delivery left no trace. Otherwise the count of deliveries does not serve: it rises when a worker that
/// stops releases a job that it has not run, and is reset with a new consumer.
enum Isolation<'a> {
    Shared {
        _running: RwLockReadGuard<'a, ()>,
    },
    /// With all slots for itself, so that no shadow run crashes the process beside it.
    Exclusive {
        _running: RwLockWriteGuard<'a, ()>,
        _all_slots: CountedJob,
    },
}

impl<'a> Isolation<'a> {
    /// Waits until the job may run. New jobs do not overtake one that waits for exclusive isolation.
    async fn acquire(context: &'a Context, earlier_runs: u32) -> Self {
        // At the limit, the job fails as poison and is not run.
        if (1..context.max_attempts).contains(&earlier_runs) {
            let all_slots = context.load.count(Parallelism::AllCores);
            Self::Exclusive { _running: context.isolation.write().await, _all_slots: all_slots }
        } else {
            Self::Shared { _running: context.isolation.read().await }
        }
    }
}

/// What a run of the model leads to.
enum RunEnd {
    Detected(Detections, Option<StoredDrawing>),
    /// The job can never succeed.
    Impossible {
        reason: FailureReason,
        message: String,
    },
}

/// Why a run did not end.
enum Interruption {
    /// This worker stops, or is broken, and leaves the job to another.
    Released,
    /// It is retried.
    Failed(RunError),
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

async fn expire(context: &Context, present: &TaskRecord) -> Result<Outcome, RunError> {
    tracing::info!(task_id = %present.job.task_id, "the job has expired before its run");
    let expired = TaskState::Expired { finished_at: OffsetDateTime::now_utc() };
    finish(context, present, expired).await
}

async fn give_up(context: &Context, present: &TaskRecord) -> Result<Outcome, RunError> {
    let message = format!(
        "given up after {} attempts: processing this picture stopped or failed its worker each time",
        context.max_attempts
    );
    let outcome = fail(context, present, FailureReason::Poison, message).await?;
    Ok(if matches!(outcome, Outcome::Stored) { Outcome::Poison } else { outcome })
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

async fn run_model(
    context: &Context,
    delivery: &Delivery,
    parallelism: Parallelism,
) -> Result<RunEnd, Interruption> {
    let impossible = |reason, message| Ok(RunEnd::Impossible { reason, message });
    let failed = |error: RunError| Err(Interruption::Failed(error));
    let picture = match delivery.picture_up_to(context.most_picture_bytes).await {
        Ok(picture) => picture,
        Err(error @ PictureFetchError::Gone { .. }) => {
            return impossible(FailureReason::PictureGone, error.to_string());
        }
        Err(error @ PictureFetchError::TooLarge { .. }) => {
            return impossible(FailureReason::UndecodablePicture, error.to_string());
        }
        Err(error @ PictureFetchError::Transient(_)) => return failed(error.into()),
    };
    match detect(context, picture.clone(), &delivery.job, parallelism).await {
        Ok(mut found) => {
            // In the time of the run: a task that succeeds has its drawing.
            let drawing = context.drawer.draw(&delivery.job, picture, &mut found).await;
            Ok(RunEnd::Detected(found, drawing))
        }
        Err(InferenceError::Broken) => Err(Interruption::Released),
        // Another run would find the same files.
        Err(InferenceError::Model(error)) if !matches!(*error, ModelError::Read { .. }) => {
            impossible(reason_of(&error), hints::model(&error))
        }
        Err(error @ InferenceError::NotServed(_)) => {
            impossible(FailureReason::UnknownModel, error.to_string())
        }
        Err(InferenceError::Undecodable(error)) => {
            impossible(FailureReason::UndecodablePicture, error.to_string())
        }
        Err(error @ InferenceError::Hung(_)) => {
            context.broken.cancel();
            failed(error.into())
        }
        Err(InferenceError::UnknownClass(error)) => {
            impossible(FailureReason::UnknownClass, error.to_string())
        }
        Err(error @ InferenceError::TooManyTiles { .. }) => {
            impossible(FailureReason::TooManyTiles, error.to_string())
        }
        Err(
            error @ (InferenceError::Detect(_)
            | InferenceError::Runtime(_)
            | InferenceError::Model(_)
            | InferenceError::Panicked(_)
            | InferenceError::SlotEnded
            | InferenceError::DeadlineExceeded(_)
            | InferenceError::Batch(_)),
        ) => failed(error.into()),
    }
}

/// The reason of a job whose model cannot be loaded.
fn reason_of(error: &ModelError) -> FailureReason {
    match error {
        // It was removed since the job was pulled.
        ModelError::NotInstalled { .. } => FailureReason::UnknownModel,
        _ => FailureReason::ModelNotLoadable,
    }
}

/// Preprocesses the picture and runs the model, in a slot of its own or in a batch.
async fn detect(
    context: &Context,
    bytes: Bytes,
    job: &Job,
    parallelism: Parallelism,
) -> Result<Detections, InferenceError> {
    let deadline = context.job_deadline;
    let model = loaded_model(context, &job.model).await?;
    let (settings, trace) = (job.settings.clone(), TraceContext::current());
    let file = PictureFile { bytes, model, settings, parallelism, trace };
    if let Some(tiling) = job.settings.tiling {
        return detect_tiled(context, file, tiling, job.priority).await;
    }
    if context.placement == Placement::OnSlot {
        let mut slot = lease_slot(context, job.priority).await?;
        context.metrics.count_picture(parallelism);
        return slot.run_file(file, deadline).await;
    }
    let picture = context.slots.preprocessing().preprocess(file, deadline).await?;
    Ok(run_picture(context, picture, job.priority).await?.detections)
}

/// The detections of one run of the model, and the time of a slot that it took.
struct PictureRun {
    detections: Detections,
    took: Duration,
}

/// Runs the model on a preprocessed picture, in a slot of its own or in a batch.
async fn run_picture(
    context: &Context,
    picture: Picture,
    priority: Priority,
) -> Result<PictureRun, InferenceError> {
    let parallelism = picture.parallelism;
    let (work, answer) = Work::new(picture);
    if let Some(batcher) = &context.batcher
        && parallelism == Parallelism::Slot
    {
        context.metrics.count_picture(parallelism);
        batcher.run(priority, work);
        let detections = answer.detections().await?;
        let took = detections.timings.infer;
        return Ok(PictureRun { detections, took });
    }
    let mut slot = lease_slot(context, priority).await?;
    context.metrics.count_picture(parallelism);
    let start = Instant::now();
    slot.run(Batch::of(work), context.job_deadline).await;
    let detections = answer.detections().await?;
    Ok(PictureRun { detections, took: start.elapsed() })
}

/// Runs the model on the whole picture and on its tiles, as many at a time as there are slots, and one more that is
/// being preprocessed. The runs together may take all slots for the deadline of a job. The time that they wait for slots
/// does not count: it is other jobs that take it, and these runs would be as long the next time.
async fn detect_tiled(
    context: &Context,
    file: PictureFile,
    tiling: Tiling,
    priority: Priority,
) -> Result<Detections, InferenceError> {
    let limit = context.job_deadline;
    let picture = TiledJob::decode(file, tiling, limit).await?;
    let at_a_time = context.slots.count() * context.max_batch + 1;
    let all_slots = u32::try_from(context.slots.count()).unwrap_or(u32::MAX);
    let mut left = limit.saturating_mul(all_slots);
    let (tiled, preprocessing) = (&picture, context.slots.preprocessing());
    let parts = (0..picture.parts()).map(|place| async move {
        let part = tiled.part(place, preprocessing, limit).await?;
        run_picture(context, part, priority).await
    });
    let mut runs = pin!(stream::iter(parts).buffered(at_a_time));
    let mut detected = Vec::with_capacity(picture.parts());
    while let Some(PictureRun { detections, took }) = runs.try_next().await? {
        left = left
            .checked_sub(took)
            .ok_or(InferenceError::TooManyTiles { runs: picture.parts(), limit })?;
        detected.push(detections);
    }
    picture.merge(detected)
}

/// The version of the model that the job is run with. It may have to be loaded first.
async fn loaded_model(
    context: &Context,
    name: &ModelName,
) -> Result<Arc<LoadedModel>, InferenceError> {
    let deadline = context.job_deadline;
    let loaded = tokio::time::timeout(deadline, context.models.get(name)).await;
    loaded.unwrap_or(Err(InferenceError::DeadlineExceeded(deadline)))
}

async fn lease_slot(context: &Context, priority: Priority) -> Result<SlotLease, InferenceError> {
    tokio::select! {
        slot = context.slots.lease(priority) => Ok(slot),
        // A slot that hangs never becomes idle. Another worker is free sooner.
        () = context.broken.cancelled() => Err(InferenceError::Broken),
    }
}

async fn store_end(
    context: &Context,
    begun: &TaskRecord,
    end: RunEnd,
) -> Result<Outcome, RunError> {
    match end {
        RunEnd::Detected(found, drawing) => succeed(context, begun, found, drawing).await,
        RunEnd::Impossible { reason, message } => fail(context, begun, reason, message).await,
    }
}

async fn succeed(
    context: &Context,
    begun: &TaskRecord,
    found: Detections,
    drawing: Option<StoredDrawing>,
) -> Result<Outcome, RunError> {
    let task_id = begun.job.task_id;
    let (timings, over) = (found.timings, Instant::now());
    context.metrics.record_stages(&timings);
    context.metrics.record_run(&begun.job.model, timings.infer);
    context.metrics.count_objects(&found.objects);
    let state = TaskState::Success {
        started_at: begun.state.started_at(),
        finished_at: OffsetDateTime::now_utc(),
        objects: found.objects,
        width: found.width,
        height: found.height,
        warnings: found.warnings,
        run: Some(RunReport {
            worker: context.name.clone(),
            decode_ms: milliseconds(timings.decode),
            letterbox_ms: milliseconds(timings.letterbox),
            infer_ms: milliseconds(timings.infer),
            postprocess_ms: milliseconds(timings.postprocess),
        }),
        model_digest: Some(found.model_digest),
        drawing: drawing.as_ref().map(StoredDrawing::drawing),
        cached: false,
    };
    let outcome = finish(context, begun, state).await;
    // After an error too: the record may be stored.
    if let (Some(drawing), Ok(Outcome::Stored) | Err(_)) = (drawing, &outcome) {
        drawing.keep();
    }
    let outcome = outcome?;
    context.metrics.record_stage(Stage::Store, over.elapsed());
    tracing::info!(
        %task_id,
        attempt = begun.attempts,
        decode_ms = milliseconds(timings.decode),
        letterbox_ms = milliseconds(timings.letterbox),
        infer_ms = milliseconds(timings.infer),
        postprocess_ms = milliseconds(timings.postprocess),
        "detected"
    );
    Ok(if matches!(outcome, Outcome::Stored) { Outcome::Detected } else { outcome })
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
        FinishOutcome::AlreadyTerminal(present) => {
            Ok(already_terminal(&context.tasks, &present).await)
        }
    }
}

/// Sets the task back to QUEUED. After a failure the record still says STARTED, and a released run counts
/// as an attempt.
async fn requeue(context: &Context, begun: &TaskRecord, reason: RequeueReason) {
    if let Err(error) = context.tasks.requeue(begun, reason).await {
        tracing::warn!(task_id = %begun.job.task_id, %error, "the record was not set back to QUEUED");
    }
}

/// To two decimals, so that they are short as JSON.
fn milliseconds(duration: Duration) -> f32 {
    (duration.as_secs_f32() * 1e5).round() / 100.0
}
