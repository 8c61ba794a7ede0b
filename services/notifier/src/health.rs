//! The notifier's answers to health probes.

use std::sync::OnceLock;

use messaging::Messaging;
use service::probes::{HealthSource, Probe};
use tokio_util::sync::CancellationToken;

/// The health of this notifier.
pub(crate) struct NotifierHealth {
    /// Set once the queue is reached.
    pub(crate) messaging: OnceLock<Messaging>,
    pub(crate) shutdown: CancellationToken,
}

impl HealthSource for NotifierHealth {
    fn check(&self, probe: Probe) -> Result<(), String> {
        match (probe, self.messaging.get()) {
            (Probe::Live, _) | (Probe::Startup, Some(_)) => Ok(()),
            (Probe::Startup | Probe::Ready, None) => Err("starting".to_owned()),
            (Probe::Ready, Some(_)) if self.shutdown.is_cancelled() => {
                Err("shutting down".to_owned())
            }
            (Probe::Ready, Some(messaging)) => messaging.obstacle().map_or(Ok(()), Err),
        }
    }
}
