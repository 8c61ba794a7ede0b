//! What a worker tells of itself to those that ask.

use domain::ModelName;
use messaging::{
    CONFIDENCE_BINS, PartStatus, ProcessIdentity, ProcessStatus, StatusSurvey, WorkerStatus,
};
use tokio::time::timeout;

use crate::fixture::{HeldTask, Queue, TIMEOUT, bus};

async fn ask(survey: &mut StatusSurvey) -> (ProcessStatus, WorkerStatus) {
    survey.ask().await.unwrap();
    let status = timeout(TIMEOUT, survey.next()).await.expect("it answers").unwrap();
    let PartStatus::Worker(worker) = status.part.clone() else { panic!("{status:?}") };
    (status, worker)
}

/// So many objects in each of these bins.
fn bins<const N: usize>(counts: [(usize, u64); N]) -> [u64; CONFIDENCE_BINS] {
    let mut bins = [0; CONFIDENCE_BINS];
    counts.into_iter().for_each(|(bin, count)| bins[bin] = count);
    bins
}

#[tokio::test]
async fn a_worker_tells_what_it_runs_and_what_it_has_found() {
    let queue = Queue::for_held_tasks().await;
    let id = queue.submit(bus()).await;
    // Before there is a worker: one that runs could read the picture before it is held back.
    let held = HeldTask::submit(&queue).await;
    let worker = queue.worker(&[("CONCURRENCY", "1")]).await;
    let asker = ProcessIdentity::new("asker".to_owned(), "1.0");
    let mut survey = queue.messaging.status_survey(&asker).await.unwrap();
    queue.ended(id).await;
    held.started(&queue).await;
    let (process, status) = ask(&mut survey).await;
    assert_eq!(process.process.version, service::VERSION);
    assert_eq!((process.ended.succeeded, process.ended.failed), (1, 0));
    let [running] = &status.running[..] else { panic!("{status:?}") };
    assert_eq!((running.task_id, &running.model), (held.id, &ModelName::default()));
    assert!(running.since >= process.process.started_at);
    let of_model = |status: &WorkerStatus| {
        let model = status.models.iter().find(|model| model.name == ModelName::default());
        model.map(|model| (model.in_memory, model.runs))
    };
    assert_eq!(of_model(&status), Some((true, 1)));
    assert_eq!(status.classes["bus"], bins([(8, 1)]));
    assert_eq!(status.classes["person"], bins([(2, 1), (8, 3)]));
    assert_eq!(status.classes["stop sign"], bins([(2, 1)]));
    for stage in ["decode", "letterbox", "infer", "boxes"] {
        let latencies = &status.stages[stage];
        assert_eq!(latencies.count(), 1, "{stage}");
        assert!(latencies.quantile(0.5).unwrap() < TIMEOUT.as_secs_f64(), "{stage}");
    }
    // The task that is held has waited too.
    assert_eq!(status.stages["queue"].count(), 2);
    assert!(status.stages["store"].count() >= 1);
    assert_eq!(status.stages["draw"].count(), 0);

    held.release(&queue);
    queue.ended(held.id).await;
    queue.drained().await;
    let (process, status) = ask(&mut survey).await;
    assert_eq!(process.ended.failed, 1);
    assert_eq!((status.slots, status.busy, status.running.len()), (1, 0, 0));
    worker.stop().await.unwrap();
}
