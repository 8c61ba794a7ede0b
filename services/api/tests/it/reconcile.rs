//! The reconciler of one of the APIs.

use std::time::Duration;

use domain::TaskId;
use messaging::LEASE_TTL;
use reqwest::StatusCode;
use testkit::eventually;

use crate::app::{TEST_TIMEOUT, TestApp, bus_form, json};

const KINDS: [&str; 3] = ["record_without_job", "overdue", "stuck_jobs"];

impl TestApp {
    async fn reconciling_every(seconds: &str) -> Self {
        let app = Self::start_with(&[("RECONCILE_SECONDS", seconds)]).await;
        app.reaches("spotter_reconciler_holder", "", 1).await;
        app
    }

    async fn discrepancies(&self, kind: &str) -> Option<u64> {
        self.metric("spotter_discrepancies{", &format!("kind=\"{kind}\"")).await
    }

    async fn repairs(&self, kind: &str) -> Option<u64> {
        self.metric("spotter_repairs_total{", &format!("kind=\"{kind}\"")).await
    }

    async fn last_round(&self) -> Option<u64> {
        self.metric("spotter_reconciler_last_round_timestamp_seconds", "").await
    }

    async fn reaches(&self, metric: &str, labels: &str, value: u64) {
        eventually(TEST_TIMEOUT, async || {
            (self.metric(metric, labels).await == Some(value)).then_some(())
        })
        .await;
    }

    /// Waits for the end of a round that starts after this call.
    async fn one_more_round(&self) {
        for _ in 0..2 {
            let before = self.last_round().await;
            eventually(TEST_TIMEOUT, async || (self.last_round().await != before).then_some(()))
                .await;
        }
    }

    /// The queue loses a job.
    async fn lose(&self, id: TaskId) {
        let purge = format!("{{\"filter\":\"jobs.yolov8n.{id}\"}}");
        let answer = self.nats.request("$JS.API.STREAM.PURGE.JOBS", &purge).expect("an answer");
        assert!(answer.contains("\"purged\":1"), "{answer}");
    }
}

#[tokio::test]
async fn without_discrepancies_every_kind_is_0() {
    let app = TestApp::reconciling_every("1").await;
    app.start_task().await;
    app.one_more_round().await;
    for kind in KINDS {
        assert_eq!((app.discrepancies(kind).await, app.repairs(kind).await), (Some(0), Some(0)));
    }
}

#[tokio::test]
async fn a_lost_job_is_reported_and_its_task_fails() {
    // Long enough to see the finding before it is repaired, even on a busy machine.
    let app = TestApp::reconciling_every("6").await;
    let id = app.start_task().await;
    app.one_more_round().await;
    app.lose(id).await;
    let kind = "kind=\"record_without_job\"";
    app.reaches("spotter_discrepancies{", kind, 1).await;
    app.reaches("spotter_repairs_total{", kind, 1).await;
    app.reaches("spotter_discrepancies{", kind, 0).await;
    let (status, task) = app.get(&format!("/v1/tasks/{id}?wait=30")).await;
    assert_eq!((status, task["state"].as_str()), (StatusCode::OK, Some("FAILURE")));
    assert_eq!(task["failure"]["reason"], "lost");
    let (_, task) = app.get(&format!("/task_result/{id}")).await;
    assert_eq!(task["status"], "FAILURE");
}

#[tokio::test]
async fn a_task_expires_without_a_worker() {
    // A full round would be too late.
    let app = TestApp::start_with(&[("RECONCILE_SECONDS", "3600")]).await;
    app.reaches("spotter_reconciler_holder", "", 1).await;
    let (_, task) = json(app.post("/v1/tasks?deadline=1", bus_form()).await).await;
    let id = task["task_id"].as_str().expect("an id");
    let (status, task) = app.get(&format!("/v1/tasks/{id}?wait=30")).await;
    assert_eq!((status, task["state"].as_str()), (StatusCode::OK, Some("EXPIRED")));
    app.reaches("spotter_repairs_total{", "kind=\"overdue\"", 1).await;
    let jobs = app.nats.stream("JOBS").expect("it is there");
    assert_eq!(jobs.messages, 0);
}

#[tokio::test]
async fn an_api_that_stops_releases_the_lease() {
    let first = TestApp::reconciling_every("1").await;
    let url = first.nats.url();
    let second = TestApp::start_with(&[("NATS_URL", &url), ("RECONCILE_SECONDS", "1")]).await;
    first.one_more_round().await;
    assert_eq!(second.metric("spotter_reconciler_holder", "").await, Some(0));
    assert_eq!((second.discrepancies("overdue").await, second.last_round().await), (Some(0), None));
    first.stop();
    let stopped = std::time::Instant::now();
    second.reaches("spotter_reconciler_holder", "", 1).await;
    assert!(stopped.elapsed() < LEASE_TTL - Duration::from_secs(10), "the lease was not released");
    second.one_more_round().await;
}
