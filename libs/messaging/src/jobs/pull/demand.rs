//! From which lane the next jobs are requested.
//!
//! A free slot asks a lane for a job that is there (`no_wait`), and then the next lane. Only when all are empty, it
//! waits in all of them. A request that waits in a lane without jobs would otherwise be answered by a job for which
//! there is no slot any more.
//!
//! The exception is one request in the high lane, while it is empty and lower jobs wait: a high job then comes at once
//! and gets the next slot, instead of after the lower jobs that this worker has pulled before. No other worker is idle
//! at that time.

use std::time::Duration;

use domain::Priority;
use tokio::time::Instant;

/// The lane that each of ten free slots asks first. Then it asks the others, highest first. So a high job passes all
/// that wait, and yet of ten slots three are offered to normal jobs first, and one to low ones.
const TURNS: [Priority; 10] = {
    use Priority::{High, Low, Normal};
    [High, High, Normal, High, High, Normal, High, High, Normal, Low]
};

/// How long a lane counts as empty after it was found so. Much shorter than a run on a CPU, and long enough that a
/// worker with a thousand jobs a second does not ask a thousand times.
const EMPTY: Duration = Duration::from_millis(5);

/// How many jobs a request that waits in another lane than the normal one is for. While it waits, any slot can be
/// taken by a job of the other lanes.
const WAITING_BESIDE: usize = 1;

/// What is requested of the lanes and not delivered yet.
#[derive(Debug, Default)]
pub(super) struct Demand {
    lanes: [Lane; Priority::ALL.len()],
    /// The place in [`TURNS`].
    turn: usize,
    /// Slots whose lane was empty, and which ask the next one.
    passed_on: usize,
}

/// The requests to a lane. It has either kind, never both: it is asked only while it may have jobs.
#[derive(Debug, Default, Clone, Copy)]
struct Lane {
    /// Jobs requested if they are there.
    asked: usize,
    /// Jobs requested for when they come. While there are any, the lane is empty.
    awaited: usize,
    empty_until: Option<Instant>,
    /// How many jobs it had when it last answered.
    waiting: Option<u64>,
}

impl Lane {
    fn has_jobs(&self) -> bool {
        self.waiting.is_some_and(|waiting| waiting > 0)
    }

    fn is_empty(&self, now: Instant) -> bool {
        self.awaited > 0 || self.empty_until.is_some_and(|until| now < until)
    }
}

/// A request to a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) lane: Priority,
    pub(super) jobs: usize,
    pub(super) kind: RequestKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestKind {
    /// Answered at once.
    NoWait,
    /// Answered when there is a job.
    Waiting,
}

impl Demand {
    /// Whether a job may still be delivered.
    pub(super) fn is_pending(&self) -> bool {
        self.lanes.iter().any(|lane| lane.asked + lane.awaited > 0)
    }

    /// Whether it may stay as it is without a free slot: at most a high job is awaited, which may come as one more.
    pub(super) fn is_for_high_only(&self) -> bool {
        let [_, lower @ ..] = &self.lanes;
        self.allows_one_more() && lower.iter().all(|lane| lane.awaited == 0)
    }

    /// Whether one high job more than there are free slots may be delivered: only lower ones wait.
    fn allows_one_more(&self) -> bool {
        let [high, lower @ ..] = &self.lanes;
        high.waiting == Some(0) && lower.iter().any(Lane::has_jobs)
    }

    /// The most messages that can be on their way, and at least one: jobs, and of each lane a heartbeat and the status
    /// that ends its request.
    pub(super) fn most_messages(&self) -> u64 {
        let jobs: usize = self.lanes.iter().map(|lane| lane.asked + lane.awaited).sum();
        (jobs + 2 * self.lanes.len()) as u64
    }

    /// Whether a lane has been asked and has not answered.
    pub(super) fn is_asking(&self) -> bool {
        self.asked() > 0
    }

