//! How many jobs wait before that of a task.

use std::collections::BTreeMap;

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
    let mut seen = fixture.subscribe("$JS.API.*.*.>").await;
    let reads = records.iter().map(async |record| {
        let found = tasks.find(record.job.task_id).await.unwrap().unwrap();
        tasks.max_jobs_ahead(&found).await
    });
    let ahead = join_all(reads).await;
    assert_eq!(ahead, (0..40).map(Some).collect::<Vec<_>>());

    let mut requests = BTreeMap::<String, usize>::new();
    while let Ok(Some(request)) = timeout(A_WHILE, seen.next()).await {
        let kind = request.subject.split('.').skip(2).take(2).collect::<Vec<_>>().join(".");
        *requests.entry(kind).or_default() += 1;
    }
    eprintln!("requests for 40 status reads: {requests:?}");
    assert_eq!(requests["DIRECT.GET"], 40, "each reads its record: {requests:?}");
    let shared = requests["CONSUMER.INFO"];
    assert!(shared <= 4, "{shared} requests for 40 who asked at a time: {requests:?}");
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
