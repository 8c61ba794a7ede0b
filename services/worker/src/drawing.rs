//! Pictures with the detected objects drawn in, for tasks whose clients ask for one.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use detector::{
    DecodeError, Detections,
    annotate::{self, EncodeError},
    decode,
};
use domain::{
    DetectedObject, DrawingFormat, Job, TaskId,
    picture::{PictureFormat, PictureLimits},
};
use messaging::{DrawingError, Drawings, StoredDrawing};
use opentelemetry::trace::SpanBuilder;
use service::telemetry::traces;
use tokio::sync::Semaphore;

use crate::metrics::{Stage, WorkerMetrics};

/// The largest drawing that is stored, in bytes.
const MAX_DRAWING_BYTES: usize = 64 << 20;

/// Draws objects into pictures, and stores the drawings.
pub(crate) struct Drawer {
    pub(crate) drawings: Drawings,
    /// How many pictures are drawn into at a time: each is decoded in full.
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) limits: PictureLimits,
    /// How long waiting and drawing may take together.
    pub(crate) timeout: Duration,
    pub(crate) metrics: WorkerMetrics,
}

/// Why a task has no drawing. The texts are for clients.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoDrawing {
    #[error("the picture does not decode: {0}")]
    Undecodable(#[from] DecodeError),
    #[error("{0}")]
    Encode(#[from] EncodeError),
    #[error("it has {0} bytes, more than {MAX_DRAWING_BYTES}")]
    TooLarge(usize),
    #[error("it was not ready within {0:?}")]
    TimedOut(Duration),
    #[error("drawing failed")]
    Panicked,
    #[error("{}", in_short(.0))]
    Store(#[from] DrawingError),
}

/// Without the server's words, which are for operators.
fn in_short(error: &DrawingError) -> String {
    match error {
        DrawingError::Full => error.to_string(),
        DrawingError::NotStored(_) => "it could not be stored".to_owned(),
    }
}

impl Drawer {
    /// Draws what was found into the picture of a job whose client asks for that, and stores the drawing. If it cannot,
    /// it adds a warning that says why: a task succeeds without its drawing.
    pub(crate) async fn draw(
        &self,
        job: &Job,
        picture: Bytes,
        found: &mut Detections,
    ) -> Option<StoredDrawing> {
        let (task_id, format) = (job.task_id, job.annotated?);
        let span = traces::span(|| SpanBuilder::from_name("draw"));
        let objects = found.objects.clone();
        let drawn = span.around(self.draw_and_store(task_id, format, picture, objects)).await;
        self.metrics.count_drawing(drawn.is_ok());
        match drawn {
            Ok(stored) => Some(stored),
            Err(error) => {
                let cause = match &error {
                    NoDrawing::Store(error) => error.to_string(),
                    error => error.to_string(),
                };
                tracing::warn!(%task_id, error = cause, "a task has no drawing");
                span.fail("no_drawing", || cause);
                found
                    .warnings
                    .push(format!("the picture with the drawn objects is missing: {error}"));
                None
            }
        }
    }

    async fn draw_and_store(
        &self,
        task_id: TaskId,
        format: DrawingFormat,
        picture: Bytes,
        objects: Vec<DetectedObject>,
    ) -> Result<StoredDrawing, NoDrawing> {
        let started = Instant::now();
        let drawing = tokio::time::timeout(self.timeout, self.draw_file(format, picture, objects));
        let file = drawing.await.map_err(|_| NoDrawing::TimedOut(self.timeout))??;
        if file.len() > MAX_DRAWING_BYTES {
            return Err(NoDrawing::TooLarge(file.len()));
        }
        let stored = self.drawings.put(task_id, format, file.into()).await?;
        self.metrics.record_stage(Stage::Draw, started.elapsed());
        Ok(stored)
    }

    async fn draw_file(
        &self,
        format: DrawingFormat,
        picture: Bytes,
        objects: Vec<DetectedObject>,
    ) -> Result<Vec<u8>, NoDrawing> {
        // Never closed.
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let limits = self.limits;
        let drawing = tokio::task::spawn_blocking(move || {
            // Until the end, also where nobody waits for it any more.
            let _permit = permit;
            let draw = || draw(&picture, &limits, &objects, format);
            catch_unwind(AssertUnwindSafe(draw)).unwrap_or(Err(NoDrawing::Panicked))
        });
        drawing.await.unwrap_or(Err(NoDrawing::Panicked))
    }
}

fn draw(
    picture: &[u8],
    limits: &PictureLimits,
    objects: &[DetectedObject],
    format: DrawingFormat,
) -> Result<Vec<u8>, NoDrawing> {
    let mut picture = decode::decode(picture, limits)?;
    annotate::annotate(&mut picture, objects);
    let format = match format {
        DrawingFormat::Jpeg => PictureFormat::Jpeg,
        DrawingFormat::Png => PictureFormat::Png,
        DrawingFormat::WebP => PictureFormat::WebP,
    };
    Ok(annotate::encode(&picture, format)?)
}
