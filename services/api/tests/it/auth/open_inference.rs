//! Keys on the routes of the Open Inference Protocol.

use base64::{Engine, engine::general_purpose::STANDARD};
use domain::{ApiKeyToken, Scope};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::json;
use testkit::eventually;

use super::{Grant, get, get_json, key, request, start};
use crate::app::{TEST_TIMEOUT, TestApp, bus_bytes, error_text, json};

/// A request with `pictures` times bus.jpg.
fn infer(app: &TestApp, token: &ApiKeyToken, pictures: usize) -> RequestBuilder {
    let data = vec![STANDARD.encode(bus_bytes()); pictures];
    request(app, Method::POST, "/v2/models/yolov8n/infer", token).json(&json!({ "inputs": [{
        "name": "image", "datatype": "BYTES", "shape": [pictures], "data": data,
    }]}))
}

#[tokio::test]
async fn a_key_for_reading_lists_models_and_submits_nothing() {
    let app = start().await;
    let token = key(&app, Grant { scopes: vec![Scope::Read], ..Grant::default() }).await;
    assert_eq!(get_json(&app, "/v2/models/yolov8n", &token).await.0, StatusCode::OK);
    let index = request(&app, Method::POST, "/v2/repository/index", &token).send().await.unwrap();
    assert_eq!(index.status(), StatusCode::OK);
    let (status, body) = json(infer(&app, &token, 1).send().await.unwrap()).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{body}");
    assert!(error_text(&body).contains("lacks the scope submit"), "{body}");
    assert_eq!(app.get("/v2/health/live").await.0, StatusCode::OK, "without a key");
    assert_eq!(app.jobs(), 0);
}

#[tokio::test]
async fn each_picture_of_a_request_counts_toward_the_rate() {
    let app = start().await;
    let token = key(&app, Grant { rate: Some("4/h"), ..Grant::default() }).await;
    let (status, body) = json(infer(&app, &token, 5).send().await.unwrap()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
    assert!(error_text(&body).contains("5 pictures"), "{body}");
    assert_eq!(get(&app, "/v2/models/yolov8n", &token).await.status(), StatusCode::OK);
    // Two of four are left, the request is the first of its three.
    let answer = infer(&app, &token, 3).send().await.unwrap();
    let retry_after: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=3600).contains(&retry_after), "{retry_after}");
    let (status, body) = json(answer).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{body}");
    assert!(error_text(&body).contains("3 pictures"), "{body}");
    assert_eq!(app.jobs(), 0);
}

#[tokio::test]
async fn a_request_beyond_the_quota_leaves_no_jobs() {
    let app = start().await;
    let token = key(&app, Grant { quota: Some(2), ..Grant::default() }).await;
    let (status, body) = json(infer(&app, &token, 3).send().await.unwrap()).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{body}");
    assert!(error_text(&body).contains("quota"), "{body}");
    eventually(TEST_TIMEOUT, async || (app.jobs() == 0).then_some(())).await;
}

#[tokio::test]
async fn pictures_are_tasks_of_the_key() {
    let app = start().await;
    let token = key(&app, Grant { quota: Some(1), ..Grant::default() }).await;
    let answer = tokio::spawn(infer(&app, &token, 1).send());
    let worker = app.worker_side().await;
    let ids = eventually(TEST_TIMEOUT, async || {
        worker.queue().task_ids().await.ok().filter(|ids| ids.len() == 1)
    })
    .await;
    assert_eq!(app.succeed(ids[0]).await.job.owner, Some(token.id()));
    let answer = answer.await.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}
