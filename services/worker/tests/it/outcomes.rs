//! The outcomes of jobs.

use std::time::Duration;

use domain::{FailureReason, Job, ModelName, TaskId, TaskRecord, TaskState};
use messaging::{DeadLetterId, FinishOutcome, Settlement};
use testkit::eventually;
use time::OffsetDateTime;
use tokio::time::timeout;

use crate::fixture::{HeldTask, Queue, TIMEOUT, bus, job};

fn failure(record: &TaskRecord) -> Option<FailureReason> {
    match record.state {
        TaskState::Failure { reason, .. } => Some(reason),
        _ => None,
    }
}

async fn assert_bus_is_found(queue: &Queue, id: TaskId) {
    let record = queue.ended(id).await;
    let TaskState::Success {
        started_at: Some(started_at),
        finished_at,
        objects,
        width,
        height,
        ..
    } = &record.state
    else {
        panic!("{record:?}")
    };
    assert!(record.job.submitted_at <= *started_at && started_at < finished_at, "{record:?}");
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
async fn those_who_follow_a_task_are_told_of_its_first_run() {
    let queue = Queue::start().await;
    let id = queue.submit(bus()).await;
    let (_, mut changes) = queue.messaging.tasks().follow(id).await.unwrap().unwrap();
    queue.nats.wait_until_subscribed(&format!("starts.{id}")).await;
    let _worker = queue.worker(&[]).await;
    let started = loop {
        let version = timeout(TIMEOUT, changes.next()).await.unwrap().unwrap();
        if !matches!(version.record.state, TaskState::Queued { .. }) {
            break version;
        }
    };
    assert!(matches!(started.record.state, TaskState::Started { .. }), "{started:?}");
    assert_eq!((started.record.attempts, started.revision), (1, 0), "{started:?}");
    let ended = queue.ended(id).await;
    assert_eq!(started.record.state.started_at(), ended.state.started_at());
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
async fn bytes_that_do_not_decode_fail_permanently_and_delay_no_other_job() {
    let queue = Queue::start().await;
    let _worker = queue.worker(&[("CONCURRENCY", "1")]).await;
    // Complete by its markers, so the API accepts it; only the decoder finds the damage.
    let mut bad = bus();
    let frame = bad.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    // Twelve bits for each sample, and not eight.
    bad[frame + 4] = 12;
    let bad = queue.submit(bad).await;
    let good = queue.submit(bus()).await;
    let record = queue.ended(bad).await;
    assert_eq!(failure(&record), Some(FailureReason::UndecodablePicture), "{record:?}");
    assert_bus_is_found(&queue, good).await;
    queue.drained().await;
}

#[tokio::test]
async fn damaged_pixels_are_a_warning_of_the_result() {
    let queue = Queue::start().await;
    let _worker = queue.worker(&[]).await;
    let mut damaged = bus();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 20_000].fill(0);
    let (damaged, whole) = (queue.submit(damaged).await, queue.submit(bus()).await);
    for (id, expected) in [(damaged, 1), (whole, 0)] {
        let record = queue.ended(id).await;
        let TaskState::Success { warnings, width, height, .. } = &record.state else {
            panic!("{record:?}")
        };
        assert_eq!((warnings.len(), *width, *height), (expected, 810, 1080), "{record:?}");
    }
    queue.drained().await;
}

#[tokio::test]
async fn a_job_for_another_installed_model_is_run_with_that() {
    let queue = Queue::start().await;
    let _worker = queue.worker(&[("CONCURRENCY", "1")]).await;
    for model in ["yolo11n", "yolov8n", "yolo11n"] {
        let id = queue.submit_job(Job { model: model.parse().unwrap(), ..job() }, bus()).await;
        let record = queue.ended(id).await;
        let TaskState::Success { objects, .. } = &record.state else { panic!("{record:?}") };
        // The two find different numbers of objects in this picture.
        assert_eq!(objects.len(), if model == "yolo11n" { 5 } else { 6 }, "{model}");
    }
    queue.drained().await;
}

#[tokio::test]
async fn each_worker_runs_the_jobs_of_its_models_only() {
    let queue = Queue::start().await;
    let _worker = queue.worker(&[("MODELS", "yolov8n")]).await;
    let of_yolo11n = Job { model: "yolo11n".parse().unwrap(), ..job() };
    queue.submit_job(of_yolo11n.clone(), bus()).await;
    let id = queue.submit(bus()).await;
    assert_bus_is_found(&queue, id).await;
    let record = queue.messaging.tasks().find(of_yolo11n.task_id).await.unwrap().unwrap();
    assert!(matches!(record.state, TaskState::Queued { .. }), "{record:?}");

    let _other = queue.worker(&[("MODELS", "yolo11n")]).await;
    let record = queue.ended(of_yolo11n.task_id).await;
    assert!(matches!(record.state, TaskState::Success { .. }), "{record:?}");
    queue.drained().await;
}

#[tokio::test]
async fn a_job_for_a_model_that_is_not_installed_any_more_says_so() {
    let queue = Queue::start().await;
    let models = tempfile::tempdir().unwrap();
    let installed = testkit::workspace_root().join("models");
    for name in ["yolov8n", "yolo11n"] {
        std::os::unix::fs::symlink(installed.join(name), models.path().join(name)).unwrap();
    }
    let _worker = queue.worker(&[("MODELS_DIR", models.path().to_str().unwrap())]).await;
    std::fs::remove_file(models.path().join("yolo11n")).unwrap();
    let id = queue.submit_job(Job { model: "yolo11n".parse().unwrap(), ..job() }, bus()).await;
    assert_eq!(failure(&queue.ended(id).await), Some(FailureReason::UnknownModel));
    queue.drained().await;
}

#[tokio::test]
async fn a_job_that_killed_too_many_workers_is_given_up() {
    let queue = Queue::start().await;
    let job = job();
    let id = queue.submit_job(job.clone(), bus()).await;
    for _ in 0..2 {
        queue.die_in_run(&job).await;
    }
    let _worker = queue.worker(&[("MAX_ATTEMPTS", "2")]).await;
    assert_eq!(failure(&queue.ended(id).await), Some(FailureReason::Poison));
    queue.drained().await;
}

/// During a rolling update, API and workers of the previous version store records that these leave out.
#[tokio::test]
async fn tasks_of_an_older_api_and_runs_of_an_older_worker_are_finished() {
    let queue = Queue::start().await;
    let (begun, queued) = (job(), job());
    for (job, begins) in [(&begun, true), (&queued, false)] {
        queue.submit_job(job.clone(), bus()).await;
        let record = TaskRecord::queued(job.clone());
        queue.messaging.tasks().create_queued(&record).await.unwrap();
        if begins {
            queue.die_in_run(job).await;
        }
    }
    let _worker = queue.worker(&[]).await;
    for (job, attempts) in [(begun, 2), (queued, 1)] {
        assert_bus_is_found(&queue, job.task_id).await;
        assert_eq!(queue.ended(job.task_id).await.attempts, attempts);
    }
    queue.drained().await;
}

#[tokio::test]
async fn a_dead_letter_that_its_worker_did_not_live_to_write_is_written_by_the_next() {
    let queue = Queue::start().await;
    let job = job();
    let id = queue.submit_job(job, bus()).await;
    let tasks = queue.messaging.tasks();
    let poisoned = tasks.find(id).await.unwrap().unwrap().with_state(TaskState::Failure {
        finished_at: OffsetDateTime::now_utc(),
        reason: FailureReason::Poison,
        message: "given up".to_owned(),
    });
    tasks.finish(&poisoned).await.unwrap();
    let _worker = queue.worker(&[]).await;
    queue.drained().await;
    let letter = queue.messaging.dead_letters().get(DeadLetterId::Task(id)).await.unwrap();
    assert_eq!(letter.unwrap().reason, "poison");
    assert_eq!(tasks.get(id).await.unwrap(), Some(poisoned));
}

#[tokio::test]
async fn handing_a_job_out_is_no_attempt_at_it() {
    let queue = Queue::start().await;
    let id = queue.submit(bus()).await;
    let mut deliveries = queue.messaging.queue().deliveries([ModelName::default()]);
    for deliveries_before in 0..8 {
        let delivery = deliveries.next(1).await;
        assert_eq!((delivery.job.task_id, delivery.attempt), (id, deliveries_before + 1));
        delivery.settle(Settlement::RetryAfter(Duration::ZERO)).await.unwrap();
    }
    deliveries.stop().await;
    let _worker = queue.worker(&[("MAX_ATTEMPTS", "2")]).await;
    assert_bus_is_found(&queue, id).await;
}

#[tokio::test]
async fn a_job_past_its_deadline_expires_and_is_not_run() {
    let queue = Queue::start().await;
    let deadline = Some(OffsetDateTime::now_utc());
    let id = queue.submit_job(Job { deadline, ..job() }, bus()).await;
    let _worker = queue.worker(&[]).await;
    let record = queue.ended(id).await;
    assert!(matches!(record.state, TaskState::Expired { .. }), "{record:?}");
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
        ..tasks.find(id).await.unwrap().unwrap()
    };
    assert!(matches!(tasks.finish(&first).await.unwrap(), FinishOutcome::Stored));
    let _worker = queue.worker(&[]).await;
    queue.drained().await;
    assert_eq!(tasks.get(id).await.unwrap(), Some(first));
}

