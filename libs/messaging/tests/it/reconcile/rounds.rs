//! Queue and records compared, each kind of difference made, found and repaired.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_nats::jetstream::kv;
use bytes::Bytes;
use domain::{FailureReason, Job, ModelName, TaskId, TaskRecord, TaskState};
use messaging::{
    Discrepancy, Findings, FinishOutcome, MessagingConfig, Reconciler, RequeueReason, Settlement,
};
use time::OffsetDateTime;
use tokio::time::timeout;

use crate::fixture::{Fixture, TIMEOUT, begin, job, large_picture, next, picture, success};

/// More than travels inside a message.
const LARGE: usize = 3_000_000;

impl Fixture {
    /// As the API does it.
    pub(crate) async fn accept(&self, job: &Job, picture: Bytes) {
        self.messaging.queue().submit(job, picture).await.unwrap();
        self.messaging.tasks().create_queued(&TaskRecord::queued(job.clone())).await.unwrap();
    }

    /// The job's record, once the reconciler has stored it.
    async fn recorded(&self, reconciler: &mut Reconciler, job: &Job) -> TaskRecord {
        let rounds = async {
            loop {
                assert_eq!(round(reconciler).await, nothing_found());
                if let Some(record) = self.record(job.task_id).await {
                    return record;
                }
            }
        };
        timeout(TIMEOUT, rounds).await.expect("it gets a record")
    }

    async fn record(&self, id: TaskId) -> Option<TaskRecord> {
        self.messaging.tasks().get(id).await.unwrap()
    }

    async fn begin(&self, job: &Job) -> TaskRecord {
        begin(&self.messaging.tasks(), job).await
    }

    /// The queue loses a job.
    async fn lose(&self, job: &Job) {
        let jobs = self.raw().await.get_stream("JOBS").await.unwrap();
        let subject = format!("jobs.{}.{}", job.model, job.task_id);
        assert_eq!(jobs.purge().filter(subject).await.unwrap().purged, 1);
    }

    async fn bucket(&self) -> kv::Store {
        self.raw().await.get_key_value("tasks").await.unwrap()
    }
}

pub(crate) async fn round(reconciler: &mut Reconciler) -> Findings {
    reconciler.round().await.unwrap()
}

/// Counts of all kinds that are not 0: found and left, and repaired.
pub(crate) fn counts(findings: Findings) -> Vec<(&'static str, u64, u64)> {
    let counts = |kind: Discrepancy| (kind.name(), findings.open(kind), findings.repaired(kind));
    let all = Discrepancy::ALL.into_iter().map(counts);
    all.filter(|(_, open, repaired)| open + repaired > 0).collect()
}

pub(crate) fn nothing_found() -> Findings {
    Findings::default()
}

fn due_in(seconds: i64) -> Job {
    let deadline = OffsetDateTime::now_utc() + time::Duration::seconds(seconds);
    Job { deadline: Some(deadline), ..job() }
}

#[tokio::test]
async fn a_busy_queue_is_well() {
    /// So often it is looked at while it is busy.
    const ROUNDS: usize = 10;
    let fixture = Fixture::start().await;
    let enough = Arc::new(AtomicBool::new(false));
    let (tasks, queue) = (fixture.messaging.tasks(), fixture.messaging.queue());
    let until = Arc::clone(&enough);
    let clients = tokio::spawn(async move {
        for number in 0.. {
            let job = due_in(3600);
            let picture = if number % 50 == 0 { large_picture(LARGE) } else { picture() };
            queue.submit(&job, picture).await.unwrap();
            tasks.create_queued(&TaskRecord::queued(job)).await.unwrap();
            if until.load(Ordering::Relaxed) {
                return;
            }
        }
    });
    let (tasks, mut deliveries) = (fixture.messaging.tasks(), fixture.deliveries());
    let worker = tokio::spawn(async move {
        for number in 0.. {
            let delivery = deliveries.next(4).await;
            let job = delivery.job.clone();
            let begun = begin(&tasks, &job).await;
            if begun.attempts == 1 && number % 5 == 0 {
                tasks.requeue(&begun, RequeueReason::RunFailed).await.unwrap();
                let again = Settlement::RetryAfter(Duration::from_millis(300));
                delivery.settle(again).await.unwrap();
            } else {
                tasks.finish(&success(&job)).await.unwrap();
                delivery.settle(Settlement::Ack).await.unwrap();
            }
        }
    });
    let mut reconciler = fixture.messaging.reconciler();
    for _ in 0..ROUNDS {
        assert_eq!(counts(round(&mut reconciler).await), []);
    }
    enough.store(true, Ordering::Relaxed);
    clients.await.unwrap();
    fixture.depth_becomes((0, 0)).await;
    assert!(!worker.is_finished(), "{:?}", worker.await);
    assert_eq!(round(&mut reconciler).await, nothing_found());
    worker.abort();
}