    /// The requests for the free slots that no earlier request covers, which are to be sent.
    pub(super) fn requests(&mut self, free_slots: usize, now: Instant) -> Vec<Request> {
        let asked = self.asked();
        // A slot waits only as long as all lanes are empty.
        let are_empty = self.lanes.iter().all(|lane| lane.is_empty(now));
        let awaited = if are_empty { self.lane(Priority::Normal).awaited } else { 0 };
        let uncovered = free_slots.saturating_sub(asked + awaited);
        let mut requests = Vec::new();
        if are_empty {
            self.passed_on = 0;
            self.wait(uncovered, &mut requests);
        } else {
            self.ask(uncovered, now, &mut requests);
            self.wait_for_one_more(free_slots, &mut requests);
        }
        requests.retain(|request| request.jobs > 0);
        requests
    }

    /// Lets so many more slots wait, in all lanes.
    fn wait(&mut self, slots: usize, requests: &mut Vec<Request>) {
        let is_waiting = slots + self.lane(Priority::Normal).awaited > 0;
        for lane in Priority::ALL {
            let awaited = &mut self.lane(lane).awaited;
            let jobs = match lane {
                Priority::Normal => slots,
                Priority::High | Priority::Low if is_waiting => {
                    WAITING_BESIDE.saturating_sub(*awaited)
                }
                Priority::High | Priority::Low => 0,
            };
            *awaited += jobs;
            requests.push(Request { lane, jobs, kind: RequestKind::Waiting });
        }
    }

    /// Asks a lane that may have jobs for each of so many slots.
    fn ask(&mut self, slots: usize, now: Instant, requests: &mut Vec<Request>) {
        let passed_on = std::mem::take(&mut self.passed_on);
        let mut ask = [0; Priority::ALL.len()];
        for slot in 0..slots {
            let first = if slot < passed_on { Priority::High } else { self.next_turn() };
            let mut lanes = std::iter::once(first).chain(Priority::ALL);
            if let Some(lane) = lanes.find(|lane| !self.lanes[*lane as usize].is_empty(now)) {
                ask[lane as usize] += 1;
            }
        }
        for (lane, jobs) in Priority::ALL.into_iter().zip(ask) {
            self.lane(lane).asked += jobs;
            requests.push(Request { lane, jobs, kind: RequestKind::NoWait });
        }
    }

    /// Waits for one high job more than there are free slots, if it may be delivered.
    fn wait_for_one_more(&mut self, free_slots: usize, requests: &mut Vec<Request>) {
        let is_covered = self.asked() <= free_slots;
        if !is_covered || !self.allows_one_more() {
            return;
        }
        let high = self.lane(Priority::High);
        if high.asked + high.awaited == 0 {
            high.awaited = 1;
            requests.push(Request { lane: Priority::High, jobs: 1, kind: RequestKind::Waiting });
        }
    }

    fn asked(&self) -> usize {
        self.lanes.iter().map(|lane| lane.asked).sum()
    }

    /// Notes a job of this lane, behind which `waiting` more wait. The server answers a request for more jobs than
    /// there are with those, and with nothing else.
    pub(super) fn delivered(&mut self, lane: Priority, waiting: u64, now: Instant) {
        let requests = self.lane(lane);
        if requests.asked > 0 {
            requests.asked -= 1;
        } else {
            requests.awaited = requests.awaited.saturating_sub(1);
        }
        requests.empty_until = None;
        requests.waiting = Some(waiting);
        if waiting == 0 {
            self.found_empty(lane, now);
        }
    }

    /// Notes that the lane has no job for the slots that have asked it.
    pub(super) fn found_empty(&mut self, lane: Priority, now: Instant) {
        let requests = self.lane(lane);
        let unserved = std::mem::take(&mut requests.asked);
        requests.empty_until = Some(now + EMPTY);
        requests.waiting = Some(0);
        self.passed_on += unserved;
    }

    /// Notes that a request for so many more jobs has ended.
    pub(super) fn expired(&mut self, lane: Priority, jobs: usize, now: Instant) {
        let requests = self.lane(lane);
        if requests.asked > 0 {
            self.found_empty(lane, now);
        } else {
            requests.awaited = requests.awaited.saturating_sub(jobs);
        }
    }

