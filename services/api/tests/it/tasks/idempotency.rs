//! The same `Idempotency-Key` is the same submission.

use std::collections::HashSet;

use reqwest::{StatusCode, multipart::Form};
use serde_json::Value;

use crate::app::{TestApp, bus_bytes, bus_form, form, json};

async fn submit(app: &TestApp, path: &str, key: &str, form: Form) -> (StatusCode, Value) {
    let request = app.client.post(app.url(path)).header("idempotency-key", key).multipart(form);
    json(request.send().await.unwrap()).await
}

#[tokio::test]
async fn the_same_key_and_picture_are_the_same_task() {
    let app = TestApp::start().await;
    for path in ["/start_task", "/v1/tasks"] {
        let (status, first) = submit(&app, path, path, bus_form()).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{first}");
        let (status, again) = submit(&app, path, path, bus_form()).await;
        assert_eq!((status, &again), (StatusCode::ACCEPTED, &first));
        let (_, other) = submit(&app, path, "another-key", bus_form()).await;
        assert_ne!(other["task_id"], first["task_id"]);
    }
}

#[tokio::test]
async fn the_same_key_with_another_submission_is_rejected() {
    let app = TestApp::start().await;
    let coffee = std::fs::read(testkit::picture("coffee.png")).unwrap();
    assert_eq!(submit(&app, "/start_task", "k", bus_form()).await.0, StatusCode::ACCEPTED);
    let others = [
        ("/start_task", form("bus.png", coffee)),
        ("/start_task", form("other.jpg", bus_bytes())),
        ("/v1/tasks?confidence=0.5", bus_form()),
    ];
    for (path, form) in others {
        let (status, body) = submit(&app, path, "k", form).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{path}: {body}");
    }
}

#[tokio::test]
async fn a_hundred_at_once_are_one_job() {
    let app = TestApp::start_with(&[("MAX_CONCURRENT_UPLOADS", "100")]).await;
    let mut requests = Vec::new();
    for _ in 0..100 {
        let request = app.client.post(app.url("/start_task")).header("idempotency-key", "k");
        requests.push(tokio::spawn(request.multipart(bus_form()).send()));
    }
    let mut ids = HashSet::new();
    for request in requests {
        let (status, body) = json(request.await.unwrap().unwrap()).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{body}");
        ids.insert(body["task_id"].as_str().unwrap().to_owned());
    }
    assert_eq!(ids.len(), 1);
    assert_eq!(app.jobs(), 1);
}

#[tokio::test]
async fn an_invalid_key_is_rejected() {
    let app = TestApp::start().await;
    let (long, spaced) = ("k".repeat(256), "a b");
    for key in ["", &long, spaced] {
        for path in ["/start_task", "/v1/tasks"] {
            let (status, body) = submit(&app, path, key, bus_form()).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{key}: {body}");
        }
    }
}
