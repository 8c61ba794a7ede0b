//! The response cache: the same picture with the same model and settings is not run again.

use domain::{ModelName, Sha256Digest, TaskId, TaskRecord};
use messaging::{ModelReport, WorkerHeartbeats};
use reqwest::{StatusCode, multipart::Form};
use serde_json::Value;
use testkit::eventually;

use crate::app::{TEST_TIMEOUT, TestApp, bus_bytes, bus_form, form, json, model};

const ENTRIES: &str = "spotter:response:";

async fn renew(worker: &WorkerHeartbeats, digest: Sha256Digest) {
    let report = ModelReport::of_version(digest);
    worker.renew(&ModelName::default(), &report).await.unwrap();
}

impl TestApp {
    /// Publishes a worker's heartbeat, and waits until the API has received it.
    async fn worker_runs(&self, digest: Sha256Digest) -> WorkerHeartbeats {
        let heartbeats = self.worker_side().await.heartbeats().of_worker();
        let misses = self.lookups("miss").await;
        renew(&heartbeats, digest).await;
        eventually(TEST_TIMEOUT, async || {
            self.submit("", coffee(), "").await;
            (self.lookups("miss").await > misses).then_some(())
        })
        .await;
        heartbeats
    }

    async fn lookups(&self, outcome: &str) -> u64 {
        let label = format!("outcome=\"{outcome}\"");
        self.metric("spotter_response_cache_requests_total", &label).await.unwrap_or(0)
    }

    async fn submit(&self, query: &str, form: Form, cache_control: &str) -> Value {
        let request = self.client.post(self.url(&format!("/v1/tasks{query}")));
        let request = request.header("cache-control", cache_control).multipart(form);
        let (status, task) = json(request.send().await.unwrap()).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{task}");
        task
    }

    async fn state(&self, query: &str, form: Form, cache_control: &str) -> String {
        self.submit(query, form, cache_control).await["state"].as_str().unwrap().to_owned()
    }

    async fn bus_state(&self) -> String {
        self.state("", bus_form(), "").await
    }

    /// Runs bus.jpg as a worker would, and waits until its result is cached.
    async fn run_bus(&self) -> TaskRecord {
        let id = self.start_task().await;
        let record = self.succeed(id).await;
        self.read(&id.to_string()).await;
        eventually(TEST_TIMEOUT, async || (!self.redis.keys(ENTRIES).is_empty()).then_some(()))
            .await;
        record
    }

    async fn read(&self, id: &str) -> Value {
        let (status, task) = self.get(&format!("/v1/tasks/{id}")).await;
        assert_eq!(status, StatusCode::OK, "{task}");
        task
    }
}

fn coffee() -> Form {
    form("coffee.png", std::fs::read(testkit::picture("coffee.png")).unwrap())
}

#[tokio::test]
async fn the_same_picture_is_answered_from_the_cache() {
    let app = TestApp::start().await;
    let _worker = app.worker_runs(model()).await;
    let ran = app.run_bus().await;
    let jobs = app.jobs();
    let first = app.read(&ran.job.task_id.to_string()).await;
    assert_eq!(first["cached"], false);

    // Under another name: the key has only the bytes.
    let again = app.submit("", form("again.jpg", bus_bytes()), "").await;
    assert_eq!((&again["state"], &again["cached"]), (&"SUCCESS".into(), &true.into()), "{again}");
    for same in ["objects", "width", "height"] {
        assert_eq!(again[same], first[same]);
    }
    assert_ne!(again["task_id"], first["task_id"]);
    assert_eq!((&again["attempts"], &again["picture_name"]), (&0.into(), &"again.jpg".into()));
    assert_eq!(app.read(again["task_id"].as_str().unwrap()).await, again);

    // The bucket has the record of this task, too.
    app.redis.flush();
    assert_eq!(app.read(again["task_id"].as_str().unwrap()).await, again);
    assert_eq!(app.jobs(), jobs, "no job is published");
    let outcome = "outcome=\"cached\"";
    assert_eq!(app.metric("spotter_submissions_total", outcome).await, Some(1));
    // A cached result does not extend its TTL.
    assert_eq!(app.bus_state().await, "QUEUED");
}

#[tokio::test]
async fn the_original_route_answers_as_without_a_cache() {
    let app = TestApp::start().await;
    let _worker = app.worker_runs(model()).await;
    let ran = app.run_bus().await;
    let jobs = app.jobs();
    let (status, accepted) = json(app.post("/start_task", bus_form()).await).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{accepted}");
    let fields: Vec<_> = accepted.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["image", "status", "task_id"]);
    let path = |id: &str| format!("/task_result/{id}");
    let (_, again) = app.get(&path(accepted["task_id"].as_str().unwrap())).await;
    let (_, first) = app.get(&path(&ran.job.task_id.to_string())).await;
    assert_eq!((&again["status"], &again["result"]), (&"SUCCESS".into(), &first["result"]));
    let fields = |body: &Value| body.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(fields(&again), fields(&first));
    assert_eq!(app.jobs(), jobs, "no job is published");
}

