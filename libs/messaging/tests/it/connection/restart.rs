//! A server that goes away and comes back.

use std::{collections::HashSet, time::Duration};

use domain::{TaskId, TaskRecord};
use messaging::{Settlement, SubmitError};
use testkit::eventually;

use crate::fixture::{
    A_WHILE, Fixture, TIMEOUT, job, next, nothing_comes, picture, success, terminal,
};

/// What was asked on a connection that then broke is only asked again after this.
async fn impatient() -> Fixture {
    Fixture::configured(|config| config.request_timeout = Duration::from_secs(3)).await
}

#[tokio::test]
async fn deliveries_go_on_and_nothing_is_lost() {
    let mut fixture = Fixture::configured(|config| {
        config.ack_wait = Duration::from_secs(2);
        config.request_timeout = Duration::from_millis(1500);
    })
    .await;
    let submitted: HashSet<TaskId> = fixture.submit_many(12).await.into_iter().collect();
    let mut deliveries = fixture.deliveries();
    let mut done = HashSet::new();
    for _ in 0..4 {
        let delivery = next(&mut deliveries, 2).await;
        done.insert(delivery.job.task_id);
        delivery.settle(Settlement::Ack).await.unwrap();
    }
    let held = next(&mut deliveries, 2).await;
    fixture.server.kill();
    eventually(TIMEOUT, || async { (!fixture.messaging.is_connected()).then_some(()) }).await;
    let refused = fixture.messaging.queue().submit(&job(), picture()).await;
    assert!(matches!(refused, Err(SubmitError::Unavailable { .. })), "{refused:?}");
    // Settled while the server is away: the job may be redelivered, and nothing waits for the server.
    done.insert(held.job.task_id);
    held.settle(Settlement::Ack).await.unwrap();
    fixture.server.restart();
    while done.len() < submitted.len() {
        let delivery = next(&mut deliveries, 2).await;
        done.insert(delivery.job.task_id);
        delivery.settle(Settlement::Ack).await.unwrap();
    }
    assert_eq!(done, submitted);
    let settle_all = async {
        loop {
            next(&mut deliveries, 2).await.settle(Settlement::Ack).await.unwrap();
        }
    };
    tokio::select! {
        () = fixture.depth_becomes((0, 0)) => {}
        () = settle_all => {}
    }
}

#[tokio::test]
async fn an_idle_worker_finds_its_way_back() {
    let mut fixture = impatient().await;
    let mut deliveries = fixture.deliveries();
    nothing_comes(&mut deliveries, A_WHILE).await;
    fixture.server.restart();
    fixture.submit_many(1).await;
    next(&mut deliveries, 1).await.settle(Settlement::Ack).await.unwrap();
}

#[tokio::test]
async fn a_waiting_client_gets_its_answer_after_a_restart() {
    let mut fixture = impatient().await;
    let (tasks, job) = (fixture.messaging.tasks(), job());
    tasks.create_queued(&TaskRecord::queued(job.clone())).await.unwrap();
    let waiting = tokio::spawn({
        let (tasks, id) = (tasks.clone(), job.task_id);
        async move { terminal(&tasks, id).await }
    });
    fixture.server.wait_until_subscribed(&format!("records.{}", job.task_id)).await;
    fixture.server.restart();
    // Asked while the connection is just breaking: the store asks again by itself.
    tasks.finish(&success(&job)).await.unwrap();
    assert_eq!(waiting.await.unwrap(), success(&job));
}
