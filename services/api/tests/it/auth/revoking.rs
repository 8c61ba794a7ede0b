//! Keys that come and go while the API runs.

use domain::{ApiKeyToken, KeyId, ModelName, Scope};
use reqwest::{Response, StatusCode};
use testkit::eventually;
use tokio::time::timeout;

use super::{Grant, get, key, operator, start, store};
use crate::app::{TEST_TIMEOUT, TestApp};

async fn becomes(app: &TestApp, token: &ApiKeyToken, expected: StatusCode) {
    eventually(TEST_TIMEOUT, async || {
        let status = get(app, "/v1/tasks", token).await.status();
        (status == expected).then_some(())
    })
    .await;
}

async fn revoke(app: &TestApp, id: KeyId) {
    assert!(operator(app).await.api_keys().revoke(id).await.unwrap().is_some());
}

#[tokio::test]
async fn a_revoked_key_is_refused_without_a_restart() {
    let app = start().await;
    let (revoked, kept) = (key(&app, Grant::default()).await, key(&app, Grant::default()).await);
    becomes(&app, &revoked, StatusCode::OK).await;
    revoke(&app, revoked.id()).await;
    becomes(&app, &revoked, StatusCode::UNAUTHORIZED).await;
    assert_eq!(get(&app, "/v1/tasks", &kept).await.status(), StatusCode::OK);
    assert_eq!(app.metric("spotter_api_keys", "").await, Some(1));
}

#[tokio::test]
async fn the_state_of_the_system_is_not_sent_to_a_revoked_key() {
    let app = start().await;
    let admin = key(&app, Grant { scopes: vec![Scope::Admin], ..Grant::default() }).await;
    let mut stream = get(&app, "/v1/operations/events", &admin).await;
    let sent = async |stream: &mut Response| stream.chunk().await.unwrap().is_some();
    for _ in 0..2 {
        assert!(timeout(TEST_TIMEOUT, sent(&mut stream)).await.unwrap());
    }
    revoke(&app, admin.id()).await;
    let ending = async { while sent(&mut stream).await {} };
    timeout(TEST_TIMEOUT, ending).await.expect("the stream ends");
}

#[tokio::test]
async fn a_key_from_before_the_start_is_known_at_the_start() {
    let app = start().await;
    let token = store(&app, Grant::default()).await;
    let other = TestApp::start_with(&[("AUTH", "keys"), ("NATS_URL", &app.nats.url())]).await;
    assert_eq!(get(&other, "/v1/tasks", &token).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn changes_are_known_after_nats_has_restarted() {
    let mut app = start().await;
    let (revoked, kept) = (key(&app, Grant::default()).await, key(&app, Grant::default()).await);
    app.nats.restart();
    revoke(&app, revoked.id()).await;
    let created = store(&app, Grant::default()).await;
    becomes(&app, &revoked, StatusCode::UNAUTHORIZED).await;
    becomes(&app, &created, StatusCode::OK).await;
    becomes(&app, &kept, StatusCode::OK).await;
}

#[tokio::test]
async fn a_watch_that_has_ended_begins_again() {
    let app = start().await;
    let token = key(&app, Grant::default()).await;
    // The bucket is lost, and made again without the key.
    let answer = app.nats.request("$JS.API.STREAM.DELETE.KV_keys", "").expect("an answer");
    assert!(answer.contains("\"success\":true"), "{answer}");
    operator(&app).await.provision([ModelName::default()]).await.unwrap();
    becomes(&app, &token, StatusCode::UNAUTHORIZED).await;
    let created = store(&app, Grant::default()).await;
    becomes(&app, &created, StatusCode::OK).await;
}
