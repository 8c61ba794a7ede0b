//! Pictures in the object store: none stays behind that no job needs.

use std::time::Duration;

use async_nats::jetstream::stream::State;
use messaging::{PictureFetchError, QueueLimits, Settlement, SubmitError};
use testkit::eventually;
use tokio::time::timeout;

use crate::fixture::{Fixture, TIMEOUT, job, large_picture, next};

/// More than a piece, so that several are on their way at once.
const LARGE: usize = 1_000_000;

async fn stored(fixture: &Fixture) -> State {
    let raw = fixture.raw().await;
    raw.get_stream("OBJ_pictures").await.unwrap().cached_info().state.clone()
}

async fn store_empties(fixture: &Fixture) {
    eventually(TIMEOUT, || async { (stored(fixture).await.messages == 0).then_some(()) }).await;
}

#[tokio::test]
async fn a_full_store_is_free_again_once_its_pictures_are_done() {
    let limits = QueueLimits { max_bytes: 2_500_000, ..QueueLimits::default() };
    let fixture = Fixture::configured(|config| config.limits = limits).await;
    let queue = fixture.messaging.queue();
    let picture = || large_picture(2 * LARGE);
    queue.submit(&job(), picture()).await.unwrap();
    for _ in 0..2 {
        let refused = queue.submit(&job(), picture()).await;
        assert!(matches!(refused, Err(SubmitError::QueueFull { .. })), "{refused:?}");
    }
    let mut deliveries = fixture.deliveries();
    next(&mut deliveries, 1).await.settle(Settlement::Ack).await.unwrap();
    store_empties(&fixture).await;
    queue.submit(&job(), picture()).await.unwrap();
    assert_eq!(next(&mut deliveries, 1).await.picture().await.unwrap(), picture());
}

/// Cancelled at every moment of its way: while pieces are sent, named, or the job published. What
/// is left is a job with its picture, or nothing.
#[tokio::test]
async fn a_cancelled_submission_leaves_nothing_behind() {
    let fixture = Fixture::start().await;
    let queue = fixture.messaging.queue();
    let mut cancelled = 0;
    for step in 0..40 {
        let job = job();
        let submitting = queue.submit(&job, large_picture(3 * LARGE));
        let limit = Duration::from_micros(200) * (step * step / 4);
        cancelled += i32::from(timeout(limit, submitting).await.is_err());
    }
    assert!(cancelled > 5, "{cancelled}");
    let mut deliveries = fixture.deliveries();
    // Some go on after they were cancelled, until their jobs are stored.
    let running = async {
        loop {
            let delivery = deliveries.next(1).await;
            assert_eq!(delivery.picture().await.unwrap().len(), 3 * LARGE);
            delivery.settle(Settlement::Ack).await.unwrap();
        }
    };
    tokio::select! {
        () = running => {}
        () = store_empties(&fixture) => {}
    }
    fixture.depth_becomes((0, 0)).await;
}

#[tokio::test]
async fn a_submission_without_an_answer_leaves_nothing_behind() {
    let mut fixture =
        Fixture::configured(|config| config.request_timeout = Duration::from_secs(3)).await;
    let queue = fixture.messaging.queue();
    // So that nothing but the picture itself is to be asked for when the server hangs.
    queue.submit(&job(), large_picture(LARGE + 100_000)).await.unwrap();
    next(&mut fixture.deliveries(), 1).await.settle(Settlement::Ack).await.unwrap();
    fixture.server.process().stop();
    let refused = timeout(TIMEOUT, queue.submit(&job(), large_picture(3 * LARGE))).await.unwrap();
    assert!(matches!(refused, Err(SubmitError::Unavailable { .. })), "{refused:?}");
    fixture.server.process().cont();
    store_empties(&fixture).await;
}

