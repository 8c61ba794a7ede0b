//! Batches of the load: each is sent until all of it was received, if its key allows that, and followed to its end.

use std::{sync::Arc, time::Duration};

use domain::{BatchId, Priority};
use rand::{RngExt, SeedableRng, rngs::Xoshiro256PlusPlus};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{sleep, timeout},
};

use super::{
    batch_submission::{
        BatchFile, BatchSubmission, BodyKind, Connection, FEWEST_FILES, MOST_FILES,
    },
    client::batches::Sent,
    shared::Shared,
    submission::Expected,
};

/// The share of files that are no pictures, and of batches with keys, breaking connections, and waiting clients.
const NO_PICTURES: f64 = 0.1;
const KEYED: f64 = 0.6;
const BREAKING: f64 = 0.2;
const WAITING: f64 = 0.2;

/// The longest pause before a picture: a reception takes up to two seconds.
const LONGEST_PAUSE_MS: u64 = 400;

/// The pauses before a batch is sent, or looked for, again.
const AGAIN_MS: std::ops::Range<u64> = 200..800;

impl Shared {
    /// A random batch. It has a callback or a deadline, or is cancelled, as often as a picture.
    pub(super) fn choose_batch(&self, rng: &mut Xoshiro256PlusPlus) -> BatchSubmission {
        let count = rng.random_range(FEWEST_FILES..=MOST_FILES);
        let items = (0..count).map(|_| match rng.random_bool(NO_PICTURES) {
            true => BatchFile::NoPicture,
            false => BatchFile::Picture(self.choose_upload(rng).clone()),
        });
        let items = items.collect();
        let plan = &self.plan;
        let (deadline, expected) = if rng.random_bool(plan.deadlines) {
            (Some(rng.random_range(1..=5)), Expected::InTime)
        } else if rng.random_bool(plan.cancels) {
            (None, Expected::Cancelled)
        } else {
            (None, Expected::Success)
        };
        let breaks = rng.random_bool(BREAKING);
        BatchSubmission {
            name: format!("batch-{:016x}", rng.random::<u64>()),
            items,
            body: BodyKind::ALL[rng.random_range(0..BodyKind::ALL.len())],
            is_keyed: rng.random_bool(KEYED),
            callback_url: rng.random_bool(plan.callbacks).then(|| self.receiver.clone()),
            expected,
            deadline,
            priority: Priority::ALL[rng.random_range(0..Priority::ALL.len())],
            pause: Duration::from_millis(rng.random_range(0..=LONGEST_PAUSE_MS)),
            connection: if breaks { Connection::Breaks } else { Connection::Holds },
            waits: rng.random_bool(WAITING),
        }
    }

    /// Sends the batch and follows it to its end. Holds `open` until then.
    pub(super) async fn submit_batch(
        self: Arc<Self>,
        submission: BatchSubmission,
        open: OwnedSemaphorePermit,
        mut rng: Xoshiro256PlusPlus,
    ) {
        let submission = Arc::new(submission);
        if submission.expected == Expected::Cancelled {
            let cancelling = Arc::clone(&self).cancel_soon(
                Arc::clone(&submission),
                Xoshiro256PlusPlus::seed_from_u64(rng.random()),
            );
            self.batches.spawn(cancelling);
        }
        let (mut connection, mut times_sent) = (submission.connection, 0);
        let mut open = Some(open);
        while !self.client.has_given_up() {
            times_sent += 1;
            let sent = self.client.send_batch(&submission, connection, &mut rng).await;
            connection = Connection::Holds;
            let (id, is_settled) = match sent {
                Sent::Settled(id) => (Some(id), true),
                Sent::NotAll(None) if !submission.is_keyed => {
                    drop(open.take());
                    (self.look_for(&submission, &mut rng).await, true)
                }
                Sent::NotAll(id) => (id, !submission.is_keyed),
            };
            if let Some(id) = id
                && is_settled
            {
                self.history.settle_batch(id, times_sent);
            }
            // It is followed from the first answer on: what was accepted is run.
            if let (Some(id), Some(open)) = (id, id.and_then(|_| open.take())) {
                let following = Arc::clone(&self).follow_batch(
                    id,
                    Arc::clone(&submission),
                    Some(open),
                    Xoshiro256PlusPlus::seed_from_u64(rng.random()),
                );
                self.batches.spawn(following);
            }
            if is_settled {
                return;
            }
            self.pause(&mut rng).await;
        }
    }

    /// The batch of a client that got no answer and has no key. Waits until the faults are over, and what was on its way
    /// has been stored.
    async fn look_for(
        self: &Arc<Self>,
        submission: &Arc<BatchSubmission>,
        rng: &mut Xoshiro256PlusPlus,
    ) -> Option<BatchId> {
        self.stop.cancelled().await;
        let id = loop {
            if self.client.has_given_up() {
                return None;
            }
            match self.client.find_batch(submission, rng).await {
                Some(found) => break found?,
                None => self.pause(rng).await,
            }
        };
        while self.client.read_batch_anywhere(id, submission, rng).await.is_none() {
            if self.client.has_given_up() {
                return None;
            }
            self.pause(rng).await;
        }
        let following = Arc::clone(self).follow_batch(
            id,
            Arc::clone(submission),
            None,
            Xoshiro256PlusPlus::seed_from_u64(rng.random()),
        );
        self.batches.spawn(following);
        Some(id)
    }

    /// Reads a batch until its client sends it no more and it has ended.
    async fn follow_batch(
        self: Arc<Self>,
        id: BatchId,
        submission: Arc<BatchSubmission>,
        open: Option<OwnedSemaphorePermit>,
        mut rng: Xoshiro256PlusPlus,
    ) {
        while !self.client.has_given_up() {
            // Before the read: a batch that broke off ends, and begins again when it is continued.
            let is_settled = self.history.is_settled(id);
            let read = self.client.read_batch_anywhere(id, &submission, &mut rng).await;
            if let Some((view, lines)) = read
                && is_settled
                && view.is_finished()
            {
                self.history.batch_ended(id, view, lines);
                break;
            }
            self.pause(&mut rng).await;
        }
        drop(open);
    }

    /// Cancels a batch, while it is received or after that.
    async fn cancel_soon(
        self: Arc<Self>,
        submission: Arc<BatchSubmission>,
        mut rng: Xoshiro256PlusPlus,
    ) {
        let longest = LONGEST_PAUSE_MS * MOST_FILES as u64;
        sleep(Duration::from_millis(rng.random_range(0..longest))).await;
        let id = match self.history.batch_of(&submission.name) {
            Some(id) => Some(id),
            None => self.client.find_batch(&submission, &mut rng).await.flatten(),
        };
        if let Some(id) = id {
            self.client.cancel_batch(id, &submission, &mut rng).await;
        }
    }

    async fn pause(&self, rng: &mut Xoshiro256PlusPlus) {
        let pause = Duration::from_millis(rng.random_range(AGAIN_MS));
        let _ = timeout(pause, self.client.given_up()).await;
    }
}
