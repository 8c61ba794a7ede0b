//! Why a job got no detections.

use std::{any::Any, sync::Arc, time::Duration};

use detector::{DecodeError, DetectError, ModelError, OnnxRuntimeError};
use domain::{ModelName, UnknownClass};

/// Why a job got no detections.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InferenceError {
    #[error(transparent)]
    Undecodable(#[from] DecodeError),
    #[error(transparent)]
    UnknownClass(#[from] UnknownClass),
    #[error(transparent)]
    Detect(#[from] DetectError),
    #[error(transparent)]
    Runtime(#[from] OnnxRuntimeError),
    /// The model was removed since the job was pulled.
    #[error("model {0} is not installed on this worker")]
    NotServed(ModelName),
    /// Jobs that wait for the same load share its error.
    #[error(transparent)]
    Model(Arc<ModelError>),
    #[error("the detector panicked: {0}")]
    Panicked(String),
    #[error("the slot's thread has ended")]
    SlotEnded,
    #[error("the model did not finish within {0:?}")]
    DeadlineExceeded(Duration),
    #[error(
        "the {runs} runs of the picture's tiles take all slots of a worker for longer than {limit:?} \
         (JOB_DEADLINE_SECONDS): ask for fewer tiles"
    )]
    TooManyTiles { runs: usize, limit: Duration },
    #[error("this worker is broken: no slot is left to run the picture")]
    Broken,
    #[error("the model hangs: it neither finished within {0:?} nor could be cancelled")]
    Hung(Duration),
    #[error("the batch of this picture failed: {0}")]
    Batch(Arc<InferenceError>),
}

impl From<ModelError> for InferenceError {
    fn from(error: ModelError) -> Self {
        Self::Model(Arc::new(error))
    }
}

/// The message of a panic.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}