#[tokio::test]
async fn a_lost_job_is_stored_again_if_its_picture_is_there() {
    let fixture = Fixture::start().await;
    let (job, picture) = (job(), large_picture(LARGE));
    fixture.accept(&job, picture.clone()).await;
    let mut reconciler = fixture.messaging.reconciler();
    assert_eq!(round(&mut reconciler).await, nothing_found());
    fixture.lose(&job).await;
    assert_eq!(counts(round(&mut reconciler).await), [("record_without_job", 1, 0)]);
    // Nothing is repaired on first sight.
    fixture.depth_becomes((0, 0)).await;
    // The duplicate window still knows the id, and that must not matter.
    assert_eq!(counts(round(&mut reconciler).await), [("record_without_job", 0, 1)]);
    assert_eq!(round(&mut reconciler).await, nothing_found());
    let delivery = next(&mut fixture.deliveries(), 1).await;
    assert_eq!((&delivery.job, delivery.picture().await.unwrap()), (&job, picture));
    assert_eq!(fixture.record(job.task_id).await, Some(TaskRecord::queued(job)));
}

#[tokio::test]
async fn a_job_lost_with_its_picture_fails() {
    let fixture = Fixture::start().await;
    let jobs = [job(), job()];
    for job in &jobs {
        fixture.accept(job, picture()).await;
    }
    let mut reconciler = fixture.messaging.reconciler();
    fixture.lose(&jobs[0]).await;
    assert_eq!(counts(round(&mut reconciler).await), [("record_without_job", 1, 0)]);
    let queued = TaskRecord::queued(jobs[0].clone());
    assert_eq!(fixture.record(jobs[0].task_id).await, Some(queued));
    assert_eq!(counts(round(&mut reconciler).await), [("record_without_job", 0, 1)]);
    let record = fixture.record(jobs[0].task_id).await.unwrap();
    let TaskState::Failure { reason, message, .. } = record.state else { panic!("{record:?}") };
    assert_eq!(reason, FailureReason::Lost);
    assert!(message.contains("again"), "{message}");
    assert_eq!(round(&mut reconciler).await, nothing_found());
    fixture.depth_becomes((1, 0)).await;
}

#[tokio::test]
async fn a_job_that_comes_back_in_between_was_not_lost() {
    let fixture = Fixture::start().await;
    let job = job();
    fixture.accept(&job, large_picture(LARGE)).await;
    let (mut one, mut two) = (fixture.messaging.reconciler(), fixture.messaging.reconciler());
    fixture.lose(&job).await;
    for reconciler in [&mut one, &mut two] {
        assert_eq!(counts(round(reconciler).await), [("record_without_job", 1, 0)]);
    }
    assert_eq!(counts(round(&mut one).await), [("record_without_job", 0, 1)]);
    assert_eq!(round(&mut two).await, nothing_found());
    fixture.depth_becomes((1, 0)).await;
    // Lost once more, it is seen for the first time again.
    fixture.lose(&job).await;
    assert_eq!(counts(round(&mut two).await), [("record_without_job", 1, 0)]);
    fixture.depth_becomes((0, 0)).await;
}

