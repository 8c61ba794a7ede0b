//! Decoding and letterboxing pictures, beside the runs of the model or on a slot's thread.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use detector::{DecodeError, PreprocessedPicture, Preprocessor, TiledPicture};
use domain::{DetectionSettings, Tiling};
use parking_lot::Mutex;
use service::telemetry::traces::TraceContext;

use super::{
    error::{InferenceError, panic_message},
    work::Picture,
};
use crate::{cores::Parallelism, models::LoadedModel};

/// The memory of larger pictures is freed: they are rare, and it would be kept for ever. In pixels.
const LARGEST_KEPT: u32 = 4_000_000;

/// Where pictures are preprocessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placement {
    /// On blocking threads, so that a slot of several cores, or a GPU, need not wait for it.
    BesideRuns,
    /// On the thread of the slot that runs the picture. Where each slot has one core, a thread beside it would only
    /// interrupt it, and the tensor is in the core's caches.
    OnSlot,
}

/// The file of a picture, and how to run it.
pub(crate) struct PictureFile {
    pub(crate) bytes: Bytes,
    pub(crate) model: Arc<LoadedModel>,
    pub(crate) settings: DetectionSettings,
    pub(crate) parallelism: Parallelism,
    /// The trace of its job.
    pub(crate) trace: TraceContext,
}

/// Preprocesses pictures for their models.
#[derive(Default)]
pub(crate) struct Preprocessing {
    /// Pictures that have been run, whose memory is reused.
    used: Mutex<Vec<PreprocessedPicture>>,
}

impl Preprocessing {
    /// As [`Preprocessing::preprocess_here`], on a blocking thread.
    ///
    /// # Errors
    /// Also [`InferenceError::Panicked`], and [`InferenceError::Hung`] when it takes longer than `deadline`: a
    /// decoder cannot be cancelled.
    pub(crate) async fn preprocess(
        self: &Arc<Self>,
        file: PictureFile,
        deadline: Duration,
    ) -> Result<Picture, InferenceError> {
        let this = Arc::clone(self);
        blocking(deadline, move || this.preprocess_here(file)).await
    }

    /// Decodes a picture that is run in tiles, on a blocking thread.
    ///
    /// # Errors
    /// As [`Preprocessing::preprocess`].
    pub(super) async fn decode_tiled(
        file: &PictureFile,
        tiling: Tiling,
        deadline: Duration,
    ) -> Result<TiledPicture, InferenceError> {
        file.settings.classes.resolve(file.model.labels())?;
        let (bytes, model) = (file.bytes.clone(), Arc::clone(&file.model));
        let decode = move || Ok(model.preprocessor().decode_tiled(&bytes, &tiling)?);
        blocking(deadline, decode).await
    }

    /// A part of a picture in tiles, preprocessed on a blocking thread; `None` beyond the last one.
    ///
    /// # Errors
    /// [`InferenceError::Panicked`], or [`InferenceError::Hung`] when it takes longer than `deadline`.
    pub(super) async fn part(
        &self,
        picture: &Arc<TiledPicture>,
        place: usize,
        deadline: Duration,
    ) -> Result<Option<PreprocessedPicture>, InferenceError> {
        let (picture, used) = (Arc::clone(picture), self.used.lock().pop());
        let prepare = move || {
            Ok(match used {
                Some(used) => picture.part_reusing(place, used),
                None => picture.part(place),
            })
        };
        blocking(deadline, prepare).await
    }

    /// Preprocesses the picture for its model on this thread.
    ///
    /// # Errors
    /// [`InferenceError::Undecodable`] for bytes that do not decode, [`InferenceError::UnknownClass`] for a class that
    /// the model does not have.
    pub(crate) fn preprocess_here(&self, file: PictureFile) -> Result<Picture, InferenceError> {
        let PictureFile { bytes, model, settings, parallelism, trace } = file;
        settings.classes.resolve(model.labels())?;
        let prepared = self.decode_and_letterbox(&bytes, model.preprocessor(), &trace)?;
        Ok(Picture { model, prepared, settings, parallelism, trace, file: bytes })
    }

    /// Keeps the memory of a picture that has been run.
    pub(crate) fn recycle(&self, prepared: PreprocessedPicture) {
        if prepared.width.saturating_mul(prepared.height) <= LARGEST_KEPT {
            self.used.lock().push(prepared);
        }
    }

    fn decode_and_letterbox(
        &self,
        picture: &[u8],
        preprocessor: &Preprocessor,
        trace: &TraceContext,
    ) -> Result<PreprocessedPicture, DecodeError> {
        let mut stages = trace.stages();
        let used = self.used.lock().pop();
        let outcome = match used {
            Some(used) => preprocessor.preprocess_reusing(picture, used),
            None => preprocessor.preprocess(picture),
        };
        match &outcome {
            Ok(prepared) => {
                stages.record("decode", prepared.decode_time);
                stages.record("letterbox", prepared.letterbox_time);
            }
            Err(error) => stages.fail("decode", || error.to_string()),
        }
        outcome
    }
}

/// Runs `work` on a blocking thread.
///
/// # Errors
/// Those of `work`; [`InferenceError::Panicked`]; [`InferenceError::Hung`] when it takes longer than `deadline`: a
/// decoder cannot be cancelled.
async fn blocking<T: Send + 'static>(
    deadline: Duration,
    work: impl FnOnce() -> Result<T, InferenceError> + Send + 'static,
) -> Result<T, InferenceError> {
    match tokio::time::timeout(deadline, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => Err(InferenceError::Panicked(match error.try_into_panic() {
            Ok(panic) => panic_message(&*panic),
            Err(error) => error.to_string(),
        })),
        Err(_) => Err(InferenceError::Hung(deadline)),
    }
}
