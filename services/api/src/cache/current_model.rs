//! The model file that the workers run, by their heartbeats.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{ModelName, Sha256Digest};
use messaging::{HEARTBEAT_TTL, HeartbeatEvent, Heartbeats};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// The pause before a failed subscription is retried.
const WATCH_PAUSE: Duration = Duration::from_secs(1);

/// The heartbeats of workers for the model of this API. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct CurrentModel {
    workers: Arc<Mutex<HashMap<String, (Sha256Digest, Instant)>>>,
}

impl CurrentModel {
    /// The digest of the model that all live workers run. `None` while no worker is known, and while they run
    /// different files, as during an upgrade.
    pub(crate) fn digest(&self) -> Option<Sha256Digest> {
        self.digest_at(Instant::now())
    }

    fn digest_at(&self, now: Instant) -> Option<Sha256Digest> {
        let workers = self.workers.lock();
        let mut living = workers
            .values()
            .filter(|(_, seen_at)| now.duration_since(*seen_at) < HEARTBEAT_TTL)
            .map(|(digest, _)| *digest);
        let first = living.next()?;
        living.all(|digest| digest == first).then_some(first)
    }

    fn record(&self, event: HeartbeatEvent, now: Instant) {
        let mut workers = self.workers.lock();
        workers.retain(|_, (_, seen_at)| now.duration_since(*seen_at) < HEARTBEAT_TTL);
        match event.report {
            Some(report) => workers.insert(event.worker, (report.model_digest, now)),
            None => workers.remove(&event.worker),
        };
    }
}

/// Follows the workers' heartbeats until `shutdown`. A failed subscription is retried; meanwhile the known
/// heartbeats expire.
pub(crate) async fn watch(
    current: CurrentModel,
    heartbeats: Heartbeats,
    model: ModelName,
    shutdown: CancellationToken,
) {
    let listening = async {
        loop {
            let listener = |event| current.record(event, Instant::now());
            if let Err(error) = heartbeats.follow(&model, listener).await {
                tracing::debug!(%error, "subscribing to the workers again");
            }
            tokio::time::sleep(WATCH_PAUSE).await;
        }
    };
    tokio::select! {
        () = listening => {}
        () = shutdown.cancelled() => {}
    }
}

#[cfg(test)]
mod tests {
    use messaging::ModelReport;

    use super::*;

    fn event(worker: &str, digest: Option<u8>) -> HeartbeatEvent {
        HeartbeatEvent {
            worker: worker.to_owned(),
            report: digest.map(|byte| ModelReport::of_version([byte; 32].into())),
        }
    }

    #[test]
    fn a_model_is_known_while_all_living_workers_agree() {
        let (current, start) = (CurrentModel::default(), Instant::now());
        let known = |at| current.digest_at(at).map(|digest| digest.as_bytes()[0]);
        assert_eq!(known(start), None, "no heartbeat yet");
        current.record(event("one", Some(1)), start);
        current.record(event("two", Some(1)), start);
        assert_eq!(known(start), Some(1));

        current.record(event("three", Some(2)), start);
        assert_eq!(known(start), None, "one of them runs another");
        current.record(event("three", None), start);
        assert_eq!(known(start), Some(1), "it has stopped");

        let later = start + HEARTBEAT_TTL;
        current.record(event("four", Some(4)), later);
        assert_eq!(known(later), Some(4), "the others have been silent for too long");
        assert_eq!(known(later + HEARTBEAT_TTL), None);
    }
}
