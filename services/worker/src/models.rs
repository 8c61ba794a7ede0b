//! The models a slot has loaded: the worker's own, and one other that jobs have asked for.

use std::path::PathBuf;

use detector::{Detector, ModelBundle, ModelError, Runtime, SessionOptions};
use domain::ModelName;

/// Where models come from and how they are run.
#[derive(Clone)]
pub(crate) struct ModelSource {
    pub(crate) runtime: Runtime,
    pub(crate) models_dir: PathBuf,
    pub(crate) options: SessionOptions,
}

impl ModelSource {
    fn load(&self, name: &ModelName) -> Result<Detector, ModelError> {
        let bundle = ModelBundle::load(&self.models_dir.join(name.as_str()))?;
        Detector::load(&self.runtime, &bundle, &self.options)
    }
}

/// One slot's models. The worker's own is loaded at the start and stays; after a change of model the
/// queue still holds jobs for the old one, so one other is loaded when a job asks for it.
pub(crate) struct LoadedModels {
    source: ModelSource,
    own_name: ModelName,
    own: Detector,
    other: Option<(ModelName, Detector)>,
}

impl LoadedModels {
    /// Loads the worker's own model.
    ///
    /// # Errors
    /// [`ModelError`] if it is not installed, was changed, or is refused by ONNX Runtime.
    pub(crate) fn load(source: ModelSource, own_name: ModelName) -> Result<Self, ModelError> {
        let own = source.load(&own_name)?;
        Ok(Self { source, own_name, own, other: None })
    }

    /// The model of this name, loaded if need be.
    ///
    /// # Errors
    /// As [`LoadedModels::load`].
    pub(crate) fn get(&mut self, name: &ModelName) -> Result<&mut Detector, ModelError> {
        if *name == self.own_name {
            return Ok(&mut self.own);
        }
        let (_, detector) = match self.other.take() {
            Some(other) if other.0 == *name => self.other.insert(other),
            // The one before is let go of first: two at a time is what a slot is given memory for.
            _ => self.other.insert((name.clone(), self.source.load(name)?)),
        };
        Ok(detector)
    }
}
