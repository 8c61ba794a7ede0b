//! The loop: room for a job, a delivery, a task of its own for it. Until told to stop.

use std::{sync::Arc, time::Duration};

use messaging::{Deliveries, Delivery};
use opentelemetry::KeyValue;
use service::{lifecycle::failpoints, telemetry::traces::Span};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    cores::Parallelism,
    process::{Context, process},
    settle::{Outcome, settlement},
};

/// How long handing jobs back may take when the queue is slow to answer.
const HAND_BACK_GRACE: Duration = Duration::from_secs(5);

/// Takes deliveries until `shutdown` is cancelled or the process finds itself broken, then lets
/// running jobs finish for `grace` and hands back what has not finished by then.
pub(crate) async fn consume(
    context: Arc<Context>,
    mut deliveries: Deliveries,
    most_in_batch: usize,
    shutdown: CancellationToken,
    grace: Duration,
) {
    let mut jobs = JoinSet::new();
    let room = Room::beside(context.slots.count() * most_in_batch);
    while let Some((delivery, place)) = next_job(&context, &mut deliveries, &room, &shutdown).await
    {
        let parallelism = room.parallelism(&delivery);
        jobs.spawn(handle(Arc::clone(&context), delivery, place, parallelism));
        while let Some(finished) = jobs.try_join_next() {
            report_panic(finished);
        }
    }
    deliveries.stop().await;
    tracing::info!(running = jobs.len(), "no more jobs are taken");
    if tokio::time::timeout(grace, join_all(&mut jobs)).await.is_err() {
        tracing::warn!(running = jobs.len(), "jobs that have not finished are handed back");
        context.hand_back.cancel();
        if tokio::time::timeout(HAND_BACK_GRACE, join_all(&mut jobs)).await.is_err() {
            // The queue does not answer. What it was not told comes back after `ack_wait`.
            jobs.shutdown().await;
        }
    }
}

/// How many jobs a worker holds at a time: a batch for each slot, and a few more whose pictures are being
/// decoded or whose ends are being stored, so that no slot waits for either.
struct Room {
    places: Arc<Semaphore>,
    all: usize,
}

impl Room {
    /// One in four more than `running` at a time: what surrounds a run of the model takes less than a
    /// quarter of its time. And at least two, where two runs can end at the same moment.
    fn beside(running: usize) -> Self {
        let all = running + running.div_ceil(4).max(running.min(2));
        Self { places: Arc::new(Semaphore::new(all)), all }
    }

    /// Waits for a place.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).acquire_owned().await.ok()
    }

    fn free(&self) -> usize {
        self.places.available_permits()
    }

    /// What a delivery may have that has just been given a place.
    fn parallelism(&self, delivery: &Delivery) -> Parallelism {
        let is_alone = self.free() + 1 == self.all && delivery.waiting == 0;
        if is_alone { Parallelism::AllCores } else { Parallelism::Slot }
    }
}

async fn next_job(
    context: &Context,
    deliveries: &mut Deliveries,
    room: &Room,
    shutdown: &CancellationToken,
) -> Option<(Delivery, OwnedSemaphorePermit)> {
    let next = async {
        // A job could not even begin: it would come back again and again, all of the queue in turn. Those
        // that were asked for before still come, once.
        context.writes.wait_until_well().await;
        let place = room.place().await?;
        let delivery = deliveries.next(1 + room.free()).await;
        Some((delivery, place))
    };
    tokio::select! {
        biased;
        () = shutdown.cancelled() => None,
        () = context.broken.cancelled() => None,
        job = next => job,
    }
}

async fn handle(
    context: Arc<Context>,
    delivery: Delivery,
    place: OwnedSemaphorePermit,
    parallelism: Parallelism,
) {
    let span = delivery.span();
    context.metrics.count_delivery(delivery.attempt);
    span.around(work_on(&context, delivery, place, parallelism, &span)).await;
}

async fn work_on(
    context: &Context,
    delivery: Delivery,
    place: OwnedSemaphorePermit,
    parallelism: Parallelism,
    span: &Span,
) {
    let (task_id, deliveries) = (delivery.job.task_id, delivery.attempt);
    failpoints::reach("worker-received");
    let outcome = process(context, &delivery, parallelism).await;
    // Another job may come while the queue is told about this one.
    drop(place);
    context.metrics.count_job(outcome.name());
    span.set(|| [KeyValue::new("spotter.job.outcome", outcome.name())]);
    if let Outcome::Failed { error, .. } = &outcome {
        span.fail(outcome.name(), || error.to_string());
    }
    match &outcome {
        Outcome::Stored => {}
        Outcome::Failed { error, attempt } => {
            tracing::warn!(%task_id, attempt, deliveries, %error, "the run failed; the job is retried");
        }
        outcome => tracing::info!(%task_id, deliveries, ?outcome, "settled"),
    }
    failpoints::reach("worker-before-ack");
    if let Err(error) = delivery.settle(settlement(&outcome)).await {
        // The server hands the job out again. If its record is terminal, that is a duplicate.
        tracing::warn!(%task_id, deliveries, %error, "a delivery could not be settled");
    }
    failpoints::reach("worker-after-ack");
}

async fn join_all(jobs: &mut JoinSet<()>) {
    while let Some(finished) = jobs.join_next().await {
        report_panic(finished);
    }
}

fn report_panic(finished: Result<(), tokio::task::JoinError>) {
    if let Err(error) = finished {
        // Its delivery was not settled, so the job comes back.
        tracing::error!(%error, "a job's task ended without an outcome");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_a_few_more_than_run() {
        let cases = [(1, 2), (2, 4), (4, 6), (5, 7), (16, 20)];
        for (running, expected) in cases {
            let room = Room::beside(running);
            assert_eq!((room.all, room.free()), (expected, expected), "{running} running");
        }
    }
}
