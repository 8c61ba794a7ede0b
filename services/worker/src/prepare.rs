//! Decoding and letterboxing the picture that comes next, while the model works on another.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use detector::{PreparedPicture, Preprocessor};
use domain::ModelName;
use service::telemetry::traces::TraceContext;

use crate::inference::{InferenceError, panic_message};

/// Memory of larger pictures is given back: they are rare, and it would be kept for ever. In pixels.
const LARGEST_KEPT: u32 = 4_000_000;

/// Prepares pictures for the worker's own model.
pub(crate) struct Preparation {
    model: ModelName,
    preprocessor: Preprocessor,
    /// Pictures that have been run, kept for their memory.
    used: Mutex<Vec<PreparedPicture>>,
}

impl Preparation {
    pub(crate) fn new(model: ModelName, preprocessor: Preprocessor) -> Self {
        Self { model, preprocessor, used: Mutex::default() }
    }

    /// The picture as `model` takes it, made on a thread that may be busy. `None` for a model that
    /// is not the worker's own: its slot prepares it.
    ///
    /// # Errors
    /// [`InferenceError::Detect`] for what is no picture, [`InferenceError::Panicked`], or
    /// [`InferenceError::Hung`] when it takes longer than `deadline`: a decoder cannot be stopped.
    pub(crate) async fn prepare(
        self: &Arc<Self>,
        picture: Bytes,
        model: &ModelName,
        deadline: Duration,
    ) -> Result<Option<PreparedPicture>, InferenceError> {
        if *model != self.model {
            return Ok(None);
        }
        let (this, trace) = (Arc::clone(self), TraceContext::current());
        let preparing = tokio::task::spawn_blocking(move || this.prepare_traced(&picture, &trace));
        match tokio::time::timeout(deadline, preparing).await {
            Ok(Ok(prepared)) => Ok(Some(prepared?)),
            Ok(Err(error)) => Err(InferenceError::Panicked(match error.try_into_panic() {
                Ok(panic) => panic_message(&*panic),
                Err(error) => error.to_string(),
            })),
            Err(_) => Err(InferenceError::Hung(deadline)),
        }
    }

    /// Takes back the memory of a picture that has been run.
    pub(crate) fn recycle(&self, prepared: PreparedPicture) {
        if prepared.width.saturating_mul(prepared.height) <= LARGEST_KEPT {
            self.used.lock().unwrap_or_else(PoisonError::into_inner).push(prepared);
        }
    }

    fn prepare_traced(
        &self,
        picture: &[u8],
        trace: &TraceContext,
    ) -> Result<PreparedPicture, InferenceError> {
        let mut stages = trace.stages();
        let outcome = self.prepare_now(picture);
        match &outcome {
            Ok(prepared) => {
                stages.tell("decode", prepared.decode_time);
                stages.tell("letterbox", prepared.letterbox_time);
            }
            Err(error) => stages.fail("decode", || error.to_string()),
        }
        outcome
    }

    fn prepare_now(&self, picture: &[u8]) -> Result<PreparedPicture, InferenceError> {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Ok(match used {
            Some(used) => self.preprocessor.prepare_reusing(picture, used)?,
            None => self.preprocessor.prepare(picture)?,
        })
    }
}
