//! What living workers report of the models that they serve, by their heartbeats.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{ModelName, Sha256Digest};
use messaging::{HEARTBEAT_TTL, HeartbeatEvent, Heartbeats, ModelReport};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// The pause before a failed subscription is retried.
const WATCH_PAUSE: Duration = Duration::from_secs(1);

/// The newest heartbeats of all workers. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct WorkerReports {
    models: Arc<Mutex<HashMap<ModelName, OfWorkers>>>,
}

/// What each worker reports of a model, and when it did so last.
type OfWorkers = HashMap<String, (ModelReport, Instant)>;

impl WorkerReports {
    /// The digest of the version that all living workers of `model` run. `None` while no worker is known, and while
    /// they run different versions, as during an upgrade.
    pub(crate) fn digest(&self, model: &ModelName) -> Option<Sha256Digest> {
        self.digest_at(model, Instant::now())
    }

    fn digest_at(&self, model: &ModelName, now: Instant) -> Option<Sha256Digest> {
        let models = self.models.lock();
        let mut living = living(models.get(model)?, now).map(|report| report.model_digest);
        let first = living.next()?;
        living.all(|digest| digest == first).then_some(first)
    }

    /// What living workers report of `model`, in the order of their names.
    pub(crate) fn of(&self, model: &ModelName) -> Vec<ModelReport> {
        let models = self.models.lock();
        let workers = models.get(model);
        let living = workers.into_iter().flat_map(|workers| living(workers, Instant::now()));
        let mut reports: Vec<ModelReport> = living.cloned().collect();
        reports.sort_by(|one, other| one.worker.cmp(&other.worker));
        reports
    }

    /// Whether a living worker serves `model`.
    pub(crate) fn serve(&self, model: &ModelName) -> bool {
        let models = self.models.lock();
        models.get(model).is_some_and(|workers| living(workers, Instant::now()).next().is_some())
    }

    /// The models that living workers serve.
    pub(crate) fn names(&self) -> Vec<ModelName> {
        let (models, now) = (self.models.lock(), Instant::now());
        let served = models.iter().filter(|(_, workers)| living(workers, now).next().is_some());
        served.map(|(name, _)| name.clone()).collect()
    }

    fn record(&self, event: HeartbeatEvent, now: Instant) {
        let mut models = self.models.lock();
        for workers in models.values_mut() {
            workers.retain(|_, (_, seen_at)| is_living(*seen_at, now));
        }
        models.retain(|_, workers| !workers.is_empty());
        match event.report {
            Some(report) => {
                models.entry(event.model).or_default().insert(event.worker, (report, now));
            }
            None => {
                if let Some(workers) = models.get_mut(&event.model) {
                    workers.remove(&event.worker);
                }
            }
        }
    }
}

fn living(workers: &OfWorkers, now: Instant) -> impl Iterator<Item = &ModelReport> {
    let living = workers.values().filter(move |(_, seen_at)| is_living(*seen_at, now));
    living.map(|(report, _)| report)
}

fn is_living(seen_at: Instant, now: Instant) -> bool {
    now.duration_since(seen_at) < HEARTBEAT_TTL
}

/// Follows the workers' heartbeats until `shutdown`. A failed subscription is retried; meanwhile the known
/// heartbeats expire.
pub(crate) async fn watch(
    reports: WorkerReports,
    heartbeats: Heartbeats,
    shutdown: CancellationToken,
) {
    let listening = async {
        loop {
            let listener = |event| reports.record(event, Instant::now());
            if let Err(error) = heartbeats.follow(listener).await {
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
    use super::*;

    fn model(name: &str) -> ModelName {
        name.parse().unwrap()
    }

    fn event(name: &str, worker: &str, digest: Option<u8>) -> HeartbeatEvent {
        HeartbeatEvent {
            model: model(name),
            worker: worker.to_owned(),
            report: digest.map(|byte| ModelReport::of_version([byte; 32].into())),
        }
    }

    #[test]
    fn a_version_is_known_while_all_living_workers_of_the_model_agree() {
        let (reports, start) = (WorkerReports::default(), Instant::now());
        let known = |at| reports.digest_at(&model("a"), at).map(|digest| digest.as_bytes()[0]);
        assert_eq!(known(start), None, "no heartbeat yet");
        reports.record(event("a", "one", Some(1)), start);
        reports.record(event("a", "two", Some(1)), start);
        reports.record(event("b", "two", Some(9)), start);
        assert_eq!(known(start), Some(1));

        reports.record(event("a", "three", Some(2)), start);
        assert_eq!(known(start), None, "one of them runs another");
        reports.record(event("a", "three", None), start);
        assert_eq!(known(start), Some(1), "it has stopped");

        let later = start + HEARTBEAT_TTL;
        reports.record(event("a", "four", Some(4)), later);
        assert_eq!(known(later), Some(4), "the others have been silent for too long");
        assert_eq!(known(later + HEARTBEAT_TTL), None);
    }

    #[test]
    fn models_are_known_as_long_as_a_worker_serves_them() {
        let (reports, start) = (WorkerReports::default(), Instant::now());
        reports.record(event("a", "one", Some(1)), start);
        reports.record(event("b", "one", Some(2)), start);
        let mut names = reports.names();
        names.sort();
        assert_eq!(names, [model("a"), model("b")]);
        assert_eq!(reports.of(&model("b")), [ModelReport::of_version([2; 32].into())]);

        reports.record(event("b", "one", None), start);
        assert_eq!(reports.names(), [model("a")]);
        assert!(reports.serve(&model("a")) && !reports.serve(&model("b")));
    }
}
