//! Back-pressure: rejects uploads early while the queue is full or cannot store, with a `Retry-After`.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use messaging::{JobQueue, QueueReport, Writes};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// How long uploads are rejected unread after the queue has rejected a job. Then the next one is tried.
const HOLD: Duration = Duration::from_secs(1);
/// The interval between samples of the queue.
const SAMPLE_EVERY: Duration = Duration::from_secs(5);
/// The number of samples for the drain rate: one minute.
const SAMPLES: usize = 13;
/// The share of the waiting jobs that should be done before a client retries.
const ROOM: f64 = 0.02;
/// Minimum and maximum `Retry-After`, in seconds.
const RETRY_AFTER: (f64, f64) = (1.0, 60.0);
/// `Retry-After` in seconds while the drain rate is unknown.
const RETRY_AFTER_UNKNOWN: u64 = 5;

/// The state of the queue as the API knows it: how full it is and how fast it drains. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Backpressure {
    state: Arc<Mutex<State>>,
    /// `None`: writes are not monitored.
    writes: Option<Writes>,
}

#[derive(Default)]
struct State {
    rejected_at: Option<Instant>,
    samples: VecDeque<(Instant, QueueReport)>,
}

impl Backpressure {
    /// With the state of the server's writes.
    pub(crate) fn of(writes: Writes) -> Self {
        Self { writes: Some(writes), ..Self::default() }
    }

    /// Whether the server is known not to store messages. Unlike a full queue, this does not end when jobs
    /// are settled.
    pub(crate) fn cannot_store(&self) -> bool {
        self.writes.as_ref().is_some_and(|writes| writes.fault().is_some())
    }

    /// Records that the queue has rejected a job.
    pub(crate) fn note_full(&self, now: Instant) {
        self.state.lock().rejected_at = Some(now);
    }

    /// Whether the queue has rejected a job within the last second.
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.state.lock().rejected_at.is_some_and(|at| now.duration_since(at) < HOLD)
    }

    /// Seconds until there is some room, at the rate at which jobs were settled in the last minute.
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
        // Infinite if no job was settled, which gives the maximum.
        (room / (settled / elapsed)).clamp(least, most).ceil() as u64
    }

    /// The newest sample of the queue.
    pub(crate) fn newest(&self) -> Option<QueueReport> {
        self.state.lock().samples.back().map(|(_, report)| report.clone())
    }

    fn observe(&self, report: QueueReport, now: Instant) {
        let mut state = self.state.lock();
        // The count starts again when the queue is recreated.
        if state.samples.back().is_some_and(|(_, last)| last.settled > report.settled) {
            state.samples.clear();
        }
        if state.samples.len() == SAMPLES {
            state.samples.pop_front();
        }
        state.samples.push_back((now, report));
    }
}

/// Samples the queue periodically until `shutdown`.
pub(crate) async fn watch(
    backpressure: Backpressure,
    queue: JobQueue,
    shutdown: CancellationToken,
) {
    loop {
        match queue.report().await {
            Ok(report) => backpressure.observe(report, Instant::now()),
            Err(error) => tracing::debug!(%error, "cannot sample the queue"),
        }
        tokio::select! {
            () = tokio::time::sleep(SAMPLE_EVERY) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use messaging::QueueDepth;

    use super::*;

    fn report(waiting: u64, settled: u64) -> QueueReport {
        let depth = QueueDepth { waiting, in_progress: 0 };
        let waiting_by_priority = [0, waiting, 0];
        QueueReport {
            depth,
            waiting_by_priority,
            by_model: BTreeMap::new(),
            lanes: Vec::new(),
            settled,
            oldest: Duration::ZERO,
            dead_letters: 0,
            webhooks: 0,
            dead_webhooks: 0,
        }
    }

    #[test]
    fn the_wait_follows_from_the_drain_rate() {
        let start = Instant::now();
        // Waiting jobs, jobs settled in 10 s, `Retry-After`.
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
    fn a_rejection_holds_for_a_second() {
        let backpressure = Backpressure::default();
        let now = Instant::now();
        assert!(!backpressure.is_full(now));
        backpressure.note_full(now);
        assert!(backpressure.is_full(now));
        assert!(!backpressure.is_full(now + HOLD));
    }
}
