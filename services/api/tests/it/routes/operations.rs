//! The state of the whole system, as a snapshot and as a stream.

use std::{collections::BTreeMap, time::Duration};

use domain::{ModelName, TaskId, TaskState};
use messaging::{
    LatencyHistogram, Messaging, ModelStatus, PartStatus, ProcessIdentity, RunningTaskStatus,
    WorkerStatus, latency_bucket,
};
use reqwest::StatusCode;
use serde_json::{Value, json};
use testkit::NatsServer;
use time::OffsetDateTime;
use tokio::{sync::mpsc, time::timeout};

use crate::{
    app::{TEST_TIMEOUT, TestApp, bus_form, json, model},
    event_reader::{Block, EventReader, follow_at},
};

const PATH: &str = "/v1/operations";
const EVENTS: &str = "/v1/operations/events";

/// Longer than the time between two samples.
const SILENCE: Duration = Duration::from_secs(3);

/// A worker that only tells its status, as long as its connection lives.
async fn worker(app: &TestApp, name: &str, status: WorkerStatus) -> Messaging {
    let messaging = app.worker_side().await;
    let requests =
        messaging.status_requests(ProcessIdentity::new(name.to_owned(), "1.2.3")).await.unwrap();
    tokio::spawn(requests.answer(move || PartStatus::Worker(status.clone())));
    messaging
}

async fn snapshot(app: &TestApp) -> Value {
    let (status, snapshot) = app.get(PATH).await;
    assert_eq!(status, StatusCode::OK, "{snapshot}");
    snapshot
}

/// The first snapshot that `is_it`.
async fn eventually_snapshot(app: &TestApp, is_it: impl Fn(&Value) -> bool) -> Value {
    let mut reader = EventReader::open_at(app, EVENTS, "").await;
    let found = async {
        loop {
            let (_, snapshot) = reader.expect("snapshot").await;
            if is_it(&snapshot) {
                return snapshot;
            }
        }
    };
    timeout(TEST_TIMEOUT, found).await.expect("there is such a snapshot")
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect()
}

fn running() -> WorkerStatus {
    let mut infer = LatencyHistogram::default();
    infer.add(latency_bucket(Duration::from_millis(40)), 3);
    WorkerStatus {
        slots: 2,
        busy: 1,
        models: vec![ModelStatus {
            name: ModelName::default(),
            digest: model(),
            in_memory: true,
            runs: 7,
        }],
        running: vec![RunningTaskStatus {
            task_id: TaskId::generate(),
            model: ModelName::default(),
            since: OffsetDateTime::UNIX_EPOCH,
        }],
        stages: BTreeMap::from([("infer".to_owned(), infer)]),
        classes: BTreeMap::from([("bus".to_owned(), [0, 0, 0, 0, 0, 0, 0, 0, 2, 1])]),
    }
}

#[tokio::test]
async fn a_snapshot_shows_the_queue_the_tasks_and_the_workers() {
    let app = TestApp::start().await;
    let done = app.start_task().await;
    for _ in 0..2 {
        app.start_task().await;
    }
    let high = app.post("/v1/tasks?priority=high", bus_form()).await;
    assert_eq!(high.status(), StatusCode::ACCEPTED);
    let refused = app.post("/v1/tasks", crate::app::form("x.jpg", b"no picture".to_vec())).await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    let one = worker(&app, "worker-b", running()).await;
    let _other = worker(&app, "worker-a", WorkerStatus { slots: 1, ..running() }).await;
    let record = one.tasks().find(done).await.unwrap().unwrap();
    let revoked = TaskState::Revoked { finished_at: OffsetDateTime::now_utc() };
    one.tasks().finish(&record.with_state(revoked)).await.unwrap();
    let snapshot = eventually_snapshot(&app, |snapshot| {
        // A consumer counts a job a moment after the stream has stored it.
        let processes = ["workers", "apis"].map(|kind| names(&snapshot[kind]).len());
        snapshot["queue"]["waiting"] == 4 && processes == [2, 1]
    })
    .await;

    let queue = &snapshot["queue"];
    assert_eq!((&queue["accepting"], &queue["max_waiting"]), (&true.into(), &10_000.into()));
    assert_eq!(queue["running"], 0);
    assert!(queue["oldest_age_seconds"].as_f64().unwrap() > 0.0, "{queue}");
    let lane = |priority, waiting| json!({ "model": "yolov8n", "priority": priority, "waiting": waiting, "running": 0 });
    assert_eq!(queue["lanes"], json!([lane("high", 1), lane("normal", 3), lane("low", 0)]));
    assert_eq!(
        snapshot["tasks"],
        json!({ "accepted": 4, "succeeded": 0, "failed": 0, "revoked": 1, "expired": 0 })
    );
    assert_eq!(snapshot["refusals"], json!([{ "reason": "invalid_picture", "count": 1 }]));
    assert_eq!((&snapshot["dead_letters"], snapshot.get("webhooks")), (&0.into(), None));
    assert_eq!(snapshot["cache"]["response_misses"], 0);

    let [stage] = &snapshot["stages"].as_array().unwrap()[..] else { panic!("{snapshot}") };
    assert_eq!((&stage["stage"], &stage["count"]), (&"infer".into(), &6.into()));
    for quantile in ["p50_ms", "p95_ms", "p99_ms"] {
        let ms = stage[quantile].as_f64().unwrap();
        assert!((38.0..42.0).contains(&ms), "{quantile}: {ms}");
    }
    assert_eq!(
        snapshot["classes"],
        json!([{ "label": "bus", "count": 6, "confidence": [0, 0, 0, 0, 0, 0, 0, 0, 4, 2] }])
    );
    assert_eq!(names(&snapshot["workers"]), ["worker-a", "worker-b"]);
    let worker = &snapshot["workers"][1];
    assert_eq!(
        (&worker["slots"], &worker["busy"], &worker["pictures"]),
        (&2.into(), &1.into(), &7.into())
    );
    assert_eq!(worker["version"], "1.2.3");
    assert_eq!(worker["models"][0]["digest"], model().to_string());
    assert_eq!(worker["running"][0]["since"], "1970-01-01T00:00:00Z");
    let [api] = &snapshot["apis"].as_array().unwrap()[..] else { panic!("{snapshot}") };
    assert_eq!((&api["event_streams"], &api["uploads_in_progress"]), (&1.into(), &0.into()));
}

