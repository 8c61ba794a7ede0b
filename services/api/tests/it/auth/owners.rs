//! Whose tasks a key sees.

use domain::{ApiKeyToken, Scope, TaskId};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use testkit::eventually;

use super::{Grant, get, get_json, key, key_in, post, request, start, submit};
use crate::app::{TEST_TIMEOUT, TestApp, bus_form, json};

async fn listed(app: &TestApp, token: &ApiKeyToken) -> Vec<TaskId> {
    let (status, page) = get_json(app, "/v1/tasks", token).await;
    assert_eq!(status, StatusCode::OK, "{page}");
    let tasks = page["tasks"].as_array().unwrap().iter();
    tasks.map(|task| task["task_id"].as_str().unwrap().parse().unwrap()).collect()
}

/// An answer as far as it depends on the task.
async fn outcome(
    app: &TestApp,
    method: Method,
    path: &str,
    token: &ApiKeyToken,
) -> (StatusCode, Value) {
    json(request(app, method, path, token).send().await.unwrap()).await
}

/// For another key, a task is as one that never was, on every route.
async fn assert_hidden(app: &TestApp, id: TaskId, token: &ApiKeyToken) {
    let unknown = TaskId::generate();
    let routes = [
        (Method::GET, "/v1/tasks/ID"),
        (Method::GET, "/v1/tasks/ID?wait=25"),
        (Method::GET, "/v1/tasks/ID?format=csv"),
        (Method::GET, "/v1/tasks/ID/events"),
        (Method::GET, "/v1/tasks/ID/image"),
        (Method::GET, "/v1/tasks/ID/image?wait=25"),
        (Method::DELETE, "/v1/tasks/ID"),
        (Method::GET, "/task_result/ID"),
    ];
    for (method, path) in routes {
        let of = |id: TaskId| path.replace("ID", &id.to_string());
        let (status, body) = outcome(app, method.clone(), &of(id), token).await;
        let (expected, other) = outcome(app, method.clone(), &of(unknown), token).await;
        let body = body.to_string().replace(&id.to_string(), &unknown.to_string());
        assert_eq!((status, body), (expected, other.to_string()), "{method} {path}");
        let not_found = match path.starts_with("/v1") {
            true => StatusCode::NOT_FOUND,
            false => StatusCode::BAD_REQUEST,
        };
        assert_eq!(status, not_found, "{method} {path}");
    }
}

#[tokio::test]
async fn a_task_is_visible_to_its_key_and_to_admin_in_every_state() {
    let app = start().await;
    let [owner, other] = [key(&app, Grant::default()).await, key(&app, Grant::default()).await];
    let admin = key(&app, Grant { scopes: vec![Scope::Admin], ..Grant::default() }).await;
    let id = submit(&app, &owner).await;
    let path = format!("/v1/tasks/{id}");
    // Queued, then ended: read from the bucket, and then from Redis.
    for state in ["QUEUED", "SUCCESS", "SUCCESS"] {
        assert_hidden(&app, id, &other).await;
        for token in [&owner, &admin] {
            let (status, task) = get_json(&app, &path, token).await;
            assert_eq!((status, &task["state"]), (StatusCode::OK, &state.into()), "{task}");
            assert!(task["owner"].is_null(), "{task}");
            assert_eq!(listed(&app, token).await, [id]);
        }
        assert_eq!(listed(&app, &other).await, []);
        if state == "QUEUED" {
            app.succeed(id).await;
        }
    }
    let copies = app.metric("spotter_cache_requests_total", "outcome=\"hit\"").await;
    assert!(copies > Some(0), "Redis was asked, too");
}

#[tokio::test]
async fn lists_have_the_keys_own_tasks_whichever_api_accepted_them() {
    let one = start().await;
    let other = TestApp::start_with(&[("AUTH", "keys"), ("NATS_URL", &one.nats.url())]).await;
    let [first, second] = [key(&one, Grant::default()).await, key(&one, Grant::default()).await];
    for token in [&first, &second] {
        eventually(TEST_TIMEOUT, async || {
            (get(&other, "/v1/tasks", token).await.status() == StatusCode::OK).then_some(())
        })
        .await;
    }
    let mut of_first = Vec::new();
    for _ in 0..3 {
        of_first.push(submit(&one, &first).await);
        submit(&other, &second).await;
        of_first.push(submit(&other, &first).await);
    }
    one.succeed(of_first[2]).await;
    of_first.sort_unstable_by(|a, b| b.cmp(a));
    for app in [&one, &other] {
        // Jobs that only the queue has are asked for every quarter of a second.
        eventually(TEST_TIMEOUT, async || (listed(app, &first).await == of_first).then_some(()))
            .await;
    }
    let (_, page) = get_json(&one, "/v1/tasks?limit=2", &first).await;
    let next = format!("/v1/tasks?limit=2&cursor={}", page["next"].as_str().unwrap());
    assert_eq!(get(&one, &next, &first).await.status(), StatusCode::OK);
    assert_eq!(get(&one, &next, &second).await.status(), StatusCode::BAD_REQUEST, "not its list");
}

#[tokio::test]
async fn tasks_without_an_owner_are_admins_only() {
    let open = TestApp::start().await;
    let id = open.start_task().await;
    let app = TestApp::start_with(&[("AUTH", "keys"), ("NATS_URL", &open.nats.url())]).await;
    let token = key_in(&open, &app, Grant::default()).await;
    let admin = Grant { scopes: vec![Scope::Admin], ..Grant::default() };
    let admin = key_in(&open, &app, admin).await;
    assert_hidden(&app, id, &token).await;
    assert_eq!(listed(&app, &token).await, []);
    assert_eq!(get(&app, &format!("/v1/tasks/{id}"), &admin).await.status(), StatusCode::OK);
    assert_eq!(listed(&app, &admin).await, [id]);
    // And without keys, everybody sees everything again.
    let owned = submit(&app, &token).await;
    let (status, _) = open.get(&format!("/v1/tasks/{owned}")).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn an_idempotency_key_is_each_api_keys_own() {
    let app = start().await;
    let [one, other] = [key(&app, Grant::default()).await, key(&app, Grant::default()).await];
    let submit = async |token: &ApiKeyToken| {
        let request = request(&app, Method::POST, "/v1/tasks", token);
        let request = request.header("Idempotency-Key", "order-1").multipart(bus_form());
        let (status, task) = json(request.send().await.unwrap()).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{task}");
        task["task_id"].as_str().unwrap().to_owned()
    };
    let first = submit(&one).await;
    assert_eq!(submit(&one).await, first);
    assert_ne!(submit(&other).await, first);
    assert_eq!(app.jobs(), 2);
}

#[tokio::test]
async fn the_original_routes_obey_the_same_rule() {
    let app = start().await;
    let [owner, other] = [key(&app, Grant::default()).await, key(&app, Grant::default()).await];
    let (status, task) = json(post(&app, "/start_task", &owner).await).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{task}");
    let id: TaskId = task["task_id"].as_str().unwrap().parse().unwrap();
    let (status, task) = get_json(&app, &format!("/task_result/{id}"), &owner).await;
    assert_eq!((status, &task["status"]), (StatusCode::OK, &"PENDING".into()));
    assert_hidden(&app, id, &other).await;
}
