//! What becomes of jobs.

use domain::{FailureReason, Job, TaskId, TaskRecord, TaskState};
use messaging::{FinishOutcome, Settlement};
use time::OffsetDateTime;

use crate::fixture::{Queue, bus, job};

fn failure(record: &TaskRecord) -> Option<FailureReason> {
    match record.state {
        TaskState::Failure { reason, .. } => Some(reason),
        _ => None,
    }
}

async fn assert_bus_is_found(queue: &Queue, id: TaskId) {
    let record = queue.ended(id).await;
    let TaskState::Success { objects, width, height, .. } = &record.state else {
        panic!("{record:?}")
    };
    let labels: Vec<_> = objects.iter().map(|object| object.label.as_str()).collect();
    assert_eq!(labels, ["bus", "person", "person", "person", "person", "stop sign"]);
    assert_eq!((*width, *height), (810, 1080));
}

#[tokio::test]
async fn a_picture_is_detected_and_its_job_removed() {
    let queue = Queue::start().await;
    let _worker = queue.worker(&[]).await;
    let id = queue.submit(bus()).await;
    assert_bus_is_found(&queue, id).await;
    queue.drained().await;
}

#[tokio::test]
async fn a_large_picture_comes_through_the_object_store() {
    let queue = Queue::start_with(|config| config.inline_limit = 1000).await;
    let _worker = queue.worker(&[("INLINE_LIMIT_BYTES", "1000")]).await;
    let id = queue.submit(bus()).await;
    assert_bus_is_found(&queue, id).await;
    queue.drained().await;
}

#[tokio::test]
async fn thresholds_of_the_job_are_used() {
    let queue = Queue::start().await;
    let _worker = queue.worker(&[]).await;
    let mut job = job();
    job.settings.confidence = "0.84".parse().unwrap();
    let id = queue.submit_job(job, bus()).await;
    let record = queue.ended(id).await;
    let TaskState::Success { objects, .. } = &record.state else { panic!("{record:?}") };
    assert_eq!(objects.len(), 3, "{objects:?}");
}

#[tokio::test]
async fn bytes_that_do_not_decode_fail_for_good_and_hold_nobody_up() {
    let queue = Queue::start().await;
    let _worker = queue.worker(&[("CONCURRENCY", "1")]).await;
    // Whole by its markers, so the API lets it in; only the decoder sees the damage.
    let mut damaged = bus();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 20_000].fill(0);
    let bad = queue.submit(damaged).await;
    let good = queue.submit(bus()).await;
    let record = queue.ended(bad).await;
    assert_eq!(failure(&record), Some(FailureReason::UndecodablePicture), "{record:?}");
    assert_bus_is_found(&queue, good).await;
    queue.drained().await;
}

#[tokio::test]
async fn a_job_for_another_model_says_so() {
    let queue = Queue::start().await;
    let _worker = queue.worker(&[]).await;
    let id = queue.submit_job(Job { model: "other".parse().unwrap(), ..job() }, bus()).await;
    assert_eq!(failure(&queue.ended(id).await), Some(FailureReason::UnknownModel));
    queue.drained().await;
}

#[tokio::test]
async fn a_job_that_was_handed_out_too_often_is_given_up() {
    let queue = Queue::start().await;
    let id = queue.submit(bus()).await;
    let mut deliveries = queue.messaging.queue().deliveries();
    for attempt in 1..=2 {
        let delivery = deliveries.next(1).await;
        assert_eq!((delivery.job.task_id, delivery.attempt), (id, attempt));
        delivery.settle(Settlement::RetryAfter(std::time::Duration::ZERO)).await.unwrap();
    }
    deliveries.stop().await;
    let _worker = queue.worker(&[("MAX_DELIVERIES", "2")]).await;
    assert_eq!(failure(&queue.ended(id).await), Some(FailureReason::Poison));
    queue.drained().await;
}

#[tokio::test]
async fn a_task_that_has_ended_is_not_run_again_and_keeps_its_end() {
    let queue = Queue::start().await;
    let id = queue.submit(bus()).await;
    let tasks = queue.messaging.tasks();
    let first = TaskRecord {
        state: TaskState::Failure {
            finished_at: OffsetDateTime::now_utc(),
            reason: FailureReason::PictureGone,
            message: "the first end".to_owned(),
        },
        ..tasks.get(id).await.unwrap().unwrap()
    };
    assert!(matches!(tasks.finish(&first).await.unwrap(), FinishOutcome::Stored));
    let _worker = queue.worker(&[]).await;
    queue.drained().await;
    assert_eq!(tasks.get(id).await.unwrap(), Some(first));
}
