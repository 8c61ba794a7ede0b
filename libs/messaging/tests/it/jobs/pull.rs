//! Who gets which job, and how many at a time.

use std::{collections::HashSet, sync::Arc, time::Duration};

use domain::{ModelName, TaskId};
use messaging::{Messaging, MessagingConfig, Role, Settlement};
use testkit::TcpProxy;
use tokio::{
    sync::{Barrier, mpsc},
    time::timeout,
};

use crate::fixture::{A_WHILE, Fixture, NEVER, TIMEOUT, next, nothing_comes};

#[tokio::test]
async fn a_stuck_worker_keeps_one_job_and_no_more() {
    let fixture = Fixture::start().await;
    let submitted: HashSet<TaskId> = fixture.submit_many(10).await.into_iter().collect();
    let (mut stuck, mut working) = (fixture.deliveries(), fixture.deliveries());
    let held = next(&mut stuck, 1).await;
    let mut done = HashSet::from([held.job.task_id]);
    for _ in 0..9 {
        let delivery = next(&mut working, 1).await;
        done.insert(delivery.job.task_id);
        assert_eq!(delivery.attempt, 1);
        delivery.settle(Settlement::Ack).await.unwrap();
    }
    assert_eq!(done, submitted);
    fixture.depth_becomes((0, 1)).await;
}

#[tokio::test]
async fn a_worker_holds_no_more_than_its_free_slots() {
    let fixture = Fixture::start().await;
    fixture.submit_many(20).await;
    let mut deliveries = fixture.deliveries();
    let mut held = Vec::new();
    for free_slots in (1..=4).rev() {
        held.push(next(&mut deliveries, free_slots).await);
    }
    assert!(timeout(A_WHILE, deliveries.next(0)).await.is_err());
    fixture.depth_becomes((16, 4)).await;
    // One is done, so one slot is free: exactly one more comes.
    held.remove(2).settle(Settlement::Ack).await.unwrap();
    held.push(next(&mut deliveries, 1).await);
    fixture.depth_becomes((15, 4)).await;
}

#[tokio::test]
async fn two_workers_share_the_queue() {
    const JOBS: usize = 40;
    let fixture = Fixture::start().await;
    let submitted: HashSet<TaskId> = fixture.submit_many(JOBS).await.into_iter().collect();
    let (sender, mut done) = mpsc::unbounded_channel();
    // Neither goes on before the other has got its first.
    let both_have_one = Arc::new(Barrier::new(2));
    let workers = [(); 2].map(|()| {
        let (mut deliveries, sender) = (fixture.deliveries(), sender.clone());
        let both_have_one = Arc::clone(&both_have_one);
        tokio::spawn(async move {
            let first = deliveries.next(2).await;
            both_have_one.wait().await;
            let mut delivery = first;
            loop {
                let task_id = delivery.job.task_id;
                delivery.settle(Settlement::Ack).await.unwrap();
                sender.send(task_id).unwrap();
                delivery = deliveries.next(2).await;
            }
        })
    });
    let mut all = Vec::new();
    while all.len() < JOBS {
        let one = timeout(TIMEOUT, done.recv()).await.expect("the workers share all jobs");
        all.push(one.expect("they go on"));
    }
    workers.iter().for_each(tokio::task::JoinHandle::abort);
    assert_eq!(all.into_iter().collect::<HashSet<_>>(), submitted, "a job was run twice");
    fixture.depth_becomes((0, 0)).await;
}

#[tokio::test]
async fn a_cancelled_wait_loses_nothing() {
    let fixture = Fixture::start().await;
    let mut deliveries = fixture.deliveries();
    let submitted = fixture.submit_many(30).await;
    let mut done = Vec::new();
    while done.len() < submitted.len() {
        // Cancelled over and over, often in the very moment something arrives.
        if let Ok(delivery) = timeout(Duration::from_micros(50), deliveries.next(1)).await {
            assert_eq!(delivery.attempt, 1);
            done.push(delivery.job.task_id);
            delivery.settle(Settlement::Ack).await.unwrap();
        }
    }
    assert_eq!(done, submitted);
}

#[tokio::test]
async fn stopping_gives_back_at_once_what_was_not_started() {
    let fixture = Fixture::configured(|config| config.ack_wait = NEVER).await;
    fixture.submit_many(6).await;
    let mut leaving = fixture.deliveries();
    let held = next(&mut leaving, 4).await;
    leaving.stop().await;
    // Were they not given back, they would come after ack_wait.
    let mut staying = fixture.deliveries();
    for _ in 0..5 {
        next(&mut staying, 1).await.settle(Settlement::Ack).await.unwrap();
    }
    fixture.depth_becomes((0, 1)).await;
    held.settle(Settlement::Ack).await.unwrap();
    fixture.depth_becomes((0, 0)).await;
}

/// The server has sent it before the worker ends its requests, and it arrives after that.
#[tokio::test]
async fn a_job_on_its_way_to_a_worker_that_pauses_is_released() {
    let fixture = Fixture::configured(|config| config.ack_wait = NEVER).await;
    let proxy = TcpProxy::for_nats(fixture.server.port());
    let url = format!("nats://127.0.0.1:{}", proxy.port());
    let mut config = MessagingConfig::new(url.parse().unwrap(), Role::Worker);
    (config.ack_wait, config.request_timeout) = (NEVER, TIMEOUT);
    let far = Messaging::connect(config).await.unwrap();
    let mut busy = far.queue().deliveries([ModelName::default()]);
    fixture.asks_for_jobs(&mut busy).await;
    proxy.delay(Duration::from_secs(1));
    fixture.submit_many(1).await;
    fixture.depth_becomes((0, 1)).await;
    busy.pause();
    // On the same connection, which is active meanwhile. Was it not released, it would come after ack_wait.
    next(&mut far.queue().deliveries([ModelName::default()]), 1)
        .await
        .settle(Settlement::Ack)
        .await
        .unwrap();
    fixture.depth_becomes((0, 0)).await;
}

#[tokio::test]
async fn what_is_no_job_goes_to_the_dead_letters() {
    let fixture = Fixture::start().await;
    let raw = fixture.raw().await;
    raw.publish("jobs.yolov8n.garbage", "not a job".into()).await.unwrap().await.unwrap();
    let [good] = fixture.submit_many(1).await[..] else { panic!("one was submitted") };
    let mut deliveries = fixture.deliveries();
    let delivery = next(&mut deliveries, 1).await;
    assert_eq!(delivery.job.task_id, good);
    delivery.settle(Settlement::Ack).await.unwrap();
    fixture.depth_becomes((0, 0)).await;
    let dead_letters = raw.get_stream("DLQ").await.unwrap();
    let letter = dead_letters.get_last_raw_message_by_subject("dlq.unreadable").await.unwrap();
    assert_eq!(letter.payload, "not a job");
    assert_eq!(letter.headers.get("Spotter-Subject").unwrap().as_str(), "jobs.yolov8n.garbage");
    assert!(letter.headers.get("Spotter-Reason").is_some());
}

#[tokio::test]
async fn a_deleted_consumer_is_made_again() {
    let fixture = Fixture::start().await;
    let mut deliveries = fixture.deliveries();
    nothing_comes(&mut deliveries, A_WHILE).await;
    let raw = fixture.raw().await;
    raw.delete_consumer_from_stream("normal-yolov8n", "JOBS").await.unwrap();
    fixture.submit_many(1).await;
    next(&mut deliveries, 1).await.settle(Settlement::Ack).await.unwrap();
}
