//! What the tests of requests share whose answer is held back until a worker has ended their tasks.

use domain::{ApiKey, ApiKeyToken, TaskId, TaskRecord};
use messaging::{ApiKeys, Messaging, MessagingConfig, Role};
use reqwest::{Body, RequestBuilder, StatusCode};
use serde_json::Value;
use testkit::eventually;
use time::OffsetDateTime;

use crate::app::{self, TEST_TIMEOUT, TestApp};

pub(crate) async fn sent(request: RequestBuilder) -> (StatusCode, Value) {
    app::json(request.send().await.unwrap()).await
}

/// A body that begins so and never ends: only a server that does not read it to its end answers.
pub(crate) fn endless(start: &str) -> Body {
    use futures_util::{StreamExt, stream};
    let start = stream::iter([Ok::<_, std::io::Error>(start.to_owned())]);
    Body::wrap_stream(start.chain(stream::pending()))
}

/// The challenge to a request without a key.
pub(crate) const NO_KEY: &str = "Bearer";
/// The challenge to one whose key is not valid.
pub(crate) const INVALID_KEY: &str = "Bearer error=\"invalid_token\"";

/// A key that the API knows, which may submit and read, and so often if it has a rate.
pub(crate) async fn key(app: &TestApp, rate: Option<&str>) -> ApiKeyToken {
    let token = ApiKeys::new_token();
    let key = ApiKey {
        id: token.id(),
        name: "a client".parse().unwrap(),
        secret_sha256: token.secret_sha256(),
        scopes: Default::default(),
        rate: rate.map(|rate| rate.parse().unwrap()),
        quota: None,
        created_at: OffsetDateTime::now_utc(),
        expires_at: None,
    };
    let config = MessagingConfig::new(app.nats.url().parse().unwrap(), Role::Cli);
    let operator = Messaging::connect(config).await.unwrap();
    operator.api_keys().create(&key).await.unwrap();
    let labels = format!("key=\"{}\"", token.id());
    eventually(TEST_TIMEOUT, async || app.metric("spotter_api_key_requests_total", &labels).await)
        .await;
    token
}

/// Sends the request, which has one picture, and ends its task as a worker would. Returns the record and the answer.
pub(crate) async fn run(app: &TestApp, request: RequestBuilder) -> (TaskRecord, StatusCode, Value) {
    let (records, status, answer) = run_all(app, request, 1).await;
    (records.into_iter().next().unwrap(), status, answer)
}

/// The same for a request with so many pictures.
pub(crate) async fn run_all(
    app: &TestApp,
    request: RequestBuilder,
    pictures: usize,
) -> (Vec<TaskRecord>, StatusCode, Value) {
    let answer = tokio::spawn(sent(request));
    let queue = app.worker_side().await.queue();
    let mut records = Vec::new();
    for id in waiting(app, pictures).await {
        let record = app.succeed(id).await;
        // A worker would ack it.
        queue.cancel(&record.job).await.unwrap();
        records.push(record);
    }
    let (status, answer) = answer.await.unwrap();
    (records, status, answer)
}

/// The ids of the jobs in the queue, once there are so many.
pub(crate) async fn waiting(app: &TestApp, jobs: usize) -> Vec<TaskId> {
    let worker = app.worker_side().await;
    eventually(TEST_TIMEOUT, async || {
        worker.queue().task_ids().await.ok().filter(|ids| ids.len() == jobs)
    })
    .await
}
