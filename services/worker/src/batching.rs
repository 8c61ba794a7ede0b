//! Batches: pictures of one size that one run of the model takes together.
//!
//! A GPU is hardly busy with one picture. Whenever a slot is free it takes what waits, up to a batch,
//! and waits a moment for more only while they come fast enough to be worth it. Nothing is lost when
//! a batch fails: each of its jobs fails for now, comes back, and then runs alone in its process.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use detector::{Found, PreparedPicture};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout_at,
};
use tokio_util::sync::CancellationToken;

use crate::{
    arrivals::Arrivals,
    inference::{InferenceError, SlotLease, Slots, Work},
    metrics::WorkerMetrics,
};

/// Where prepared pictures wait for their batch.
#[derive(Clone)]
pub(crate) struct Batcher {
    waiting: mpsc::UnboundedSender<Waiting>,
}

/// A picture, and who waits for it.
struct Waiting {
    work: Work,
    since: Instant,
    reply: oneshot::Sender<Result<Found, InferenceError>>,
}

impl Waiting {
    /// Height and width of the tensor; `None` if it is still to be made.
    fn size(&self) -> Option<(usize, usize)> {
        let PreparedPicture { tensor, .. } = self.work.prepared.as_ref()?;
        Some((tensor.height, tensor.width))
    }
}

/// How batches are made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchRules {
    /// The most pictures of one run.
    pub(crate) most: usize,
    /// The longest a picture waits for others when a slot is free.
    pub(crate) window: Duration,
    /// The longest a run may take.
    pub(crate) deadline: Duration,
}

impl Batcher {
    /// Starts making batches, for as long as there is anybody to send pictures.
    pub(crate) fn start(
        slots: Arc<Slots>,
        rules: BatchRules,
        metrics: WorkerMetrics,
        broken: CancellationToken,
    ) -> Self {
        let (waiting, queue) = mpsc::unbounded_channel();
        let arrivals = Arrivals::new(rules.window);
        let pending = VecDeque::new();
        let maker = Maker { queue, pending, arrivals, rules, slots, metrics, broken };
        tokio::spawn(maker.run());
        Self { waiting }
    }

    /// Runs the detector on a picture, together with others.
    ///
    /// # Errors
    /// [`InferenceError`], for the whole batch.
    pub(crate) async fn detect(&self, work: Work) -> Result<Found, InferenceError> {
        let (reply, answer) = oneshot::channel();
        // Fails when the maker of batches is gone, and then so does the answer.
        let _ = self.waiting.send(Waiting { work, since: Instant::now(), reply });
        answer.await.unwrap_or(Err(InferenceError::Broken))
    }
}

struct Maker {
    /// Bounded by how many jobs the worker holds at a time.
    queue: mpsc::UnboundedReceiver<Waiting>,
    /// Taken off the queue and not yet in a batch, in the order in which they came.
    pending: VecDeque<Waiting>,
    arrivals: Arrivals,
    rules: BatchRules,
    slots: Arc<Slots>,
    metrics: WorkerMetrics,
    broken: CancellationToken,
}

impl Maker {
    async fn run(mut self) {
        while self.wait_for_one().await {
            let lease = tokio::select! {
                lease = self.slots.lease() => lease,
                // Dropping who waits hands the jobs back: another worker is free sooner.
                () = self.broken.cancelled() => return,
            };
            let batch = self.next_batch().await;
            if !batch.is_empty() {
                self.metrics.record_batch(batch.len());
                tokio::spawn(run_batch(lease, batch, self.rules.deadline));
            }
        }
    }

    /// `false`: nobody is left who could send one.
    async fn wait_for_one(&mut self) -> bool {
        if self.pending.is_empty() {
            let Some(first) = self.queue.recv().await else { return false };
            self.admit(first);
        }
        true
    }

    fn admit(&mut self, waiting: Waiting) {
        self.arrivals.note(waiting.since);
        self.pending.push_back(waiting);
    }

    /// The picture that has waited longest, and others of its size.
    async fn next_batch(&mut self) -> Vec<Waiting> {
        while let Ok(waiting) = self.queue.try_recv() {
            self.admit(waiting);
        }
        // Jobs that were given up meanwhile.
        self.pending.retain(|waiting| !waiting.reply.is_closed());
        let Some(first) = self.pending.pop_front() else { return Vec::new() };
        let size = first.size();
        let mut batch = vec![first];
        if size.is_none() {
            return batch;
        }
        self.take_alike(&mut batch, size);
        let missing = self.rules.most.saturating_sub(batch.len());
        if let Some(patience) = self.arrivals.patience(missing, Instant::now()) {
            let until = tokio::time::Instant::now() + patience;
            while batch.len() < self.rules.most
                && let Ok(Some(waiting)) = timeout_at(until, self.queue.recv()).await
            {
                self.admit(waiting);
                self.take_alike(&mut batch, size);
            }
        }
        batch
    }

    fn take_alike(&mut self, batch: &mut Vec<Waiting>, size: Option<(usize, usize)>) {
        let mut others = VecDeque::with_capacity(self.pending.len());
        for waiting in self.pending.drain(..) {
            if batch.len() < self.rules.most && waiting.size() == size {
                batch.push(waiting);
            } else {
                others.push_back(waiting);
            }
        }
        self.pending = others;
    }
}

async fn run_batch(mut lease: SlotLease, batch: Vec<Waiting>, deadline: Duration) {
    let (works, replies): (Vec<_>, Vec<_>) =
        batch.into_iter().map(|waiting| (waiting.work, waiting.reply)).unzip();
    let outcome = lease.detect(works, deadline).await;
    // Before anybody is answered: the slot is free for the next batch.
    drop(lease);
    match outcome {
        Ok(found) => {
            for (reply, found) in replies.into_iter().zip(found) {
                // Nobody waits for a job that was handed back.
                let _ = reply.send(Ok(found));
            }
        }
        Err(error) => {
            let why = error.for_each_of(replies.len());
            for (reply, error) in replies.into_iter().zip(why) {
                let _ = reply.send(Err(error));
            }
        }
    }
}