    fn next_turn(&mut self) -> Priority {
        let lane = TURNS[self.turn];
        self.turn = (self.turn + 1) % TURNS.len();
        lane
    }

    fn lane(&mut self, lane: Priority) -> &mut Lane {
        &mut self.lanes[lane as usize]
    }
}

#[cfg(test)]
mod tests {
    use Priority::{High, Low, Normal};

    use super::*;

    /// Lanes with so many jobs, of which one slot takes one after the other.
    struct Queue {
        jobs: [usize; 3],
        demand: Demand,
        now: Instant,
    }

    impl Queue {
        fn with(high: usize, normal: usize, low: usize) -> Self {
            Self { jobs: [high, normal, low], demand: Demand::default(), now: Instant::now() }
        }

        /// The lane of the job that a free slot gets; `None` if it waits.
        fn take(&mut self) -> Option<Priority> {
            self.now += EMPTY;
            loop {
                if self.demand.lanes[High as usize].awaited > 0 && self.deliver(High) {
                    return Some(High);
                }
                let requests = self.demand.requests(1, self.now);
                let asked = requests.iter().find(|request| request.kind == RequestKind::NoWait)?;
                assert_eq!(asked.jobs, 1);
                if self.deliver(asked.lane) {
                    return Some(asked.lane);
                }
            }
        }

        /// Answers a request to the lane, if only with that it is empty.
        fn deliver(&mut self, lane: Priority) -> bool {
            let jobs = &mut self.jobs[lane as usize];
            let has_one = *jobs > 0;
            if has_one {
                *jobs -= 1;
                self.demand.delivered(lane, *jobs as u64, self.now);
            } else if self.demand.lanes[lane as usize].asked > 0 {
                self.demand.found_empty(lane, self.now);
            }
            has_one
        }

        fn taken(&mut self, slots: usize) -> [usize; 3] {
            let mut counts = [0; 3];
            for _ in 0..slots {
                counts[self.take().expect("a job is there") as usize] += 1;
            }
            counts
        }
    }

    #[test]
    fn every_lane_gets_its_share() {
        assert_eq!(Queue::with(1000, 1000, 1000).taken(100), [60, 30, 10]);
        assert_eq!(Queue::with(1000, 0, 1000).taken(100), [90, 0, 10]);
        assert_eq!(Queue::with(0, 1000, 1000).taken(100), [0, 90, 10]);
        assert_eq!(Queue::with(0, 0, 1000).taken(100), [0, 0, 100]);
    }

    #[test]
    fn a_high_job_is_next_or_the_one_after() {
        for low_taken in 0..20 {
            let mut queue = Queue::with(0, 0, 1000);
            queue.taken(low_taken);
            queue.jobs[High as usize] = 1;
            assert!(queue.taken(2)[High as usize] == 1, "after {low_taken}");
        }
    }

    #[test]
    fn one_high_job_more_is_awaited_while_lower_ones_wait() {
        let one_more = Request { lane: High, jobs: 1, kind: RequestKind::Waiting };
        let mut queue = Queue::with(0, 0, 2);
        queue.take();
        assert!(queue.demand.is_for_high_only());
        assert_eq!(queue.demand.requests(0, queue.now), [one_more]);
        assert_eq!(queue.demand.requests(0, queue.now + EMPTY), []);
        queue.demand.delivered(High, 0, queue.now);
        assert_eq!(queue.demand.requests(0, queue.now), [one_more]);
        // Many high jobs wait: they take turns with the others.
        queue.demand.delivered(High, 3, queue.now);
        assert!(!queue.demand.is_for_high_only());
        assert_eq!(queue.demand.requests(0, queue.now), []);
    }

    #[test]
    fn no_high_job_more_is_awaited_when_nothing_waits() {
        let mut queue = Queue::with(0, 1, 0);
        queue.take();
        assert!(!queue.demand.is_for_high_only());
        assert_eq!(queue.demand.requests(0, queue.now + EMPTY), []);
        queue.take();
        // It waits in all lanes, and a job of any may be on its way.
        queue.demand.delivered(Normal, 5, queue.now);
        assert!(!queue.demand.is_for_high_only());
    }

