//! Jobs that are deleted while others are pending.

use messaging::Settlement;

use crate::fixture::{Fixture, NEVER, next};

#[tokio::test]
async fn cancelling_a_job_loses_none_that_was_delivered_before_it() {
    // Nothing is redelivered meanwhile.
    let fixture = Fixture::configured(|config| config.ack_wait = NEVER).await;
    let ids = fixture.submit_many(3).await;
    let mut deliveries = fixture.deliveries();
    let first = next(&mut deliveries, 3).await;
    let second = next(&mut deliveries, 2).await;
    let third = next(&mut deliveries, 1).await;
    assert_eq!([&first, &second, &third].map(|delivery| delivery.job.task_id), ids[..]);
    fixture.messaging.queue().cancel(&second.job).await.unwrap();
    fixture.depth_becomes((0, 2)).await;
    third.settle(Settlement::Ack).await.unwrap();
    fixture.depth_becomes((0, 1)).await;
    // When another server of a cluster becomes the stream's leader, it deletes all jobs up to the floor.
    let lane = fixture.server.request("$JS.API.CONSUMER.INFO.JOBS.normal-yolov8n", "").unwrap();
    let lane: serde_json::Value = serde_json::from_str(&lane).unwrap();
    assert_eq!(lane["ack_floor"]["stream_seq"], 0, "{lane}");
    assert_eq!(fixture.messaging.queue().task_ids().await.unwrap(), [first.job.task_id]);
}