#[tokio::test]
async fn a_run_may_end_although_its_job_is_lost() {
    let fixture = Fixture::start().await;
    let job = job();
    fixture.accept(&job, picture()).await;
    let begun = fixture.begin(&job).await;
    fixture.lose(&job).await;
    let mut reconciler = fixture.messaging.reconciler();
    for _ in 0..3 {
        assert_eq!(counts(round(&mut reconciler).await), [("record_without_job", 1, 0)]);
    }
    // A run that began longer ago is dead.
    let started_at = OffsetDateTime::now_utc() - time::Duration::seconds(61);
    let long_ago = begun.with_state(TaskState::Started { started_at, run_deadline: None });
    let json = serde_json::to_vec(&long_ago).unwrap();
    fixture.bucket().await.put(job.task_id.to_string(), json.into()).await.unwrap();
    assert_eq!(counts(round(&mut reconciler).await), [("record_without_job", 0, 1)]);
    let record = fixture.record(job.task_id).await.unwrap();
    assert!(record.state.is_terminal(), "{record:?}");
}

/// Jobs get their records as early as possible.
fn early_records(config: &mut MessagingConfig) {
    config.request_timeout = Duration::from_secs(2);
    config.record_delay = Duration::from_secs(1);
}

#[tokio::test]
async fn a_job_that_waits_for_long_gets_a_record() {
    let fixture = Fixture::configured(early_records).await;
    let (waiting, ended) = (job(), job());
    fixture.submit(&waiting).await;
    fixture.submit(&ended).await;
    // Its worker has stored the end and is about to acknowledge.
    fixture.messaging.tasks().finish(&success(&ended)).await.unwrap();
    let mut reconciler = fixture.messaging.reconciler();
    assert_eq!(round(&mut reconciler).await, nothing_found());
    assert_eq!(fixture.record(waiting.task_id).await, None, "it has not waited for long");
    let record = fixture.recorded(&mut reconciler, &waiting).await;
    assert_eq!(record, TaskRecord::queued(waiting));
    assert_eq!(fixture.record(ended.task_id).await, Some(success(&ended)));
    fixture.depth_becomes((2, 0)).await;
}

#[tokio::test]
async fn records_that_went_without_a_trace_come_back() {
    let fixture = Fixture::configured(early_records).await;
    let job = job();
    fixture.accept(&job, picture()).await;
    let mut reconciler = fixture.messaging.reconciler();
    assert_eq!(round(&mut reconciler).await, nothing_found());
    let raw = fixture.raw().await;
    for is_bucket_lost in [false, true] {
        if is_bucket_lost {
            raw.delete_stream("KV_tasks").await.unwrap();
            fixture.messaging.provision([ModelName::default()]).await.unwrap();
            // The new bucket has come further than the old one.
            for _ in 0..3 {
                fixture.accept(&self::job(), picture()).await;
            }
        } else {
            raw.get_stream("KV_tasks").await.unwrap().purge().await.unwrap();
        }
        assert_eq!(fixture.record(job.task_id).await, None);
        let record = fixture.recorded(&mut reconciler, &job).await;
        assert_eq!(record, TaskRecord::queued(job.clone()));
    }
}

#[tokio::test]
async fn a_job_lost_before_it_had_a_record_fails() {
    let fixture = Fixture::start().await;
    let (lost, ended, waiting) = (job(), job(), job());
    for job in [&lost, &ended, &waiting] {
        fixture.submit(job).await;
    }
    let mut reconciler = fixture.messaging.reconciler();
    assert_eq!(round(&mut reconciler).await, nothing_found());
    fixture.lose(&lost).await;
    fixture.messaging.tasks().finish(&success(&ended)).await.unwrap();
    fixture.lose(&ended).await;
    // Nothing is repaired on first sight.
    assert_eq!(counts(round(&mut reconciler).await), [("record_without_job", 1, 0)]);
    assert_eq!(fixture.record(lost.task_id).await, None);
    assert_eq!(counts(round(&mut reconciler).await), [("record_without_job", 0, 1)]);
    let TaskRecord { job, state, .. } = fixture.record(lost.task_id).await.unwrap();
    assert!(matches!(state, TaskState::Failure { reason: FailureReason::Lost, .. }), "{state:?}");
    assert_eq!((job.task_id, job.model), (lost.task_id, lost.model));
    assert_eq!(round(&mut reconciler).await, nothing_found());
    assert_eq!(fixture.record(ended.task_id).await, Some(success(&ended)));
    assert_eq!(fixture.record(waiting.task_id).await, None);
}

