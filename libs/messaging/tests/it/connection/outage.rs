//! A server that hangs or is away: everybody waits for a bounded time, and little is logged.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use domain::TaskId;
use messaging::{Messaging, MessagingConfig, MessagingError, Role, Settlement};
use testkit::{NatsServer, eventually};
use tokio::{task::JoinSet, time::timeout};
use tracing::{
    Event, Level, Metadata, Subscriber,
    span::{Attributes, Id, Record},
};

use crate::fixture::{Fixture, NEVER, TIMEOUT, job, next};

#[tokio::test]
async fn many_who_ask_a_hanging_server_wait_no_longer_than_one() {
    /// So many that they would take longer than a failing test, were each to wait in its turn.
    const ASKING: usize = 100;
    let mut server = NatsServer::start();
    let mut config = MessagingConfig::new(server.url().parse().unwrap(), Role::Api);
    config.request_timeout = Duration::from_secs(1);
    // It has asked for nothing yet, as a process whose server hangs while it starts.
    let messaging = Messaging::connect(config).await.unwrap();
    server.process().stop();
    let mut asking = JoinSet::new();
    for _ in 0..ASKING {
        let tasks = messaging.tasks();
        asking.spawn(async move { tasks.get(TaskId::generate()).await });
    }
    for answer in timeout(TIMEOUT, asking.join_all()).await.expect("they wait side by side") {
        assert!(matches!(answer, Err(MessagingError::Timeout { .. })), "{answer:?}");
    }
    server.process().cont();
}

#[tokio::test]
async fn a_job_is_released_without_waiting_for_the_server() {
    // If it were not released, the job would come after ack_wait; waiting for an answer would take as long.
    let mut fixture = Fixture::configured(|config| {
        config.ack_wait = NEVER;
        config.request_timeout = NEVER;
    })
    .await;
    let job = job();
    fixture.submit(&job).await;
    let mut deliveries = fixture.deliveries();
    let delivery = next(&mut deliveries, 1).await;
    fixture.server.process().stop();
    let released = timeout(TIMEOUT, delivery.settle(Settlement::Release)).await;
    released.expect("no answer is waited for").unwrap();
    fixture.server.process().cont();
    let again = next(&mut deliveries, 1).await;
    assert_eq!((again.job.task_id, again.attempt), (job.task_id, 2));
}

#[tokio::test]
async fn a_job_is_released_in_bounded_time_without_a_connection() {
    let mut fixture = Fixture::start().await;
    fixture.submit(&job()).await;
    let delivery = next(&mut fixture.deliveries(), 1).await;
    fixture.server.kill();
    eventually(TIMEOUT, || async { (!fixture.messaging.is_connected()).then_some(()) }).await;
    let released = timeout(TIMEOUT, delivery.settle(Settlement::Release)).await;
    let error = released.expect("no answer is waited for").unwrap_err();
    assert!(matches!(error, MessagingError::Timeout { .. }), "{error}");
}

#[tokio::test]
async fn an_outage_is_one_warning_and_its_end_one_line() {
    let mut fixture = Fixture::start().await;
    let logged = Arc::new(Logged::default());
    let _recording = tracing::subscriber::set_default(Arc::clone(&logged));
    fixture.server.kill();
    // The library's attempts to get the connection back, each of which fails.
    eventually(TIMEOUT, || async { (logged.debug.load(Ordering::Relaxed) >= 5).then_some(()) })
        .await;
    fixture.server.restart();
    eventually(TIMEOUT, || async { (logged.info.load(Ordering::Relaxed) >= 1).then_some(()) })
        .await;
    assert_eq!(logged.warn.load(Ordering::Relaxed), 1);
    assert_eq!(logged.info.load(Ordering::Relaxed), 1);
}

/// Counts this library's log lines.
#[derive(Default)]
struct Logged {
    warn: AtomicUsize,
    info: AtomicUsize,
    debug: AtomicUsize,
}

impl Subscriber for Logged {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("messaging")
    }

    fn event(&self, event: &Event<'_>) {
        let count = match *event.metadata().level() {
            Level::ERROR | Level::WARN => &self.warn,
            Level::INFO => &self.info,
            _ => &self.debug,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}
