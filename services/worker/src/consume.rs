//! The consumer loop: it pulls a delivery whenever the in-flight limit allows one, and processes each in
//! a task of its own, until shutdown.

use std::{num::NonZero, sync::Arc, time::Duration};

use messaging::{Deliveries, Delivery};
use opentelemetry::KeyValue;
use service::{lifecycle::failpoints, telemetry::traces::Span};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    context::Context,
    cores::Parallelism,
    load::CountedJob,
    process::process,
    settle::{Outcome, settlement},
};

/// How long releasing unfinished jobs may take when NATS is slow to answer.
const RELEASE_GRACE: Duration = Duration::from_secs(5);

/// Pulls deliveries until `shutdown` or `broken` is cancelled, then waits for running jobs for `grace`,
/// and releases those that have not finished by then.
pub(crate) async fn consume(
    context: Arc<Context>,
    mut deliveries: Deliveries,
    in_flight: InFlightLimit,
    shutdown: CancellationToken,
    grace: Duration,
) {
    let mut jobs = JoinSet::new();
    let mut models = context.models.changes();
    loop {
        let next = tokio::select! {
            biased;
            Ok(()) = models.changed() => {
                deliveries.serve(context.models.names());
                continue;
            }
            next = next_job(&context, &mut deliveries, &in_flight, &shutdown) => next,
        };
        let Some((delivery, permit)) = next else { break };
        let parallelism = in_flight.parallelism(&delivery);
        let place = Place { _permit: permit, _counted: context.load.count(parallelism) };
        jobs.spawn(handle(Arc::clone(&context), delivery, place, parallelism));
        while let Some(finished) = jobs.try_join_next() {
            report_panic(finished);
        }
    }
    deliveries.stop().await;
    tracing::info!(running = jobs.len(), "no more jobs are pulled");
    if tokio::time::timeout(grace, join_all(&mut jobs)).await.is_err() {
        tracing::warn!(running = jobs.len(), "jobs that have not finished are released");
        context.release.cancel();
        if tokio::time::timeout(RELEASE_GRACE, join_all(&mut jobs)).await.is_err() {
            // NATS does not answer. It redelivers these jobs after `ack_wait`.
            jobs.shutdown().await;
        }
    }
}

/// The place of a job among those that the worker holds, until this is dropped.
struct Place {
    _permit: OwnedSemaphorePermit,
    _counted: CountedJob,
}

/// The most jobs that a worker holds at a time: a batch for each slot, and a few more whose pictures are
/// being decoded or whose results are being stored, so that no slot waits for either. One high job more may come
/// while lower ones wait, so that it gets the next slot.
pub(crate) struct InFlightLimit {
    permits: Arc<Semaphore>,
    /// Without the one more.
    limit: usize,
}

impl InFlightLimit {
    /// For models on the CPU, a quarter more than `running`: the work before and after a run of the model takes
    /// less than a quarter of its time. At least two more where two runs can end at the same moment.
    pub(crate) fn on_cpu(running: usize) -> Self {
        Self::of(running + running.div_ceil(4).max(running.min(2)))
    }

    /// For models on a GPU, twice as many more as there are cores: decoding a picture takes a core longer than the
    /// GPU takes to run it. So every core decodes while as many other jobs are being fetched or stored.
    pub(crate) fn on_gpu(running: usize, cores: NonZero<usize>) -> Self {
        Self::of(running + 2 * cores.get())
    }

    fn of(limit: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(limit + 1)), limit }
    }

    /// Waits until the worker may hold one more job.
    async fn acquire(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).acquire_owned().await.ok()
    }

    /// As [`Self::acquire`], if it may now.
    fn try_acquire(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).try_acquire_owned().ok()
    }

    /// How many more jobs it may hold, the last of which only if it is a high one.
    fn free(&self) -> usize {
        self.permits.available_permits()
    }

    /// The cores for a delivery that has just acquired its permit.
    fn parallelism(&self, delivery: &Delivery) -> Parallelism {
        let is_alone = self.free() == self.limit && delivery.waiting == 0;
        if is_alone { Parallelism::AllCores } else { Parallelism::Slot }
    }
}

