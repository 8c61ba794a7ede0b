//! A model without pre- and postprocessing, to measure what these cost.

use super::{
    error::OnnxRuntimeError,
    library::OnnxRuntime,
    session::{InferenceSession, SessionOptions},
};
use crate::{
    error::DetectError,
    tensor::{InputBatch, InputTensor},
};

/// A loaded model whose outputs nobody decodes.
#[derive(Debug)]
pub struct BareModel {
    session: InferenceSession,
}

impl BareModel {
    /// Loads a model from the bytes of an ONNX file.
    ///
    /// # Errors
    /// [`OnnxRuntimeError::Failed`] when ONNX Runtime rejects it.
    pub fn load(
        runtime: &OnnxRuntime,
        model: &[u8],
        options: &SessionOptions,
    ) -> Result<Self, OnnxRuntimeError> {
        Ok(Self { session: InferenceSession::load(runtime, model, options)? })
    }

    /// Runs the model once on `[1, 3, height, width]`.
    ///
    /// # Errors
    /// [`DetectError::Inference`] when ONNX Runtime fails, as for a tensor of another size.
    pub fn run(&mut self, input: &InputTensor) -> Result<(), DetectError> {
        self.session.run(&InputBatch::of(input), None).map(drop)
    }
}