#[tokio::test]
async fn a_task_past_its_deadline_expires_without_a_worker() {
    let fixture = Fixture::start().await;
    let (late, in_time) = (due_in(-1), due_in(3600));
    fixture.accept(&late, large_picture(LARGE)).await;
    fixture.accept(&in_time, picture()).await;
    let mut reconciler = fixture.messaging.reconciler();
    let findings = reconciler.expire_overdue().await.unwrap();
    assert_eq!(counts(findings), [("overdue", 0, 1)]);
    let record = fixture.record(late.task_id).await.unwrap();
    assert!(matches!(record.state, TaskState::Expired { .. }), "{record:?}");
    fixture.depth_becomes((1, 0)).await;
    let pictures = fixture.raw().await.get_stream("OBJ_pictures").await.unwrap();
    assert_eq!(pictures.cached_info().state.messages, 0);
    assert_eq!(round(&mut reconciler).await, nothing_found());
    assert_eq!(next(&mut fixture.deliveries(), 1).await.job, in_time);
}

#[tokio::test]
async fn a_run_that_began_in_time_has_time_to_end() {
    let fixture = Fixture::start().await;
    let (late, too_late) = (due_in(-30), due_in(-51));
    let mut deliveries = fixture.deliveries();
    let mut held = Vec::new();
    for job in [&late, &too_late] {
        fixture.accept(job, picture()).await;
        // As a worker of an older version does.
        fixture.store_run(job, RunTimes { age: 60, left: None }).await;
        held.push(next(&mut deliveries, 1).await);
    }
    let mut reconciler = fixture.messaging.reconciler();
    assert_eq!(counts(round(&mut reconciler).await), [("overdue", 0, 1)]);
    let outcomes = [FinishOutcome::Stored, {
        let expired = fixture.record(too_late.task_id).await.unwrap();
        assert!(matches!(expired.state, TaskState::Expired { .. }), "{expired:?}");
        FinishOutcome::AlreadyTerminal(Box::new(expired))
    }];
    // The worker still finishes its run, and sees the outcome.
    for (delivery, outcome) in held.into_iter().zip(outcomes) {
        let end = success(&delivery.job);
        assert_eq!(fixture.messaging.tasks().finish(&end).await.unwrap(), outcome);
        delivery.settle(Settlement::Ack).await.unwrap();
    }
    fixture.depth_becomes((0, 0)).await;
    assert_eq!(round(&mut reconciler).await, nothing_found());
}

/// Seconds since a run began, and until its own deadline if it has one.
struct RunTimes {
    age: i64,
    left: Option<i64>,
}

impl Fixture {
    /// Stores what a worker with its own `JOB_DEADLINE_SECONDS` has written of its run.
    async fn store_run(&self, job: &Job, times: RunTimes) {
        let now = OffsetDateTime::now_utc();
        let state = TaskState::Started {
            started_at: now - time::Duration::seconds(times.age),
            run_deadline: times.left.map(|left| now + time::Duration::seconds(left)),
        };
        let record = self.begin(job).await.with_state(state);
        let json = serde_json::to_vec(&record).unwrap();
        self.bucket().await.put(job.task_id.to_string(), json.into()).await.unwrap();
    }
}

#[tokio::test]
async fn a_run_may_take_as_long_as_its_worker_lets_it() {
    let fixture = Fixture::start().await;
    // The task's deadline has passed in all; a run's own has not in the first and third.
    let (long, short, lost_and_long, lost_and_short) =
        (due_in(-100), due_in(-3), due_in(3600), due_in(3600));
    for (job, times) in [
        (&long, RunTimes { age: 200, left: Some(100) }),
        (&short, RunTimes { age: 5, left: Some(-1) }),
        (&lost_and_long, RunTimes { age: 200, left: Some(100) }),
        (&lost_and_short, RunTimes { age: 5, left: Some(-1) }),
    ] {
        fixture.accept(job, picture()).await;
        fixture.store_run(job, times).await;
    }
    fixture.lose(&lost_and_long).await;
    fixture.lose(&lost_and_short).await;
    let mut reconciler = fixture.messaging.reconciler();
    assert_eq!(
        counts(round(&mut reconciler).await),
        [("record_without_job", 2, 0), ("overdue", 0, 1)]
    );
    assert_eq!(counts(round(&mut reconciler).await), [("record_without_job", 1, 1)]);
    let expired = fixture.record(short.task_id).await.unwrap();
    assert!(matches!(expired.state, TaskState::Expired { .. }), "{expired:?}");
    let lost = fixture.record(lost_and_short.task_id).await.unwrap();
    assert!(matches!(lost.state, TaskState::Failure { .. }), "{lost:?}");
    // The result of a run that goes on is not thrown away.
    for job in [&long, &lost_and_long] {
        let outcome = fixture.messaging.tasks().finish(&success(job)).await.unwrap();
        assert_eq!(outcome, FinishOutcome::Stored);
    }
}