#[tokio::test]
async fn a_task_with_a_drawing_is_run_and_not_cached() {
    let app = TestApp::start().await;
    let _worker = app.worker_runs(model()).await;
    app.run_bus().await;
    let (entries, jobs) = (app.redis.keys(ENTRIES), app.jobs());
    let annotated = app.submit("?annotated=true", bus_form(), "").await;
    assert_eq!((&annotated["state"], app.jobs()), (&"QUEUED".into(), jobs + 1), "{annotated}");
    assert_eq!(app.bus_state().await, "SUCCESS");

    // With other settings than those whose result is cached.
    let annotated = app.submit("?annotated=true&iou=0.5", bus_form(), "").await;
    let id = annotated["task_id"].as_str().unwrap();
    app.succeed_with_warnings(id.parse().unwrap(), &["the picture is missing"]).await;
    app.read(id).await;
    // What is cached later is cached in this order.
    let other = app.submit("?iou=0.6", bus_form(), "").await;
    let id = other["task_id"].as_str().unwrap();
    app.succeed(id.parse().unwrap()).await;
    app.read(id).await;
    eventually(TEST_TIMEOUT, async || {
        (app.redis.keys(ENTRIES).len() > entries.len()).then_some(())
    })
    .await;
    assert_eq!(app.redis.keys(ENTRIES).len(), entries.len() + 1);
    assert_eq!(app.state("?iou=0.5", bus_form(), "").await, "QUEUED");
}

#[tokio::test]
async fn warnings_are_cached_with_the_result() {
    let app = TestApp::start().await;
    let _worker = app.worker_runs(model()).await;
    let id = app.start_task().await;
    let warnings = ["the missing part is filled in"];
    app.succeed_with_warnings(id, &warnings).await;
    assert_eq!(app.read(&id.to_string()).await["warnings"], serde_json::json!(warnings));
    // From Redis; the original route has no warnings.
    assert_eq!(app.read(&id.to_string()).await["warnings"], serde_json::json!(warnings));
    let (_, original) = app.get(&format!("/task_result/{id}")).await;
    let fields: Vec<_> = original.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["image_name", "result", "status", "task_id"]);

    eventually(TEST_TIMEOUT, async || (!app.redis.keys(ENTRIES).is_empty()).then_some(())).await;
    let again = app.submit("", bus_form(), "").await;
    assert_eq!(
        (&again["cached"], &again["warnings"]),
        (&true.into(), &serde_json::json!(warnings))
    );
}

#[tokio::test]
async fn other_settings_and_other_bytes_are_run() {
    let app = TestApp::start().await;
    let _worker = app.worker_runs(model()).await;
    app.run_bus().await;
    assert_eq!(app.bus_state().await, "SUCCESS");
    for query in ["?confidence=0.3", "?iou=0.6", "?max_detections=299"] {
        assert_eq!(app.state(query, bus_form(), "").await, "QUEUED", "{query}");
    }
    // The defaults, set explicitly.
    let query = "?confidence=0.25&iou=0.7&max_detections=300&deadline=60";
    assert_eq!(app.state(query, bus_form(), "").await, "SUCCESS");
    let longer = [bus_bytes(), vec![0]].concat();
    assert_eq!(app.state("", form("bus.jpg", longer), "").await, "QUEUED");
}

#[tokio::test]
async fn cache_control_forces_a_run() {
    let app = TestApp::start().await;
    let _worker = app.worker_runs(model()).await;
    app.run_bus().await;
    for cache_control in ["no-cache", "no-store", "max-age=0, no-cache"] {
        assert_eq!(app.state("", bus_form(), cache_control).await, "QUEUED", "{cache_control}");
        let request = app.client.post(app.url("/start_task")).multipart(bus_form());
        let answer = request.header("cache-control", cache_control).send().await.unwrap();
        let (_, accepted) = json(answer).await;
        let task = app.read(accepted["task_id"].as_str().unwrap()).await;
        assert_eq!(task["state"], "QUEUED", "{cache_control}");
    }
    assert_eq!(app.bus_state().await, "SUCCESS");

    // With no-store nothing is cached: the record has no digest.
    app.redis.flush();
    let task = app.submit("", bus_form(), "no-store").await;
    let id = task["task_id"].as_str().unwrap();
    let ended = app.succeed(id.parse().unwrap()).await;
    assert_eq!(ended.job.picture_sha256, None);
    app.read(id).await;
    eventually(TEST_TIMEOUT, async || app.redis.get(&format!("spotter:task:{id}"))).await;
    assert_eq!(app.redis.keys(ENTRIES), [""; 0]);
    // With no-cache the new result is cached.
    let task = app.submit("", bus_form(), "no-cache").await;
    let id = task["task_id"].as_str().unwrap();
    app.succeed(id.parse().unwrap()).await;
    app.read(id).await;
    eventually(TEST_TIMEOUT, async || (app.redis.keys(ENTRIES).len() == 1).then_some(())).await;
    assert_eq!(app.bus_state().await, "SUCCESS");
}

