//! Several workers on one queue, a worker that is killed, a cache that is killed.

use std::fs;

use client::State;
use domain::TaskId;
use messaging::{Messaging, MessagingConfig, Role};
use serde_json::Value;
use testkit::{NatsServer, eventually, picture};

use crate::{
    harness::{System, TIMEOUT, spotter},
    reference::{assert_bus, assert_zidane},
};

#[tokio::test]
async fn two_workers_share_two_hundred_pictures() {
    const PICTURES: usize = 200;
    let system = System::start();
    let _workers = [system.worker(), system.worker()];
    let pictures = ["bus.jpg", "zidane.jpg"].map(|name| (name, fs::read(picture(name)).unwrap()));
    let mut tasks = Vec::new();
    for (name, bytes) in pictures.iter().cycle().take(PICTURES) {
        tasks.push((*name, system.start_task(name, bytes.clone()).await));
    }
    for (name, id) in &tasks {
        system.terminal(*id).await;
        let result = system.result(*id).await;
        assert_eq!(
            (result["status"].as_str(), result["image_name"].as_str()),
            (Some("SUCCESS"), Some(*name))
        );
        match *name {
            "bus.jpg" => assert_bus(&result["result"]),
            _ => assert_zidane(&result["result"]),
        }
    }
    let config = MessagingConfig::new(system.nats.url().parse().unwrap(), Role::Cli);
    let queue = Messaging::connect(config).await.unwrap().queue();
    eventually(TIMEOUT, async || {
        let depth = queue.depth().await.unwrap();
        (depth.waiting == 0 && depth.in_progress == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_worker_killed_in_a_short_run_loses_nothing() {
    let system = System::start();
    let id = killed_in_mid_job(&system, async |_| ()).await;
    assert_run_again(&system, id).await;
}

#[tokio::test]
async fn a_worker_killed_in_a_long_run_loses_nothing() {
    let system = System::start();
    let is_started = async |id| {
        eventually(TIMEOUT, async || (system.task(id).await.state == State::Started).then_some(()))
            .await;
    };
    let id = killed_in_mid_job(&system, is_started).await;
    assert_run_again(&system, id).await;
}

#[test]
fn a_worker_that_is_killed_while_it_loads_its_model_leaves_no_files() {
    let (nats, folder) = (NatsServer::start(), tempfile::tempdir().unwrap());
    let worker = spotter(["worker"]).env("NATS_URL", nats.url()).env("TMPDIR", folder.path());
    let mut worker = worker.env("FAILPOINTS", "worker-loading=hang").start();
    worker.wait_for_line(|line| line.text.contains("executing a failpoint's action"), TIMEOUT);
    worker.kill9();
    let left = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.collect();
    assert!(left.is_empty(), "{left:?}");
    // Files are needed only where its detectors share the weights.
    assert!(worker.lines().iter().all(|line| !line.text.contains("has a copy of")));
}

/// Submits a picture to a worker that never finishes one, and kills the worker once `run_is_known`.
async fn killed_in_mid_job(system: &System, run_is_known: impl AsyncFnOnce(TaskId)) -> TaskId {
    let mut doomed = system.worker_with(&[("FAILPOINTS", "worker-detect=hang")]);
    let id = system.start_task("bus.jpg", fs::read(picture("bus.jpg")).unwrap()).await;
    doomed.wait_for_line(|line| line.text.contains("executing a failpoint's action"), TIMEOUT);
    run_is_known(id).await;
    doomed.kill9();
    id
}

async fn assert_run_again(system: &System, id: TaskId) {
    let _heir = system.worker();
    let task = system.terminal(id).await;
    assert_eq!((&task.state, task.attempts), (&State::Success, 2), "{task:?}");
    assert_bus(&system.result(id).await["result"]);
}

/// ONNX Runtime may hang in an operator, which cannot be cancelled.
#[tokio::test]
async fn a_worker_whose_model_hangs_stops_and_another_runs_its_jobs() {
    let system = System::start();
    for settings in [&[][..], &[("MAX_BATCH", "4"), ("CONCURRENCY", "1")]] {
        let mut ids = Vec::new();
        for _ in 0..2 {
            let bus = fs::read(picture("bus.jpg")).unwrap();
            ids.push(system.start_task("bus.jpg", bus).await);
        }
        let hanging = [("FAILPOINTS", "worker-detect=hang"), ("JOB_DEADLINE_SECONDS", "1")];
        let settings: Vec<_> = hanging.iter().chain(settings).copied().collect();
        let mut hanging = system.worker_with(&settings);
        let status = hanging.wait_exit(TIMEOUT);
        assert_eq!(status.code(), Some(70), "{:#?}", hanging.lines());

        let mut another = system.worker();
        for id in ids {
            let task = system.terminal(id).await;
            assert_eq!(task.state, State::Success, "{task:?}");
            assert_bus(&system.result(id).await["result"]);
        }
        another.terminate();
        another.wait_exit(TIMEOUT);
    }
}

#[tokio::test]
async fn redis_killed_while_results_are_read_changes_no_answer() {
    let mut system = System::start();
    let _worker = system.worker();
    let bytes = fs::read(picture("bus.jpg")).unwrap();
    let mut finished: Vec<(TaskId, Value)> = Vec::new();
    for _ in 0..5 {
        let id = system.start_task("bus.jpg", bytes.clone()).await;
        system.terminal(id).await;
        let result = system.result(id).await;
        assert_bus(&result["result"]);
        finished.push((id, result));
    }
    for round in 0..60 {
        match round {
            20 => system.redis.kill(),
            40 => system.redis.restart(),
            _ => {}
        }
        // `result` fails on any status but 200.
        for (id, expected) in &finished {
            assert_eq!(&system.result(*id).await, expected, "round {round}");
        }
    }
}
