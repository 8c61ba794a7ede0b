//! Which jobs run alone in their worker: those with an earlier run that failed or did not end.

use std::time::Duration;

use domain::{Job, ModelName, TaskState};
use messaging::{Deliveries, Delivery, RequeueReason, Settlement};
use testkit::eventually;

use crate::fixture::{HeldTask, Queue, TIMEOUT, bus, job};

const SETTINGS: [(&str, &str); 2] = [("CONCURRENCY", "4"), ("THREADS_PER_PICTURE", "1")];

/// Submits a job and takes its delivery, as a worker that never begins to run it.
async fn taken(queue: &Queue, deliveries: &mut Deliveries) -> (Job, Delivery) {
    let job = job();
    queue.submit_job(job.clone(), bus()).await;
    let delivery = deliveries.next(1).await;
    assert_eq!(delivery.job, job);
    (job, delivery)
}

#[tokio::test]
async fn a_job_that_was_released_runs_beside_others() {
    let queue = Queue::for_held_tasks().await;
    let tasks = queue.messaging.tasks();
    let mut deliveries = queue.messaging.queue().deliveries([ModelName::default()]);
    let (before_its_run, first) = taken(&queue, &mut deliveries).await;
    let (in_its_run, second) = taken(&queue, &mut deliveries).await;
    let begun = queue.begin(&in_its_run, 1).await;
    tasks.requeue(&begun, RequeueReason::Released).await.unwrap();
    deliveries.stop().await;
    let held = HeldTask::submit(&queue).await;
    let _worker = queue.worker(&SETTINGS).await;
    held.started(&queue).await;

    first.settle(Settlement::Release).await.unwrap();
    second.settle(Settlement::Release).await.unwrap();
    for job in [before_its_run, in_its_run] {
        let record = queue.ended(job.task_id).await;
        assert_eq!(record.attempts, 1);
        assert!(matches!(record.state, TaskState::Success { .. }), "{record:?}");
        assert!(held.is_running(&queue).await, "{record:?} ran after the other job, not beside it");
    }
    held.release(&queue);
    queue.ended(held.id).await;
    queue.drained().await;
}

#[tokio::test]
async fn a_job_whose_worker_died_in_its_run_waits_until_it_is_alone() {
    let queue = Queue::for_held_tasks().await;
    let mut deliveries = queue.messaging.queue().deliveries([ModelName::default()]);
    let (job, delivery) = taken(&queue, &mut deliveries).await;
    deliveries.stop().await;
    // As a worker does that is killed in mid-run.
    queue.begin(&job, 1).await;
    waits_until_it_is_alone(&queue, &job, delivery).await;
}

#[tokio::test]
async fn a_job_whose_worker_died_in_a_short_run_waits_until_it_is_alone() {
    let queue = Queue::for_held_tasks().await;
    let mut deliveries = queue.messaging.queue().deliveries([ModelName::default()]);
    // A first run that has just begun is not stored.
    let (job, delivery) = taken(&queue, &mut deliveries).await;
    deliveries.stop().await;
    waits_until_it_is_alone(&queue, &job, delivery).await;
}

async fn waits_until_it_is_alone(queue: &Queue, job: &Job, delivery: Delivery) {
    let held = HeldTask::submit(queue).await;
    let _worker = queue.worker(&SETTINGS).await;
    held.started(queue).await;

    // As the server does after `ack_wait`.
    delivery.settle(Settlement::RetryAfter(Duration::ZERO)).await.unwrap();
    eventually(TIMEOUT, async || {
        let depth = queue.messaging.queue().depth().await.unwrap();
        (depth.waiting == 0 && depth.in_progress == 2).then_some(())
    })
    .await;
    held.release(queue);
    let held = queue.ended(held.id).await;
    let record = queue.ended(job.task_id).await;
    assert!(matches!(record.state, TaskState::Success { .. }), "{record:?}");
    assert_eq!(record.attempts, 2);
    assert!(record.state.started_at() >= held.state.finished_at(), "{record:?} beside {held:?}");
    queue.drained().await;
}

#[tokio::test]
async fn a_second_delivery_of_a_running_job_holds_up_no_other() {
    let queue = Queue::for_held_tasks().await;
    let held = HeldTask::submit(&queue).await;
    let _worker = queue.worker(&SETTINGS).await;
    held.started(&queue).await;
    // The worker creates the consumer again, and that one delivers what is in the stream, from its first
    // delivery on.
    let deleted = queue.nats.request("$JS.API.CONSUMER.DELETE.JOBS.normal-yolov8n", "").unwrap();
    assert!(deleted.contains(r#""success":true"#), "{deleted}");
    eventually(TIMEOUT, async || {
        (queue.messaging.queue().depth().await.ok()?.in_progress == 1).then_some(())
    })
    .await;

    let other = queue.submit(bus()).await;
    let record = queue.ended(other).await;
    assert!(matches!(record.state, TaskState::Success { .. }), "{record:?}");
    assert!(
        held.is_running(&queue).await,
        "{record:?} waited for the other job, or that ran twice"
    );
    held.release(&queue);
    assert_eq!(queue.ended(held.id).await.attempts, 1);
    queue.drained().await;
}
