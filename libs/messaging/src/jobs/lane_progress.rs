//! How far the consumer of a lane has come, from which follows how many jobs wait before another one at most.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::time::timeout;

use crate::{
    Messaging,
    provision::{consumers, lanes::Lane},
};

/// For how long an answer is used, by all who ask.
const FRESH: Duration = Duration::from_secs(1);

/// After this, a consumer has counted a job that is in the stream.
const COUNTED: Duration = Duration::from_secs(1);

/// How long those who ask wait for it.
const PATIENCE: Duration = Duration::from_millis(500);

/// A job's place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct JobPlace {
    /// Its sequence in the stream.
    pub(crate) sequence: u64,
    /// By when it was in the queue, as this process knows.
    pub(crate) known_at: Instant,
}

/// How far a lane's consumer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Progress {
    asked_at: Instant,
    /// The sequence of the last job that it has delivered for the first time.
    delivered: u64,
    /// How many jobs of the lane it has not delivered.
    waiting: u64,
}

impl Progress {
    /// How many jobs of the lane wait before the job, at most; `None` if it has been delivered.
    ///
    /// There are two bounds. Between the last delivered job and this one there are no more jobs than sequences, which
    /// include those of other lanes and of deleted jobs. And of the waiting jobs, which include those behind it, one is
    /// the job itself, if it was counted.
    fn most_ahead_of(&self, job: JobPlace) -> Option<u64> {
        let between = job.sequence.checked_sub(self.delivered)?.checked_sub(1)?;
        let is_counted = job.known_at + COUNTED <= self.asked_at;
        let others = if is_counted { self.waiting.saturating_sub(1) } else { u64::MAX };
        Some(between.min(others))
    }
}

/// What was answered last about a lane, and when it was asked for; `None`: nothing.
type Answer = Option<(Instant, Option<Progress>)>;

/// What is known of each lane. Cheap to clone; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct LaneProgress(Arc<Mutex<HashMap<Lane, Arc<tokio::sync::Mutex<Answer>>>>>);

impl LaneProgress {
    /// How many jobs of the lane wait before the job, at most; `None` if it has been delivered, or the server does not say.
    pub(crate) async fn most_ahead_of(
        &self,
        messaging: &Messaging,
        lane: Lane,
        job: JobPlace,
    ) -> Option<u64> {
        let answer = Arc::clone(self.0.lock().entry(lane.clone()).or_default());
        // Held while the server is asked, so that one request serves all who wait for it.
        let mut answer = answer.lock().await;
        if answer.is_none_or(|(asked_at, _)| asked_at.elapsed() >= FRESH) {
            let asked_at = Instant::now();
            *answer = Some((asked_at, ask(messaging, &lane, asked_at).await));
        }
        answer.and_then(|(_, progress)| progress)?.most_ahead_of(job)
    }
}

async fn ask(messaging: &Messaging, lane: &Lane, asked_at: Instant) -> Option<Progress> {
    let asking = consumers::find(messaging, "read how far a consumer has come", lane);
    match timeout(PATIENCE, asking).await {
        Ok(Ok(info)) => info.map(|info| Progress {
            asked_at,
            delivered: info.delivered.stream_sequence,
            waiting: info.num_pending,
        }),
        Ok(Err(error)) => {
            tracing::debug!(%error, "the progress of a consumer is unknown");
            None
        }
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lower_of_two_bounds_counts() {
        let before = Instant::now();
        let asked_at = before + COUNTED;
        let after = before + Duration::from_millis(1);
        // Delivered, waiting, sequence, when the job was known to be stored, the bound.
        let cases = [
            (0, 1, 1, before, Some(0)),
            (10, 3, 11, before, Some(0)),
            (10, 30, 15, before, Some(4)),
            (10, 3, 500, before, Some(2)),
            // It may not be among those that wait.
            (10, 3, 500, after, Some(489)),
            (10, 0, 11, after, Some(0)),
            (10, 3, 10, before, None),
            (10, 3, 2, before, None),
        ];
        for (delivered, waiting, sequence, known_at, expected) in cases {
            let progress = Progress { asked_at, delivered, waiting };
            let found = progress.most_ahead_of(JobPlace { sequence, known_at });
            assert_eq!(found, expected, "{progress:?} {sequence}");
        }
    }
}
