//! The models a slot has loaded: the worker's own, and one other that jobs have asked for.

use std::{
    num::NonZero,
    path::PathBuf,
    sync::{Arc, Mutex, TryLockError},
    thread,
};

use detector::{
    DetectError, Detector, ModelBundle, ModelError, Preprocessor, Runtime, SessionOptions,
    SharedModel,
};
use domain::{ModelName, Sha256Digest, picture::PictureLimits};

use crate::inference::Share;

/// Where models come from and how they are run.
#[derive(Clone)]
pub(crate) struct ModelSource {
    pub(crate) runtime: Runtime,
    pub(crate) models_dir: PathBuf,
    pub(crate) options: SessionOptions,
}

impl ModelSource {
    /// The worker's own model, which all slots run.
    ///
    /// # Errors
    /// [`ModelError`] if it is not installed or was changed.
    pub(crate) fn load_shared(&self, name: &ModelName) -> Result<SharedModel, ModelError> {
        SharedModel::load(&self.runtime, &self.bundle(name)?, self.options.provider)
    }

    /// A model for one slot.
    fn load(&self, name: &ModelName) -> Result<Detector, ModelError> {
        Detector::load(&self.runtime, &self.bundle(name)?, &self.options)
    }

    fn bundle(&self, name: &ModelName) -> Result<ModelBundle, ModelError> {
        ModelBundle::load(&self.models_dir.join(name.as_str()))
    }
}

/// The worker's own model once more, on every core, for a picture that has the worker to itself. All
/// slots share it.
#[derive(Clone)]
pub(crate) struct WideDetector(Option<Arc<Mutex<Detector>>>);

impl WideDetector {
    /// Loads it, unless a slot has every core anyway, or cores do not run the model.
    ///
    /// # Errors
    /// As [`LoadedModels::load`].
    pub(crate) fn load(model: &SharedModel, options: SessionOptions) -> Result<Self, ModelError> {
        let cores = thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
        if options.threads >= cores || options.provider.is_gpu() {
            return Ok(Self(None));
        }
        let detector = model.detector(&SessionOptions { threads: cores, ..options })?;
        Ok(Self(Some(Arc::new(Mutex::new(detector)))))
    }

    /// Runs `work` with it, or gives `work` back if there is none or another slot has it.
    fn try_with<T, W: FnOnce(&mut Detector) -> T>(&self, work: W) -> Result<T, W> {
        let Some(detector) = &self.0 else { return Err(work) };
        match detector.try_lock() {
            Ok(mut detector) => Ok(work(&mut detector)),
            // A detector overwrites what a panic has left half done.
            Err(TryLockError::Poisoned(poisoned)) => Ok(work(&mut poisoned.into_inner())),
            Err(TryLockError::WouldBlock) => Err(work),
        }
    }
}

/// One slot's models. The worker's own is loaded at the start and stays; after a change of model the
/// queue still holds jobs for the old one, so one other is loaded when a job asks for it.
pub(crate) struct LoadedModels {
    source: ModelSource,
    own_name: ModelName,
    own: Detector,
    wide: WideDetector,
    other: Option<(ModelName, Detector)>,
}

impl LoadedModels {
    /// Loads the worker's own model.
    ///
    /// # Errors
    /// [`ModelError`] if ONNX Runtime refuses it.
    pub(crate) fn load(
        source: ModelSource,
        own_name: ModelName,
        model: &SharedModel,
        wide: WideDetector,
    ) -> Result<Self, ModelError> {
        let own = model.detector(&source.options)?;
        Ok(Self { source, own_name, own, wide, other: None })
    }

    /// What the worker's own model comes to.
    pub(crate) fn digest(&self) -> Sha256Digest {
        self.own.digest()
    }

    /// Whether the worker's own model takes several pictures at a time.
    ///
    /// # Errors
    /// [`DetectError`] when it does not even run.
    pub(crate) fn takes_batches(&mut self) -> Result<bool, DetectError> {
        self.own.takes_batches()
    }

    /// What prepares pictures for the worker's own model.
    pub(crate) fn preprocessor(&self, limits: PictureLimits) -> Preprocessor {
        self.own.preprocessor(limits)
    }

    /// Runs `work` with the model of this name, loaded if need be, on as many cores as `share` gives.
    ///
    /// # Errors
    /// [`ModelError`] if it is not installed, was changed, or is refused by ONNX Runtime.
    pub(crate) fn with<T>(
        &mut self,
        name: &ModelName,
        share: Share,
        work: impl FnOnce(&mut Detector) -> T,
    ) -> Result<T, ModelError> {
        let is_own = *name == self.own_name;
        if is_own && share == Share::WholeWorker {
            return Ok(self.wide.try_with(work).unwrap_or_else(|work| work(&mut self.own)));
        }
        if is_own { Ok(work(&mut self.own)) } else { self.other(name).map(work) }
    }

    fn other(&mut self, name: &ModelName) -> Result<&mut Detector, ModelError> {
        let (_, detector) = match self.other.take() {
            Some(other) if other.0 == *name => self.other.insert(other),
            // The one before is let go of first: two at a time is what a slot is given memory for.
            _ => self.other.insert((name.clone(), self.source.load(name)?)),
        };
        Ok(detector)
    }
}
