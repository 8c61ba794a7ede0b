//! A server that answers and cannot write: known for what it is, and over after a restart.

use std::sync::Arc;

use domain::ModelName;
use messaging::{Messaging, MessagingConfig, QueueLimits, Role, Settlement, SubmitError};
use testkit::{NatsServer, SmallDisk, eventually};
use tokio::task::JoinHandle;

use crate::fixture::{TIMEOUT, job, large_picture, next, picture};

/// A connection that finds out what the server stores, until it is dropped.
struct Watching {
    messaging: Messaging,
    task: JoinHandle<()>,
}

impl Watching {
    async fn start(server: &NatsServer, role: Role, max_messages: u64) -> Self {
        let mut config = MessagingConfig::new(server.url().parse().unwrap(), role);
        config.limits = QueueLimits { max_messages, ..QueueLimits::default() };
        let messaging = Messaging::connect(config).await.unwrap();
        messaging.provision([ModelName::default()]).await.unwrap();
        let watched = messaging.clone();
        let task = tokio::spawn(async move { watched.watch_writes().await });
        Self { messaging, task }
    }

    async fn fault(&self) -> String {
        eventually(TIMEOUT, async || self.messaging.obstacle()).await
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What came of one more submission.
async fn submit(watching: &Watching) -> Result<u64, SubmitError> {
    watching.messaging.queue().submit(&job(), picture()).await
}

#[tokio::test]
async fn a_disk_that_was_full_is_a_fault_until_the_server_is_restarted() {
    let Some(disk) = SmallDisk::mount(32 << 20) else {
        eprintln!("SKIPPED: this user may not mount a small disk");
        return;
    };
    let disk = Arc::new(disk);
    let mut server = NatsServer::builder().disk(&disk).start();
    let api = Watching::start(&server, Role::Api, 10_000).await;
    let worker = Watching::start(&server, Role::Worker, 10_000).await;
    let accepted = job();
    api.messaging.queue().submit(&accepted, picture()).await.unwrap();
    assert_eq!(api.messaging.obstacle(), None);

    disk.fill();
    // Larger than what a file's last page may still hold.
    let refused = api.messaging.queue().submit(&job(), large_picture(100_000)).await.unwrap_err();
    assert!(matches!(refused, SubmitError::Unconfirmed { .. }), "{refused}");
    let fault = api.fault().await;
    assert!(fault.contains("JOBS") && fault.contains("no space left on device"), "{fault}");

    disk.make_room();
    // The server keeps its error. Known to fail, nothing is even sent.
    let refused = submit(&api).await.unwrap_err();
    assert!(matches!(refused, SubmitError::Unavailable { .. }), "{refused}");
    assert_eq!(api.messaging.find_write_error().await.unwrap().0, "JOBS");
    let jobs = api.messaging.writes().writable();
    assert!(jobs.contains(&("JOBS", false)), "{jobs:?}");

    server.restart();
    for part in [&api, &worker] {
        eventually(TIMEOUT, async || part.messaging.obstacle().is_none().then_some(())).await;
    }
    assert_eq!(api.messaging.find_write_error().await, None);
    submit(&api).await.unwrap();
    let mut deliveries = worker.messaging.queue().deliveries([ModelName::default()]);
    let delivery = next(&mut deliveries, 1).await;
    assert_eq!(delivery.job.task_id, accepted.task_id, "what was accepted is still there");
    delivery.settle(Settlement::Ack).await.unwrap();
}

#[tokio::test]
async fn a_full_queue_is_no_fault() {
    let server = NatsServer::start();
    let api = Watching::start(&server, Role::Api, 1).await;
    submit(&api).await.unwrap();
    let refused = submit(&api).await.unwrap_err();
    assert!(matches!(refused, SubmitError::QueueFull { .. }), "{refused}");
    // A round of probes has gone through while it is full.
    let probed = |stream| server.stream(stream).is_some_and(|stream| stream.messages == 1);
    eventually(TIMEOUT, async || probed("KV_idempotency").then_some(())).await;
    assert_eq!(api.messaging.find_write_error().await, None);
    assert_eq!(api.messaging.obstacle(), None);
}
