//! The same picture again, through the whole system.

use std::fs;

use reqwest::{
    StatusCode,
    multipart::{Form, Part},
};
use serde_json::Value;
use testkit::{Process, eventually, picture};

use crate::whole::{PATIENCE, System};

impl System {
    async fn submit(&self, query: &str, cache_control: &str) -> Value {
        let bytes = fs::read(picture("coffee.png")).unwrap();
        let form = Form::new().part("file", Part::bytes(bytes).file_name("coffee.png"));
        let request = self.client.post(format!("{}/v1/tasks{query}", self.base)).multipart(form);
        let answer = request.header("cache-control", cache_control).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        answer.json().await.unwrap()
    }

    /// The task at its end.
    async fn run(&self, query: &str, cache_control: &str) -> Value {
        let task = self.submit(query, cache_control).await;
        let id = task["task_id"].as_str().unwrap();
        while self.task(id, 20).await["finished_at"].is_null() {}
        self.task(id, 0).await
    }
}

/// A busy machine is not to be taken for a Redis that does not answer.
const PATIENT: &[(&str, &str)] = &[("REDIS_TIMEOUT_MS", "20000")];

/// Whether a worker says that it has run a task.
fn has_run(worker: &Process, task: &Value) -> bool {
    let text = format!("detected task_id={}", task["task_id"].as_str().unwrap());
    worker.lines().iter().any(|line| line.text.contains(&text))
}

#[tokio::test]
async fn a_picture_is_run_once_for_all_who_send_it() {
    let mut system = System::start_with(PATIENT);
    let worker = system.worker();
    let first = system.run("", "").await;
    assert_eq!(first["objects"][0]["label"], "cup", "{first}");
    // Its result is kept in the background.
    let again = eventually(PATIENCE, async || {
        let again = system.run("", "").await;
        (again["cached"] == true).then_some(again)
    })
    .await;
    assert_eq!(again["objects"], first["objects"]);
    assert_eq!((&again["width"], &again["height"]), (&first["width"], &first["height"]));

    let mut hits = Vec::new();
    for _ in 0..20 {
        let hit = system.submit("", "").await;
        assert_eq!((&hit["state"], &hit["cached"]), (&"SUCCESS".into(), &true.into()), "{hit}");
        assert_eq!(hit["objects"], first["objects"]);
        hits.push(hit);
    }
    for (query, cache_control) in [("?confidence=0.5", ""), ("", "no-cache")] {
        let ran = system.run(query, cache_control).await;
        assert_eq!((&ran["cached"], &ran["attempts"]), (&false.into(), &1.into()), "{ran}");
        // What was sent before it would have been run and told by now.
        eventually(PATIENCE, async || has_run(&worker, &ran).then_some(())).await;
    }
    let run_for_nothing: Vec<_> = hits.iter().filter(|hit| has_run(&worker, hit)).collect();
    assert!(run_for_nothing.is_empty(), "{run_for_nothing:?}");

    system.redis.kill();
    let ran = system.run("", "").await;
    assert_eq!((&ran["cached"], &ran["objects"]), (&false.into(), &first["objects"]), "{ran}");
}

#[tokio::test]
async fn another_file_under_the_same_name_is_another_model() {
    let system = System::start_with(PATIENT);
    let mut old = system.worker();
    let of_old = system.run("", "").await["objects"].clone();
    eventually(PATIENCE, async || (system.run("", "").await["cached"] == true).then_some(())).await;

    // The other model, installed under the name of this one.
    let models = tempfile::tempdir().unwrap();
    let (source, target) =
        (testkit::workspace_root().join("models/yolo11n"), models.path().join("yolov8n"));
    fs::create_dir(&target).unwrap();
    fs::copy(source.join("model.onnx"), target.join("model.onnx")).unwrap();
    let description = fs::read_to_string(source.join("model.toml")).unwrap();
    let renamed = description.replace("name = \"yolo11n\"", "name = \"yolov8n\"");
    fs::write(target.join("model.toml"), renamed).unwrap();

    let _new = system.worker_with(&[("MODELS_DIR", models.path().to_str().unwrap())]);
    // It has announced its model to NATS. The API hears of it a moment later; then it knows of two.
    eventually(PATIENCE, async || (system.run("", "").await["cached"] == false).then_some(()))
        .await;
    old.terminate();
    old.wait_exit(PATIENCE);
    // Run now, or in the meantime by the new worker.
    let ran = system.run("", "").await;
    assert_ne!(ran["objects"], of_old, "{ran}");
    let again = eventually(PATIENCE, async || {
        let again = system.run("", "").await;
        (again["cached"] == true).then_some(again)
    })
    .await;
    assert_eq!(again["objects"], ran["objects"]);
}
