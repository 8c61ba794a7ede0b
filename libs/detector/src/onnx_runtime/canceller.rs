//! Stopping a run of a model.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use ort::{logging::LogLevel, session::RunOptions};

use super::error::OnnxRuntimeError;

/// Stops a run from another thread, for instance at its deadline. Clones stop the same run.
///
/// A cancelled canceller stays cancelled, and a run that starts with one ends at once: no call is
/// lost. A run stops between two operators of the model, within milliseconds. An operator that never
/// returns cannot be interrupted.
#[derive(Clone)]
pub struct Canceller {
    shared: Arc<Cancellation>,
}

struct Cancellation {
    options: RunOptions,
    called: AtomicBool,
}

impl fmt::Debug for Canceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canceller").field("cancelled", &self.is_cancelled()).finish()
    }
}

impl Canceller {
    pub(super) fn new() -> Result<Self, OnnxRuntimeError> {
        Ok(Self::around(RunOptions::new()?))
    }

    /// For a run that may fail: ONNX Runtime logs nothing.
    pub(super) fn quiet() -> Result<Self, OnnxRuntimeError> {
        let mut options = RunOptions::new()?;
        options.set_log_level(LogLevel::Fatal)?;
        Ok(Self::around(options))
    }

    fn around(options: RunOptions) -> Self {
        Self { shared: Arc::new(Cancellation { options, called: AtomicBool::new(false) }) }
    }

    pub(super) fn options(&self) -> &RunOptions {
        &self.shared.options
    }

    /// Stops the run.
    pub fn cancel(&self) {
        self.shared.called.store(true, Ordering::SeqCst);
        // It only sets a flag. If it failed, the run would finish, and the session would still read
        // `called`.
        let _ = self.shared.options.terminate();
    }

    /// Whether [`Canceller::cancel`] was called.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.shared.called.load(Ordering::SeqCst)
    }
}
