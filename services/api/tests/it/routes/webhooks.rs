//! Webhooks that were given up: listed and replayed.

use domain::{CallbackUrl, DetectionSettings, Job, TaskRecord, TaskState};
use messaging::{Messaging, MessagingConfig, Role, WebhookDelivery};
use reqwest::StatusCode;
use serde_json::{Value, json};
use testkit::eventually;
use time::OffsetDateTime;
use tokio::{sync::mpsc, time::timeout};

use crate::app::{self, TEST_TIMEOUT, TestApp};

const LIST: &str = "/v1/webhooks/dead-letters";

/// The webhooks that a notifier gets.
async fn deliveries(app: &TestApp) -> mpsc::Receiver<WebhookDelivery> {
    let config = MessagingConfig::new(app.nats.url().parse().unwrap(), Role::Notifier);
    let deliveries = Messaging::connect(config).await.unwrap().webhooks().deliveries();
    let (sender, due) = mpsc::channel(1);
    tokio::spawn(async move {
        while !sender.is_closed() {
            deliveries.take(8, &sender).await;
        }
    });
    due
}

async fn next(due: &mut mpsc::Receiver<WebhookDelivery>) -> WebhookDelivery {
    timeout(TEST_TIMEOUT, due.recv()).await.expect("a webhook is due").expect("it is taking")
}

#[tokio::test]
async fn a_webhook_that_was_given_up_is_listed_and_delivered_again() {
    let app = TestApp::start_with(&[("WEBHOOKS", "on")]).await;
    let callback_url = Some(CallbackUrl::new("https://example.com/hook?token=x".to_owned()));
    let job =
        Job::new("bus.jpg".to_owned(), "yolov8n".parse().unwrap(), DetectionSettings::default());
    let job = Job { callback_url, ..job };
    let revoked = TaskState::Revoked { finished_at: OffsetDateTime::now_utc() };
    let record = TaskRecord::queued(job).with_state(revoked);
    app.worker_side().await.tasks().finish(&record).await.unwrap();
    let mut due = deliveries(&app).await;
    let delivery = next(&mut due).await;
    let ended = delivery.ended.clone();
    delivery.give_up("the receiver answered 500").await.unwrap();

    let (status, list) = app.get(LIST).await;
    assert_eq!(status, StatusCode::OK, "{list}");
    let [webhook] = &list["dead_letters"].as_array().unwrap()[..] else { panic!("{list}") };
    let id = record.job.task_id.to_string();
    assert_eq!((&webhook["task_id"], &webhook["state"]), (&id.as_str().into(), &"REVOKED".into()));
    assert_eq!(
        (&webhook["attempts"], &webhook["reason"]),
        (&1.into(), &"the receiver answered 500".into())
    );
    assert!(!list.to_string().contains("token"), "the URL may hold a secret: {list}");
    // The webhook's message is acked without waiting for the server.
    eventually(TEST_TIMEOUT, async || {
        let (_, snapshot) = app.get("/v1/operations").await;
        (snapshot["webhooks"] == json!({ "waiting": 0, "dead_letters": 1 })).then_some(())
    })
    .await;

    let replay = app.url(&format!("{LIST}/{id}/replay"));
    let replayed = app.client.post(&replay).send().await.unwrap();
    assert_eq!(replayed.status(), StatusCode::ACCEPTED);
    assert_eq!(next(&mut due).await.ended, ended);
    let (status, problem) = app::json(app.client.post(&replay).send().await.unwrap()).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(problem["type"], "urn:problem-type:spotter:dead-webhook-unknown");
    assert_eq!(app.get(LIST).await.1["dead_letters"], Value::Array(Vec::new()));
}
