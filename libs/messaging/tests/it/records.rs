//! The records of tasks.

use std::{future::pending, time::Duration};

use domain::{Job, TaskId, TaskRecord, TaskState};
use futures_util::StreamExt;
use messaging::{
    BeginOutcome, FinishOutcome, Messaging, MessagingConfig, RequeueReason, Role, RunStart,
    Settlement,
};
use testkit::{Direction, TcpProxy, eventually};
use time::OffsetDateTime;
use tokio::time::sleep;

use crate::fixture::{
    A_WHILE, Fixture, LEASE, TIMEOUT, begin, failure, job, large_picture, next, picture, success,
    terminal,
};

#[tokio::test]
async fn a_task_goes_its_way() {
    let fixture = Fixture::start().await;
    let (tasks, job) = (fixture.messaging.tasks(), job());
    let queued = TaskRecord::queued(job.clone());
    assert_eq!(tasks.get(job.task_id).await.unwrap(), None);
    tasks.create_queued(&queued).await.unwrap();
    assert_eq!(tasks.get(job.task_id).await.unwrap(), Some(queued.clone()));
    let begun = begin(&tasks, &job).await;
    assert_eq!(begun.attempts, 1);
    assert!(matches!(begun.state, TaskState::Started { .. }), "{begun:?}");
    assert_eq!(tasks.get(job.task_id).await.unwrap(), Some(begun));
    assert_eq!(tasks.finish(&success(&job)).await.unwrap(), FinishOutcome::Stored);
    assert_eq!(tasks.get(job.task_id).await.unwrap(), Some(success(&job)));
}

#[tokio::test]
async fn runs_that_failed_count_and_runs_that_were_released_do_not() {
    let fixture = Fixture::start().await;
    let (tasks, job) = (fixture.messaging.tasks(), job());
    tasks.create_queued(&TaskRecord::queued(job.clone())).await.unwrap();
    let requeued = async |why| {
        let begun = begin(&tasks, &job).await;
        tasks.requeue(&begun, why).await.unwrap();
        let record = tasks.get(job.task_id).await.unwrap().unwrap();
        assert!(matches!(record.state, TaskState::Queued { .. }), "{record:?}");
        record.attempts
    };
    assert_eq!(requeued(RequeueReason::RunFailed).await, 1);
    assert_eq!(requeued(RequeueReason::Released).await, 1);
    assert_eq!(requeued(RequeueReason::Released).await, 1);
    assert_eq!(requeued(RequeueReason::RunFailed).await, 2);
    // A worker that was killed requeued nothing: its run counts.
    assert_eq!(begin(&tasks, &job).await.attempts, 3);
    assert_eq!(begin(&tasks, &job).await.attempts, 4);
}

#[tokio::test]
async fn a_run_is_extended_and_another_workers_run_is_left_alone() {
    let fixture = Fixture::start().await;
    let (here, job) = (fixture.messaging.tasks(), job());
    let revision = async || {
        let bucket = fixture.raw().await.get_key_value("tasks").await.unwrap();
        bucket.entry(job.task_id.to_string()).await.unwrap().unwrap().revision
    };
    let run_deadline = |record: &TaskRecord| match record.state {
        TaskState::Started { run_deadline, .. } => run_deadline.unwrap(),
        _ => panic!("{record:?}"),
    };
    let first = begin(&here, &job).await;
    here.extend_run(&first, 2 * LEASE).await.unwrap();
    let extended = here.get(job.task_id).await.unwrap().unwrap();
    assert!(run_deadline(&extended) > run_deadline(&first) + LEASE / 2, "{extended:?}");

    let second = begin(&here, &job).await;
    let before = revision().await;
    here.extend_run(&first, 3 * LEASE).await.unwrap();
    assert_eq!(revision().await, before, "the record of another run was written");
    assert_eq!(here.get(job.task_id).await.unwrap(), Some(second.clone()));

    // Lost in mid-run, the record comes back with a deadline ahead.
    let bucket = fixture.raw().await.get_key_value("tasks").await.unwrap();
    bucket.purge(job.task_id.to_string()).await.unwrap();
    here.extend_run(&second, 4 * LEASE).await.unwrap();
    let again = here.get(job.task_id).await.unwrap().unwrap();
    assert!(run_deadline(&again) > run_deadline(&second) + LEASE, "{again:?}");
}

