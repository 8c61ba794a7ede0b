//! One delivery from its arrival to its outcome.

mod isolation;
mod model_run;
mod record;

use domain::TaskRecord;
use messaging::{Delivery, MessagingError, RequeueReason, Snapshot};
use time::OffsetDateTime;

use self::{
    isolation::Isolation,
    model_run::{Interruption, run_model},
    record::{already_terminal, expire, give_up, requeue, store_end},
};
use crate::{
    context::Context,
    cores::Parallelism,
    recorded_run::{RecordedRun, Start},
    running::RunningTask,
    settle::Outcome,
};

/// Processes one delivery. A [`RunError`] within is retried; what can never succeed becomes a stored
/// record.
pub(crate) async fn process(
    context: &Context,
    delivery: &Delivery,
    parallelism: Parallelism,
) -> Outcome {
    // A task extends the lease on the job while this function runs.
    let _keep_alive = delivery.keep_alive();
    let running = tokio::select! {
        running = context.running.enter(&delivery.job) => running,
        () = context.release.cancelled() => return Outcome::Released,
        () = context.broken.cancelled() => return Outcome::Released,
    };
    let snapshot = match snapshot(context, delivery).await {
        Ok(snapshot) => snapshot,
        Err(error) => return Outcome::Failed { error: error.into(), attempt: delivery.attempt },
    };
    if let Some(record) = snapshot.record()
        && record.state.is_terminal()
    {
        return already_terminal(&context.tasks, record).await;
    }
    let earlier_runs = TaskRecord::earlier_runs(snapshot.record(), delivery.attempt);
    // Before the run is counted: waiting for other jobs must not cost an attempt.
    let _isolation = tokio::select! {
        isolation = Isolation::acquire(context, earlier_runs) => isolation,
        () = context.release.cancelled() => return Outcome::Released,
        () = context.broken.cancelled() => return Outcome::Released,
        record = running.revoked(&context.tasks) => return already_terminal(&context.tasks, &record).await,
    };
    let is_overdue = delivery.job.is_overdue(OffsetDateTime::now_utc());
    if !is_overdue && earlier_runs < context.max_attempts {
        return run(context, delivery, snapshot, parallelism, &running).await;
    }
    let present = TaskRecord { attempts: earlier_runs, ..TaskRecord::queued(delivery.job.clone()) };
    context.tasks.note_known(delivery.job.task_id, snapshot);
    let outcome =
        if is_overdue { expire(context, &present).await } else { give_up(context, &present).await };
    outcome.unwrap_or_else(|error| Outcome::Failed { error, attempt: delivery.attempt })
}

/// The task's record, from the second delivery on. A first delivery hardly ever has one, and its first write finds
/// out.
async fn snapshot(context: &Context, delivery: &Delivery) -> Result<Snapshot, MessagingError> {
    if delivery.attempt == 1 {
        return Ok(Snapshot::unread());
    }
    context.tasks.snapshot(delivery.job.task_id).await
}

async fn run(
    context: &Context,
    delivery: &Delivery,
    snapshot: Snapshot,
    parallelism: Parallelism,
    running: &RunningTask<'_>,
) -> Outcome {
    let start = RecordedRun::start(&context.tasks, context.job_deadline, delivery, snapshot);
    let mut run = match start.await {
        Ok(Start::Run(run)) => run,
        Ok(Start::AlreadyTerminal(record)) => {
            return already_terminal(&context.tasks, &record).await;
        }
        Err(error) => {
            return Outcome::Failed { error: error.into(), attempt: delivery.attempt };
        }
    };
    if let Some(wait) = run.wait() {
        context.metrics.record_wait(wait);
    }
    let end = tokio::select! {
        end = run_model(context, delivery, parallelism) => end,
        () = context.release.cancelled() => Err(Interruption::Released),
        record = run.keep_recorded() => return already_terminal(&context.tasks, &record).await,
        record = running.revoked(&context.tasks) => return already_terminal(&context.tasks, &record).await,
    };
    let begun = run.into_record();
    let error = match end {
        Ok(end) => match store_end(context, &begun, end).await {
            Ok(outcome) => return outcome,
            Err(error) => error,
        },
        Err(Interruption::Released) => {
            requeue(context, &begun, RequeueReason::Released).await;
            return Outcome::Released;
        }
        Err(Interruption::Failed(error)) => error,
    };
    requeue(context, &begun, RequeueReason::RunFailed).await;
    Outcome::Failed { error, attempt: begun.attempts }
}
