//! `?wait=` holds a status request open until its task has a terminal state.

use std::sync::{Arc, Mutex};

use domain::TaskId;
use reqwest::StatusCode;
use testkit::{Direction, NatsServer, TcpProxy, eventually};

use crate::app::{TEST_TIMEOUT, TestApp, json};

/// A message from an API to NATS about one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    /// A subscription to the task's records.
    Subscription,
    /// A read of the task's record.
    Read,
}

impl Sent {
    fn of(frame: &[u8], id: &str) -> Option<Self> {
        let line = frame.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        if line.starts_with(&format!("SUB records.{id} ")) {
            Some(Self::Subscription)
        } else if line.starts_with("PUB $JS.API.DIRECT.GET.KV_tasks") && line.contains(id) {
            Some(Self::Read)
        } else {
            None
        }
    }
}

/// An API that connects to NATS through a proxy.
async fn start_behind_proxy() -> (TestApp, TcpProxy) {
    let nats = NatsServer::start();
    let proxy = TcpProxy::for_nats(nats.port());
    let url = format!("nats://127.0.0.1:{}", proxy.port());
    (TestApp::start_on(nats, &[("NATS_URL", &url)]).await, proxy)
}

/// Records what is sent about `id` from now on. The reads after the first `answered` ones are dropped.
fn record(proxy: &TcpProxy, id: TaskId, answered: usize) -> Arc<Mutex<Vec<Sent>>> {
    let sent = Arc::<Mutex<Vec<Sent>>>::default();
    let (recorded, id) = (Arc::clone(&sent), id.to_string());
    proxy.drop_frames(Direction::ToServer, move |frame| {
        let Some(what) = Sent::of(frame, &id) else { return false };
        let mut recorded = recorded.lock().unwrap();
        recorded.push(what);
        let reads = recorded.iter().filter(|what| **what == Sent::Read).count();
        what == Sent::Read && reads > answered
    });
    sent
}

/// How many lookups in the result cache there were.
async fn cache_lookups(app: &TestApp) -> u64 {
    let mut sum = 0;
    for outcome in ["hit", "miss", "error", "skipped"] {
        let label = format!("outcome=\"{outcome}\"");
        sum += app.metric("spotter_cache_requests_total", &label).await.unwrap_or(0);
    }
    sum
}

#[tokio::test]
async fn it_subscribes_then_reads_once_then_waits() {
    let (app, proxy) = start_behind_proxy().await;
    let id = app.start_task().await;
    let sent = record(&proxy, id, usize::MAX);
    let (status, task) = app.get(&format!("/v1/tasks/{id}?wait=1")).await;
    assert_eq!((status, task["state"].as_str()), (StatusCode::OK, Some("QUEUED")));
    let sent = sent.lock().unwrap().clone();
    assert_eq!(sent[..2], [Sent::Subscription, Sent::Read], "{sent:?}");
    // A message may be lost, so the record is read again after half a second, and again a second later.
    assert!(sent.len() <= 3, "{sent:?}");
    assert_eq!(cache_lookups(&app).await, 0, "Redis has copies of terminal records only");
}

#[tokio::test]
async fn a_task_that_has_ended_is_read_once() {
    let (app, proxy) = start_behind_proxy().await;
    let id = app.start_task().await;
    app.succeed(id).await;
    let sent = record(&proxy, id, usize::MAX);
    let (status, task) = app.get(&format!("/v1/tasks/{id}?wait=30")).await;
    assert_eq!((status, task["state"].as_str()), (StatusCode::OK, Some("SUCCESS")));
    assert_eq!(*sent.lock().unwrap(), [Sent::Subscription, Sent::Read]);
}

#[tokio::test]
async fn a_shutdown_answers_with_the_last_known_record() {
    let (app, proxy) = start_behind_proxy().await;
    let id = app.start_task().await;
    // Only the first read is answered: another one after the shutdown would fail.
    let sent = record(&proxy, id, 1);
    let waiting = app.client.get(app.url(&format!("/v1/tasks/{id}?wait=30"))).send();
    let waiting = tokio::spawn(waiting);
    eventually(TEST_TIMEOUT, async || sent.lock().unwrap().contains(&Sent::Read).then_some(()))
        .await;
    app.stop();
    let (status, task) = json(waiting.await.unwrap().unwrap()).await;
    assert_eq!((status, task["state"].as_str()), (StatusCode::OK, Some("QUEUED")), "{task}");
}

/// A task with a terminal state, of which Redis has a copy.
async fn cached_task(app: &TestApp) -> TaskId {
    let id = app.start_task().await;
    app.succeed(id).await;
    app.get(&format!("/v1/tasks/{id}")).await;
    eventually(TEST_TIMEOUT, async || app.redis.get(&format!("spotter:task:{id}"))).await;
    id
}

#[tokio::test]
async fn a_copy_in_redis_is_the_answer_if_the_record_cannot_be_read() {
    let (app, proxy) = start_behind_proxy().await;
    let id = cached_task(&app).await;
    let sent = record(&proxy, id, 0);
    let (status, task) = app.get(&format!("/v1/tasks/{id}?wait=1")).await;
    assert_eq!((status, task["state"].as_str()), (StatusCode::OK, Some("SUCCESS")), "{task}");
    // The connection is up, so the bucket is read first.
    assert_eq!(sent.lock().unwrap()[..2], [Sent::Subscription, Sent::Read]);
}

#[tokio::test]
async fn a_copy_in_redis_is_the_answer_while_nats_is_unavailable() {
    let mut app = TestApp::start().await;
    let id = cached_task(&app).await;
    app.nats.kill();
    eventually(TEST_TIMEOUT, async || {
        let (status, _) = app.get("/health/ready").await;
        (status == StatusCode::SERVICE_UNAVAILABLE).then_some(())
    })
    .await;
    let (status, task) = app.get(&format!("/v1/tasks/{id}?wait=1")).await;
    assert_eq!((status, task["state"].as_str()), (StatusCode::OK, Some("SUCCESS")), "{task}");
}
