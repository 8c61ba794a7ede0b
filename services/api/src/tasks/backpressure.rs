//! Telling clients the truth about a full queue, and one that cannot store: at once, and for how long.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use messaging::{JobQueue, QueueReport, Writes};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// How long after the queue refused a job uploads are refused unread. Then one is let in, to see.
const HOLD: Duration = Duration::from_secs(1);
/// How often the queue is looked at.
const SAMPLE_EVERY: Duration = Duration::from_secs(5);
/// How many looks the drain rate is taken over: a minute.
const SAMPLES: usize = 13;
/// The part of the waiting jobs that should be gone before a client comes back.
const ROOM: f64 = 0.02;
/// Seconds a client is asked to wait, at the least and at the most.
const RETRY_AFTER: (f64, f64) = (1.0, 60.0);
/// Seconds a client is asked to wait where nothing is known of the drain rate.
const RETRY_AFTER_UNKNOWN: u64 = 5;

/// What the API knows of how full the queue is and how fast it drains. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Backpressure {
    state: Arc<Mutex<State>>,
    /// `None`: nobody looks.
    writes: Option<Writes>,
}

#[derive(Default)]
struct State {
    refused_at: Option<Instant>,
    samples: VecDeque<(Instant, QueueReport)>,
}

impl Backpressure {
    /// For a queue of which `writes` is known.
    pub(crate) fn of(writes: Writes) -> Self {
        Self { writes: Some(writes), ..Self::default() }
    }

    /// Whether the server is known not to store what it is sent. That is no full queue: it does not pass as
    /// jobs are settled.
    pub(crate) fn cannot_store(&self) -> bool {
        self.writes.as_ref().is_some_and(|writes| writes.fault().is_some())
    }

    /// Takes note that the queue has refused a job.
    pub(crate) fn note_full(&self, now: Instant) {
        self.state.lock().refused_at = Some(now);
    }

    /// Whether the queue refused a job so shortly ago that there is no use in trying.
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.state.lock().refused_at.is_some_and(|refused| now.duration_since(refused) < HOLD)
    }

    /// Seconds until there will be some room, at the rate jobs have been settled in the last minute.
    pub(crate) fn retry_after(&self) -> u64 {
        let state = self.state.lock();
        let (Some((first_at, first)), Some((last_at, last))) =
            (state.samples.front(), state.samples.back())
        else {
            return RETRY_AFTER_UNKNOWN;
        };
        let elapsed = last_at.duration_since(*first_at).as_secs_f64();
        let settled = last.settled.saturating_sub(first.settled) as f64;
        if elapsed == 0.0 {
            return RETRY_AFTER_UNKNOWN;
        }
        let room = (last.depth.waiting as f64 * ROOM).max(1.0);
        let (least, most) = RETRY_AFTER;
        // Nothing settled makes this infinite, which is a long wait.
        (room / (settled / elapsed)).clamp(least, most).ceil() as u64
    }

    /// The newest look at the queue.
    pub(crate) fn newest(&self) -> Option<QueueReport> {
        self.state.lock().samples.back().map(|(_, report)| *report)
    }

    fn observe(&self, report: QueueReport, now: Instant) {
        let mut state = self.state.lock();
        // The count starts again when the queue is made anew.
        if state.samples.back().is_some_and(|(_, last)| last.settled > report.settled) {
            state.samples.clear();
        }
        if state.samples.len() == SAMPLES {
            state.samples.pop_front();
        }
        state.samples.push_back((now, report));
    }
}

/// Looks at the queue again and again until `shutdown`.
pub(crate) async fn watch(
    backpressure: Backpressure,
    queue: JobQueue,
    shutdown: CancellationToken,
) {
    loop {
        match queue.report().await {
            Ok(report) => backpressure.observe(report, Instant::now()),
            Err(error) => tracing::debug!(%error, "the queue could not be looked at"),
        }
        tokio::select! {
            () = tokio::time::sleep(SAMPLE_EVERY) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use messaging::QueueDepth;

    use super::*;

    fn report(waiting: u64, settled: u64) -> QueueReport {
        let depth = QueueDepth { waiting, in_progress: 0 };
        QueueReport { depth, settled, oldest: Duration::ZERO, dead_letters: 0 }
    }

    #[test]
    fn the_wait_follows_from_the_drain_rate() {
        let start = Instant::now();
        // Waiting jobs, jobs settled in 10 s, seconds to wait.
        let cases = [(10_000, 200, 10), (10_000, 100_000, 1), (100, 10, 2), (10_000, 0, 60)];
        for (waiting, settled, expected) in cases {
            let backpressure = Backpressure::default();
            assert_eq!(backpressure.retry_after(), RETRY_AFTER_UNKNOWN);
            backpressure.observe(report(waiting, 1000), start);
            assert_eq!(backpressure.retry_after(), RETRY_AFTER_UNKNOWN);
            let later = start + Duration::from_secs(10);
            backpressure.observe(report(waiting, 1000 + settled), later);
            assert_eq!(backpressure.retry_after(), expected, "{waiting} {settled}");
        }
    }

    #[test]
    fn a_refusal_holds_for_a_moment() {
        let backpressure = Backpressure::default();
        let now = Instant::now();
        assert!(!backpressure.is_full(now));
        backpressure.note_full(now);
        assert!(backpressure.is_full(now));
        assert!(!backpressure.is_full(now + HOLD));
    }
}
