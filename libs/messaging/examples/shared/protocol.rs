// What the API and a worker send for one job, included by the examples. Only this file depends on the protocol:
// `services/api/src/tasks/submit.rs` and `services/worker/src/process.rs`.

use std::time::Duration;

use bytes::Bytes;
use domain::{DetectionSettings, Job, TaskRecord, TaskState};
use messaging::{Delivery, JobQueue, RunStart, Settlement, Snapshot, TaskStore};
use time::OffsetDateTime;

/// How far ahead the deadline of a run is.
const LEASE: Duration = Duration::from_secs(50);

/// Stores a job, as the API does for an upload.
pub(crate) async fn submit(queue: &JobQueue, picture: Bytes) {
    let model = "yolov8n".parse().unwrap();
    let job = Job::new("bus.jpg".to_owned(), model, DetectionSettings::default());
    queue.submit(&job, picture).await.expect("the job is stored");
}

/// Processes a first delivery as a worker does, without its picture's work, up to its settlement.
pub(crate) async fn process(tasks: &TaskStore, delivery: &Delivery) {
    let _keep_alive = delivery.keep_alive();
    // A run as short as this one is not stored.
    let run = RunStart::now(&delivery.job, delivery.attempt).record(None, LEASE);
    tasks.note_known(delivery.job.task_id, Snapshot::unread());
    tasks.announce_first_run(&run).await;
    delivery.picture().await.expect("the picture is there");
    tasks.finish(&succeeded(&run)).await.expect("the record is stored");
}

/// Settles a delivery that was processed.
pub(crate) async fn settle(delivery: Delivery) {
    delivery.settle(Settlement::Ack).await.expect("the job is settled");
}

/// A result without objects; with six it is 600 bytes longer.
fn succeeded(record: &TaskRecord) -> TaskRecord {
    record.with_state(TaskState::Success {
        started_at: record.state.started_at(),
        finished_at: OffsetDateTime::now_utc(),
        objects: Vec::new(),
        width: 810,
        height: 1080,
        warnings: Vec::new(),
        run: None,
        model_digest: None,
        drawing: None,
        cached: false,
    })
}