#[tokio::test]
async fn a_second_submission_of_the_same_id_replaces_the_picture() {
    let fixture = Fixture::start().await;
    let (queue, job) = (fixture.messaging.queue(), job());
    for length in [2 * LARGE, 3 * LARGE] {
        queue.submit(&job, large_picture(length)).await.unwrap();
    }
    let one_picture = 3 * LARGE as u64 + 20_000;
    assert!(stored(&fixture).await.bytes < one_picture, "{:?}", stored(&fixture).await);
    let delivery = next(&mut fixture.deliveries(), 1).await;
    assert_eq!(delivery.picture().await.unwrap(), large_picture(3 * LARGE));
    delivery.settle(Settlement::Ack).await.unwrap();
    store_empties(&fixture).await;
}

/// As by an API that does not see yet what another one has stored.
#[tokio::test]
async fn a_second_submission_that_is_refused_leaves_the_first_its_picture() {
    let fixture = Fixture::configured(|config| {
        config.duplicate_window = Duration::from_millis(100);
        config.limits.max_messages = 1;
    })
    .await;
    let (queue, job) = (fixture.messaging.queue(), job());
    queue.submit(&job, large_picture(2 * LARGE)).await.unwrap();
    // A duplicate is none any more after its window, and then the queue is full.
    let error =
        eventually(TIMEOUT, async || queue.submit(&job, large_picture(2 * LARGE)).await.err())
            .await;
    assert!(matches!(error, SubmitError::QueueFull { .. }), "{error:?}");
    let delivery = next(&mut fixture.deliveries(), 1).await;
    assert_eq!(delivery.picture().await.unwrap(), large_picture(2 * LARGE));
    delivery.settle(Settlement::Ack).await.unwrap();
    store_empties(&fixture).await;
}

/// Anybody's client reads what was stored, and it is stored as the library itself would.
#[tokio::test]
async fn the_picture_is_an_object_like_any_other() {
    let fixture = Fixture::start().await;
    let (job, picture) = (job(), large_picture(3 * LARGE));
    fixture.messaging.queue().submit(&job, picture.clone()).await.unwrap();
    let store = fixture.raw().await.get_object_store("pictures").await.unwrap();
    let ours = store.info(job.task_id.to_string()).await.unwrap();
    let theirs = store.put("theirs", &mut picture.as_ref()).await.unwrap();
    assert_eq!((&ours.digest, ours.size), (&theirs.digest, theirs.size));
    assert_eq!((&ours.bucket, ours.deleted), (&theirs.bucket, theirs.deleted));
    assert_eq!((&ours.options, ours.chunks), (&theirs.options, theirs.chunks));
    assert_eq!(ours.nuid.len(), theirs.nuid.len());
}

/// A writer of the object store does not decide how much memory a worker allocates.
#[tokio::test]
async fn a_picture_of_too_many_bytes_is_not_read() {
    let fixture = Fixture::start().await;
    let job = job();
    fixture.messaging.queue().submit(&job, large_picture(3 * LARGE)).await.unwrap();
    let delivery = next(&mut fixture.deliveries(), 1).await;
    let bytes = 3 * LARGE as u64;
    assert_eq!(delivery.picture_up_to(bytes).await.unwrap().len() as u64, bytes);
    let error = delivery.picture_up_to(bytes - 1).await.unwrap_err();
    assert!(matches!(error, PictureFetchError::TooLarge { .. }), "{error:?}");

    // One that claims more than any memory has is refused before anything is set aside for it.
    let jetstream = fixture.raw().await;
    let stream = jetstream.get_stream("OBJ_pictures").await.unwrap();
    let subject = "$O.pictures.M.>";
    let stored_info = stream.get_last_raw_message_by_subject(subject).await.unwrap();
    let mut info: serde_json::Value = serde_json::from_slice(&stored_info.payload).unwrap();
    info["size"] = (1_u64 << 60).into();
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-Rollup", "sub");
    let lie = serde_json::to_vec(&info).unwrap().into();
    let stored =
        jetstream.publish_with_headers(stored_info.subject.clone(), headers, lie).await.unwrap();
    stored.await.unwrap();
    let error = delivery.picture().await.unwrap_err();
    assert!(matches!(error, PictureFetchError::TooLarge { .. }), "{error:?}");
}