#[tokio::test]
async fn the_first_end_wins() {
    let fixture = Fixture::start().await;
    let (tasks, job) = (fixture.messaging.tasks(), job());
    // A fast worker may be done before the record of the queued task is made.
    assert_eq!(tasks.finish(&success(&job)).await.unwrap(), FinishOutcome::Stored);
    tasks.create_queued(&TaskRecord::queued(job.clone())).await.unwrap();
    let end = success(&job);
    let late = tasks.finish(&failure(&job)).await.unwrap();
    assert_eq!(late, FinishOutcome::AlreadyTerminal(Box::new(end.clone())));
    let snapshot = tasks.snapshot(job.task_id).await.unwrap();
    let late = tasks.begin(RunStart::now(&job, 1), snapshot, LEASE).await.unwrap();
    assert_eq!(late, BeginOutcome::AlreadyTerminal(end.clone()));
    // The same end once more is an attempt whose answer was lost.
    assert_eq!(tasks.finish(&end).await.unwrap(), FinishOutcome::Stored);
    assert_eq!(tasks.get(job.task_id).await.unwrap(), Some(end));
}

#[tokio::test]
async fn of_many_ends_at_once_one_is_stored() {
    let fixture = Fixture::start().await;
    let (tasks, job) = (fixture.messaging.tasks(), job());
    let mut racers = Vec::new();
    for attempt in 0..8 {
        let (tasks, job) = (tasks.clone(), job.clone());
        racers.push(tokio::spawn(async move {
            let mut end = success(&job);
            end.job.picture_name = format!("{attempt}.jpg");
            let snapshot = tasks.snapshot(job.task_id).await.unwrap();
            tasks.begin(RunStart::now(&job, 1), snapshot, LEASE).await.unwrap();
            (tasks.finish(&end).await.unwrap(), end)
        }));
    }
    let mut winners = Vec::new();
    for racer in racers {
        if let (FinishOutcome::Stored, end) = racer.await.unwrap() {
            winners.push(end);
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(tasks.get(job.task_id).await.unwrap(), winners.pop());
}

#[tokio::test]
async fn waiting_wakes_with_the_end() {
    let fixture = Fixture::start().await;
    let job = job();
    let tasks = fixture.messaging.tasks();
    tasks.create_queued(&TaskRecord::queued(job.clone())).await.unwrap();
    // The waiter's connection cannot read records any more once it has subscribed: it can only be notified by
    // the published record.
    let proxy = TcpProxy::for_nats(fixture.server.port());
    let url = format!("nats://127.0.0.1:{}", proxy.port());
    let waiting = Messaging::connect(MessagingConfig::new(url.parse().unwrap(), Role::Api))
        .await
        .unwrap()
        .tasks();
    assert!(waiting.get(job.task_id).await.unwrap().is_some());
    let id = job.task_id;
    let waiting = tokio::spawn(async move { waiting.await_terminal(id, sleep(TIMEOUT)).await });
    fixture.server.wait_until_subscribed(&format!("records.{id}")).await;
    let is_read = |frame: &[u8]| frame.starts_with(b"PUB $JS.API.DIRECT.GET.KV_tasks");
    proxy.drop_frames(Direction::ToServer, is_read);
    begin(&tasks, &job).await;
    tasks.finish(&success(&job)).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), Some(success(&job)));
}

#[tokio::test]
async fn a_terminal_record_is_returned_at_once() {
    let fixture = Fixture::start().await;
    let (tasks, job) = (fixture.messaging.tasks(), job());
    tasks.finish(&success(&job)).await.unwrap();
    let end = tasks.await_terminal(job.task_id, pending()).await.unwrap();
    assert_eq!(end, Some(success(&job)));
}

#[tokio::test]
async fn many_who_wait_cost_the_server_no_consumer() {
    let fixture = Fixture::start().await;
    let (tasks, jobs) = (fixture.messaging.tasks(), [job(), job(), job()]);
    for job in &jobs {
        tasks.create_queued(&TaskRecord::queued(job.clone())).await.unwrap();
    }
    let waiting = jobs.clone().map(|job| {
        let tasks = tasks.clone();
        tokio::spawn(async move { tasks.await_terminal(job.task_id, sleep(TIMEOUT)).await })
    });
    let subjects = jobs.clone().map(|job| format!("records.{}", job.task_id));
    let server = &fixture.server;
    for subject in &subjects {
        server.wait_until_subscribed(subject).await;
    }
    assert_eq!(server.stream("KV_tasks").unwrap().consumers, 0);
    for (job, one) in jobs.iter().zip(waiting) {
        tasks.finish(&success(job)).await.unwrap();
        assert_eq!(one.await.unwrap().unwrap(), Some(success(job)));
    }
    testkit::eventually(TIMEOUT, async || {
        (!subjects.iter().any(|subject| server.is_subscribed_to(subject))).then_some(())
    })
    .await;
}

