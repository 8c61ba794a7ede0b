//! In which order jobs of different priorities are delivered, and that none is lost between them.

use std::{collections::HashSet, time::Duration};

use domain::{Job, Priority, TaskId};
use messaging::{Deliveries, Settlement};
use tokio::time::{sleep, timeout};

use crate::fixture::{A_WHILE, Fixture, NEVER, TIMEOUT, job, next, success};

fn job_of(priority: Priority) -> Job {
    Job { priority, ..job() }
}

impl Fixture {
    async fn submit_of(&self, priority: Priority, count: usize) -> Vec<TaskId> {
        let mut ids = Vec::new();
        for _ in 0..count {
            let job = job_of(priority);
            self.submit(&job).await;
            ids.push(job.task_id);
        }
        ids
    }
}

/// How long a run takes here. Much shorter ones do not ask for high jobs each time.
const RUN: Duration = Duration::from_millis(10);

/// Runs so many jobs one after the other; returns their priorities and ids.
async fn run(deliveries: &mut Deliveries, jobs: usize) -> Vec<(Priority, TaskId)> {
    let mut run = Vec::new();
    for _ in 0..jobs {
        let delivery = next(deliveries, 1).await;
        assert_eq!(delivery.attempt, 1);
        run.push((delivery.job.priority, delivery.job.task_id));
        sleep(RUN).await;
        delivery.settle(Settlement::Ack).await.unwrap();
    }
    run
}

fn count(run: &[(Priority, TaskId)], priority: Priority) -> usize {
    run.iter().filter(|(of, _)| *of == priority).count()
}

#[tokio::test]
async fn a_high_job_passes_those_that_wait_and_each_priority_gets_a_share() {
    let fixture = Fixture::start().await;
    let low = fixture.submit_of(Priority::Low, 60).await;
    let mut deliveries = fixture.deliveries();
    run(&mut deliveries, 3).await;
    // The next is the high one, or the one after it.
    fixture.submit_of(Priority::High, 1).await;
    assert_eq!(count(&run(&mut deliveries, 2).await, Priority::High), 1);

    let high = fixture.submit_of(Priority::High, 60).await;
    fixture.submit_of(Priority::Normal, 60).await;
    // The first ones may be those that a slot had asked for before.
    let mut taken = run(&mut deliveries, 10).await;
    let shares = run(&mut deliveries, 50).await;
    assert_eq!(Priority::ALL.map(|priority| count(&shares, priority)), [30, 15, 5]);
    // Those of a priority in the order of their submission.
    taken.extend(shares);
    let of = |priority| -> Vec<_> {
        taken.iter().filter(|(of, _)| *of == priority).map(|(_, id)| *id).collect()
    };
    assert!(high.starts_with(&of(Priority::High)));
    assert!(low[4..].starts_with(&of(Priority::Low)));
}

#[tokio::test]
async fn an_idle_worker_gets_a_job_of_any_priority_at_once() {
    let fixture = Fixture::start().await;
    let mut deliveries = fixture.deliveries();
    let priorities = {
        use Priority::{High, Low, Normal};
        [Low, Low, High, High, Normal, Low, High]
    };
    for priority in priorities {
        // It waits in all lanes by now.
        assert!(timeout(A_WHILE / 5, deliveries.next(4)).await.is_err());
        let [id] = fixture.submit_of(priority, 1).await[..] else { panic!("one was submitted") };
        // Not only when a request expires, after half a minute.
        let delivery = timeout(TIMEOUT / 4, deliveries.next(4)).await.expect("it is delivered");
        assert_eq!((delivery.job.task_id, delivery.job.priority), (id, priority));
        delivery.settle(Settlement::Ack).await.unwrap();
    }
    fixture.depth_becomes((0, 0)).await;
}

#[tokio::test]
async fn a_busy_worker_keeps_none_that_came_for_it_in_another_lane() {
    let fixture = Fixture::configured(|config| config.ack_wait = NEVER).await;
    let mut busy = fixture.deliveries();
    assert!(timeout(A_WHILE / 5, busy.next(1)).await.is_err());
    // One slot, which waits in three lanes: each of these jobs goes to it.
    let mut submitted = HashSet::new();
    for priority in Priority::ALL {
        submitted.extend(fixture.submit_of(priority, 1).await);
    }
    let held = next(&mut busy, 1).await;
    busy.pause();
    // Were they not released, they would come after ack_wait.
    let mut idle = fixture.deliveries();
    let mut run = HashSet::from([held.job.task_id]);
    for _ in 0..2 {
        let delivery = next(&mut idle, 1).await;
        run.insert(delivery.job.task_id);
        delivery.settle(Settlement::Ack).await.unwrap();
    }
    held.settle(Settlement::Ack).await.unwrap();
    assert_eq!(run, submitted);
    fixture.depth_becomes((0, 0)).await;
    // And the first one goes on.
    idle.stop().await;
    let [id] = fixture.submit_of(Priority::High, 1).await[..] else { panic!("one was submitted") };
    assert_eq!(next(&mut busy, 1).await.job.task_id, id);
}

#[tokio::test]
async fn a_busy_worker_gets_a_high_job_at_once_while_lower_ones_wait() {
    let fixture = Fixture::configured(|config| config.ack_wait = NEVER).await;
    let low = fixture.submit_of(Priority::Low, 3).await;
    let mut busy = fixture.deliveries();
    let held = next(&mut busy, 1).await;
    assert!(timeout(A_WHILE / 5, busy.next(0)).await.is_err());
    for _ in 0..2 {
        let [id] = fixture.submit_of(Priority::High, 1).await[..] else {
            panic!("one was submitted")
        };
        let high = next(&mut busy, 0).await;
        assert_eq!(high.job.task_id, id);
        high.settle(Settlement::Ack).await.unwrap();
    }
    held.settle(Settlement::Ack).await.unwrap();
    assert_eq!(next(&mut busy, 1).await.job.task_id, low[1]);
    let last = next(&mut busy, 1).await;
    assert_eq!(last.job.task_id, low[2]);
    // Now no more wait, and another worker may be idle.
    fixture.requests_become(&mut busy, 0, "high-yolov8n", |requests| requests == 0).await;
    let [id] = fixture.submit_of(Priority::High, 1).await[..] else { panic!("one was submitted") };
    let mut idle = fixture.deliveries();
    assert_eq!(next(&mut idle, 1).await.job.task_id, id);
}

#[tokio::test]
async fn jobs_of_every_priority_are_found_cancelled_and_reported() {
    let fixture = Fixture::start().await;
    let (queue, tasks) = (fixture.messaging.queue(), fixture.messaging.tasks());
    for priority in Priority::ALL {
        let job = job_of(priority);
        fixture.submit(&job).await;
        // By another process, which has not seen it.
        let found = fixture.messaging.tasks().find(job.task_id).await.unwrap();
        assert_eq!(found.map(|record| record.job), Some(job.clone()));
        fixture.depth_becomes((1, 0)).await;
        let report = queue.report().await.unwrap();
        let expected = Priority::ALL.map(|other| u64::from(other == priority));
        assert_eq!(report.waiting_by_priority, expected);
        tasks.finish(&success(&job)).await.unwrap();
        queue.cancel(&job).await.unwrap();
        fixture.depth_becomes((0, 0)).await;
    }
    assert_eq!(queue.report().await.unwrap().settled, 3);
}
