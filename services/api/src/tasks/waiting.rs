//! How many jobs of a key are in the queue.
//!
//! The ids of jobs tell whose they are (`TaskId::owner_tag`), so one list of subjects from the server counts the jobs of all
//! keys, whichever API has accepted them. It is asked for where a key with a quota submits, once a second at most, and less
//! often where it takes long. What this process has accepted since is added.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{KeyId, KeyTag};
use messaging::JobQueue;
use parking_lot::Mutex;

/// How old a count may be, at least and at most: what other APIs accept meanwhile is not in it.
const MAX_AGE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// How much longer a count is used than it takes, so that counting a long queue is a small part of the work: 10,000 jobs
/// take some 5 ms, which once a second would be a tenth of what 200 uploads a second cost.
const USED_PER_TAKEN: u32 = 1000;

/// Where a count says that a quota is used up, it is used for a quarter of the time: jobs may have ended.
const SHARE_AT_QUOTA: u32 = 4;

/// How many jobs of a key are in the queue. Cheap to clone.
#[derive(Clone)]
pub(crate) struct WaitingJobs {
    queue: JobQueue,
    counts: Arc<Mutex<Counts>>,
    /// Held while the queue is asked.
    asking: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct Counts {
    counted_at: Option<Instant>,
    /// How long the newest count took.
    took: Duration,
    /// As the server has counted them.
    queued: HashMap<KeyTag, u32>,
    /// Submissions of this process that have ended since the server was asked, accepted or not.
    submitted: HashMap<KeyId, u32>,
    /// Those that had ended before a question that the server has not answered yet.
    asked: HashMap<KeyId, u32>,
    /// Submissions of this process that go on.
    in_flight: HashMap<KeyId, u32>,
}

impl Counts {
    fn of(&self, key: KeyId) -> u32 {
        let submissions = [&self.submitted, &self.asked, &self.in_flight];
        let submissions = submissions.map(|counts| counts.get(&key).copied().unwrap_or(0));
        let queued = self.queued.get(&key.tag()).copied().unwrap_or(0);
        submissions.into_iter().fold(queued, u32::saturating_add)
    }

    fn is_usable(&self, key: KeyId, quota: u32) -> bool {
        let (least, most) = MAX_AGE;
        let limit = self.took.saturating_mul(USED_PER_TAKEN).clamp(least, most);
        let limit = if self.of(key) < quota { limit } else { limit / SHARE_AT_QUOTA };
        self.counted_at.is_some_and(|at| at.elapsed() < limit)
    }
}

/// A job that counts until the server has it.
pub(super) struct Reservation {
    counts: Arc<Mutex<Counts>>,
    key: KeyId,
}

impl Drop for Reservation {
    /// Whether the job was stored or not, it counts until the server is asked again.
    fn drop(&mut self) {
        let mut counts = self.counts.lock();
        if let Some(in_flight) = counts.in_flight.get_mut(&self.key) {
            *in_flight = in_flight.saturating_sub(1);
            if *in_flight == 0 {
                counts.in_flight.remove(&self.key);
            }
        }
        *counts.submitted.entry(self.key).or_default() += 1;
    }
}

impl WaitingJobs {
    pub(crate) fn new(queue: JobQueue) -> Self {
        Self { queue, counts: Arc::default(), asking: Arc::default() }
    }

    /// Whether as many jobs of the key as its quota are in the queue.
    pub(crate) async fn is_exhausted(&self, key: KeyId, quota: u32) -> bool {
        self.refresh(key, quota).await;
        self.counts.lock().of(key) >= quota
    }

    /// The same as far as it is known, without asking the server.
    pub(crate) fn is_known_to_be_exhausted(&self, key: KeyId, quota: u32) -> bool {
        self.counts.lock().of(key) >= quota
    }

    /// Counts one job more; `None` if the quota is used up.
    pub(super) async fn reserve(&self, key: KeyId, quota: u32) -> Option<Reservation> {
        self.refresh(key, quota).await;
        let mut counts = self.counts.lock();
        if counts.of(key) >= quota {
            return None;
        }
        *counts.in_flight.entry(key).or_default() += 1;
        Some(Reservation { counts: Arc::clone(&self.counts), key })
    }

    /// Asks the server, unless what is known will do. Where it does not answer, that has to do: such a server stores no
    /// job either.
    async fn refresh(&self, key: KeyId, quota: u32) {
        if self.counts.lock().is_usable(key, quota) {
            return;
        }
        let _asking = self.asking.lock().await;
        {
            let mut counts = self.counts.lock();
            if counts.is_usable(key, quota) {
                return;
            }
            // The answer has these. What ends from now on may be in it or not.
            for (key, count) in std::mem::take(&mut counts.submitted) {
                *counts.asked.entry(key).or_default() += count;
            }
        }
        let asked_at = Instant::now();
        let answer = self.queue.task_ids().await;
        let mut counts = self.counts.lock();
        match answer {
            Ok(ids) => {
                counts.queued.clear();
                counts.asked.clear();
                for id in ids {
                    *counts.queued.entry(id.owner_tag()).or_default() += 1;
                }
            }
            Err(error) => tracing::warn!(%error, "cannot count the jobs of API keys"),
        }
        counts.counted_at = Some(asked_at);
        counts.took = asked_at.elapsed();
    }
}
