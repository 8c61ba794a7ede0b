//! Which model file the workers run now, as far as this API has heard.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{ModelName, Sha256Digest};
use messaging::{HEARTBEAT_TTL, HeartbeatEvent, Heartbeats};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// The pause before a broken watch is set up again.
const WATCH_PAUSE: Duration = Duration::from_secs(1);

/// What the workers say of the model that this API asks for. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct CurrentModel {
    workers: Arc<Mutex<HashMap<String, (Sha256Digest, Instant)>>>,
}

impl CurrentModel {
    /// What the model comes to that every worker runs which is known to live. `None` while none is
    /// known, and while they run different ones, as in the middle of a change.
    pub(crate) fn digest(&self) -> Option<Sha256Digest> {
        self.digest_at(Instant::now())
    }

    fn digest_at(&self, now: Instant) -> Option<Sha256Digest> {
        let workers = self.workers.lock();
        let mut living = workers
            .values()
            .filter(|(_, heard_at)| now.duration_since(*heard_at) < HEARTBEAT_TTL)
            .map(|(digest, _)| *digest);
        let first = living.next()?;
        living.all(|digest| digest == first).then_some(first)
    }

    fn hear(&self, heard: HeartbeatEvent, now: Instant) {
        let mut workers = self.workers.lock();
        workers.retain(|_, (_, heard_at)| now.duration_since(*heard_at) < HEARTBEAT_TTL);
        match heard.model_digest {
            Some(digest) => workers.insert(heard.worker, (digest, now)),
            None => workers.remove(&heard.worker),
        };
    }
}

/// Listens to the workers until `shutdown`. What broke is set up again; meanwhile what was heard last
/// goes out of date.
pub(crate) async fn watch(
    current: CurrentModel,
    announcements: Heartbeats,
    model: ModelName,
    shutdown: CancellationToken,
) {
    let listening = async {
        loop {
            let listener = |heard| current.hear(heard, Instant::now());
            if let Err(error) = announcements.follow(&model, listener).await {
                tracing::debug!(%error, "listening to the workers again");
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
    use super::*;

    fn heard(worker: &str, digest: Option<u8>) -> HeartbeatEvent {
        HeartbeatEvent {
            worker: worker.to_owned(),
            model_digest: digest.map(|byte| [byte; 32].into()),
        }
    }

    #[test]
    fn a_model_is_known_while_all_living_workers_agree() {
        let (current, start) = (CurrentModel::default(), Instant::now());
        let known = |at| current.digest_at(at).map(|digest| digest.as_bytes()[0]);
        assert_eq!(known(start), None, "nobody has said anything");
        current.hear(heard("one", Some(1)), start);
        current.hear(heard("two", Some(1)), start);
        assert_eq!(known(start), Some(1));

        current.hear(heard("three", Some(2)), start);
        assert_eq!(known(start), None, "one of them runs another");
        current.hear(heard("three", None), start);
        assert_eq!(known(start), Some(1), "it has stopped");

        let later = start + HEARTBEAT_TTL;
        current.hear(heard("four", Some(4)), later);
        assert_eq!(known(later), Some(4), "the others have been silent for too long");
        assert_eq!(known(later + HEARTBEAT_TTL), None);
    }
}
