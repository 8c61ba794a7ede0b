//! Metrics of requests and of the queue.

use domain::{ModelName, TaskId};
use testkit::eventually;

use crate::app::{TEST_TIMEOUT, TestApp, bus_form};

const REQUESTS: &str = "http_server_request_duration_seconds_count";

#[tokio::test]
async fn requests_are_labelled_by_route_and_never_by_id() {
    let app = TestApp::start().await;
    for _ in 0..3 {
        app.get(&format!("/v1/tasks/{}", TaskId::generate())).await;
    }
    app.get("/health/ready").await;
    app.post("/no/such/route", bus_form()).await;
    let route = "http_request_method=\"GET\",http_response_status_code=\"404\",http_route=\"/v1/tasks/{task_id}\"";
    assert_eq!(app.metric(REQUESTS, route).await, Some(3));
    let none = "http_request_method=\"POST\",http_response_status_code=\"404\",http_route=\"\"";
    assert_eq!(app.metric(REQUESTS, none).await, Some(1));
    for probe in ["/health", "/metrics"] {
        assert_eq!(app.metric(REQUESTS, probe).await, None, "{probe}");
    }
}

#[tokio::test]
async fn the_oldest_job_ages_until_it_is_settled() {
    let app = TestApp::start().await;
    let age = async || {
        let text = app.client.get(app.url("/metrics")).send().await.unwrap().text().await.unwrap();
        let name = "spotter_queue_oldest_job_age_seconds{";
        let line = text.lines().find(|line| line.starts_with(name))?.to_owned();
        line.rsplit(' ').next()?.parse::<f64>().ok()
    };
    let first = eventually(TEST_TIMEOUT, async || age().await).await;
    assert_eq!(first, 0.0, "there is no job yet");
    app.start_task().await;
    // The next sample of the queue is at most five seconds later.
    let young = eventually(TEST_TIMEOUT, async || age().await.filter(|age| *age > 0.0)).await;
    eventually(TEST_TIMEOUT, async || age().await.filter(|age| *age > young)).await;
    assert_eq!(app.metric("spotter_queue_waiting", "").await, Some(1));
    let of_model = app.metric("spotter_queue_waiting_by_model", "model=\"yolov8n\"").await;
    assert_eq!(of_model, Some(1));

    let worker = app.worker_side().await;
    let delivery = worker.queue().deliveries([ModelName::default()]).next(1).await;
    let poison = messaging::Settlement::Reject { reason: "poison".to_owned() };
    delivery.settle(poison).await.unwrap();
    eventually(TEST_TIMEOUT, async || age().await.filter(|age| *age == 0.0)).await;
    assert_eq!(app.metric("spotter_dead_letters", "").await, Some(1));
    assert_eq!(app.metric("spotter_nats_connected", "").await, Some(1));
}
