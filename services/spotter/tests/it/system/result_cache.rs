//! Cached results of repeated submissions.

use std::fs;

use client::{CacheControl, State, Submission, Task};
use domain::DetectionSettings;
use testkit::{Process, eventually, picture};

use crate::harness::{System, TIMEOUT};

fn coffee() -> Submission {
    Submission::new("coffee.png", fs::read(picture("coffee.png")).unwrap())
}

impl System {
    async fn submit(&self, submission: &Submission) -> Task {
        self.v1.submit(submission).await.expect("the picture is accepted")
    }

    /// The terminal task.
    async fn run(&self, submission: &Submission) -> Task {
        let task = self.submit(submission).await;
        self.terminal(task.task_id).await
    }
}

/// A timeout that a busy machine does not reach.
const REDIS_TIMEOUT: &[(&str, &str)] = &[("REDIS_TIMEOUT_MS", "20000")];

/// Whether a worker has logged a run of the task.
fn has_run(worker: &Process, task: &Task) -> bool {
    let text = format!("detected task_id={}", task.task_id);
    worker.lines().iter().any(|line| line.text.contains(&text))
}

#[tokio::test]
async fn a_picture_is_run_once_for_all_its_submissions() {
    let mut system = System::start_with(REDIS_TIMEOUT);
    let worker = system.worker();
    let first = system.run(&coffee()).await;
    assert_eq!(first.objects[0].label, "cup", "{first:?}");
    // The result is cached in the background.
    let again = eventually(TIMEOUT, async || {
        let again = system.run(&coffee()).await;
        again.cached.then_some(again)
    })
    .await;
    assert_eq!(again.objects, first.objects);
    assert_eq!((again.width, again.height), (first.width, first.height));

    let mut hits = Vec::new();
    for _ in 0..20 {
        let hit = system.submit(&coffee()).await;
        assert_eq!((&hit.state, hit.cached), (&State::Success, true), "{hit:?}");
        assert_eq!(hit.objects, first.objects);
        hits.push(hit);
    }
    let confidence = "0.5".parse().unwrap();
    let settings = Some(DetectionSettings { confidence, ..DetectionSettings::default() });
    for submission in [
        Submission { settings, ..coffee() },
        Submission { cache_control: CacheControl::NoCache, ..coffee() },
    ] {
        let ran = system.run(&submission).await;
        assert_eq!((ran.cached, ran.attempts), (false, 1), "{ran:?}");
        // Jobs that were sent before would have been run and logged by now.
        eventually(TIMEOUT, async || has_run(&worker, &ran).then_some(())).await;
    }
    let run_for_nothing: Vec<_> = hits.iter().filter(|hit| has_run(&worker, hit)).collect();
    assert!(run_for_nothing.is_empty(), "{run_for_nothing:?}");

    system.redis.kill();
    let ran = system.run(&coffee()).await;
    assert_eq!((ran.cached, &ran.objects), (false, &first.objects), "{ran:?}");
}

#[tokio::test]
async fn another_file_under_the_same_name_is_another_model() {
    let system = System::start_with(REDIS_TIMEOUT);
    let mut old = system.worker();
    let of_old = system.run(&coffee()).await.objects;
    eventually(TIMEOUT, async || system.run(&coffee()).await.cached.then_some(())).await;

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
    // The worker has sent its heartbeat. The API receives it a moment later, and then knows two models.
    eventually(TIMEOUT, async || (!system.run(&coffee()).await.cached).then_some(())).await;
    old.terminate();
    old.wait_exit(TIMEOUT);
    // Run now, or meanwhile by the new worker.
    let ran = system.run(&coffee()).await;
    assert_ne!(ran.objects, of_old, "{ran:?}");
    let again = eventually(TIMEOUT, async || {
        let again = system.run(&coffee()).await;
        again.cached.then_some(again)
    })
    .await;
    assert_eq!(again.objects, ran.objects);
}
