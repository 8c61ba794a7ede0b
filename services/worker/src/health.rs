//! The worker's answers to health probes.

use std::sync::OnceLock;

use messaging::Messaging;
use service::probes::{HealthSource, Probe};
use tokio_util::sync::CancellationToken;

/// The health of this worker.
pub(crate) struct WorkerHealth {
    /// Set once the models are loaded and the queue is reached.
    messaging: OnceLock<Messaging>,
    shutdown: CancellationToken,
    broken: CancellationToken,
}

impl WorkerHealth {
    pub(crate) fn new(shutdown: CancellationToken, broken: CancellationToken) -> Self {
        Self { messaging: OnceLock::new(), shutdown, broken }
    }

    /// Records that the worker is about to take its first job.
    pub(crate) fn started(&self, messaging: Messaging) {
        // Called once; a second call would pass the same connection.
        let _ = self.messaging.set(messaging);
    }
}

impl HealthSource for WorkerHealth {
    fn check(&self, probe: Probe) -> Result<(), String> {
        let started = self.messaging.get();
        match (probe, started) {
            (Probe::Live, _) if self.broken.is_cancelled() => Err("the model hangs".to_owned()),
            (Probe::Live, _) | (Probe::Startup, Some(_)) => Ok(()),
            (Probe::Startup | Probe::Ready, None) => Err("starting".to_owned()),
            (Probe::Ready, Some(_)) if self.shutdown.is_cancelled() => {
                Err("shutting down".to_owned())
            }
            (Probe::Ready, Some(messaging)) => messaging.obstacle().map_or(Ok(()), Err),
        }
    }
}
