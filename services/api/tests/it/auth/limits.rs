//! Rate limits, and quotas of waiting jobs.

use domain::Scope;
use reqwest::{Method, StatusCode};
use testkit::eventually;

use super::{Grant, get, header, key, kind, post, request, start, submit};
use crate::app::{TEST_TIMEOUT, TestApp, json};

#[tokio::test]
async fn a_key_may_send_its_rate_and_is_told_when_to_come_back() {
    let app = start().await;
    let token = key(&app, Grant { rate: Some("2/h"), ..Grant::default() }).await;
    let other = key(&app, Grant { rate: Some("100/s"), ..Grant::default() }).await;
    for remaining in [1, 0] {
        let answer = get(&app, "/v1/tasks", &token).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(header(&answer, "ratelimit-policy"), "\"default\";q=2;w=3600");
        let expected = format!("\"default\";r={remaining};t={}", 1800 * (2 - remaining));
        assert_eq!(header(&answer, "ratelimit"), expected);
    }
    for path in ["/v1/tasks", "/task_result/x"] {
        let answer = get(&app, path, &token).await;
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS, "{path}");
        let retry_after: u64 = header(&answer, "retry-after").parse().unwrap();
        assert!((1..=1800).contains(&retry_after), "{retry_after}");
        assert_eq!(header(&answer, "ratelimit"), format!("\"default\";r=0;t={retry_after}"));
        let (_, body) = json(answer).await;
        match path {
            "/v1/tasks" => assert_eq!(kind(&body), "rate-limited", "{body}"),
            _ => assert!(body["error"].as_str().unwrap().contains("too many"), "{body}"),
        }
    }
    assert_eq!(get(&app, "/v1/tasks", &other).await.status(), StatusCode::OK, "each for itself");
    let refused = app.metric("spotter_requests_refused_total", "reason=\"rate\"").await;
    let counted = app.metric("spotter_api_key_requests_total", &token.id().to_string()).await;
    assert_eq!((refused, counted), (Some(2), Some(4)));
}

#[tokio::test]
async fn a_key_has_no_more_jobs_in_the_queue_than_its_quota() {
    let app = start().await;
    let token = key(&app, Grant { quota: Some(2), ..Grant::default() }).await;
    let other = key(&app, Grant { quota: Some(1), ..Grant::default() }).await;
    let (first, _) = (submit(&app, &token).await, submit(&app, &token).await);
    for path in ["/v1/tasks", "/start_task"] {
        let answer = post(&app, path, &token).await;
        let retry_after: u64 = header(&answer, "retry-after").parse().unwrap();
        assert!(retry_after >= 1);
        let (status, body) = json(answer).await;
        assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{path}: {body}");
        match path {
            "/v1/tasks" => assert_eq!(kind(&body), "quota-exceeded", "{body}"),
            _ => assert!(body["error"].as_str().unwrap().contains("quota"), "{body}"),
        }
    }
    submit(&app, &other).await;
    assert_eq!(app.jobs(), 3);
    let path = format!("/v1/tasks/{first}");
    request(&app, Method::DELETE, &path, &token).send().await.unwrap();
    eventually(TEST_TIMEOUT, async || {
        let status = post(&app, "/v1/tasks", &token).await.status();
        (status == StatusCode::ACCEPTED).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_quota_counts_the_jobs_of_all_apis() {
    let one = start().await;
    let other = TestApp::start_with(&[("AUTH", "keys"), ("NATS_URL", &one.nats.url())]).await;
    let token = key(&one, Grant { quota: Some(2), ..Grant::default() }).await;
    eventually(TEST_TIMEOUT, async || {
        let status = get(&other, "/v1/tasks", &token).await.status();
        (status == StatusCode::OK).then_some(())
    })
    .await;
    submit(&one, &token).await;
    submit(&one, &token).await;
    eventually(TEST_TIMEOUT, async || {
        let status = post(&other, "/v1/tasks", &token).await.status();
        (status == StatusCode::TOO_MANY_REQUESTS).then_some(())
    })
    .await;
}

#[tokio::test]
async fn many_submissions_at_once_do_not_exceed_a_quota() {
    let app = start().await;
    let grant = Grant { quota: Some(3), scopes: vec![Scope::Submit], ..Grant::default() };
    let token = key(&app, grant).await;
    let answers = futures_util::future::join_all((0..12).map(|_| post(&app, "/v1/tasks", &token)));
    let statuses: Vec<_> = answers.await.iter().map(|answer| answer.status()).collect();
    let accepted = statuses.iter().filter(|status| **status == StatusCode::ACCEPTED).count();
    assert_eq!((accepted, app.jobs()), (3, 3), "{statuses:?}");
}

#[tokio::test]
async fn each_run_of_a_picture_in_tiles_counts_towards_the_rate() {
    let app = start().await;
    let token = key(&app, Grant { rate: Some("20/h"), ..Grant::default() }).await;
    let submit = async |tiles: &str| {
        let answer = post(&app, &format!("/v1/tasks?tiles={tiles}"), &token).await;
        let retry_after = header(&answer, "retry-after").to_owned();
        let (status, body) = json(answer).await;
        (status, retry_after, body)
    };
    let (status, _, body) = submit("5x4").await;
    assert_eq!((status, kind(&body)), (StatusCode::BAD_REQUEST, "invalid-parameter"), "{body}");
    assert_eq!(body["errors"][0]["parameter"], "tiles");
    assert!(body["detail"].as_str().unwrap().contains("run 21 times"), "{body}");
    // Of the 19 that are left, ten: bus.jpg has 810 × 1080 pixels, and 2 × 2 tiles.
    for (tiles, left) in [("auto", 14), ("2x2", 9)] {
        let (status, _, body) = submit(tiles).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{left}: {body}");
    }
    let (status, retry_after, body) = submit("3x3").await;
    assert_eq!((status, kind(&body)), (StatusCode::TOO_MANY_REQUESTS, "rate-limited"), "{body}");
    // One run is missing: the next one comes in three minutes.
    let retry_after: u64 = retry_after.parse().unwrap();
    assert!((1..=181).contains(&retry_after), "{retry_after}");
    let (status, _, body) = submit("2x2").await;
    assert_eq!(status, StatusCode::ACCEPTED, "{body}");
    assert_eq!(app.jobs(), 3);
}
