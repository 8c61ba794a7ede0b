//! Batches: pictures of one size that one run of the model takes together.
//!
//! One picture uses little of a GPU. A free slot takes the pictures that wait, up to a batch, and waits
//! for more only while the arrival rate makes it worth it and no picture of another size waits. When a
//! batch fails, each of its jobs is retried, alone in its process.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use domain::Priority;
use tokio::{sync::mpsc, time::timeout_at};
use tokio_util::sync::CancellationToken;

use super::{
    arrivals::Arrivals,
    slots::{SlotLease, Slots},
    waiting_line::WaitingLine,
    work::{Batch, Work},
};
use crate::metrics::WorkerMetrics;

/// The queue of preprocessed pictures that wait for their batch.
#[derive(Clone)]
pub(crate) struct Batcher {
    waiting: mpsc::UnboundedSender<(Priority, Work)>,
}

/// The limits of batches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchRules {
    /// The longest wait of a picture for others while a slot is free.
    pub(crate) window: Duration,
    /// The longest a run may take.
    pub(crate) deadline: Duration,
}

impl Batcher {
    /// Starts the scheduler, which runs until the last clone of the batcher is dropped.
    pub(crate) fn start(
        slots: Arc<Slots>,
        rules: BatchRules,
        metrics: WorkerMetrics,
        broken: CancellationToken,
    ) -> Self {
        let (waiting, queue) = mpsc::unbounded_channel();
        let arrivals = Arrivals::new(rules.window);
        let pending = WaitingLine::default();
        let scheduler = Scheduler { queue, pending, arrivals, rules, slots, metrics, broken };
        tokio::spawn(scheduler.run());
        Self { waiting }
    }

    /// Runs a picture, together with others, and answers its job.
    pub(crate) fn run(&self, priority: Priority, work: Work) {
        // Fails when the scheduler has stopped. Dropping the work then answers with `Broken`.
        let _ = self.waiting.send((priority, work));
    }
}

struct Scheduler {
    /// Bounded by how many jobs the worker holds at a time.
    queue: mpsc::UnboundedReceiver<(Priority, Work)>,
    /// Taken off the queue and not yet in a batch.
    pending: WaitingLine<Work>,
    arrivals: Arrivals,
    rules: BatchRules,
    slots: Arc<Slots>,
    metrics: WorkerMetrics,
    broken: CancellationToken,
}

impl Scheduler {
    async fn run(mut self) {
        while self.wait_for_one().await {
            let priority = self.pending.highest().unwrap_or_default();
            let lease = tokio::select! {
                lease = self.slots.lease(priority) => lease,
                // Dropping the waiting works requeues their jobs: another worker is free sooner.
                () = self.broken.cancelled() => return,
            };
            if let Some(batch) = self.next_batch().await {
                self.metrics.record_batch(batch.works().len());
                tokio::spawn(run_batch(lease, batch, self.rules.deadline));
            }
        }
    }

    /// `false`: the last sender is gone.
    async fn wait_for_one(&mut self) -> bool {
        if self.pending.is_empty() {
            let Some(first) = self.queue.recv().await else { return false };
            self.admit(first);
        }
        true
    }

    fn admit(&mut self, (priority, work): (Priority, Work)) {
        self.arrivals.record(work.since);
        self.pending.push(priority, work);
    }

    /// The picture that is next by its priority and its wait, with others that can be run with it.
    async fn next_batch(&mut self) -> Option<Batch> {
        while let Ok(work) = self.queue.try_recv() {
            self.admit(work);
        }
        // Jobs that no longer wait.
        self.pending.retain(|work| !work.reply.is_closed());
        let mut batch = Batch::of(self.pending.pop()?);
        self.fill(&mut batch);
        if let Some(wait) = self.arrivals.wait_for(batch.missing(), Instant::now()) {
            let until = tokio::time::Instant::now() + wait;
            // Pictures of other sizes do not wait for this batch: another slot may be free.
            while self.pending.is_empty()
                && batch.missing() > 0
                && let Ok(Some(work)) = timeout_at(until, self.queue.recv()).await
            {
                self.admit(work);
                self.fill(&mut batch);
            }
        }
        Some(batch)
    }

    /// Adds the waiting pictures that can be run with `batch`.
    fn fill(&mut self, batch: &mut Batch) {
        self.pending.offer(|work| batch.try_push(work));
    }
}

async fn run_batch(mut lease: SlotLease, batch: Batch, deadline: Duration) {
    lease.run(batch, deadline).await;
}
