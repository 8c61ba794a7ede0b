//! From which lane the next jobs are requested.
//!
//! A free slot asks a lane for a job that is there (`no_wait`), and then the next lane. Only when all are empty, it
//! waits in all of them. A request that waits in a lane without jobs would otherwise be answered by a job for which
//! there is no slot any more.
//!
//! The exception is one request in the lane of each model's high jobs, while all these are empty and lower jobs wait: a
//! high job then comes at once and gets the next slot, instead of after the lower jobs that this worker has pulled
//! before. No other worker is idle at that time. If high jobs of several models come at the same moment, the worker
//! releases those that it cannot hold.

mod lane;
#[cfg(test)]
mod tests;

use std::iter::repeat_n;

use domain::Priority;
use tokio::time::Instant;

use self::lane::LaneDemand;
pub(super) use self::lane::SILENCE;

/// The priority that each of ten free slots asks first. Then it asks the others, highest first. So a high job passes
/// all that wait, and yet of ten slots three are offered to normal jobs first, and one to low ones.
const TURNS: [Priority; 10] = {
    use Priority::{High, Low, Normal};
    [High, High, Normal, High, High, Normal, High, High, Normal, Low]
};

/// How many jobs a request that waits in another lane than the first model's normal one is for. While it waits, any
/// slot can be taken by a job of the other lanes.
const WAITING_BESIDE: usize = 1;

/// A lane, by the place of its model among those that the worker serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LaneIndex {
    pub(super) model: usize,
    pub(super) priority: Priority,
}

/// What is requested of the lanes and not delivered yet.
#[derive(Debug)]
pub(super) struct Demand {
    /// By priority and model.
    lanes: [Vec<LaneDemand>; Priority::ALL.len()],
    /// The place in [`TURNS`].
    turn: usize,
    /// The model whose lane is asked next, by priority: so the backlog of one model holds up no other.
    next_model: [usize; Priority::ALL.len()],
    /// Slots whose lane was empty, by its priority. They ask the next one: another model's of the same priority, or the
    /// highest.
    passed_on: [usize; Priority::ALL.len()],
}

