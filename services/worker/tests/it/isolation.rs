//! Which jobs run alone in their worker: those whose earlier run began and did not end.

use std::time::Duration;

use domain::{Job, TaskId, TaskState};
use messaging::{BeginOutcome, Deliveries, Delivery, Return, Settlement};
use testkit::{NatsServer, eventually};

use crate::fixture::{PATIENCE, Queue, bus, job};

/// Pictures above this many bytes are in the object store.
const INLINE_LIMIT: usize = 1000;

const SETTINGS: [(&str, &str); 2] = [("CONCURRENCY", "4"), ("THREADS_PER_PICTURE", "1")];

/// A task whose run goes on until the test releases it: its picture's only piece is missing.
struct HeldTask {
    id: TaskId,
    piece_subject: String,
}

impl HeldTask {
    /// No model takes it, so the task fails as soon as it is released.
    fn picture() -> String {
        "x".repeat(2 * INLINE_LIMIT)
    }

    async fn submit(queue: &Queue) -> Self {
        let before = piece_subjects(&queue.nats);
        let id = queue.submit(Self::picture().into_bytes()).await;
        let mut added = piece_subjects(&queue.nats);
        added.retain(|subject| !before.contains(subject));
        let piece_subject = added.pop().expect("its piece is stored");
        let filter = format!(r#"{{"filter":"{piece_subject}"}}"#);
        let purged = request(&queue.nats, "$JS.API.STREAM.PURGE.OBJ_pictures", &filter);
        assert!(purged.contains(r#""purged":1"#), "{purged}");
        Self { id, piece_subject }
    }

    /// Waits until a worker runs it.
    async fn started(&self, queue: &Queue) {
        eventually(PATIENCE, async || self.is_running(queue).await.then_some(())).await;
    }

    async fn is_running(&self, queue: &Queue) -> bool {
        let record = queue.messaging.tasks().get(self.id).await.unwrap().unwrap();
        matches!(record.state, TaskState::Started { .. }) && record.attempts == 1
    }

    fn release(&self, queue: &Queue) {
        let stored = request(&queue.nats, &self.piece_subject, &Self::picture());
        assert!(stored.contains("OBJ_pictures"), "{stored}");
    }
}

/// The subjects of the pieces of each picture in the object store.
fn piece_subjects(nats: &NatsServer) -> Vec<String> {
    let filter = r#"{"subjects_filter":"$O.pictures.C.>"}"#;
    let info = request(nats, "$JS.API.STREAM.INFO.OBJ_pictures", filter);
    let texts = info.split('"').filter(|text| text.starts_with("$O.pictures.C."));
    texts.filter(|text| !text.ends_with('>')).map(str::to_owned).collect()
}

fn request(nats: &NatsServer, subject: &str, payload: &str) -> String {
    nats.request(subject, payload).expect("the server answers")
}

async fn queue() -> Queue {
    Queue::start_with(|config| config.inline_limit = INLINE_LIMIT).await
}

/// Submits a job and takes its delivery, as a worker that never begins to run it.
async fn taken(queue: &Queue, deliveries: &mut Deliveries) -> (Job, Delivery) {
    let job = job();
    queue.submit_job(job.clone(), bus()).await;
    let delivery = deliveries.next(1).await;
    assert_eq!(delivery.job, job);
    (job, delivery)
}

#[tokio::test]
async fn a_job_that_was_handed_back_or_never_begun_runs_beside_others() {
    let queue = queue().await;
    let tasks = queue.messaging.tasks();
    let mut deliveries = queue.messaging.queue().deliveries();
    let (never_begun, first) = taken(&queue, &mut deliveries).await;
    let (handed_back, second) = taken(&queue, &mut deliveries).await;
    let BeginOutcome::Begun(begun) = tasks.begin(&handed_back).await.unwrap() else {
        panic!("its run begins")
    };
    tasks.give_back(&begun, Return::HandedBack).await.unwrap();
    deliveries.stop().await;
    let held = HeldTask::submit(&queue).await;
    let _worker = queue.worker(&SETTINGS).await;
    held.started(&queue).await;

    first.settle(Settlement::RetryAfter(Duration::ZERO)).await.unwrap();
    second.settle(Settlement::Release).await.unwrap();
    for job in [never_begun, handed_back] {
        let record = queue.ended(job.task_id).await;
        assert!(matches!(record.state, TaskState::Success { .. }), "{record:?}");
        assert!(held.is_running(&queue).await, "{record:?} ran after the other job, not beside it");
    }
    held.release(&queue);
    queue.ended(held.id).await;
    queue.drained().await;
}

#[tokio::test]
async fn a_job_whose_worker_died_in_its_run_waits_until_it_is_alone() {
    let queue = queue().await;
    let mut deliveries = queue.messaging.queue().deliveries();
    let (job, delivery) = taken(&queue, &mut deliveries).await;
    deliveries.stop().await;
    // As a worker does that is killed in mid-run.
    queue.messaging.tasks().begin(&job).await.unwrap();
    let held = HeldTask::submit(&queue).await;
    let _worker = queue.worker(&SETTINGS).await;
    held.started(&queue).await;

    delivery.settle(Settlement::Release).await.unwrap();
    eventually(PATIENCE, async || {
        let depth = queue.messaging.queue().depth().await.unwrap();
        (depth.waiting == 0 && depth.in_progress == 2).then_some(())
    })
    .await;
    held.release(&queue);
    let held = queue.ended(held.id).await;
    let record = queue.ended(job.task_id).await;
    assert!(matches!(record.state, TaskState::Success { .. }), "{record:?}");
    assert_eq!(record.attempts, 2);
    assert!(record.state.started_at() >= held.state.finished_at(), "{record:?} beside {held:?}");
    queue.drained().await;
}
