//! The models that there are, and requests for others.

use domain::ModelName;
use messaging::{DescribedInput, ModelDescription, ModelReport};
use reqwest::{
    StatusCode,
    multipart::{Form, Part},
};
use serde_json::{Value, json};
use testkit::eventually;

use crate::app::{
    TEST_TIMEOUT, TestApp, bus_bytes, bus_form, description, error_text, json, model,
};

fn helmets() -> ModelName {
    "helmets".parse().unwrap()
}

fn report(worker: &str, mean_ms: f32, p95_ms: f32) -> ModelReport {
    ModelReport {
        worker: Some(worker.to_owned()),
        in_memory: Some(true),
        runs: 7,
        mean_ms: Some(mean_ms),
        p95_ms: Some(p95_ms),
        ..ModelReport::of_version(model())
    }
}

async fn list(app: &TestApp) -> Vec<Value> {
    let (status, body) = app.get("/v1/models").await;
    assert_eq!(status, StatusCode::OK, "{body}");
    body["models"].as_array().unwrap().clone()
}

async fn find(app: &TestApp, name: &str) -> Value {
    let (status, found) = app.get(&format!("/v1/models/{name}")).await;
    assert_eq!(status, StatusCode::OK, "{found}");
    found
}

/// The answer to a submission that must be refused for its model.
#[track_caller]
fn assert_refused((status, problem): (StatusCode, Value)) -> Value {
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    assert_eq!(problem["type"], "urn:problem-type:spotter:model-not-installed", "{problem}");
    problem
}

#[tokio::test]
async fn models_are_listed_with_what_they_are_and_who_serves_them() {
    let app = TestApp::start().await;
    let default = json!({
        "name": "yolov8n", "default": true, "served": false, "workers": [], "runs": 0,
        "waiting": 0, "in_progress": 0,
    });
    // The queue is sampled every few seconds.
    eventually(TEST_TIMEOUT, async || (list(&app).await == [default.clone()]).then_some(())).await;

    let worker = app.worker_side().await;
    let fixed = DescribedInput::Fixed { width: 416, height: 320 };
    let described = ModelDescription { input: fixed, ..description(&["helmet", "head"]) };
    worker.model_descriptions().store(&helmets(), &described).await.unwrap();
    let [one, two] = [(); 2].map(|()| worker.heartbeats().of_worker());
    two.renew(&helmets(), &report("worker-2", 20.0, 80.5)).await.unwrap();
    one.renew(&helmets(), &report("worker-1", 40.125, 50.0)).await.unwrap();
    let digest = "01".repeat(32);
    let of_worker = |name: &str, mean_ms: f64, p95_ms: f64| {
        let latency = json!({ "mean_ms": mean_ms, "p95_ms": p95_ms });
        json!({ "name": name, "digest": digest, "in_memory": true, "runs": 7, "latency": latency })
    };
    let mut expected = json!({
        "name": "helmets",
        "default": false,
        "served": true,
        "family": "yolov8-cut",
        "licence": "Apache-2.0",
        "digest": digest,
        "input": { "width": 416, "height": 320 },
        "producer": "pytorch 2.8",
        "source_sha256": "02".repeat(32),
        "class_count": 2,
        "labels": ["helmet", "head"],
        "workers": [of_worker("worker-1", 40.13, 50.0), of_worker("worker-2", 20.0, 80.5)],
        "runs": 14,
        "latency": { "mean_ms": 30.07, "p95_ms": 80.5 },
    });
    let found = eventually(TEST_TIMEOUT, async || {
        let found = find(&app, "helmets").await;
        (found["runs"] == 14).then_some(found)
    })
    .await;
    assert_eq!(found, expected);
    expected.as_object_mut().unwrap().remove("labels");
    assert_eq!(list(&app).await, [expected, default]);

    // It is known without a worker, too.
    for worker in [one, two] {
        worker.withdraw(&helmets()).await.unwrap();
    }
    eventually(TEST_TIMEOUT, async || {
        (find(&app, "helmets").await["served"] == false).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_model_that_there_is_not_is_unknown() {
    let app = TestApp::start().await;
    for name in ["nowhere", "a.b"] {
        let (status, problem) = app.get(&format!("/v1/models/{name}")).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{problem}");
        assert_eq!(problem["type"], "urn:problem-type:spotter:model-unknown", "{problem}");
    }
}

#[tokio::test]
async fn a_picture_for_a_model_that_nobody_has_is_refused() {
    let app = TestApp::start().await;
    app.install("helmets").await;
    let submit = async |model: &str| {
        let request = app.client.post(app.url(&format!("/v1/tasks?model={model}")));
        let request = request.header("idempotency-key", "k").multipart(bus_form());
        json(request.send().await.unwrap()).await
    };
    let problem = assert_refused(submit("nowhere").await);
    let expected = "there is no model 'nowhere', there are: helmets, yolov8n";
    assert_eq!(error_text(&problem), expected);
    assert_eq!(app.jobs(), 0);

    // Described, and served by nobody. The key is still free.
    let (status, task) = submit("helmets").await;
    assert_eq!((status, &task["model"]), (StatusCode::ACCEPTED, &json!("helmets")), "{task}");
    assert_eq!(app.jobs(), 1);

    // Served, and not described.
    let worker = app.worker_side().await.heartbeats().of_worker();
    worker.renew(&"older".parse().unwrap(), &ModelReport::of_version(model())).await.unwrap();
    accepted_soon(&app, "older").await;
}

/// A pool of workers that its backlog starts has not described its model yet.
#[tokio::test]
async fn a_picture_for_a_model_that_is_set_up_is_accepted() {
    let app = TestApp::start().await;
    let idle = "idle".parse::<ModelName>().unwrap();
    app.worker_side().await.provision([idle]).await.expect("NATS answers");
    accepted_soon(&app, "idle").await;
    assert_eq!(find(&app, "idle").await["served"], false);
    assert_eq!(app.jobs(), 1);
}

/// Waits until the API knows a model, and accepts one picture for it.
async fn accepted_soon(app: &TestApp, model: &str) {
    eventually(TEST_TIMEOUT, async || {
        let status = app.post(&format!("/v1/tasks?model={model}"), bus_form()).await.status();
        (status == StatusCode::ACCEPTED).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_batch_for_a_model_that_nobody_has_is_refused() {
    let app = TestApp::start().await;
    app.install("helmets").await;
    let picture = |name: &str| Part::bytes(bus_bytes()).file_name(name.to_owned());
    let post = async |path: &str, form: Form| json(app.post(path, form).await).await;
    let form = || Form::new().part("file", picture("a.jpg"));
    let problem = assert_refused(post("/v1/batches?model=nowhere", form()).await);
    assert_eq!(problem.get("batch"), None, "{problem}");

    // A picture's own model.
    let items = r#"{"b.jpg": {"model": "nowhere"}}"#;
    let of_items = Form::new().text("items", items).part("file", picture("b.jpg"));
    let problem = assert_refused(post("/v1/batches?model=helmets", of_items).await);
    assert_eq!(problem.get("batch"), None, "{problem}");
    assert_eq!(app.jobs(), 0);

    let (status, batch) = post("/v1/batches?model=helmets", form()).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{batch}");
    assert_eq!(app.jobs(), 1);
}
