//! The run of a model on the picture of a job, whole or in tiles, in a slot or in a batch.

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use detector::{Detections, ModelError};
use domain::{FailureReason, Job, ModelName, Priority, Tiling};
use futures_util::{StreamExt, TryStreamExt, stream};
use messaging::{Delivery, PictureFetchError, StoredDrawing};
use service::telemetry::traces::TraceContext;

use crate::{
    context::Context,
    cores::Parallelism,
    hints,
    inference::{
        Batch, InferenceError, Picture, PictureFile, Placement, SlotLease, TiledJob, Work,
    },
    models::LoadedModel,
    settle::RunError,
};

/// What a run of the model leads to.
pub(super) enum RunEnd {
    Detected(Detections, Option<StoredDrawing>),
    /// The job can never succeed.
    Impossible {
        reason: FailureReason,
        message: String,
    },
}

/// Why a run did not end.
pub(super) enum Interruption {
    /// This worker stops, or is broken, and leaves the job to another.
    Released,
    /// It is retried.
    Failed(RunError),
}

/// Fetches the picture and runs the model on it. Draws what was found, where that is asked for.
pub(super) async fn run_model(
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
