//! The loop: a free slot, a delivery, a task of its own for it. Until told to stop.

use std::{sync::Arc, time::Duration};

use messaging::{Deliveries, Delivery};
use runtime::failpoints;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    inference::{Share, SlotLease, Slots},
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
    mut slots: Slots,
    shutdown: CancellationToken,
    grace: Duration,
) {
    let mut jobs = JoinSet::new();
    while let Some((delivery, slot)) =
        next_job(&context, &mut deliveries, &mut slots, &shutdown).await
    {
        let share = slots.share(&delivery);
        jobs.spawn(handle(Arc::clone(&context), delivery, slot, share));
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

async fn next_job(
    context: &Context,
    deliveries: &mut Deliveries,
    slots: &mut Slots,
    shutdown: &CancellationToken,
) -> Option<(Delivery, SlotLease)> {
    let next = async {
        let slot = slots.lease().await?;
        let delivery = deliveries.next(1 + slots.idle()).await;
        Some((delivery, slot))
    };
    tokio::select! {
        biased;
        () = shutdown.cancelled() => None,
        () = context.broken.cancelled() => None,
        job = next => job,
    }
}

async fn handle(context: Arc<Context>, delivery: Delivery, mut slot: SlotLease, share: Share) {
    let (task_id, attempt) = (delivery.job.task_id, delivery.attempt);
    failpoints::reach("worker-received");
    let outcome = process(&context, &delivery, &mut slot, share).await;
    // The slot is free for the next picture while the queue is told about this one.
    drop(slot);
    context.metrics.count_job(outcome.name());
    match &outcome {
        Outcome::Stored => {}
        Outcome::Failed { why } => tracing::warn!(%task_id, attempt, why, "to be tried again"),
        outcome => tracing::info!(%task_id, attempt, ?outcome, "settled"),
    }
    let Some(settlement) = settlement(&outcome, attempt) else {
        delivery.hand_back().await;
        return;
    };
    failpoints::reach("worker-before-ack");
    if let Err(error) = delivery.settle(settlement).await {
        // It will be handed out again, and the stored record makes that a duplicate.
        tracing::warn!(%task_id, attempt, %error, "a delivery could not be settled");
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