    #[test]
    fn a_slot_waits_in_all_lanes_only_when_all_are_empty() {
        let mut queue = Queue::with(0, 0, 0);
        assert_eq!(queue.take(), None);
        assert!(queue.demand.is_pending());
        let awaited = queue.demand.lanes.map(|lane| (lane.asked, lane.awaited));
        assert_eq!(awaited, [(0, 1), (0, 1), (0, 1)]);
        // Nothing is asked twice, also later.
        assert_eq!(queue.demand.requests(1, queue.now + EMPTY), []);
        // One more slot waits in the normal lane, and a job of another lane covers nothing of it.
        let more = Request { lane: Normal, jobs: 1, kind: RequestKind::Waiting };
        assert_eq!(queue.demand.requests(2, queue.now), [more]);
    }

    #[test]
    fn a_job_that_comes_leaves_no_lane_unwatched() {
        let wait = |lane, jobs| Request { lane, jobs, kind: RequestKind::Waiting };
        for lane in [High, Low] {
            let mut queue = Queue::with(0, 0, 0);
            queue.take();
            queue.demand.requests(4, queue.now);
            // A single job: the lane is empty again, and the slots that are left wait in it, too.
            queue.demand.delivered(lane, 0, queue.now);
            assert_eq!(queue.demand.requests(3, queue.now), [wait(lane, 1)]);
            assert_eq!(queue.demand.requests(3, queue.now + EMPTY), []);
            // One of many: the slots ask for the others, though they wait in the normal lane.
            queue.demand.delivered(lane, 9, queue.now);
            let ask = Request { lane, jobs: 2, kind: RequestKind::NoWait };
            assert_eq!(queue.demand.requests(2, queue.now), [ask]);
            queue.demand.found_empty(lane, queue.now);
            assert_eq!(queue.demand.requests(2, queue.now), [wait(lane, 1)]);
        }
    }

    #[test]
    fn a_lane_that_was_empty_is_asked_again_a_moment_later() {
        let mut queue = Queue::with(0, 5, 0);
        assert_eq!(queue.take(), Some(Normal));
        queue.demand.found_empty(Low, queue.now);
        let mut ask = |now| {
            queue.demand.turn = TURNS.len() - 1;
            let asked = queue.demand.requests(1, now);
            queue.demand.delivered(Normal, 3, now);
            asked.into_iter().find(|request| request.kind == RequestKind::NoWait)
        };
        let of = |lane| Some(Request { lane, jobs: 1, kind: RequestKind::NoWait });
        assert_eq!(ask(queue.now), of(Normal));
        assert_eq!(ask(queue.now + EMPTY), of(Low));
    }

    #[test]
    fn what_is_left_of_a_request_goes_to_the_next_lane() {
        let mut demand = Demand::default();
        let now = Instant::now();
        let jobs = |requests: Vec<Request>| -> Vec<_> {
            requests.iter().map(|request| (request.lane, request.jobs)).collect()
        };
        let requests = demand.requests(10, now);
        assert_eq!(jobs(requests), [(High, 6), (Normal, 3), (Low, 1)]);
        // Two of the six were there.
        demand.delivered(High, 1, now);
        demand.delivered(High, 0, now);
        demand.found_empty(Low, now);
        assert_eq!(jobs(demand.requests(8, now)), [(Normal, 5)]);
        for waiting in (0..8).rev() {
            demand.delivered(Normal, waiting, now);
        }
        assert!(!demand.is_pending());
    }

    #[test]
    fn an_expired_request_is_sent_again() {
        let mut queue = Queue::with(0, 0, 0);
        assert_eq!(queue.take(), None);
        for lane in Priority::ALL {
            queue.demand.expired(lane, 1, queue.now);
        }
        assert!(!queue.demand.is_pending());
        assert_eq!(queue.demand.requests(1, queue.now + EMPTY)[0].lane, High);
    }
}
