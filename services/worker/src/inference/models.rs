//! The models of a worker: which one runs a job, and which ones a slot has loaded.

use std::{num::NonZero, path::PathBuf, sync::Arc};

use detector::{Detector, ModelBundle, ModelError, OnnxRuntime, SessionOptions, SharedModel};
use domain::{ModelName, Sha256Digest};
use parking_lot::Mutex;

use super::{
    error::InferenceError,
    planned::{PlannedDetectors, Size},
};
use crate::cores::Parallelism;

/// The model of a job, resolved before its picture is preprocessed.
#[derive(Debug, Clone)]
pub(crate) enum JobModel {
    /// The worker's own.
    Own,
    /// Another installed one: after a change of model the queue still holds jobs for the previous one.
    Other(Arc<ModelBundle>),
}

/// Where models are installed and how they are run.
#[derive(Clone)]
pub(crate) struct ModelSource {
    pub(crate) runtime: OnnxRuntime,
    pub(crate) models_dir: PathBuf,
    pub(crate) options: SessionOptions,
}

impl ModelSource {
    /// The description of an installed model.
    ///
    /// # Errors
    /// [`ModelError`] if it is not installed or its description is damaged.
    pub(crate) fn bundle(&self, name: &ModelName) -> Result<ModelBundle, ModelError> {
        ModelBundle::load(&self.models_dir.join(name.as_str()))
    }

    /// The worker's own model, which all slots run.
    ///
    /// # Errors
    /// [`ModelError`] if it was changed since it was installed.
    pub(crate) fn load_shared(&self, bundle: &ModelBundle) -> Result<SharedModel, ModelError> {
        SharedModel::load(&self.runtime, bundle, self.options.provider)
    }
}

/// The worker's own model on all cores, for a job beside which no other runs or waits. All slots share
/// it.
#[derive(Clone)]
pub(crate) struct AllCoresDetector(Option<Arc<Mutex<Detector>>>);

impl AllCoresDetector {
    /// Loads it for `cores`, unless a slot has as many, or the model runs on a GPU.
    ///
    /// # Errors
    /// [`ModelError`] if ONNX Runtime rejects it.
    pub(crate) fn load(
        model: &SharedModel,
        options: SessionOptions,
        cores: NonZero<usize>,
    ) -> Result<Self, ModelError> {
        if options.threads >= cores || options.provider.is_gpu() {
            return Ok(Self(None));
        }
        let detector = model.detector(&SessionOptions { threads: cores, ..options })?;
        Ok(Self(Some(Arc::new(Mutex::new(detector)))))
    }

    /// Runs `work` with it, or returns `work` if there is none or another slot uses it.
    fn try_with<T, W: FnOnce(&mut Detector) -> T>(&self, work: W) -> Result<T, W> {
        match self.0.as_ref().and_then(|detector| detector.try_lock()) {
            Some(mut detector) => Ok(work(&mut detector)),
            None => Err(work),
        }
    }
}

/// Pictures for one run, all for one model and of one size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Together<'a> {
    pub(crate) model: &'a JobModel,
    pub(crate) parallelism: Parallelism,
    pub(crate) size: Size,
    pub(crate) pictures: usize,
}

/// The detectors of the worker's own model.
pub(crate) enum OwnModel {
    /// On a CPU: the slot's own, and the one on all cores.
    Slot { detector: Box<Detector>, wide: AllCoresDetector },
    /// On a GPU, those of all slots.
    Planned(Arc<PlannedDetectors<Detector>>),
}

/// One slot's models. The worker's own is loaded at the start and stays; one other is loaded when a
/// job asks for it.
pub(crate) struct LoadedModels {
    source: ModelSource,
    own: OwnModel,
    other: Option<(Sha256Digest, Detector)>,
}

impl LoadedModels {
    pub(crate) fn new(source: ModelSource, own: OwnModel) -> Self {
        Self { source, own, other: None }
    }

    /// Runs `work` with the model of `together`, loaded if need be, on as many cores as its parallelism gives.
    /// `work` also gets the number of pictures of each run.
    ///
    /// # Errors
    /// Those of `work`; [`ModelError`] if the model was changed or removed since it was resolved, or if ONNX Runtime
    /// rejects it.
    pub(crate) fn with<T>(
        &mut self,
        together: &Together<'_>,
        work: impl FnOnce(&mut Detector, usize) -> Result<T, InferenceError>,
    ) -> Result<T, InferenceError> {
        let Together { model, parallelism, size, pictures } = *together;
        let detector = match (model, &mut self.own) {
            (JobModel::Other(bundle), _) => self.other(bundle)?,
            (JobModel::Own, OwnModel::Planned(planned)) => {
                return planned.with(size, pictures, work);
            }
            (JobModel::Own, OwnModel::Slot { detector, wide }) => {
                if parallelism == Parallelism::AllCores {
                    let run = |detector: &mut Detector| work(detector, pictures);
                    return wide.try_with(run).unwrap_or_else(|run| run(detector));
                }
                detector
            }
        };
        work(detector, pictures)
    }

    fn other(&mut self, bundle: &ModelBundle) -> Result<&mut Detector, ModelError> {
        let (_, detector) = match self.other.take() {
            Some(other) if other.0 == bundle.digest() => self.other.insert(other),
            // The previous one was dropped by `take`: a slot has memory for two models.
            _ => {
                let detector = Detector::load(&self.source.runtime, bundle, &self.source.options)?;
                self.other.insert((bundle.digest(), detector))
            }
        };
        Ok(detector)
    }
}
