//! How many jobs wait before that of a task.

use domain::TaskId;
use messaging::Settlement;
use reqwest::StatusCode;
use serde_json::Value;
use testkit::eventually;

use crate::app::{TEST_TIMEOUT, TestApp, bus_bytes, json};

async fn submit(app: &TestApp, query: &str) -> TaskId {
    let request = app.client.post(app.url(&format!("/v1/tasks{query}")));
    let request = request.header("Content-Type", "image/jpeg").body(bus_bytes());
    let (status, task) = json(request.send().await.unwrap()).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{task}");
    assert!(task["max_jobs_ahead"].is_null(), "only the task itself says so: {task}");
    task["task_id"].as_str().unwrap().parse().unwrap()
}

async fn ahead(app: &TestApp, id: TaskId) -> Value {
    let (status, task) = app.get(&format!("/v1/tasks/{id}")).await;
    assert_eq!(status, StatusCode::OK, "{task}");
    task["max_jobs_ahead"].clone()
}

/// What is known is up to a second old.
async fn becomes(app: &TestApp, id: TaskId, expected: Option<u64>) {
    eventually(TEST_TIMEOUT, async || (ahead(app, id).await.as_u64() == expected).then_some(()))
        .await;
}

#[tokio::test]
async fn a_waiting_task_says_how_many_jobs_are_before_it_on_each_api() {
    let app = TestApp::start().await;
    let other = TestApp::start_with(&[("NATS_URL", &app.nats.url())]).await;
    let mut ids = Vec::new();
    // One has a record at once, which the other API finds instead of its job.
    for query in ["", "?metadata=%7B%22a%22%3A1%7D", ""] {
        ids.push(submit(&app, query).await);
    }
    for (id, expected) in ids.iter().zip(0..) {
        becomes(&app, *id, Some(expected)).await;
        becomes(&other, *id, Some(expected)).await;
    }

    // Jobs of another priority are before it only in the stream. So it is said once its consumer has counted it.
    let high = submit(&app, "?priority=high").await;
    becomes(&app, high, Some(0)).await;
    becomes(&other, high, Some(0)).await;

    let mut deliveries = app.worker_side().await.queue().deliveries(["yolov8n".parse().unwrap()]);
    let first = deliveries.next(1).await;
    let second = deliveries.next(1).await;
    assert_eq!((first.job.task_id, second.job.task_id), (high, ids[0]));
    for (id, expected) in [(high, None), (ids[0], None), (ids[1], Some(0)), (ids[2], Some(1))] {
        becomes(&app, id, expected).await;
        becomes(&other, id, expected).await;
    }
    first.settle(Settlement::Ack).await.unwrap();
    app.succeed(ids[2]).await;
    assert!(ahead(&app, ids[2]).await.is_null(), "it has ended");
}