#[tokio::test]
async fn another_model_file_has_its_own_results() {
    let app = TestApp::start().await;
    // Cached under the digest of its model, although no worker is known.
    app.run_bus().await;
    assert_eq!(app.bus_state().await, "QUEUED");
    assert!(app.lookups("model_unknown").await > 0);

    let old = app.worker_runs(model()).await;
    assert_eq!(app.bus_state().await, "SUCCESS");
    // During an upgrade, a job could run with either of them.
    let new = app.worker_side().await.heartbeats().of_worker();
    renew(&new, [2; 32].into()).await;
    let until = async |state: &str| {
        eventually(TEST_TIMEOUT, async || (app.bus_state().await == state).then_some(())).await;
    };
    until("QUEUED").await;
    let misses = app.lookups("miss").await;
    old.withdraw(&ModelName::default()).await.unwrap();
    eventually(TEST_TIMEOUT, async || {
        assert_eq!(app.bus_state().await, "QUEUED", "the old model's result is not used");
        (app.lookups("miss").await > misses).then_some(())
    })
    .await;
    // And back again.
    let back = app.worker_side().await.heartbeats().of_worker();
    renew(&back, model()).await;
    new.withdraw(&ModelName::default()).await.unwrap();
    until("SUCCESS").await;
}

#[tokio::test]
async fn each_model_has_its_own_results() {
    let app = TestApp::start().await;
    app.install("other").await;
    let worker = app.worker_runs(model()).await;
    app.run_bus().await;
    assert_eq!(app.bus_state().await, "SUCCESS");
    let other = async || app.submit("?model=other", bus_form(), "").await;
    let ran = other().await;
    assert_eq!(ran["state"], "QUEUED", "no worker serves it: {ran}");
    let report = ModelReport::of_version([2; 32].into());
    worker.renew(&"other".parse().unwrap(), &report).await.unwrap();
    let misses = app.lookups("miss").await;
    eventually(TEST_TIMEOUT, async || {
        assert_eq!(other().await["state"], "QUEUED", "the result is that of another model");
        (app.lookups("miss").await > misses).then_some(())
    })
    .await;

    let id: TaskId = ran["task_id"].as_str().unwrap().parse().unwrap();
    app.succeed_by(id, [2; 32].into()).await;
    app.read(&id.to_string()).await;
    let again = eventually(TEST_TIMEOUT, async || {
        let again = other().await;
        (again["state"] == "SUCCESS").then_some(again)
    })
    .await;
    assert_eq!((&again["cached"], &again["model"]), (&true.into(), &"other".into()), "{again}");
    assert_eq!(app.bus_state().await, "SUCCESS");
}

#[tokio::test]
async fn without_redis_pictures_are_run() {
    let mut app = TestApp::start().await;
    let _worker = app.worker_runs(model()).await;
    app.run_bus().await;
    assert_eq!(app.bus_state().await, "SUCCESS");
    app.redis.kill();
    for _ in 0..10 {
        assert_eq!(app.bus_state().await, "QUEUED");
    }
    assert!(app.lookups("skipped").await > 0, "the breaker opens");
}

#[tokio::test]
async fn an_entry_that_cannot_be_read_is_dropped() {
    let app = TestApp::start().await;
    let _worker = app.worker_runs(model()).await;
    app.run_bus().await;
    for damaged in ["{}", "nonsense", "{\"objects\":[],\"width\":-1,\"height\":1}"] {
        let key = &app.redis.keys(ENTRIES)[0];
        app.redis.set(key, damaged);
        assert!(app.redis.get(key).is_some());
        assert_eq!(app.bus_state().await, "QUEUED", "{damaged}");
        assert_eq!(app.redis.get(key), None, "{damaged}");
        app.run_bus().await;
        assert_eq!(app.bus_state().await, "SUCCESS");
    }
}

#[tokio::test]
async fn the_same_key_is_the_same_task_with_and_without_a_run() {
    let app = TestApp::start().await;
    let _worker = app.worker_runs(model()).await;
    let submit = async |key: &str| {
        let request = app.client.post(app.url("/v1/tasks")).header("idempotency-key", key);
        json(request.multipart(bus_form()).send().await.unwrap()).await.1
    };
    let waiting = submit("early").await;
    app.run_bus().await;
    assert_eq!(submit("early").await, waiting, "its own run is still pending");
    let ended = submit("late").await;
    assert_eq!(ended["cached"], true, "{ended}");
    assert_eq!(submit("late").await, ended);
}

#[tokio::test]
async fn it_can_be_turned_off() {
    let app = TestApp::start_with(&[("RESPONSE_CACHE_SECONDS", "0")]).await;
    let id = app.start_task().await;
    let record = app.succeed(id).await;
    assert_eq!(record.job.picture_sha256, None, "the picture is not hashed");
    app.read(&id.to_string()).await;
    eventually(TEST_TIMEOUT, async || app.redis.get(&format!("spotter:task:{id}"))).await;
    assert_eq!(app.redis.keys(ENTRIES), [""; 0]);
}
