//! Putting jobs in.

use bytes::Bytes;
use messaging::{QueueLimits, Settlement, SubmitError};
use testkit::NatsServer;

use crate::fixture::{Fixture, job, large_picture, next, picture};

#[tokio::test]
async fn a_job_goes_in_and_comes_out_as_it_was() {
    let fixture = Fixture::start().await;
    let mut job = job();
    job.picture_name = "a \"quoted\"\r\nname, 猫 🚌.jpg".to_owned();
    fixture.submit(&job).await;
    fixture.depth_becomes((1, 0)).await;
    let delivery = next(&mut fixture.deliveries(), 1).await;
    assert_eq!((&delivery.job, delivery.attempt), (&job, 1));
    assert_eq!(delivery.picture().await.unwrap(), picture());
    fixture.depth_becomes((0, 1)).await;
    delivery.settle(Settlement::Ack).await.unwrap();
    fixture.depth_becomes((0, 0)).await;
    let mut jobs = fixture.raw().await.get_stream("JOBS").await.unwrap();
    assert_eq!(jobs.info().await.unwrap().state.messages, 0);
}

#[tokio::test]
async fn the_same_id_is_stored_once() {
    let fixture = Fixture::start().await;
    let job = job();
    fixture.submit(&job).await;
    fixture.submit(&job).await;
    fixture.depth_becomes((1, 0)).await;
}

#[tokio::test]
async fn a_full_queue_refuses() {
    let limits = [
        QueueLimits { max_messages: 2, ..QueueLimits::default() },
        QueueLimits { max_bytes: 4000, ..QueueLimits::default() },
    ];
    for limits in limits {
        let fixture = Fixture::configured(|config| config.limits = limits).await;
        let queue = fixture.messaging.queue();
        for _ in 0..2 {
            queue.submit(&job(), large_picture(1000)).await.unwrap();
        }
        let refused = queue.submit(&job(), large_picture(1000)).await;
        assert!(matches!(refused, Err(SubmitError::QueueFull { .. })), "{limits:?}: {refused:?}");
        // Room again as soon as a job is done.
        let delivery = next(&mut fixture.deliveries(), 1).await;
        delivery.settle(Settlement::Ack).await.unwrap();
        fixture.depth_becomes((1, 0)).await;
        fixture.submit(&job()).await;
    }
}

#[tokio::test]
async fn a_full_picture_store_refuses() {
    let limits = QueueLimits { max_bytes: 300_000, ..QueueLimits::default() };
    let fixture = Fixture::configured(|config| {
        config.limits = limits;
        config.inline_limit = 1000;
    })
    .await;
    let refused = fixture.messaging.queue().submit(&job(), large_picture(400_000)).await;
    assert!(matches!(refused, Err(SubmitError::QueueFull { .. })), "{refused:?}");
    fixture.depth_becomes((0, 0)).await;
}

#[tokio::test]
async fn a_large_picture_goes_through_the_object_store() {
    // The first is over our own limit, the second only over the server's.
    let cases = [(1 << 20, 8 << 20, 3_000_000), (1 << 20, 64 << 10, 200_000)];
    for (inline_limit, max_payload, length) in cases {
        let server = NatsServer::builder().max_payload(max_payload).start();
        let fixture = Fixture::with(server, |config| config.inline_limit = inline_limit).await;
        let raw = fixture.raw().await;
        let mut pictures = raw.get_stream("OBJ_pictures").await.unwrap();
        let (job, picture) = (job(), large_picture(length));
        fixture.messaging.queue().submit(&job, picture.clone()).await.unwrap();
        assert!(pictures.info().await.unwrap().state.bytes > length as u64);
        let delivery = next(&mut fixture.deliveries(), 1).await;
        assert_eq!(delivery.picture().await.unwrap(), picture);
        delivery.settle(Settlement::Ack).await.unwrap();
        assert_eq!(pictures.info().await.unwrap().state.messages, 0);
    }
}

#[tokio::test]
async fn a_refused_job_leaves_no_picture_behind() {
    let limits = QueueLimits { max_messages: 1, ..QueueLimits::default() };
    let fixture = Fixture::configured(|config| {
        config.limits = limits;
        config.inline_limit = 1000;
    })
    .await;
    fixture.submit(&job()).await;
    let refused = fixture.messaging.queue().submit(&job(), large_picture(400_000)).await;
    assert!(matches!(refused, Err(SubmitError::QueueFull { .. })), "{refused:?}");
    let raw = fixture.raw().await;
    let pictures = raw.get_stream("OBJ_pictures").await.unwrap();
    assert_eq!(pictures.cached_info().state.messages, 0);
}

#[tokio::test]
async fn a_job_without_room_for_its_own_data_is_too_large() {
    let server = NatsServer::builder().max_payload(32 << 10).start();
    let fixture = Fixture::with(server, |_| {}).await;
    let mut job = job();
    job.picture_name = "x".repeat(40 << 10);
    let refused = fixture.messaging.queue().submit(&job, Bytes::from_static(b"x")).await;
    assert!(matches!(refused, Err(SubmitError::TooLarge { .. })), "{refused:?}");
}