async fn next_job(
    context: &Context,
    deliveries: &mut Deliveries,
    in_flight: &InFlightLimit,
    shutdown: &CancellationToken,
) -> Option<(Delivery, OwnedSemaphorePermit)> {
    let next = async {
        // No run can begin while records are not stored: all jobs of the queue would be redelivered again
        // and again. Jobs of earlier requests are still delivered, once.
        context.writes.wait_until_well().await;
        let permit = match in_flight.try_acquire() {
            Some(permit) => permit,
            None => {
                deliveries.pause();
                in_flight.acquire().await?
            }
        };
        let delivery = next_delivery(deliveries, in_flight).await?;
        Some((delivery, permit))
    };
    tokio::select! {
        biased;
        () = shutdown.cancelled() => None,
        () = context.broken.cancelled() => None,
        job = next => job,
    }
}

/// The next delivery, for which a permit is held.
async fn next_delivery(deliveries: &mut Deliveries, in_flight: &InFlightLimit) -> Option<Delivery> {
    loop {
        // The permit that is held stands for the one that is left to a high job.
        let free_slots = in_flight.free();
        if free_slots > 0 {
            return Some(deliveries.next(free_slots).await);
        }
        tokio::select! {
            biased;
            high = deliveries.next(free_slots) => return Some(high),
            // A job has ended.
            freed = in_flight.acquire() => drop(freed?),
        }
    }
}

async fn handle(context: Arc<Context>, delivery: Delivery, place: Place, parallelism: Parallelism) {
    let span = delivery.span();
    context.metrics.count_delivery(delivery.attempt);
    span.around(work_on(&context, delivery, place, parallelism, &span)).await;
}

async fn work_on(
    context: &Context,
    delivery: Delivery,
    place: Place,
    parallelism: Parallelism,
    span: &Span,
) {
    let (task_id, deliveries) = (delivery.job.task_id, delivery.attempt);
    failpoints::reach("worker-received");
    let outcome = process(context, &delivery, parallelism).await;
    // The next job may be pulled while this one is settled.
    drop(place);
    context.metrics.count_job(outcome.name());
    span.set(|| [KeyValue::new("spotter.job.outcome", outcome.name())]);
    if let Outcome::Failed { error, .. } = &outcome {
        span.fail(outcome.name(), || error.to_string());
    }
    match &outcome {
        Outcome::Detected | Outcome::Stored => {}
        Outcome::Failed { error, attempt } => {
            tracing::warn!(%task_id, attempt, deliveries, %error, "the run failed; the job is retried");
        }
        outcome => tracing::info!(%task_id, deliveries, ?outcome, "settled"),
    }
    let shadow_job = match (&context.shadow_jobs, &outcome) {
        (Some(shadow_jobs), Outcome::Detected) => shadow_jobs.of(&delivery),
        _ => None,
    };
    failpoints::reach("worker-before-ack");
    if let Err(error) = delivery.settle(settlement(&outcome)).await {
        // The server hands the job out again. If its record is terminal, that is a duplicate.
        tracing::warn!(%task_id, deliveries, %error, "a delivery could not be settled");
    }
    failpoints::reach("worker-after-ack");
    if let Some(shadow_job) = shadow_job {
        shadow_job.publish().await;
    }
}

async fn join_all(jobs: &mut JoinSet<()>) {
    while let Some(finished) = jobs.join_next().await {
        report_panic(finished);
    }
}

fn report_panic(finished: Result<(), tokio::task::JoinError>) {
    if let Err(error) = finished {
        // Its delivery was not settled, so NATS redelivers the job.
        tracing::error!(%error, "the task of a job has ended without an outcome");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_more_jobs_than_run_are_in_flight() {
        let cases = [(1, 2), (2, 4), (4, 6), (5, 7), (16, 20)];
        for (running, expected) in cases {
            let in_flight = InFlightLimit::on_cpu(running);
            assert_eq!(
                (in_flight.limit, in_flight.free()),
                (expected, expected + 1),
                "{running} running"
            );
        }
    }

    #[test]
    fn beside_a_gpu_every_core_decodes() {
        let in_flight = InFlightLimit::on_gpu(32, NonZero::new(16).unwrap());
        assert_eq!((in_flight.limit, in_flight.free()), (64, 65));
    }
}
