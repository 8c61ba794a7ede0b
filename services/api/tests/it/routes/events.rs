//! Following a task by server-sent events.

use std::time::Duration;

use domain::{Job, TaskId, TaskRecord};
use messaging::{BeginOutcome, RequeueReason, RunStart, TaskStore};
use reqwest::StatusCode;
use testkit::{Direction, NatsServer, TcpProxy, eventually};

use crate::{
    app::{TEST_TIMEOUT, TestApp, bus_form, json},
    event_reader::{Block, EventReader, follow, follow_at},
};

/// Longer than a test takes.
const LEASE: Duration = Duration::from_secs(600);

/// Begins the `delivery`th run, as a worker does.
async fn begin(tasks: &TaskStore, job: &Job, delivery: u32) -> TaskRecord {
    let snapshot = tasks.snapshot(job.task_id).await.unwrap();
    match tasks.begin(RunStart::now(job, delivery), snapshot, LEASE).await.unwrap() {
        BeginOutcome::Begun(record) => record,
        BeginOutcome::AlreadyTerminal(record) => panic!("it is terminal: {record:?}"),
    }
}

async fn job_of(tasks: &TaskStore, id: TaskId) -> Job {
    tasks.find(id).await.unwrap().unwrap().job
}

#[tokio::test]
async fn a_task_is_followed_from_the_queue_to_its_end() {
    let app = TestApp::start().await;
    let id = app.start_task().await;
    let tasks = app.worker_side().await.tasks();
    let job = job_of(&tasks, id).await;
    let mut reader = EventReader::open(&app, id, "").await;
    let (_, task) = reader.expect("queued").await;
    assert_eq!((&task["state"], &task["retry_reason"]), (&"QUEUED".into(), &().into()));
    assert_eq!(app.metric("spotter_event_streams", "").await, Some(1));

    let first = begin(&tasks, &job, 1).await;
    let (_, task) = reader.expect("started").await;
    assert_eq!((task["state"].as_str(), task["attempts"].as_u64()), (Some("STARTED"), Some(1)));
    // The same event to clients.
    tasks.extend_run(&first, 2 * LEASE).await.unwrap();
    tasks.requeue(&first, RequeueReason::RunFailed).await.unwrap();
    let (_, task) = reader.expect("retried").await;
    assert_eq!(task["state"], "QUEUED");
    assert_eq!(
        (task["retry_reason"].as_str(), task["attempts"].as_u64()),
        (Some("run_failed"), Some(1))
    );
    assert_eq!(app.get(&format!("/v1/tasks/{id}")).await.1, task);

    let second = begin(&tasks, &job, 2).await;
    assert_eq!(reader.expect("started").await.1["attempts"], 2);
    tasks.requeue(&second, RequeueReason::Released).await.unwrap();
    let (_, task) = reader.expect("retried").await;
    assert_eq!(
        (task["retry_reason"].as_str(), task["attempts"].as_u64()),
        (Some("worker_stopped"), Some(1))
    );
    begin(&tasks, &job, 3).await;
    assert_eq!(reader.expect("started").await.1["attempts"], 2);
    // A worker that dies says nothing.
    begin(&tasks, &job, 4).await;
    let (_, task) = reader.expect("retried").await;
    assert_eq!(
        (task["retry_reason"].as_str(), task["attempts"].as_u64()),
        (Some("worker_lost"), Some(2))
    );
    assert_eq!(reader.expect("started").await.1["attempts"], 3);

    app.succeed(id).await;
    let (_, task) = reader.expect("succeeded").await;
    assert_eq!(task["objects"][0]["label"], "bus");
    assert_eq!(app.get(&format!("/v1/tasks/{id}")).await.1, task);
    assert_eq!(reader.block().await, None, "the stream is closed after the end");
    // It costs no consumer; the reconciler has one now and then.
    eventually(TEST_TIMEOUT, async || {
        let unfollowed = app.metric("spotter_event_streams", "").await == Some(0)
            && app.nats.subscribers(&format!("records.{id}")) == 0;
        unfollowed.then_some(())
    })
    .await;
}

