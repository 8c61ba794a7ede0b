//! What becomes of a delivery.

use std::time::{Duration, Instant};

use messaging::{PictureFetchError, Settlement};

use crate::fixture::{Fixture, TIMEOUT, job, large_picture, next, nothing_comes, picture};

/// Longer than this process ever stands still on a busy machine: it has to keep a job within that time.
const SHORT_ACK_WAIT: Duration = Duration::from_secs(3);

#[tokio::test]
async fn a_retry_comes_back_after_its_delay() {
    let fixture = Fixture::start().await;
    fixture.submit(&job()).await;
    let mut deliveries = fixture.deliveries();
    let delay = Duration::from_millis(400);
    let requeued_at = Instant::now();
    next(&mut deliveries, 1).await.settle(Settlement::RetryAfter(delay)).await.unwrap();
    let again = next(&mut deliveries, 1).await;
    assert!(requeued_at.elapsed() >= delay, "{:?}", requeued_at.elapsed());
    assert_eq!(again.attempt, 2);
    assert_eq!(again.picture().await.unwrap(), picture());
}

#[tokio::test]
async fn a_silent_worker_loses_its_job() {
    let fixture = Fixture::configured(|config| config.ack_wait = SHORT_ACK_WAIT).await;
    fixture.submit(&job()).await;
    let (mut silent, mut other) = (fixture.deliveries(), fixture.deliveries());
    let lost = next(&mut silent, 1).await;
    let delivery = next(&mut other, 1).await;
    assert_eq!((delivery.job.task_id, delivery.attempt), (lost.job.task_id, 2));
    delivery.settle(Settlement::Ack).await.unwrap();
    // The silent one comes back to a job that is done: nothing breaks.
    lost.settle(Settlement::Ack).await.unwrap();
    fixture.depth_becomes((0, 0)).await;
}

#[tokio::test]
async fn keeping_a_job_alive_keeps_it() {
    let fixture = Fixture::configured(|config| config.ack_wait = SHORT_ACK_WAIT).await;
    fixture.submit(&job()).await;
    let (mut busy, mut other) = (fixture.deliveries(), fixture.deliveries());
    let delivery = next(&mut busy, 1).await;
    let keep_alive = delivery.keep_alive();
    nothing_comes(&mut other, 2 * SHORT_ACK_WAIT).await;
    drop(keep_alive);
    assert_eq!(next(&mut other, 1).await.attempt, 2);
}

#[tokio::test]
async fn a_rejected_job_is_kept_among_the_dead_letters() {
    let fixture = Fixture::start().await;
    let job = job();
    fixture.submit(&job).await;
    let reason = "delivered\n6 times".to_owned();
    let delivery = next(&mut fixture.deliveries(), 1).await;
    delivery.settle(Settlement::Reject { reason }).await.unwrap();
    fixture.depth_becomes((0, 0)).await;
    let dead_letters = fixture.raw().await.get_stream("DLQ").await.unwrap();
    let subject = format!("dlq.{}", job.task_id);
    let letter = dead_letters.get_last_raw_message_by_subject(&subject).await.unwrap();
    assert_eq!(letter.payload, picture());
    assert_eq!(letter.headers.get("Spotter-Reason").unwrap().as_str(), "delivered 6 times");
    let kept = letter.headers.get("Spotter-Job").unwrap().as_str();
    assert_eq!(serde_json::from_str::<domain::Job>(kept).unwrap(), job);
}

#[tokio::test]
async fn a_picture_that_is_gone_is_told_from_one_that_cannot_be_read_now() {
    let mut fixture = Fixture::configured(|config| {
        config.inline_limit = 1000;
        config.request_timeout = Duration::from_secs(3);
    })
    .await;
    for _ in 0..2 {
        let large = large_picture(50_000);
        fixture.messaging.queue().submit(&job(), large).await.unwrap();
    }
    let mut deliveries = fixture.deliveries();
    let gone = next(&mut deliveries, 2).await;
    let store = fixture.raw().await.get_object_store("pictures").await.unwrap();
    store.delete(gone.job.task_id.to_string()).await.unwrap();
    let error = gone.picture().await.map(drop).unwrap_err();
    assert!(matches!(error, PictureFetchError::Gone { .. }), "{error:?}");
    // Its job can be settled all the same.
    gone.settle(Settlement::Ack).await.unwrap();

    let unreadable = next(&mut deliveries, 1).await;
    fixture.server.process().stop();
    let error =
        tokio::time::timeout(TIMEOUT, unreadable.picture()).await.unwrap().map(drop).unwrap_err();
    assert!(matches!(error, PictureFetchError::Transient(_)), "{error:?}");
    fixture.server.process().cont();
    assert_eq!(unreadable.picture().await.unwrap(), large_picture(50_000));
}