#[tokio::test]
async fn a_lost_job_past_its_deadline_has_expired() {
    let fixture = Fixture::start().await;
    let job = due_in(-1);
    fixture.accept(&job, picture()).await;
    let begun = fixture.begin(&job).await;
    let started_at = OffsetDateTime::now_utc() - time::Duration::seconds(61);
    let begun = begun.with_state(TaskState::Started { started_at, run_deadline: None });
    let json = serde_json::to_vec(&begun).unwrap();
    fixture.bucket().await.put(job.task_id.to_string(), json.into()).await.unwrap();
    fixture.lose(&job).await;
    let mut reconciler = fixture.messaging.reconciler();
    assert_eq!(counts(round(&mut reconciler).await), [("record_without_job", 1, 0)]);
    assert_eq!(counts(round(&mut reconciler).await), [("record_without_job", 0, 1)]);
    let record = fixture.record(job.task_id).await.unwrap();
    assert!(matches!(record.state, TaskState::Expired { .. }), "{record:?}");
}

#[tokio::test]
async fn the_job_of_an_expired_task_is_removed_later_if_not_at_once() {
    let fixture = Fixture::configured(early_records).await;
    let job = due_in(-1);
    fixture.accept(&job, large_picture(LARGE)).await;
    let finished_at = OffsetDateTime::now_utc();
    let expired = TaskRecord::queued(job).with_state(TaskState::Expired { finished_at });
    fixture.messaging.tasks().finish(&expired).await.unwrap();
    let mut reconciler = fixture.messaging.reconciler();
    let rounds = async {
        while fixture.depth().await != (0, 0) {
            assert_eq!(round(&mut reconciler).await, nothing_found());
        }
    };
    timeout(TIMEOUT, rounds).await.expect("the job is removed");
    let pictures = fixture.raw().await.get_stream("OBJ_pictures").await.unwrap();
    assert_eq!(pictures.cached_info().state.messages, 0);
}

#[tokio::test]
async fn many_records_are_read_page_by_page() {
    const MANY: usize = 2500;
    let fixture = Fixture::start().await;
    let bucket = fixture.bucket().await;
    let mut stored = Vec::new();
    let record = |job: Job| serde_json::to_vec(&TaskRecord::queued(job)).unwrap();
    for _ in 0..MANY {
        let job = job();
        stored.push(job.task_id);
        bucket.put(job.task_id.to_string(), record(job).into()).await.unwrap();
    }
    // Keys of another program, and a deleted one.
    bucket.put("somebody-else", "?".into()).await.unwrap();
    bucket.put(TaskId::generate().to_string(), "?".into()).await.unwrap();
    bucket.delete(stored[0].to_string()).await.unwrap();
    let mut reconciler = fixture.messaging.reconciler();
    // No more than is bearable at a time; the rest comes in the next rounds.
    assert_eq!(counts(round(&mut reconciler).await), [("record_without_job", 1000, 0)]);
    let mut left = MANY as u64 - 1;
    while left > 0 {
        let findings = round(&mut reconciler).await;
        left -= findings.repaired(Discrepancy::LostJob);
        assert!(findings.repaired(Discrepancy::LostJob) <= 1000);
    }
    assert_eq!(round(&mut reconciler).await, nothing_found());
    assert_eq!(fixture.record(stored[0]).await, None);
    let tasks = fixture.raw().await.get_stream("KV_tasks").await.unwrap();
    assert_eq!(tasks.cached_info().state.consumer_count, 0);
}
