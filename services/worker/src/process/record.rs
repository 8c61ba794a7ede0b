//! What is stored at the end of a job: its terminal record, or that it goes back to the queue.

use std::time::{Duration, Instant};

use detector::Detections;
use domain::{FailureReason, RunReport, TaskRecord, TaskState};
use messaging::{FinishOutcome, RequeueReason, StoredDrawing, TaskStore};
use opentelemetry::trace::SpanBuilder;
use service::{lifecycle::failpoints, telemetry::traces};
use time::OffsetDateTime;

use super::model_run::RunEnd;
use crate::{
    context::Context,
    metrics::Stage,
    settle::{Outcome, RunError},
};

/// The outcome for a task that has reached a terminal state before. Whoever stored it may have ended before it
/// announced that.
pub(super) async fn already_terminal(tasks: &TaskStore, record: &TaskRecord) -> Outcome {
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

pub(super) async fn expire(context: &Context, present: &TaskRecord) -> Result<Outcome, RunError> {
    tracing::info!(task_id = %present.job.task_id, "the job has expired before its run");
    let expired = TaskState::Expired { finished_at: OffsetDateTime::now_utc() };
    finish(context, present, expired).await
}

pub(super) async fn give_up(context: &Context, present: &TaskRecord) -> Result<Outcome, RunError> {
    let message = format!(
        "given up after {} attempts: processing this picture stopped or failed its worker each time",
        context.max_attempts
    );
    let outcome = fail(context, present, FailureReason::Poison, message).await?;
    Ok(if matches!(outcome, Outcome::Stored) { Outcome::Poison } else { outcome })
}

pub(super) async fn store_end(
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
pub(super) async fn requeue(context: &Context, begun: &TaskRecord, reason: RequeueReason) {
    if let Err(error) = context.tasks.requeue(begun, reason).await {
        tracing::warn!(task_id = %begun.job.task_id, %error, "the record was not set back to QUEUED");
    }
}

/// To two decimals, so that they are short as JSON.
fn milliseconds(duration: Duration) -> f32 {
    (duration.as_secs_f32() * 1e5).round() / 100.0
}
