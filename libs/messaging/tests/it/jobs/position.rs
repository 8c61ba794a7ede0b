//! How many jobs wait before that of a task.

use std::cell::Cell;

use domain::{Job, TaskRecord};
use futures_util::{StreamExt, future::join_all};
use messaging::TaskStore;
use testkit::eventually;
use tokio::time::timeout;

use crate::fixture::{A_WHILE, Fixture, TIMEOUT, begin, job, next, picture};

async fn submitted(fixture: &Fixture, tasks: &TaskStore, count: usize) -> Vec<TaskRecord> {
    let mut records = Vec::new();
    for _ in 0..count {
        let job: Job = job();
        let sequence = fixture.messaging.queue().submit(&job, picture()).await.unwrap();
        tasks.note_queued(job.clone(), sequence);
        records.push(TaskRecord::queued(job));
    }
    records
}

#[tokio::test]
async fn those_who_ask_at_a_time_share_a_request() {
    let fixture = Fixture::start().await;
    let tasks = fixture.messaging.tasks();
    let records = submitted(&fixture, &tasks, 40).await;
    let mut seen = fixture.subscribe("$JS.API.CONSUMER.INFO.>").await;
    let rounds = Cell::new(0);
    // A server that takes long is not waited for.
    eventually(TIMEOUT, async || {
        rounds.set(rounds.get() + 1);
        let ahead = join_all(records.iter().map(|record| tasks.max_jobs_ahead(record))).await;
        (ahead == (0..40).map(Some).collect::<Vec<_>>()).then_some(())
    })
    .await;

    let mut requests = 0;
    while let Ok(Some(_)) = timeout(A_WHILE, seen.next()).await {
        requests += 1;
    }
    // One a second at most, however many ask.
    let asked = 40 * rounds.get();
    assert!(requests < asked / 4, "{requests} requests for {asked} who asked, 40 at a time");
}

#[tokio::test]
async fn a_job_that_a_worker_has_had_has_no_place() {
    let fixture = Fixture::start().await;
    let tasks = fixture.messaging.tasks();
    let records = submitted(&fixture, &tasks, 3).await;
    let mut deliveries = fixture.deliveries();
    let delivery = next(&mut deliveries, 1).await;
    assert_eq!(delivery.job, records[0].job);
    // Its own knowledge of the lane is a second old at most; another process has none yet.
    for tasks in [tasks, fixture.messaging.tasks()] {
        let becomes = async |record: &TaskRecord, expected| {
            let read = async || (tasks.max_jobs_ahead(record).await == expected).then_some(());
            eventually(TIMEOUT, read).await;
        };
        becomes(&records[1], Some(0)).await;
        becomes(&records[2], Some(1)).await;
        becomes(&records[0], None).await;
        let begun = begin(&tasks, &records[0].job).await;
        assert_eq!(tasks.max_jobs_ahead(&begun).await, None);
    }
}
