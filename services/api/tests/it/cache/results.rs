//! The result cache: Redis may be empty, slow or unavailable without any answer changing.

use std::time::Duration;

use domain::TaskId;
use reqwest::StatusCode;
use serde_json::Value;
use testkit::{Certificates, RedisServer, TcpProxy, eventually};

use crate::app::{TEST_TIMEOUT, TestApp};

async fn result(app: &TestApp, id: TaskId) -> Value {
    let (status, body) = app.get(&format!("/task_result/{id}")).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    body
}

async fn cache_requests(app: &TestApp, outcome: &str) -> u64 {
    let label = format!("outcome=\"{outcome}\"");
    app.metric("spotter_cache_requests_total", &label).await.unwrap_or(0)
}

/// Repeats the request until an answer comes from the cache; all are `expected`.
async fn result_from_the_cache(app: &TestApp, id: TaskId, expected: &Value) {
    let hits = cache_requests(app, "hit").await;
    eventually(TEST_TIMEOUT, async || {
        assert_eq!(result(app, id).await, *expected);
        (cache_requests(app, "hit").await > hits).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_finished_task_is_answered_from_the_cache() {
    let app = TestApp::start().await;
    let id = app.start_task().await;
    app.succeed(id).await;
    let first = result(&app, id).await;
    // The copy is written in the background.
    result_from_the_cache(&app, id, &first).await;
}

#[tokio::test]
async fn a_task_that_has_not_ended_is_never_cached() {
    let app = TestApp::start().await;
    let id = app.start_task().await;
    for _ in 0..3 {
        assert_eq!(result(&app, id).await["status"], "PENDING");
    }
    assert_eq!(cache_requests(&app, "hit").await, 0);
    app.succeed(id).await;
    assert_eq!(result(&app, id).await["status"], "SUCCESS");
}

#[tokio::test]
async fn an_emptied_cache_changes_no_answer() {
    let mut app = TestApp::start().await;
    let id = app.start_task().await;
    app.succeed(id).await;
    let before = result(&app, id).await;
    app.redis.restart();
    assert_eq!(result(&app, id).await, before);
}

#[tokio::test]
async fn a_killed_cache_changes_no_answer_and_is_used_again_when_it_is_back() {
    let mut app = TestApp::start().await;
    let id = app.start_task().await;
    app.succeed(id).await;
    let before = result(&app, id).await;
    app.redis.kill();
    for _ in 0..20 {
        assert_eq!(result(&app, id).await, before);
    }
    assert_eq!(app.metric("spotter_cache_breaker_open", "").await, Some(1));
    assert!(cache_requests(&app, "skipped").await > 0);

    app.redis.restart();
    result_from_the_cache(&app, id, &before).await;
    assert_eq!(app.metric("spotter_cache_breaker_open", "").await, Some(0));
}

#[tokio::test]
async fn a_frozen_cache_does_not_delay_answers() {
    let timeout = Duration::from_secs(2);
    let timeout_ms = timeout.as_millis().to_string();
    let mut app = TestApp::start_with(&[("REDIS_TIMEOUT_MS", &timeout_ms)]).await;
    let id = app.start_task().await;
    app.succeed(id).await;
    let before = result(&app, id).await;
    app.redis.pause();
    // Three requests run into the timeout; then the breaker opens. If each of the 50 waited, this would take
    // 100 seconds, longer than the timeout of the test.
    tokio::time::timeout(TEST_TIMEOUT, async {
        for _ in 0..50 {
            assert_eq!(result(&app, id).await, before);
        }
    })
    .await
    .expect("the breaker opens");
    assert_eq!(app.metric("spotter_cache_breaker_open", "").await, Some(1));
    app.redis.resume();
}

#[tokio::test]
async fn a_cache_that_takes_longer_to_connect_to_than_an_answer_may_is_used() {
    let redis = RedisServer::start();
    let proxy = TcpProxy::start(redis.port());
    // Each request takes 400 of 600 ms, and connecting the same again.
    proxy.delay(Duration::from_millis(200));
    let url = format!("redis://127.0.0.1:{}", proxy.port());
    let app = TestApp::start_with(&[("REDIS_URL", &url), ("REDIS_TIMEOUT_MS", "600")]).await;
    let id = app.start_task().await;
    app.succeed(id).await;
    let first = result(&app, id).await;
    result_from_the_cache(&app, id, &first).await;
}

#[tokio::test]
async fn the_cache_is_used_over_tls_and_only_under_a_certificate_that_is_trusted() {
    let (certificates, others) = (Certificates::new(), Certificates::new());
    let redis = RedisServer::start_with_tls(&certificates);
    for (trusted, outcome) in [(&certificates, "hit"), (&others, "error")] {
        let (url, ca) = (redis.tls_url(), trusted.ca());
        let settings = [("REDIS_URL", url.as_str()), ("REDIS_CA_FILE", ca.to_str().unwrap())];
        let app = TestApp::start_with(&settings).await;
        let id = app.start_task().await;
        app.succeed(id).await;
        eventually(TEST_TIMEOUT, async || {
            assert_eq!(result(&app, id).await["status"], "SUCCESS");
            (cache_requests(&app, outcome).await > 0).then_some(())
        })
        .await;
    }
}