#[tokio::test]
async fn the_deadline_in_a_runs_record_is_at_most_50_s_ahead() {
    for (job_deadline, expected) in [("300", 50), ("20", 20)] {
        let queue = Queue::for_held_tasks().await;
        let held = HeldTask::submit(&queue).await;
        let _worker = queue.worker(&[("JOB_DEADLINE_SECONDS", job_deadline)]).await;
        held.started(&queue).await;
        let (started_at, run_deadline) = held.run(&queue).await;
        let ahead = Duration::from_secs(expected);
        assert!(run_deadline >= started_at + ahead, "{started_at} {run_deadline}");
        assert!(run_deadline <= OffsetDateTime::now_utc() + ahead, "{started_at} {run_deadline}");
    }
}

#[tokio::test]
async fn the_worker_extends_the_deadline_of_a_run_that_goes_on() {
    let queue = Queue::for_held_tasks().await;
    let held = HeldTask::submit(&queue).await;
    let _worker = queue.worker(&[("JOB_DEADLINE_SECONDS", "1")]).await;
    held.started(&queue).await;
    let (started_at, first) = held.run(&queue).await;
    eventually(TIMEOUT, async || {
        let (start, deadline) = held.run(&queue).await;
        assert_eq!(start, started_at);
        (deadline > first && deadline > started_at + Duration::from_secs(2)).then_some(())
    })
    .await;
    held.release(&queue);
    assert_eq!(queue.ended(held.id).await.attempts, 1);
    queue.drained().await;
}