/// A request to a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) lane: LaneIndex,
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
    /// No request to the lanes of so many models.
    pub(super) fn of_models(models: usize) -> Self {
        Self {
            lanes: Priority::ALL.map(|_| vec![LaneDemand::default(); models]),
            turn: 0,
            next_model: [0; Priority::ALL.len()],
            passed_on: [0; Priority::ALL.len()],
        }
    }

    fn lanes(&self) -> impl Iterator<Item = &LaneDemand> {
        self.lanes.iter().flatten()
    }

    fn lane(&mut self, lane: LaneIndex) -> &mut LaneDemand {
        &mut self.lanes[lane.priority as usize][lane.model]
    }

    /// Whether a job may still be delivered.
    pub(super) fn is_pending(&self) -> bool {
        self.lanes().any(LaneDemand::is_pending)
    }

    /// Whether it may stay as it is without a free slot: only high jobs are awaited, of which one may come as one more.
    pub(super) fn is_for_high_only(&self) -> bool {
        let [_, lower @ ..] = &self.lanes;
        self.allows_one_more() && lower.iter().flatten().all(|lane| lane.awaited == 0)
    }

    /// Whether one high job more than there are free slots may be delivered: only lower ones wait.
    fn allows_one_more(&self) -> bool {
        let [high, lower @ ..] = &self.lanes;
        high.iter().all(|lane| lane.waiting == Some(0))
            && lower.iter().flatten().any(LaneDemand::has_jobs)
    }

    /// When its requests count as lost; `None` without any.
    pub(super) fn lost_at(&self) -> Option<Instant> {
        self.lanes().filter_map(LaneDemand::lost_at).min()
    }

    /// Ends all requests. Returns the most messages about them that can be on their way, and at least one: jobs, and of
    /// each lane a heartbeat and the status that ends its request.
    pub(super) fn end(&mut self) -> u64 {
        let pending = self.lanes().filter(|lane| lane.is_pending());
        let messages: usize = pending.map(|lane| lane.asked + lane.awaited + 2).sum();
        self.lanes.iter_mut().flatten().for_each(LaneDemand::end);
        self.passed_on = Default::default();
        messages.max(1) as u64
    }

    /// The requests for the free slots that no earlier request covers, which are to be sent.
    pub(super) fn requests(&mut self, free_slots: usize, now: Instant) -> Vec<Request> {
        let asked = self.asked();
        // A slot waits only as long as all lanes are empty.
        let are_empty = self.lanes().all(|lane| lane.is_empty(now));
        let awaited = if are_empty { self.awaited_by_all() } else { 0 };
        let uncovered = free_slots.saturating_sub(asked + awaited);
        let mut requests = Vec::new();
        if are_empty {
            self.passed_on = Default::default();
            self.wait(uncovered, &mut requests);
        } else {
            self.ask(uncovered, now, &mut requests);
            self.wait_for_one_more(free_slots, &mut requests);
        }
        for request in &requests {
            self.lane(request.lane).await_message(now);
        }
        requests
    }

    /// The number of slots that wait. All of them wait in the first model's normal lane.
    fn awaited_by_all(&self) -> usize {
        self.lanes[Priority::Normal as usize][0].awaited
    }

    /// Lets so many more slots wait, in all lanes.
    fn wait(&mut self, slots: usize, requests: &mut Vec<Request>) {
        if slots + self.awaited_by_all() == 0 {
            return;
        }
        for lane in self.indices() {
            let awaited = self.lane(lane).awaited;
            let jobs = match lane {
                LaneIndex { model: 0, priority: Priority::Normal } => slots,
                _ => WAITING_BESIDE.saturating_sub(awaited),
            };
            if jobs > 0 {
                self.lane(lane).awaited += jobs;
                requests.push(Request { lane, jobs, kind: RequestKind::Waiting });
            }
        }
    }

    /// All lanes, highest priority first.
    fn indices(&self) -> impl Iterator<Item = LaneIndex> + use<> {
        let models = self.lanes[0].len();
        let of = move |priority| (0..models).map(move |model| LaneIndex { model, priority });
        Priority::ALL.into_iter().flat_map(of)
    }

    /// Asks a lane that may have jobs for each of so many slots.
    fn ask(&mut self, slots: usize, now: Instant, requests: &mut Vec<Request>) {
        let passed_on = Priority::ALL.into_iter().zip(std::mem::take(&mut self.passed_on));
        let mut passed_on = passed_on.flat_map(|(priority, slots)| repeat_n(priority, slots));
        let mut asked = Vec::<LaneIndex>::new();
        for _ in 0..slots {
            let first = passed_on.next().unwrap_or_else(|| self.next_turn());
            let mut priorities = std::iter::once(first).chain(Priority::ALL);
            asked.extend(priorities.find_map(|priority| self.next_lane(priority, now)));
        }
        for lane in self.indices() {
            let jobs = asked.iter().filter(|asked| **asked == lane).count();
            if jobs > 0 {
                self.lane(lane).asked += jobs;
                requests.push(Request { lane, jobs, kind: RequestKind::NoWait });
            }
        }
    }

    /// The next lane of this priority that may have jobs.
    fn next_lane(&mut self, priority: Priority, now: Instant) -> Option<LaneIndex> {
        let lanes = &self.lanes[priority as usize];
        let next = &mut self.next_model[priority as usize];
        let mut models = (*next..lanes.len()).chain(0..*next);
        let model = models.find(|model| !lanes[*model].is_empty(now))?;
        *next = (model + 1) % lanes.len();
        Some(LaneIndex { model, priority })
    }

    /// Waits for one high job more than there are free slots, if it may be delivered.
    fn wait_for_one_more(&mut self, free_slots: usize, requests: &mut Vec<Request>) {
        let is_covered = self.asked() <= free_slots;
        if !is_covered || !self.allows_one_more() {
            return;
        }
        let lanes = self.indices().filter(|lane| lane.priority == Priority::High);
        for lane in lanes {
            let high = self.lane(lane);
            if !high.is_pending() {
                high.awaited = 1;
                requests.push(Request { lane, jobs: 1, kind: RequestKind::Waiting });
            }
        }
    }

    fn asked(&self) -> usize {
        self.lanes().map(|lane| lane.asked).sum()
    }

    /// Notes a heartbeat.
    pub(super) fn is_alive(&mut self, lane: LaneIndex, now: Instant) {
        self.lane(lane).await_message(now);
    }

    /// Notes a job of this lane, behind which `waiting` more wait.
    pub(super) fn delivered(&mut self, lane: LaneIndex, waiting: u64, now: Instant) {
        self.lane(lane).await_message(now);
        let unserved = self.lane(lane).delivered(waiting, now);
        self.passed_on[lane.priority as usize] += unserved;
    }

    /// Notes that the lane has no job for the slots that have asked it.
    pub(super) fn found_empty(&mut self, lane: LaneIndex, now: Instant) {
        let unserved = self.lane(lane).found_empty(lane.priority, now);
        self.passed_on[lane.priority as usize] += unserved;
    }

    /// Notes that a request for so many more jobs has ended.
    pub(super) fn expired(&mut self, lane: LaneIndex, jobs: usize, now: Instant) {
        let requests = self.lane(lane);
        requests.await_message(now);
        if requests.asked > 0 {
            self.found_empty(lane, now);
        } else {
            requests.awaited = requests.awaited.saturating_sub(jobs);
        }
    }

    fn next_turn(&mut self) -> Priority {
        let priority = TURNS[self.turn];
        self.turn = (self.turn + 1) % TURNS.len();
        priority
    }
}
