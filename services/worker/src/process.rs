//! One delivery from its arrival to its outcome.

use std::{sync::Arc, time::Duration};

use detector::Found;
use domain::{FailureReason, ModelName, TaskRecord, TaskState};
use messaging::{Delivery, FinishOutcome, MarkOutcome, MessagingError, PictureError, TaskStore};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::{
    inference::{InferenceError, SlotLease},
    settle::Outcome,
};

/// What every job of this worker shares.
pub(crate) struct Context {
    pub(crate) tasks: TaskStore,
    pub(crate) model: ModelName,
    pub(crate) job_deadline: Duration,
    pub(crate) max_deliveries: u32,
    /// Cancelled when jobs that still run must be handed back.
    pub(crate) hand_back: CancellationToken,
    /// Cancelled when this process is broken and should be replaced.
    pub(crate) broken: CancellationToken,
}

/// Processes one delivery; what it needs longest, the slot, is given up at the end.
pub(crate) async fn process(
    context: &Arc<Context>,
    delivery: &Delivery,
    slot: &mut SlotLease,
) -> Outcome {
    // The lease on the job is extended from a task of its own, and for no longer than this runs.
    let _keep_alive = delivery.keep_alive();
    tokio::select! {
        outcome = run(context, delivery, slot) => outcome,
        () = context.hand_back.cancelled() => {
            mark_queued(context, delivery).await;
            Outcome::HandedBack
        }
    }
}

async fn run(context: &Context, delivery: &Delivery, slot: &mut SlotLease) -> Outcome {
    match attempt(context, delivery, slot).await {
        Ok(outcome) => outcome,
        Err(why) => {
            mark_queued(context, delivery).await;
            Outcome::Failed { why }
        }
    }
}

/// `Err` is what went wrong for now; what is wrong for good ends in a stored record.
async fn attempt(
    context: &Context,
    delivery: &Delivery,
    slot: &mut SlotLease,
) -> Result<Outcome, String> {
    if delivery.attempt > context.max_deliveries {
        return give_up(context, delivery).await;
    }
    if delivery.job.model != context.model {
        let message = format!(
            "model '{}' is not served here: the workers of this queue run '{}'",
            delivery.job.model, context.model
        );
        return fail(context, delivery, FailureReason::UnknownModel, message).await;
    }
    let started =
        TaskState::Started { started_at: OffsetDateTime::now_utc(), attempt: delivery.attempt };
    match context.tasks.mark(&record(delivery, started)).await.map_err(text)? {
        MarkOutcome::AlreadyTerminal(_) => return Ok(Outcome::Duplicate),
        MarkOutcome::Stored => {}
    }
    let picture = match delivery.picture().await {
        Ok(picture) => picture,
        Err(error @ PictureError::Gone { .. }) => {
            return fail(context, delivery, FailureReason::PictureGone, error.to_string()).await;
        }
        Err(error) => return Err(error.to_string()),
    };
    match slot.detect(picture, delivery.job.settings, context.job_deadline).await {
        Ok(found) => succeed(context, delivery, found).await,
        Err(InferenceError::Detect(error)) if error.is_permanent() => {
            fail(context, delivery, FailureReason::UndecodablePicture, error.to_string()).await
        }
        Err(error) => {
            if matches!(error, InferenceError::Hung(_)) {
                context.broken.cancel();
            }
            Err(error.to_string())
        }
    }
}

async fn succeed(context: &Context, delivery: &Delivery, found: Found) -> Result<Outcome, String> {
    let task_id = delivery.job.task_id;
    let timings = found.timings;
    let state = TaskState::Success {
        finished_at: OffsetDateTime::now_utc(),
        objects: found.objects,
        width: found.width,
        height: found.height,
    };
    let outcome = finish(context, delivery, state).await?;
    tracing::info!(
        %task_id,
        attempt = delivery.attempt,
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
    delivery: &Delivery,
    reason: FailureReason,
    message: String,
) -> Result<Outcome, String> {
    tracing::info!(task_id = %delivery.job.task_id, ?reason, message, "failed for good");
    let state = TaskState::Failure { finished_at: OffsetDateTime::now_utc(), reason, message };
    finish(context, delivery, state).await
}

async fn give_up(context: &Context, delivery: &Delivery) -> Result<Outcome, String> {
    let message = format!(
        "given up after {} attempts: processing this picture stopped or failed its worker each time",
        context.max_deliveries
    );
    let outcome = fail(context, delivery, FailureReason::Poison, message).await?;
    Ok(if outcome == Outcome::Stored { Outcome::Poison } else { outcome })
}

/// Stores the end. The first end stored wins.
async fn finish(
    context: &Context,
    delivery: &Delivery,
    state: TaskState,
) -> Result<Outcome, String> {
    match context.tasks.finish(&record(delivery, state)).await.map_err(text)? {
        FinishOutcome::Stored => Ok(Outcome::Stored),
        FinishOutcome::AlreadyTerminal(_) => Ok(Outcome::Duplicate),
    }
}

/// Says that the task waits again. Only for the onlooker: a failure to say so is no harm.
async fn mark_queued(context: &Context, delivery: &Delivery) {
    if let Err(error) = context.tasks.mark(&record(delivery, TaskState::Queued)).await {
        tracing::warn!(task_id = %delivery.job.task_id, %error, "a record could not be set back");
    }
}

fn record(delivery: &Delivery, state: TaskState) -> TaskRecord {
    TaskRecord { job: delivery.job.clone(), state }
}

fn text(error: MessagingError) -> String {
    error.to_string()
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e4).round() / 10.0
}
