//! The requests to one lane, and what is known of its jobs.

use std::time::Duration;

use domain::Priority;
use tokio::time::Instant;

/// How long a lane counts as empty after it was found so. Much shorter than a run on a CPU, and long enough that a
/// worker with a thousand jobs a second does not ask a thousand times.
pub(super) const EMPTY: Duration = Duration::from_millis(5);

/// The longest time that a lane counts as empty, which doubles each time that it is found so again: a model without
/// jobs beside one with a backlog costs the server little, and a job of it waits for this long at most.
const LONGEST_EMPTY: Duration = Duration::from_millis(100);

/// The same for a lane of high jobs.
const LONGEST_EMPTY_OF_HIGH: Duration = Duration::from_millis(20);

/// A request without a message for this long counts as lost: two heartbeats and some slack.
pub(in super::super) const SILENCE: Duration = Duration::from_secs(5);

/// A lane has either kind of requests, never both: it is asked only while it may have jobs.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct LaneDemand {
    /// Jobs requested if they are there.
    pub(super) asked: usize,
    /// Jobs requested for when they come. While there are any, the lane is empty.
    pub(super) awaited: usize,
    empty_until: Option<Instant>,
    /// How long it counted as empty when it was last found so; zero after a job.
    empty_for: Duration,
    /// How many jobs it had when it last answered.
    pub(super) waiting: Option<u64>,
    /// When a message about its requests is due.
    due: Option<Instant>,
}

impl LaneDemand {
    pub(super) fn has_jobs(&self) -> bool {
        self.waiting.is_some_and(|waiting| waiting > 0)
    }

    pub(super) fn is_empty(&self, now: Instant) -> bool {
        self.awaited > 0 || self.empty_until.is_some_and(|until| now < until)
    }

    pub(super) fn is_pending(&self) -> bool {
        self.asked + self.awaited > 0
    }

    /// When its requests count as lost; `None` if there are none.
    pub(super) fn lost_at(&self) -> Option<Instant> {
        self.due.filter(|_| self.is_pending())
    }

    /// Notes a request, or a message about one.
    pub(super) fn await_message(&mut self, now: Instant) {
        self.due = Some(now + SILENCE);
    }

    /// Ends its requests. What is known of its jobs stays.
    pub(super) fn end(&mut self) {
        (self.asked, self.awaited) = (0, 0);
    }

    /// Notes a job, behind which `waiting` more wait. The server answers a request for more jobs than there are with
    /// those, and with nothing else. Returns the number of jobs that were asked for in vain.
    pub(super) fn delivered(&mut self, waiting: u64, now: Instant) -> usize {
        if self.asked > 0 {
            self.asked -= 1;
        } else {
            self.awaited = self.awaited.saturating_sub(1);
        }
        (self.empty_until, self.empty_for) = (None, Duration::ZERO);
        self.waiting = Some(waiting);
        if waiting > 0 { 0 } else { self.count_as_empty(EMPTY, now) }
    }

    /// Notes that it has no job. Returns the number of jobs that were asked for in vain.
    pub(super) fn found_empty(&mut self, priority: Priority, now: Instant) -> usize {
        let longest =
            if priority == Priority::High { LONGEST_EMPTY_OF_HIGH } else { LONGEST_EMPTY };
        self.empty_for = (2 * self.empty_for).clamp(EMPTY, longest);
        self.count_as_empty(self.empty_for, now)
    }

    fn count_as_empty(&mut self, time: Duration, now: Instant) -> usize {
        self.empty_until = Some(now + time);
        self.waiting = Some(0);
        std::mem::take(&mut self.asked)
    }
}