#[tokio::test]
async fn a_worker_that_does_not_answer_any_more_leaves_the_list() {
    let app = TestApp::start().await;
    let stays = worker(&app, "stays", running()).await;
    let goes = worker(&app, "goes", running()).await;
    eventually_snapshot(&app, |snapshot| names(&snapshot["workers"]) == ["goes", "stays"]).await;
    goes.close().await;
    let snapshot =
        eventually_snapshot(&app, |snapshot| names(&snapshot["workers"]) == ["stays"]).await;
    assert_eq!(snapshot["classes"][0]["count"], 3, "its totals go with it");
    stays.close().await;
}

#[tokio::test]
async fn the_totals_of_all_apis_are_added_up() {
    let nats = NatsServer::start();
    let url = nats.url();
    let app = TestApp::start_on(nats, &[("RESPONSE_CACHE_SECONDS", "0")]).await;
    let other = TestApp::start_with(&[("NATS_URL", &url), ("MAX_EVENT_STREAMS", "7")]).await;
    app.start_task().await;
    for _ in 0..2 {
        other.start_task().await;
    }
    for asked in [&app, &other] {
        let snapshot = eventually_snapshot(asked, |snapshot| names(&snapshot["apis"]).len() == 2);
        assert_eq!(snapshot.await["tasks"]["accepted"], 3);
    }
}

#[tokio::test]
async fn all_who_look_share_one_sample_and_without_them_there_is_none() {
    let app = TestApp::start().await;
    let (sender, mut asked) = mpsc::unbounded_channel();
    let messaging = app.worker_side().await;
    let process = ProcessIdentity::new("counts".to_owned(), "1.0");
    let requests = messaging.status_requests(process).await.unwrap();
    tokio::spawn(requests.answer(move || {
        sender.send(()).unwrap_or_default();
        PartStatus::Worker(WorkerStatus::default())
    }));
    app.nats.wait_until_subscribed("status.requests").await;
    let mut readers = Vec::new();
    for _ in 0..20 {
        readers.push(EventReader::open_at(&app, EVENTS, "").await);
    }
    let mut seen = BTreeMap::new();
    for reader in &mut readers {
        for _ in 0..3 {
            let (id, snapshot) = reader.expect("snapshot").await;
            assert_eq!(*seen.entry(id).or_insert(snapshot.clone()), snapshot);
        }
    }
    // Samples that no reader has read in time are among the requests.
    let mut requests = 0;
    while asked.try_recv().is_ok() {
        requests += 1;
    }
    let alone = 3 * readers.len();
    assert!(requests < alone / 2, "{requests} requests for {alone} snapshots of all readers");
    drop(readers);
    // The samples go on for ten seconds.
    let ending = async { while timeout(SILENCE, asked.recv()).await.is_ok() {} };
    timeout(TEST_TIMEOUT, ending).await.expect("the samples end");
    snapshot(&app).await;
    timeout(TEST_TIMEOUT, asked.recv()).await.expect("they begin again");
}

#[tokio::test]
async fn one_stream_too_many_is_told_when_to_try_again() {
    let app = TestApp::start_with(&[("MAX_EVENT_STREAMS", "1")]).await;
    let mut reader = EventReader::open_at(&app, EVENTS, "").await;
    reader.expect("snapshot").await;
    let refused = follow_at(&app, EVENTS, "").await;
    assert!(refused.headers().contains_key("retry-after"));
    let (status, problem) = json(refused).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(problem["type"], "urn:problem-type:spotter:too-many-streams");
    // A snapshot is no stream.
    snapshot(&app).await;
}

#[tokio::test]
async fn a_shutdown_ends_the_streams() {
    let app = TestApp::start_with(&[("SHUTDOWN_GRACE_SECONDS", "600")]).await;
    let mut reader = EventReader::open_at(&app, EVENTS, "").await;
    reader.expect("snapshot").await;
    app.stop();
    while let Some(block) = reader.block().await {
        assert!(matches!(block, Block::Event { .. }), "{block:?}");
    }
    app.stopped().await;
}

#[tokio::test]
async fn what_nats_does_not_answer_is_absent() {
    let mut app = TestApp::start().await;
    let mut reader = EventReader::open_at(&app, EVENTS, "").await;
    eventually_snapshot(&app, |snapshot| snapshot["queue"]["waiting"] == 0).await;
    app.nats.kill();
    let lost = async {
        loop {
            let (_, snapshot) = reader.expect("snapshot").await;
            if snapshot["queue"]["waiting"].is_null() && names(&snapshot["apis"]).is_empty() {
                return snapshot;
            }
        }
    };
    let snapshot = timeout(TEST_TIMEOUT, lost).await.expect("the stream goes on");
    assert_eq!(snapshot["queue"]["accepting"], false);
    assert_eq!((snapshot.get("dead_letters"), snapshot["queue"].get("lanes")), (None, None));
}
