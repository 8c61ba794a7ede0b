use std::time::Duration;

use Priority::{High, Low, Normal};

use super::{lane::EMPTY, *};

/// The lane of the only model, or of the first one.
const fn of(priority: Priority) -> LaneIndex {
    LaneIndex { model: 0, priority }
}

/// The lane of the second model.
const fn other(priority: Priority) -> LaneIndex {
    LaneIndex { model: 1, priority }
}

/// Lanes with so many jobs, of which one slot takes one after the other.
struct Queue {
    /// By model and priority.
    jobs: Vec<[usize; 3]>,
    demand: Demand,
    now: Instant,
    /// How often a lane was asked that had no job.
    asked_in_vain: usize,
}

impl Queue {
    fn with(high: usize, normal: usize, low: usize) -> Self {
        Self::of_models(&[[high, normal, low]])
    }

    fn of_models(jobs: &[[usize; 3]]) -> Self {
        let demand = Demand::of_models(jobs.len());
        Self { jobs: jobs.to_vec(), demand, now: Instant::now(), asked_in_vain: 0 }
    }

    /// The lane of the job that a free slot gets; `None` if it waits.
    fn take(&mut self) -> Option<LaneIndex> {
        self.take_after(EMPTY)
    }

    /// As [`Queue::take`], so long after the one before.
    fn take_after(&mut self, run: Duration) -> Option<LaneIndex> {
        self.now += run;
        loop {
            let high = (0..self.jobs.len()).map(|model| LaneIndex { model, priority: High });
            for lane in high {
                if self.demand.lane(lane).awaited > 0 && self.deliver(lane) {
                    return Some(lane);
                }
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
    fn deliver(&mut self, lane: LaneIndex) -> bool {
        let jobs = &mut self.jobs[lane.model][lane.priority as usize];
        let has_one = *jobs > 0;
        if has_one {
            *jobs -= 1;
            self.demand.delivered(lane, *jobs as u64, self.now);
        } else if self.demand.lane(lane).asked > 0 {
            self.asked_in_vain += 1;
            self.demand.found_empty(lane, self.now);
        }
        has_one
    }

    /// How many of so many jobs are of each priority.
    fn taken(&mut self, slots: usize) -> [usize; 3] {
        let mut counts = [0; 3];
        for _ in 0..slots {
            counts[self.take().expect("a job is there").priority as usize] += 1;
        }
        counts
    }

    /// How many of so many jobs are of each of two models.
    fn taken_by_model(&mut self, slots: usize) -> [usize; 2] {
        let mut counts = [0; 2];
        for _ in 0..slots {
            counts[self.take().expect("a job is there").model] += 1;
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
fn models_take_turns_within_a_priority() {
    let all = [1000, 1000, 1000];
    let mut both = Queue::of_models(&[all, all]);
    assert_eq!(both.taken(100), [60, 30, 10]);
    assert_eq!(both.taken_by_model(100), [50, 50]);
    // One has a backlog, and the other one a few jobs.
    let mut few = Queue::of_models(&[[0, 1000, 0], [0, 5, 0]]);
    assert_eq!(few.taken_by_model(12), [7, 5]);
    // The high jobs of one model pass the normal ones of the other.
    let mut high = Queue::of_models(&[[0, 1000, 0], [1000, 0, 0]]);
    assert_eq!(high.taken_by_model(100), [30, 60 + 10]);
}

#[test]
fn a_model_without_jobs_is_asked_less_and_less_often() {
    let mut queue = Queue::of_models(&[[0, 100_000, 0], [0, 0, 0]]);
    for _ in 0..1000 {
        queue.take_after(Duration::from_millis(1)).unwrap();
    }
    // In a second, each of five empty lanes about ten times, after a few more at the beginning.
    assert!(queue.asked_in_vain < 60, "{}", queue.asked_in_vain);
    queue.jobs[1][Normal as usize] = 1;
    let mut waited = Duration::ZERO;
    while queue.take_after(EMPTY) != Some(other(Normal)) {
        waited += EMPTY;
    }
    assert!(waited <= Duration::from_millis(100), "{waited:?}");
}

#[test]
fn a_high_job_is_next_or_the_one_after() {
    for low_taken in 0..20 {
        let mut queue = Queue::of_models(&[[0, 0, 1000], [0, 0, 1000]]);
        queue.taken(low_taken);
        queue.jobs[low_taken % 2][High as usize] = 1;
        assert!(queue.taken(2)[High as usize] == 1, "after {low_taken}");
    }
}

#[test]
fn one_high_job_more_is_awaited_while_lower_ones_wait() {
    let one_more = Request { lane: of(High), jobs: 1, kind: RequestKind::Waiting };
    let mut queue = Queue::with(0, 0, 2);
    queue.take();
    assert!(queue.demand.is_for_high_only());
    assert_eq!(queue.demand.requests(0, queue.now), [one_more]);
    assert_eq!(queue.demand.requests(0, queue.now + EMPTY), []);
    queue.demand.delivered(of(High), 0, queue.now);
    assert_eq!(queue.demand.requests(0, queue.now), [one_more]);
    // Many high jobs wait: they take turns with the others.
    queue.demand.delivered(of(High), 3, queue.now);
    assert!(!queue.demand.is_for_high_only());
    assert_eq!(queue.demand.requests(0, queue.now), []);
}

#[test]
fn a_high_job_of_any_model_is_awaited_as_one_more() {
    let mut queue = Queue::of_models(&[[0, 2, 0], [0, 0, 0]]);
    queue.take();
    let one_more = |lane| Request { lane, jobs: 1, kind: RequestKind::Waiting };
    let expected = [one_more(of(High)), one_more(other(High))];
    assert_eq!(queue.demand.requests(0, queue.now), expected);
    assert!(queue.demand.is_for_high_only());
    queue.demand.delivered(other(High), 0, queue.now);
    assert_eq!(queue.demand.requests(0, queue.now), expected[1..]);
}

#[test]
fn no_high_job_more_is_awaited_when_nothing_waits() {
    let mut queue = Queue::with(0, 1, 0);
    queue.take();
    assert!(!queue.demand.is_for_high_only());
    assert_eq!(queue.demand.requests(0, queue.now + EMPTY), []);
    queue.take();
    // It waits in all lanes, and a job of any may be on its way.
    queue.demand.delivered(of(Normal), 5, queue.now);
    assert!(!queue.demand.is_for_high_only());
}

#[test]
fn a_slot_waits_in_all_lanes_only_when_all_are_empty() {
    let mut queue = Queue::of_models(&[[0; 3]; 2]);
    assert_eq!(queue.take(), None);
    assert!(queue.demand.is_pending());
    let waiting: Vec<_> = queue.demand.lanes().map(|lane| (lane.asked, lane.awaited)).collect();
    assert_eq!(waiting, [(0, 1); 6]);
    // Nothing is asked twice, also later.
    assert_eq!(queue.demand.requests(1, queue.now + EMPTY), []);
    // One more slot waits in the first model's normal lane, and a job of another lane covers nothing of it.
    let more = Request { lane: of(Normal), jobs: 1, kind: RequestKind::Waiting };
    assert_eq!(queue.demand.requests(2, queue.now), [more]);
}

#[test]
fn a_job_that_comes_leaves_no_lane_unwatched() {
    let wait = |lane, jobs| Request { lane, jobs, kind: RequestKind::Waiting };
    for lane in [of(High), of(Low), other(Normal)] {
        let mut queue = Queue::of_models(&[[0; 3]; 2]);
        queue.take();
        queue.demand.requests(4, queue.now);
        // A single job: the lane is empty again, and the slots that are left wait in it, too.
        queue.demand.delivered(lane, 0, queue.now);
        assert_eq!(queue.demand.requests(3, queue.now), [wait(lane, 1)]);
        assert_eq!(queue.demand.requests(3, queue.now + EMPTY), []);
        // One of many: the slots ask for the others, though they wait in the first normal lane.
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
    assert_eq!(queue.take(), Some(of(Normal)));
    let mut now = queue.now;
    queue.demand.lanes[Low as usize][0] = LaneDemand::default();
    // Twice as long each time.
    for time in [EMPTY, 2 * EMPTY, 4 * EMPTY] {
        queue.demand.found_empty(of(Low), now);
        let mut ask = |now| {
            queue.demand.turn = TURNS.len() - 1;
            let asked = queue.demand.requests(1, now);
            queue.demand.end();
            asked.into_iter().find(|request| request.kind == RequestKind::NoWait)
        };
        let once = |lane| Some(Request { lane, jobs: 1, kind: RequestKind::NoWait });
        assert_ne!(ask(now + time - Duration::from_millis(1)), once(of(Low)));
        assert_eq!(ask(now + time), once(of(Low)));
        now += time;
    }
}

#[test]
fn what_is_left_of_a_request_goes_to_the_next_lane() {
    let mut demand = Demand::of_models(1);
    let now = Instant::now();
    let jobs = |requests: Vec<Request>| -> Vec<_> {
        requests.iter().map(|request| (request.lane.priority, request.jobs)).collect()
    };
    let requests = demand.requests(10, now);
    assert_eq!(jobs(requests), [(High, 6), (Normal, 3), (Low, 1)]);
    // Two of the six were there.
    demand.delivered(of(High), 1, now);
    demand.delivered(of(High), 0, now);
    demand.found_empty(of(Low), now);
    assert_eq!(jobs(demand.requests(8, now)), [(Normal, 5)]);
    for waiting in (0..8).rev() {
        demand.delivered(of(Normal), waiting, now);
    }
    assert!(!demand.is_pending());
}

#[test]
fn an_expired_request_is_sent_again() {
    let mut queue = Queue::with(0, 0, 0);
    assert_eq!(queue.take(), None);
    for priority in Priority::ALL {
        queue.demand.expired(of(priority), 1, queue.now);
    }
    assert!(!queue.demand.is_pending());
    assert_eq!(queue.demand.requests(1, queue.now + EMPTY)[0].lane, of(High));
}

#[test]
fn each_lane_must_answer_for_itself() {
    let mut queue = Queue::of_models(&[[0; 3]; 2]);
    assert_eq!(queue.demand.lost_at(), None);
    queue.take();
    let sent = queue.now;
    let later = sent + Duration::from_secs(2);
    // Heartbeats in all lanes but one do not stand for that one.
    let lanes: Vec<_> = queue.demand.indices().filter(|lane| *lane != other(Low)).collect();
    for lane in lanes {
        queue.demand.is_alive(lane, later);
    }
    assert_eq!(queue.demand.lost_at(), Some(sent + lane::SILENCE));
    queue.demand.is_alive(other(Low), later);
    assert_eq!(queue.demand.lost_at(), Some(later + lane::SILENCE));
}

#[test]
fn ended_requests_leave_what_is_known_of_the_lanes() {
    let mut queue = Queue::with(0, 2, 0);
    queue.take();
    queue.demand.requests(0, queue.now);
    // A high job, a heartbeat and a status may be on their way.
    assert_eq!(queue.demand.end(), 3);
    assert!(!queue.demand.is_pending());
    assert_eq!(queue.demand.end(), 1);
    assert!(queue.demand.is_for_high_only(), "it is known that a normal job waits and no high one");
}
