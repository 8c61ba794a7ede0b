//! Decoding and letterboxing pictures, beside the runs of the model or on a slot's thread.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use detector::{DecodeError, PreprocessedPicture, Preprocessor, TiledPicture};
use domain::{DetectionSettings, LabelMap, ModelName, Tiling, picture::PictureLimits};
use parking_lot::Mutex;
use service::telemetry::traces::TraceContext;

use super::{
    error::{InferenceError, panic_message},
    models::{JobModel, ModelSource},
    work::Picture,
};
use crate::cores::Parallelism;

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
    pub(crate) model: ModelName,
    pub(crate) settings: DetectionSettings,
    pub(crate) parallelism: Parallelism,
    /// The trace of its job.
    pub(crate) trace: TraceContext,
}

/// What is needed of the worker's own model before a run.
pub(crate) struct OwnModelInput {
    pub(crate) name: ModelName,
    pub(crate) preprocessor: Preprocessor,
    pub(crate) labels: LabelMap,
}

/// Resolves the models of jobs, and preprocesses pictures for them.
pub(crate) struct Preprocessing {
    own: OwnModelInput,
    limits: PictureLimits,
    models: ModelSource,
    /// Pictures that have been run, whose memory is reused.
    used: Mutex<Vec<PreprocessedPicture>>,
}

impl Preprocessing {
    pub(crate) fn new(own: OwnModelInput, limits: PictureLimits, models: ModelSource) -> Self {
        Self { own, limits, models, used: Mutex::default() }
    }

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

    /// Resolves the model of a picture that is run in tiles, and decodes it, on a blocking thread.
    ///
    /// # Errors
    /// As [`Preprocessing::preprocess`].
    pub(super) async fn decode_tiled(
        self: &Arc<Self>,
        file: &PictureFile,
        tiling: Tiling,
        deadline: Duration,
    ) -> Result<(JobModel, TiledPicture), InferenceError> {
        let this = Arc::clone(self);
        let (bytes, name, settings) =
            (file.bytes.clone(), file.model.clone(), file.settings.clone());
        blocking(deadline, move || {
            let (model, preprocessor) = this.resolve(&name, &settings)?;
            Ok((model, preprocessor.decode_tiled(&bytes, &tiling)?))
        })
        .await
    }

    /// Resolves the model of the picture, and preprocesses the picture for it on this thread.
    ///
    /// # Errors
    /// [`InferenceError::Model`] for a model that is not installed, [`InferenceError::Undecodable`] for bytes that
    /// do not decode, [`InferenceError::UnknownClass`] for a class that the model does not have.
    pub(crate) fn preprocess_here(&self, file: PictureFile) -> Result<Picture, InferenceError> {
        let PictureFile { bytes, model, settings, parallelism, trace } = file;
        let (model, prepared) = self.preprocess_for(&bytes, &model, &settings, &trace)?;
        Ok(Picture { model, prepared, settings, parallelism, trace, file: bytes })
    }

    /// Keeps the memory of a picture that has been run.
    pub(crate) fn recycle(&self, prepared: PreprocessedPicture) {
        if prepared.width.saturating_mul(prepared.height) <= LARGEST_KEPT {
            self.used.lock().push(prepared);
        }
    }

    fn preprocess_for(
        &self,
        picture: &[u8],
        name: &ModelName,
        settings: &DetectionSettings,
        trace: &TraceContext,
    ) -> Result<(JobModel, PreprocessedPicture), InferenceError> {
        let (model, preprocessor) = self.resolve(name, settings)?;
        Ok((model, self.decode_and_letterbox(picture, &preprocessor, trace)?))
    }

    /// The model of a job, and what preprocesses its picture.
    fn resolve(
        &self,
        name: &ModelName,
        settings: &DetectionSettings,
    ) -> Result<(JobModel, Preprocessor), InferenceError> {
        if *name == self.own.name {
            settings.classes.resolve(&self.own.labels)?;
            return Ok((JobModel::Own, self.own.preprocessor.clone()));
        }
        // Read for each job: a model that was installed again has another digest, by which slots know it.
        let bundle = self.models.bundle(name)?;
        settings.classes.resolve(bundle.labels())?;
        let preprocessor = bundle.preprocessor(self.limits);
        Ok((JobModel::Other(Arc::new(bundle)), preprocessor))
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
pub(super) async fn blocking<T: Send + 'static>(
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