#[tokio::test]
async fn each_record_is_published_as_it_was_stored() {
    let fixture = Fixture::start().await;
    let (tasks, job) = (fixture.messaging.tasks(), job());
    let mut records = fixture.subscribe("records.>").await;
    let queued = TaskRecord::queued(job.clone());
    tasks.create_queued(&queued).await.unwrap();
    let begun = begin(&tasks, &job).await;
    tasks.finish(&success(&job)).await.unwrap();
    // Too late, so it is not stored.
    tasks.finish(&failure(&job)).await.unwrap();
    fixture.messaging.tasks().finish(&failure(&job)).await.unwrap();
    for expected in [queued, begun, success(&job)] {
        let message = tokio::time::timeout(TIMEOUT, records.next()).await.unwrap().unwrap();
        assert_eq!(message.subject.as_str(), format!("records.{}", job.task_id));
        assert_eq!(serde_json::from_slice::<TaskRecord>(&message.payload).unwrap(), expected);
    }
    let more = tokio::time::timeout(A_WHILE, records.next()).await;
    assert!(more.is_err(), "{more:?}");
}

#[tokio::test]
async fn a_terminal_record_whose_message_is_lost_is_found() {
    let fixture = Fixture::start().await;
    let (tasks, job) = (fixture.messaging.tasks(), job());
    let raw = fixture.raw().await;
    let mut silent = raw.get_stream("KV_tasks").await.unwrap().cached_info().config.clone();
    silent.republish = None;
    raw.update_stream(&silent).await.unwrap();
    tasks.create_queued(&TaskRecord::queued(job.clone())).await.unwrap();
    let waiting = tokio::spawn({
        let (tasks, id) = (tasks.clone(), job.task_id);
        async move { tasks.await_terminal(id, sleep(TIMEOUT)).await }
    });
    let subject = format!("records.{}", job.task_id);
    fixture.server.wait_until_subscribed(&subject).await;
    tasks.finish(&success(&job)).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), Some(success(&job)));
}

#[tokio::test]
async fn waiting_ends_with_the_newest_record() {
    let fixture = Fixture::start().await;
    let (tasks, job) = (fixture.messaging.tasks(), job());
    let begun = begin(&tasks, &job).await;
    let newest = tasks.await_terminal(job.task_id, sleep(A_WHILE)).await.unwrap();
    assert_eq!(newest, Some(begun));
    assert_eq!(tasks.await_terminal(TaskId::generate(), pending()).await.unwrap(), None);
}

