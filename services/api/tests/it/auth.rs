//! API keys: who is served, what each may see, and how much.

mod batches;
mod limits;
mod open_inference;
mod owners;
mod refusals;
mod revoking;

use domain::{ApiKey, ApiKeyToken, Rate, Scope};
use messaging::{ApiKeys, Messaging, MessagingConfig, Role};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use time::OffsetDateTime;

use crate::app::{TestApp, bus_form, json};

/// An API that requires keys.
async fn start() -> TestApp {
    TestApp::start_with(&[("AUTH", "keys")]).await
}

/// A connection as an operator.
async fn operator(app: &TestApp) -> Messaging {
    let config = MessagingConfig::new(app.nats.url().parse().unwrap(), Role::Cli);
    Messaging::connect(config).await.unwrap()
}

/// What a new key may do.
#[derive(Default)]
struct Grant {
    /// Empty: submit and read.
    scopes: Vec<Scope>,
    rate: Option<&'static str>,
    quota: Option<u32>,
    expires_at: Option<OffsetDateTime>,
}

/// A key that is stored, and that the API may not know yet.
async fn store(app: &TestApp, grant: Grant) -> ApiKeyToken {
    let token = ApiKeys::new_token();
    let rate = grant.rate.map(|rate| rate.parse::<Rate>().unwrap());
    let key = ApiKey {
        id: token.id(),
        name: "a test".parse().unwrap(),
        secret_sha256: token.secret_sha256(),
        scopes: match grant.scopes.is_empty() {
            true => Default::default(),
            false => grant.scopes.into_iter().collect(),
        },
        rate,
        quota: grant.quota,
        created_at: OffsetDateTime::now_utc(),
        expires_at: grant.expires_at,
    };
    operator(app).await.api_keys().create(&key).await.unwrap();
    token
}

/// A key that the API knows.
async fn key(app: &TestApp, grant: Grant) -> ApiKeyToken {
    key_in(app, app, grant).await
}

/// The same for an API on the NATS server of another one.
async fn key_in(nats_of: &TestApp, app: &TestApp, grant: Grant) -> ApiKeyToken {
    let token = store(nats_of, grant).await;
    let labels = format!("key=\"{}\"", token.id());
    testkit::eventually(crate::app::TEST_TIMEOUT, async || {
        app.metric("spotter_api_key_requests_total", &labels).await
    })
    .await;
    token
}

fn request(app: &TestApp, method: Method, path: &str, token: &ApiKeyToken) -> RequestBuilder {
    app.client.request(method, app.url(path)).bearer_auth(token.expose())
}

async fn get(app: &TestApp, path: &str, token: &ApiKeyToken) -> Response {
    request(app, Method::GET, path, token).send().await.unwrap()
}

async fn get_json(app: &TestApp, path: &str, token: &ApiKeyToken) -> (StatusCode, Value) {
    json(get(app, path, token).await).await
}

async fn post(app: &TestApp, path: &str, token: &ApiKeyToken) -> Response {
    request(app, Method::POST, path, token).multipart(bus_form()).send().await.unwrap()
}

/// Submits bus.jpg and returns the task's id.
async fn submit(app: &TestApp, token: &ApiKeyToken) -> domain::TaskId {
    let (status, task) = json(post(app, "/v1/tasks", token).await).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{task}");
    task["task_id"].as_str().unwrap().parse().unwrap()
}

/// The last part of a problem's type.
fn kind(problem: &Value) -> &str {
    let kind = problem["type"].as_str().unwrap_or_else(|| panic!("no problem: {problem}"));
    kind.rsplit(':').next().unwrap()
}

fn header<'a>(answer: &'a Response, name: &str) -> &'a str {
    answer.headers().get(name).map_or("", |value| value.to_str().unwrap())
}