#[tokio::test]
async fn those_who_follow_take_no_consumer() {
    let app = TestApp::start().await;
    let id = app.start_task().await;
    let mut readers = Vec::new();
    for _ in 0..20 {
        let mut reader = EventReader::open(&app, id, "").await;
        reader.expect("queued").await;
        readers.push(reader);
    }
    assert_eq!(app.nats.subscribers(&format!("records.{id}")), 20);
    // The reconciler has one now and then.
    eventually(TEST_TIMEOUT, async || {
        (app.nats.stream("KV_tasks").unwrap().consumers == 0).then_some(())
    })
    .await;
    app.fail(id, "no picture").await;
    for mut reader in readers {
        let (_, task) = reader.expect("failed").await;
        assert_eq!(task["failure"]["message"], "no picture");
        assert_eq!(reader.block().await, None);
    }
}

#[tokio::test]
async fn a_client_that_comes_back_gets_what_is_newer_and_surely_the_end() {
    let app = TestApp::start().await;
    let id = app.start_task().await;
    let tasks = app.worker_side().await.tasks();
    let job = job_of(&tasks, id).await;
    let mut reader = EventReader::open(&app, id, "").await;
    let (queued, _) = reader.expect("queued").await;
    drop(reader);

    let first = begin(&tasks, &job, 1).await;
    let mut reader = EventReader::open(&app, id, &queued).await;
    let (started, _) = reader.expect("started").await;
    drop(reader);
    // Another record, but nothing that a client sees.
    tasks.extend_run(&first, 2 * LEASE).await.unwrap();
    let mut reader = EventReader::open(&app, id, &started).await;
    let revoked = app.client.delete(app.url(&format!("/v1/tasks/{id}"))).send().await.unwrap();
    assert_eq!(revoked.status(), StatusCode::OK);
    let (end, _) = reader.expect("revoked").await;
    drop(reader);

    for seen in ["", &queued, &started, "nonsense"] {
        let mut reader = EventReader::open(&app, id, seen).await;
        assert_eq!(reader.expect("revoked").await.0, end);
        assert_eq!(reader.block().await, None);
    }
    assert_eq!(follow(&app, id, &end).await.status(), StatusCode::NO_CONTENT);
    // An id of another task, whose end it was.
    let other = app.start_task().await;
    EventReader::open(&app, other, &end).await.expect("queued").await;
}

