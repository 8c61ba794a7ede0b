//! Several models on two workers, while one is added and one is replaced.

use std::{collections::HashMap, fs, path::Path};

use client::{State, Task};
use domain::{Sha256Digest, TaskId};
use reqwest::{
    Response, StatusCode,
    multipart::{Form, Part},
};
use serde_json::Value;
use testkit::{eventually, picture, require, workspace_root};

use crate::harness::{SMALL_MODEL_CLASSES, System, TIMEOUT, install_small_model};

const JOBS: usize = 200;

/// Two real models, and two small ones whose versions have labels of their own.
const MODELS: [&str; 4] = ["yolov8n", "yolo11n", "one", "two"];

/// A folder of models, and the digests of all their versions.
struct Models {
    dir: tempfile::TempDir,
    versions: HashMap<Sha256Digest, String>,
}

impl Models {
    fn with_real_ones() -> Self {
        let mut this = Self { dir: tempfile::tempdir().unwrap(), versions: HashMap::new() };
        for model in ["yolov8n", "yolo11n"] {
            let to = this.dir.path().join(model);
            fs::create_dir(&to).unwrap();
            for file in ["model.onnx", "model.toml"] {
                let from = workspace_root().join("models").join(model).join(file);
                fs::copy(require(from), to.join(file)).unwrap();
            }
            this.note(model, model);
        }
        this
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn note(&mut self, model: &str, version: &str) {
        let description = fs::read(self.path().join(model).join("model.toml")).unwrap();
        self.versions.insert(Sha256Digest::of(&description), version.to_owned());
    }

    /// Installs a version of a small model, in place of the one before.
    fn install(&mut self, model: &str, family: &str, version: &str) {
        let labels: Vec<String> =
            (0..SMALL_MODEL_CLASSES).map(|class| format!("{model} {version} {class}")).collect();
        install_small_model(self.path(), model, family, &labels);
        self.note(model, &format!("{model} {version}"));
    }

    /// The version that the task's digest is of, which must be the one that its labels are of.
    #[track_caller]
    fn version_of(&self, task: &Task, digest: &str) -> &str {
        assert_eq!(task.state, State::Success, "{task:?}");
        let version = self.versions.get(&digest.parse().unwrap());
        let version = version.unwrap_or_else(|| panic!("{digest} is no version: {task:?}"));
        let labels: Vec<&str> = task.objects.iter().map(|object| object.label.as_str()).collect();
        match version.as_str() {
            "yolov8n" => assert_eq!(labels.len(), 6, "{labels:?}"),
            "yolo11n" => assert_eq!(labels.len(), 5, "{labels:?}"),
            small => {
                assert!(!labels.is_empty());
                let prefix = format!("{small} ");
                assert!(labels.iter().all(|label| label.starts_with(&prefix)), "{labels:?}");
            }
        }
        assert!(version.starts_with(&task.model), "{version} for {}", task.model);
        version
    }
}

impl System {
    async fn post_for(&self, model: &str) -> Response {
        let bus = Part::bytes(fs::read(picture("bus.jpg")).unwrap()).file_name("bus.jpg");
        let url = format!("{}/v1/tasks?model={model}", self.base);
        let request = self.http.post(url).multipart(Form::new().part("file", bus));
        request.send().await.expect("the API answers")
    }

    async fn submit_for(&self, model: &str) -> TaskId {
        let answer = self.post_for(model).await;
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        let task: Value = answer.json().await.expect("JSON");
        task["task_id"].as_str().expect("an id").parse().expect("an id")
    }

    /// The terminal task, and the digest of the model that ran.
    async fn run_by(&self, id: TaskId) -> (Task, String) {
        let task = self.terminal(id).await;
        let json = self.v1.get(&format!("/v1/tasks/{id}")).await.expect("the task is known");
        let json: Value = serde_json::from_slice(&json).expect("JSON");
        let digest = json["model_digest"].as_str().unwrap_or_else(|| panic!("{json}"));
        (task, digest.to_owned())
    }
}

#[tokio::test]
async fn no_job_is_answered_by_another_model_while_models_are_added_and_replaced() {
    let mut models = Models::with_real_ones();
    models.install("one", "d-fine", "1");
    models.install("two", "rf-detr", "1");
    let system = System::start();
    let dir = models.path().to_str().unwrap().to_owned();
    let settings = [("MODELS_DIR", dir.as_str()), ("MODELS_SCAN_SECONDS", "1")];
    let _workers = [system.worker_with(&settings), system.worker_with(&settings)];
    let mut tasks = Vec::new();
    for job in 0..JOBS {
        tasks.push(system.submit_for(MODELS[job % MODELS.len()]).await);
        match job {
            // Workers are busy with the jobs before.
            60 => models.install("one", "rt-detr-transformers", "2"),
            80 => models.install("added", "d-fine-transformers", "1"),
            _ => {}
        }
    }
    // The API knows it once a worker serves it.
    eventually(TIMEOUT, async || system.v1.get("/v1/models/added").await.ok()).await;
    tasks.push(system.submit_for("added").await);
    let mut runs = HashMap::new();
    for id in tasks {
        let (task, digest) = system.run_by(id).await;
        let version = models.version_of(&task, &digest);
        assert_eq!(task.attempts, 1, "{task:?}");
        *runs.entry(version.to_owned()).or_insert(0) += 1;
    }
    let each = JOBS / MODELS.len();
    for version in ["yolov8n", "yolo11n", "two 1"] {
        assert_eq!(runs.get(version), Some(&each), "{runs:?}");
    }
    assert_eq!(runs.get("added 1"), Some(&1), "{runs:?}");
    assert!(runs.get("one 1").is_some_and(|count| *count > 0), "{runs:?}");
    // By now both workers have seen the new version, or soon will.
    eventually(TIMEOUT, async || {
        for _ in 0..4 {
            let (task, digest) = system.run_by(system.submit_for("one").await).await;
            if models.version_of(&task, &digest) != "one 2" {
                return None;
            }
        }
        Some(())
    })
    .await;
    assert_listed(&system, &models).await;
    let answer = system.post_for("absent").await;
    assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);
}

/// The API lists the present version of each model, served by two workers which have run all jobs.
async fn assert_listed(system: &System, models: &Models) {
    let list = eventually(TIMEOUT, async || {
        let list: Value = serde_json::from_slice(&system.v1.get("/v1/models").await.ok()?).ok()?;
        let list = list["models"].as_array()?.clone();
        let runs: u64 = list.iter().filter_map(|model| model["runs"].as_u64()).sum();
        (runs > JOBS as u64).then_some(list)
    })
    .await;
    let listed: Vec<_> = list
        .iter()
        .map(|model| {
            let digest = model["digest"].as_str().expect("it is described").parse().expect("hex");
            let workers = model["workers"].as_array().expect("a list");
            assert!(workers.iter().all(|worker| worker["digest"] == model["digest"]), "{model}");
            (models.versions[&digest].as_str(), workers.len())
        })
        .collect();
    let expected = [("added 1", 2), ("one 2", 2), ("two 1", 2), ("yolo11n", 2), ("yolov8n", 2)];
    assert_eq!(listed, expected);
}