#[tokio::test]
async fn a_record_expires() {
    let fixture = Fixture::configured(|config| config.result_ttl = Duration::from_secs(1)).await;
    let (tasks, job) = (fixture.messaging.tasks(), job());
    tasks.finish(&success(&job)).await.unwrap();
    testkit::eventually(TIMEOUT, || async {
        tasks.get(job.task_id).await.unwrap().is_none().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_job_in_the_queue_is_a_queued_task() {
    let fixture = Fixture::start().await;
    let (tasks, job) = (fixture.messaging.tasks(), job());
    assert_eq!(tasks.find(job.task_id).await.unwrap(), None);
    fixture.submit(&job).await;
    let queued = Some(TaskRecord::queued(job.clone()));
    assert_eq!(tasks.get(job.task_id).await.unwrap(), None, "it has no record");
    for _ in 0..2 {
        assert_eq!(tasks.find(job.task_id).await.unwrap(), queued);
    }
    let delivery = next(&mut fixture.deliveries(), 1).await;
    assert_eq!(tasks.find(job.task_id).await.unwrap(), queued, "its run is not stored");
    tasks.finish(&success(&job)).await.unwrap();
    assert_eq!(tasks.find(job.task_id).await.unwrap(), Some(success(&job)));
    delivery.settle(Settlement::Ack).await.unwrap();
    fixture.depth_becomes((0, 0)).await;
    assert_eq!(tasks.find(job.task_id).await.unwrap(), Some(success(&job)));
}

#[tokio::test]
async fn a_lost_job_gets_a_record_by_whoever_knows_it() {
    let fixture = Fixture::start().await;
    let job = Job { submitted_at: OffsetDateTime::now_utc(), ..job() };
    let (tasks, of_another_process) = (fixture.messaging.tasks(), fixture.messaging.tasks());
    let sequence = fixture.messaging.queue().submit(&job, picture()).await.unwrap();
    tasks.note_queued(job.clone(), sequence);
    let queued = Some(TaskRecord::queued(job.clone()));
    assert_eq!(tasks.find(job.task_id).await.unwrap(), queued);
    fixture.raw().await.get_stream("JOBS").await.unwrap().purge().await.unwrap();
    assert_eq!(of_another_process.find(job.task_id).await.unwrap(), None);
    // With a record, the reconciler finds it, and it is unknown to nobody.
    eventually(TIMEOUT, async || {
        assert_eq!(tasks.find(job.task_id).await.unwrap(), queued);
        of_another_process.get(job.task_id).await.unwrap()
    })
    .await;
}

#[tokio::test]
async fn a_failed_run_does_not_hide_a_later_one() {
    let fixture = Fixture::start().await;
    let (here, there, job) = (fixture.messaging.tasks(), fixture.messaging.tasks(), job());
    for reason in [RequeueReason::RunFailed, RequeueReason::Released] {
        let earlier = begin(&here, &job).await;
        let later = begin(&there, &job).await;
        here.requeue(&earlier, reason).await.unwrap();
        assert_eq!(here.get(job.task_id).await.unwrap(), Some(later), "{reason:?}");
    }
}

#[tokio::test]
async fn a_waiting_client_waits_for_a_job_without_a_record() {
    let fixture = Fixture::start().await;
    let (tasks, job) = (fixture.messaging.tasks(), job());
    fixture.submit(&job).await;
    let waiting = tokio::spawn({
        let (tasks, id) = (tasks.clone(), job.task_id);
        async move { terminal(&tasks, id).await }
    });
    fixture.server.wait_until_subscribed(&format!("records.{}", job.task_id)).await;
    tasks.finish(&success(&job)).await.unwrap();
    assert_eq!(waiting.await.unwrap(), success(&job));
}

#[tokio::test]
async fn a_record_is_stored_with_the_job_where_something_relies_on_it() {
    let fixture = Fixture::start().await;
    let due_in = |seconds| Job {
        deadline: Some(OffsetDateTime::now_utc() + time::Duration::seconds(seconds)),
        ..job()
    };
    let at_once = Fixture::configured(|config| config.record_delay = Duration::ZERO).await;
    let cases = [
        (&fixture, job(), picture(), false),
        (&fixture, due_in(2 * 3600), picture(), false),
        (&fixture, due_in(60), picture(), true),
        (&fixture, job(), large_picture(3_000_000), true),
        (&at_once, job(), picture(), true),
    ];
    for (fixture, job, picture, is_recorded) in cases {
        fixture.messaging.queue().submit(&job, picture).await.unwrap();
        let record = fixture.messaging.tasks().get(job.task_id).await.unwrap();
        assert_eq!(record, is_recorded.then(|| TaskRecord::queued(job)));
    }
}

#[tokio::test]
async fn a_first_delivery_counts_as_a_run_unless_it_was_released() {
    let fixture = Fixture::start().await;
    let tasks = fixture.messaging.tasks();
    let (lost, released, drained) = (job(), job(), job());
    let earlier_runs = async |job: &Job| {
        let record = tasks.get(job.task_id).await.unwrap();
        TaskRecord::earlier_runs(record.as_ref(), 2)
    };
    let mut deliveries = fixture.deliveries();
    for job in [&lost, &released] {
        fixture.submit(job).await;
    }
    let _never_settled = next(&mut deliveries, 2).await;
    next(&mut deliveries, 1).await.settle(Settlement::Release).await.unwrap();
    assert_eq!((earlier_runs(&lost).await, earlier_runs(&released).await), (1, 0));

    // Delivered, and never taken by the worker before it stops.
    deliveries.stop().await;
    let mut deliveries = fixture.deliveries();
    let again = next(&mut deliveries, 2).await;
    assert_eq!((&again.job, again.attempt), (&released, 2));
    fixture.asks_for_jobs(&mut deliveries).await;
    fixture.submit(&drained).await;
    fixture.depth_becomes((0, 3)).await;
    deliveries.stop().await;
    assert_eq!(earlier_runs(&drained).await, 0);
}