#[tokio::test]
async fn tasks_that_cannot_be_followed_are_problems() {
    let app = TestApp::start_with(&[("RESULT_TTL_SECONDS", "60")]).await;
    let old = uuid::Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, 1_000_000, 0));
    let unknown = TaskId::generate().to_string();
    let cases = [
        ("no-id/events", StatusCode::NOT_FOUND, "task-unknown"),
        (&format!("{unknown}/events"), StatusCode::NOT_FOUND, "task-unknown"),
        (&format!("{old}/events"), StatusCode::GONE, "task-expired"),
        (&format!("{unknown}/events?wait=1"), StatusCode::BAD_REQUEST, "invalid-parameter"),
    ];
    for (path, expected, kind) in cases {
        let (status, problem) = app.get(&format!("/v1/tasks/{path}")).await;
        let found = problem["type"].as_str().unwrap().rsplit(':').next();
        assert_eq!((status, found), (expected, Some(kind)), "{path}");
    }
    // A HEAD is answered, and leaves nothing behind.
    let id = app.start_task().await;
    let url = app.url(&format!("/v1/tasks/{id}/events"));
    let answer = app.client.head(url).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    eventually(TEST_TIMEOUT, async || {
        (app.metric("spotter_event_streams", "").await == Some(0)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn one_stream_too_many_is_told_when_to_try_again() {
    let app = TestApp::start_with(&[("MAX_EVENT_STREAMS", "1")]).await;
    let id = app.start_task().await;
    let mut reader = EventReader::open(&app, id, "").await;
    reader.expect("queued").await;
    let refused = follow(&app, id, "").await;
    assert!(refused.headers().contains_key("retry-after"));
    let (status, problem) = json(refused).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(problem["type"], "urn:problem-type:spotter:too-many-streams");
    app.succeed(id).await;
    reader.expect("succeeded").await;
    assert_eq!(reader.block().await, None);
    drop(reader);
    eventually(TEST_TIMEOUT, async || {
        (follow(&app, id, "").await.status() == StatusCode::OK).then_some(())
    })
    .await;
}

#[tokio::test]
async fn streams_of_tasks_and_of_batches_have_the_same_places() {
    let app = TestApp::start_with(&[("MAX_EVENT_STREAMS", "1")]).await;
    let id = app.start_task().await;
    let (_, batch) = json(app.post("/v1/batches", bus_form()).await).await;
    let path = batch["links"]["events"].as_str().unwrap();
    let mut reader = EventReader::open_at(&app, path, "").await;
    reader.expect("progress").await;
    for refused in [follow(&app, id, "").await, follow_at(&app, path, "").await] {
        let (status, problem) = json(refused).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(problem["type"], "urn:problem-type:spotter:too-many-streams");
    }
    let answer = app.client.delete(app.url(batch["links"]["self"].as_str().unwrap())).send();
    assert_eq!(answer.await.unwrap().status(), StatusCode::OK);
    while reader.event().await.0 != "finished" {}
    assert_eq!(reader.block().await, None);
    drop(reader);
    eventually(TEST_TIMEOUT, async || {
        (follow(&app, id, "").await.status() == StatusCode::OK).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_open_stream_is_kept_alive_longer_than_an_idle_connection() {
    let app =
        TestApp::start_with(&[("KEEP_ALIVE_SECONDS", "1"), ("ANSWER_TIMEOUT_SECONDS", "1")]).await;
    let id = app.start_task().await;
    let mut reader = EventReader::open(&app, id, "").await;
    reader.expect("queued").await;
    // After 15 seconds.
    assert_eq!(reader.block().await, Some(Block::Comment));
    app.succeed(id).await;
    reader.expect("succeeded").await;
    assert_eq!(reader.block().await, None);
}

#[tokio::test]
async fn a_shutdown_ends_streams_and_does_not_wait_for_tasks() {
    let app = TestApp::start_with(&[("SHUTDOWN_GRACE_SECONDS", "600")]).await;
    let id = app.start_task().await;
    let mut reader = EventReader::open(&app, id, "").await;
    reader.expect("queued").await;
    app.stop();
    assert_eq!(reader.block().await, None);
    app.stopped().await;
}

#[tokio::test]
async fn what_is_not_published_is_read() {
    let nats = NatsServer::start();
    let proxy = TcpProxy::for_nats(nats.port());
    let url = format!("nats://127.0.0.1:{}", proxy.port());
    let app = TestApp::start_on(nats, &[("NATS_URL", &url)]).await;
    let id = app.start_task().await;
    let mut reader = EventReader::open(&app, id, "").await;
    reader.expect("queued").await;
    let published = format!("HMSG records.{id} ");
    proxy.drop_frames(Direction::ToClient, move |frame| frame.starts_with(published.as_bytes()));
    app.succeed(id).await;
    reader.expect("succeeded").await;
}

#[tokio::test]
async fn the_end_is_told_from_a_copy_in_redis_while_nats_is_unavailable() {
    let mut app = TestApp::start().await;
    let id = app.start_task().await;
    app.succeed(id).await;
    app.get(&format!("/v1/tasks/{id}")).await;
    eventually(TEST_TIMEOUT, async || app.redis.get(&format!("spotter:task:{id}"))).await;
    app.nats.kill();
    eventually(TEST_TIMEOUT, async || {
        let (status, _) = app.get("/health/ready").await;
        (status == StatusCode::SERVICE_UNAVAILABLE).then_some(())
    })
    .await;
    let mut reader = EventReader::open(&app, id, "").await;
    let (end, _) = reader.expect("succeeded").await;
    assert_eq!(reader.block().await, None);
    assert_eq!(follow(&app, id, &end).await.status(), StatusCode::NO_CONTENT);
}
