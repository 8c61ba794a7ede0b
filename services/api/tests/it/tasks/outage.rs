//! A full queue, a full disk, and NATS unavailable.

use std::sync::Arc;

use domain::ModelName;
use messaging::Settlement;
use reqwest::{StatusCode, header};
use testkit::{NatsServer, SmallDisk, eventually};

use crate::app::{TEST_TIMEOUT, TestApp, bus_form, error_text, form, json};

#[tokio::test]
async fn a_full_queue_is_a_503_with_retry_after() {
    let app = TestApp::start_with(&[("QUEUE_MAX_MESSAGES", "2")]).await;
    for _ in 0..2 {
        app.start_task().await;
    }
    for path in ["/start_task", "/v1/tasks"] {
        let answer = app.post(path, bus_form()).await;
        assert!(answer.headers().contains_key(header::RETRY_AFTER));
        let (status, body) = json(answer).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(error_text(&body).contains("full"), "{body}");
    }
    // For a second after a rejection uploads are rejected unread: this is not a picture, but no 400. On a
    // machine that was busy for longer, the queue has to reject a job again.
    eventually(TEST_TIMEOUT, async || {
        let refused = app.post("/start_task", bus_form()).await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        let unread = app.post("/start_task", form("x.jpg", b"no picture".to_vec())).await;
        (unread.status() == StatusCode::SERVICE_UNAVAILABLE).then_some(())
    })
    .await;

    let worker = app.worker_side().await;
    worker
        .queue()
        .deliveries([ModelName::default()])
        .next(1)
        .await
        .settle(Settlement::Ack)
        .await
        .unwrap();
    eventually(TEST_TIMEOUT, async || {
        let answer = app.post("/start_task", bus_form()).await;
        (answer.status() == StatusCode::ACCEPTED).then_some(())
    })
    .await;
}

#[tokio::test]
async fn without_nats_everything_is_unavailable_until_it_is_back() {
    let mut app = TestApp::start().await;
    let id = app.start_task().await;
    let (status, _) = app.get("/health/ready").await;
    assert_eq!(status, StatusCode::OK);

    app.nats.kill();
    eventually(TEST_TIMEOUT, async || {
        let (status, _) = app.get("/health/ready").await;
        (status == StatusCode::SERVICE_UNAVAILABLE).then_some(())
    })
    .await;
    let answer = app.post("/start_task", bus_form()).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key(header::RETRY_AFTER));
    for path in [format!("/task_result/{id}"), format!("/v1/tasks/{id}")] {
        let (status, body) = app.get(&path).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
    }
    let (status, _) = app.get("/health/live").await;
    assert_eq!(status, StatusCode::OK, "it is alive, only not ready");

    app.nats.restart();
    eventually(TEST_TIMEOUT, async || {
        let (status, _) = app.get("/health/ready").await;
        (status == StatusCode::OK).then_some(())
    })
    .await;
    let (status, body) = app.get(&format!("/task_result/{id}")).await;
    assert_eq!((status, body["status"].as_str()), (StatusCode::OK, Some("PENDING")));
    app.start_task().await;
}

#[tokio::test]
async fn while_nats_cannot_write_uploads_are_rejected_unread() {
    let Some(disk) = SmallDisk::mount(32 << 20) else {
        eprintln!("SKIPPED: this user may not mount a small disk");
        return;
    };
    let disk = Arc::new(disk);
    let mut app = TestApp::start_on(NatsServer::builder().disk(&disk).start(), &[]).await;
    let id = app.start_task().await;
    assert_eq!(app.get("/health/ready").await.0, StatusCode::OK);
    let jobs = r#"stream="JOBS""#;
    assert_eq!(app.metric("spotter_stream_writable", jobs).await, Some(1));

    disk.fill();
    // The first submission detects it and is rejected.
    let answer = app.post("/start_task", bus_form()).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    let (status, body) = eventually(TEST_TIMEOUT, async || {
        let (status, body) = app.get("/health/ready").await;
        (status == StatusCode::SERVICE_UNAVAILABLE).then_some((status, body))
    })
    .await;
    let obstacle = body["status"].as_str().unwrap();
    assert!(obstacle.contains("JOBS") && obstacle.contains("no space left"), "{status} {obstacle}");
    assert_eq!(app.metric("spotter_stream_writable", jobs).await, Some(0));
    assert_eq!(app.get("/health/live").await.0, StatusCode::OK, "a restart does not help");

    // The NATS server keeps its error after there is room again.
    disk.make_room();
    for path in ["/start_task", "/v1/tasks"] {
        // Rejected unread: this is not a picture, but no 400.
        let unread = app.post(path, form("x.jpg", b"no picture".to_vec())).await;
        assert!(unread.headers().contains_key(header::RETRY_AFTER));
        let (status, body) = json(unread).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(error_text(&body).contains("cannot store"), "{body}");
    }
    // Records can still be read.
    let (status, body) = app.get(&format!("/task_result/{id}")).await;
    assert_eq!((status, body["status"].as_str()), (StatusCode::OK, Some("PENDING")));

    app.nats.restart();
    eventually(TEST_TIMEOUT, async || {
        (app.get("/health/ready").await.0 == StatusCode::OK).then_some(())
    })
    .await;
    app.start_task().await;
    assert_eq!(app.metric("spotter_stream_writable", jobs).await, Some(1));
}
