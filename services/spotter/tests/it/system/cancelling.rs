//! Cancelling tasks that wait and tasks that run.

use std::fs;

use client::State;
use domain::TaskId;
use serde_json::Value;
use testkit::{eventually, picture};

use crate::harness::{System, TIMEOUT};

async fn cancel(system: &System, id: TaskId) -> (u16, Value) {
    let request = system.http.delete(format!("{}/v1/tasks/{id}", system.base));
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn submit(system: &System) -> TaskId {
    system.start_task("bus.jpg", fs::read(picture("bus.jpg")).unwrap()).await
}

async fn queue_is_empty(system: &System) {
    let stored = || system.nats.stream("JOBS").map_or(0, |stream| stream.messages);
    eventually(TIMEOUT, async || (stored() == 0).then_some(())).await;
}

#[tokio::test]
async fn a_run_is_stopped_and_its_worker_goes_on() {
    let system = System::start();
    // The first run never ends by itself.
    let worker = system.worker_with(&[("FAILPOINTS", "worker-detect=hang"), ("CONCURRENCY", "2")]);
    let id = submit(&system).await;
    worker.wait_for_line(|line| line.text.contains("executing a failpoint's action"), TIMEOUT);

    let (status, task) = cancel(&system, id).await;
    assert_eq!((status, task["state"].as_str()), (200, Some("REVOKED")), "{task}");
    let settled = |text: &str| text.contains("settled") && text.contains(&id.to_string());
    let line = worker.wait_for_line(|line| settled(&line.text), TIMEOUT);
    assert!(line.text.contains("Duplicate"), "{line:?}");
    queue_is_empty(&system).await;
    assert_eq!(system.task(id).await.state, State::Revoked);
}

#[tokio::test]
async fn jobs_that_wait_are_not_run() {
    let system = System::start();
    let mut cancelled = Vec::new();
    for _ in 0..5 {
        cancelled.push(submit(&system).await);
    }
    let kept = submit(&system).await;
    for id in &cancelled {
        let (status, task) = cancel(&system, *id).await;
        assert_eq!((status, task["state"].as_str()), (200, Some("REVOKED")), "{task}");
    }
    let worker = system.worker();
    assert_eq!(system.terminal(kept).await.state, State::Success);
    queue_is_empty(&system).await;
    for id in cancelled {
        let task = system.task(id).await;
        assert_eq!((task.state, task.attempts), (State::Revoked, 0));
        let is_about_it = |line: &testkit::Line| line.text.contains(&id.to_string());
        assert!(!worker.lines().iter().any(is_about_it), "the worker got it");
    }
}
