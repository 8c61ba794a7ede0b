//! One model, loaded once for several detectors.

use super::Detector;
use crate::{
    error::DetectError,
    model::{bundle::ModelBundle, error::ModelError},
    onnx_runtime::{
        error::OnnxRuntimeError,
        library::OnnxRuntime,
        provider::ExecutionProvider,
        session::{InferenceSession, SessionOptions, builder, failed},
        shared_weights::SharedWeights,
    },
};

/// A model that several [`Detector`]s run, with its weights in memory once.
#[derive(Debug)]
pub struct SharedModel {
    runtime: OnnxRuntime,
    bundle: ModelBundle,
    provider: ExecutionProvider,
    file_bytes: u64,
    weights: Weights,
}

#[derive(Debug)]
enum Weights {
    Shared(SharedWeights),
    /// Each detector has a copy of the weights.
    Apart {
        model: Vec<u8>,
        why: Option<OnnxRuntimeError>,
    },
}

impl SharedModel {
    /// Loads the model of `bundle`, after checking that it is the one that was installed. Its
    /// detectors will run on `provider`.
    ///
    /// Sharing needs a folder for temporary files; see [`SharedModel::why_not_shared`]. Providers
    /// other than the CPU keep weights in memory of their own.
    ///
    /// # Errors
    /// [`ModelError`] when its file was changed.
    pub fn load(
        runtime: &OnnxRuntime,
        bundle: &ModelBundle,
        provider: ExecutionProvider,
    ) -> Result<Self, ModelError> {
        let model = bundle.read_model()?;
        let file_bytes = model.len() as u64;
        let weights = if provider == ExecutionProvider::Cpu {
            match optimise(runtime, &model) {
                Ok(weights) => Weights::Shared(weights),
                Err(why) => Weights::Apart { model, why: Some(why) },
            }
        } else {
            Weights::Apart { model, why: None }
        };
        Ok(Self { runtime: runtime.clone(), bundle: bundle.clone(), provider, file_bytes, weights })
    }

    /// The size of its file in bytes: hardly more than its weights.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Why each detector has a copy of the weights although its provider could share them.
    #[must_use]
    pub fn why_not_shared(&self) -> Option<&OnnxRuntimeError> {
        match &self.weights {
            Weights::Shared(_) => None,
            Weights::Apart { why, .. } => why.as_ref(),
        }
    }

    /// One more detector that runs this model.
    ///
    /// # Errors
    /// [`ModelError`] when ONNX Runtime rejects it.
    pub fn detector(&self, options: &SessionOptions) -> Result<Detector, ModelError> {
        let session = match &self.weights {
            Weights::Shared(weights) => InferenceSession::sharing(&self.runtime, weights, options),
            Weights::Apart { model, .. } => InferenceSession::load(&self.runtime, model, options),
        };
        Detector::around(session, &self.bundle)
    }

    /// What `error` of a trial run means for this model on its provider.
    #[must_use]
    pub fn trial_failed(&self, error: DetectError) -> ModelError {
        let path = self.bundle.model_path();
        match error {
            DetectError::Inference(source) => ModelError::OnnxRuntime {
                path,
                source: failed(&self.runtime, self.provider, source),
            },
            other => ModelError::DoesNotRun { path, detail: other.to_string() },
        }
    }
}

fn optimise(runtime: &OnnxRuntime, model: &[u8]) -> Result<SharedWeights, OnnxRuntimeError> {
    SharedWeights::optimise(builder(runtime, &SessionOptions::default())?, model)
}
