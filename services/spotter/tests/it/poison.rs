//! Jobs that a worker gives up as poison.

use std::time::Duration;

use domain::{DetectionSettings, Job, ModelName, TaskId};
use messaging::{Messaging, Settlement};
use testkit::{NatsServer, Process, eventually};

use crate::harness::{TIMEOUT, spotter};

fn job(name: &str) -> Job {
    Job::new(name.to_owned(), ModelName::default(), DetectionSettings::default())
}

/// A worker that gives up a job after one attempt.
pub(crate) fn impatient_worker(nats: &NatsServer) -> Process {
    let worker = spotter(["worker"])
        .env("NATS_URL", nats.url())
        .env("CONCURRENCY", "1")
        .env("MAX_ATTEMPTS", "1")
        .start();
    worker.wait_for_line(|line| line.text == "ready", TIMEOUT);
    worker
}

/// Submits pictures whose first run appears to have crashed its worker, and starts a worker that gives them up after one
/// attempt.
pub(crate) async fn poisoned<const N: usize>(
    nats: &NatsServer,
    messaging: &Messaging,
    pictures: [(&str, &[u8]); N],
) -> [TaskId; N] {
    let queue = messaging.queue();
    let mut deliveries = queue.deliveries([ModelName::default()]);
    let (mut ids, mut taken) = (Vec::new(), Vec::new());
    for (name, bytes) in pictures {
        let job = job(name);
        queue.submit(&job, bytes.to_vec().into()).await.unwrap();
        ids.push(job.task_id);
        taken.push(deliveries.next(1).await);
    }
    // The server redelivers them as after `ack_wait`.
    for delivery in taken {
        delivery.settle(Settlement::RetryAfter(Duration::ZERO)).await.unwrap();
    }
    deliveries.stop().await;
    let mut worker = impatient_worker(nats);
    drained(nats, messaging).await;
    worker.signal("TERM");
    worker.wait_exit(TIMEOUT);
    ids.try_into().unwrap()
}

/// Waits until no job is stored.
pub(crate) async fn drained(nats: &NatsServer, messaging: &Messaging) {
    let queue = messaging.queue();
    // The consumer counts a job a moment after the stream has stored it.
    eventually(TIMEOUT, async || {
        let stored = nats.stream("JOBS").unwrap().messages;
        (stored == 0 && queue.depth().await.unwrap().in_progress == 0).then_some(())
    })
    .await;
}
