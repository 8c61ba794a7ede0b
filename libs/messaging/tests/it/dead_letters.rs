//! Dead letters: listed, read, requeued and deleted.

use bytes::Bytes;
use domain::{Job, TaskRecord, TaskState};
use messaging::{
    DeadLetter, DeadLetterId, DeadLetterPicture, Messaging, MessagingConfig, MessagingError,
    RequeueError, Role, Settlement,
};
use testkit::{NatsServer, eventually};
use time::OffsetDateTime;

use crate::fixture::{Fixture, TIMEOUT, failure, job, large_picture, next, picture};

/// More than travels inside a message, and more than a few pieces.
const LARGE: usize = 3_000_000;

impl Fixture {
    /// Submits the job, fails it and makes it a dead letter, as a worker does that has tried it too often.
    async fn dead_letter(&self, job: &Job, picture: Bytes) -> DeadLetter {
        self.messaging.queue().submit(job, picture).await.unwrap();
        self.messaging.tasks().finish(&failure(job)).await.unwrap();
        let mut deliveries = self.deliveries();
        next(&mut deliveries, 1)
            .await
            .settle(Settlement::RetryAfter(Default::default()))
            .await
            .unwrap();
        let reject = Settlement::Reject { reason: "poison".to_owned() };
        next(&mut deliveries, 1).await.settle(reject).await.unwrap();
        deliveries.stop().await;
        let found = self.messaging.dead_letters().get(DeadLetterId::Task(job.task_id)).await;
        found.unwrap().expect("it was just dead-lettered")
    }

    async fn dead_letters(&self) -> Vec<DeadLetter> {
        self.messaging.dead_letters().list_after(0).await.unwrap()
    }

    async fn messages(&self, stream: &str) -> u64 {
        self.raw().await.get_stream(stream).await.unwrap().cached_info().state.messages
    }
}

#[tokio::test]
async fn a_dead_letter_tells_why_how_often_and_shows_the_picture() {
    let fixture = Fixture::start().await;
    let dead = fixture.messaging.dead_letters();
    assert!(fixture.dead_letters().await.is_empty());
    for picture in [picture(), large_picture(LARGE)] {
        let job = job();
        let letter = fixture.dead_letter(&job, picture.clone()).await;
        assert_eq!((letter.reason.as_str(), letter.deliveries), ("poison", 2));
        assert_eq!(letter.job.as_ref(), Some(&job));
        assert_eq!(letter.picture.bytes(), Some(picture.len() as u64));
        assert!((OffsetDateTime::now_utc() - letter.dead_lettered_at).abs() < TIMEOUT);
        assert_eq!(dead.picture(&letter).await.unwrap(), Some(picture));
        let by_number = dead.get(DeadLetterId::Sequence(letter.sequence)).await.unwrap();
        assert_eq!(by_number.as_ref(), Some(&letter));
        assert_eq!(fixture.dead_letters().await.last(), Some(&letter));
    }
    for absent in [DeadLetterId::Sequence(99), DeadLetterId::Task(job().task_id)] {
        assert_eq!(dead.get(absent).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_large_picture_outlives_the_object_store_and_goes_with_its_letter() {
    let fixture = Fixture::start().await;
    let letter = fixture.dead_letter(&job(), large_picture(LARGE)).await;
    let other = fixture.dead_letter(&job(), large_picture(LARGE)).await;
    // What is in the object store is needed no longer.
    eventually(TIMEOUT, || async { (fixture.messages("OBJ_pictures").await <= 2).then_some(()) })
        .await;
    let raw = fixture.raw().await;
    let (letters, pictures) =
        (raw.get_stream("DLQ").await.unwrap(), raw.get_stream("DLQ_PICTURES").await.unwrap());
    let (letters, pictures) = (&letters.cached_info().config, &pictures.cached_info().config);
    assert!(pictures.max_age > letters.max_age, "{:?}", pictures.max_age);
    assert!(pictures.max_bytes > 0);

    let dead = fixture.messaging.dead_letters();
    dead.discard(&letter).await.unwrap();
    dead.discard(&letter).await.expect("a second time changes nothing");
    assert_eq!(fixture.dead_letters().await, std::slice::from_ref(&other));
    assert_eq!(dead.picture(&letter).await.unwrap(), None);
    assert_eq!(dead.picture(&other).await.unwrap(), Some(large_picture(LARGE)));
    dead.discard(&other).await.unwrap();
    assert_eq!(fixture.messages("DLQ_PICTURES").await, 0);
}

#[tokio::test]
async fn a_picture_of_which_a_piece_is_missing_is_gone() {
    let fixture = Fixture::start().await;
    let letter = fixture.dead_letter(&job(), large_picture(LARGE)).await;
    let pieces = fixture.raw().await.get_stream("DLQ_PICTURES").await.unwrap();
    pieces.delete_message(pieces.cached_info().state.first_sequence).await.unwrap();
    let dead = fixture.messaging.dead_letters();
    assert_eq!(dead.picture(&letter).await.unwrap(), None);
    let refused = dead.requeue(&letter).await;
    assert!(matches!(refused, Err(RequeueError::PictureGone)), "{refused:?}");
    assert_eq!(fixture.dead_letters().await, [letter]);
}

#[tokio::test]
async fn a_job_whose_picture_has_expired_is_dead_lettered_without_it() {
    let fixture = Fixture::start().await;
    let job = job();
    fixture.messaging.queue().submit(&job, large_picture(LARGE)).await.unwrap();
    let store = fixture.raw().await.get_object_store("pictures").await.unwrap();
    store.delete(job.task_id.to_string()).await.unwrap();
    let reject = Settlement::Reject { reason: "poison".to_owned() };
    next(&mut fixture.deliveries(), 1).await.settle(reject).await.unwrap();
    let [letter] = &fixture.dead_letters().await[..] else { panic!("there is one") };
    assert_eq!((&letter.picture, letter.picture.bytes()), (&DeadLetterPicture::Absent, None));
    assert_eq!(fixture.messaging.dead_letters().picture(letter).await.unwrap(), None);
}

#[tokio::test]
async fn a_requeued_job_is_a_new_task_and_the_old_end_stays() {
    let fixture = Fixture::start().await;
    let tasks = fixture.messaging.tasks();
    for picture in [picture(), large_picture(LARGE)] {
        let old = job();
        let letter = fixture.dead_letter(&old, picture.clone()).await;
        let new = fixture.messaging.dead_letters().requeue(&letter).await.unwrap();
        assert_ne!(new, old.task_id);
        assert!(fixture.dead_letters().await.is_empty());
        assert_eq!(tasks.get(old.task_id).await.unwrap(), Some(failure(&old)));
        let TaskRecord { job, attempts, state } = tasks.get(new).await.unwrap().unwrap();
        assert_eq!((attempts, state, job.task_id), (0, TaskState::Queued { released: false }, new));
        assert_eq!((&job.picture_name, &job.model), (&old.picture_name, &old.model));

        let delivery = next(&mut fixture.deliveries(), 1).await;
        assert_eq!((delivery.job.task_id, delivery.attempt), (new, 1));
        assert_eq!(delivery.picture().await.unwrap(), picture);
        delivery.settle(Settlement::Ack).await.unwrap();
    }
    assert_eq!(fixture.messages("DLQ_PICTURES").await, 0);
}

#[tokio::test]
async fn a_letter_that_the_queue_does_not_take_stays() {
    let fixture = Fixture::configured(|config| config.limits.max_messages = 1).await;
    let letter = fixture.dead_letter(&job(), picture()).await;
    fixture.submit(&job()).await;
    let refused = fixture.messaging.dead_letters().requeue(&letter).await;
    assert!(matches!(refused, Err(RequeueError::Submit(_))), "{refused:?}");
    assert_eq!(fixture.dead_letters().await, [letter]);
}

#[tokio::test]
async fn a_job_is_among_the_dead_letters_once() {
    let fixture = Fixture::start().await;
    let job = job();
    fixture.submit(&job).await;
    let mut deliveries = fixture.deliveries();
    let first = next(&mut deliveries, 1).await;
    // A second hand-over of the same job: what happens when the first one's settlement is lost.
    let raw = fixture.raw().await;
    let subject = format!("dlq.{}", job.task_id);
    raw.publish(subject, Bytes::new()).await.unwrap().await.unwrap();
    first.settle(Settlement::Reject { reason: "poison".to_owned() }).await.unwrap();
    assert_eq!(fixture.messages("DLQ").await, 1);
    fixture.depth_becomes((0, 0)).await;
}

#[tokio::test]
async fn a_message_that_is_no_job_can_be_looked_at_and_dropped_only() {
    let fixture = Fixture::start().await;
    let raw = fixture.raw().await;
    raw.publish("jobs.yolov8n.x", Bytes::from_static(b"?")).await.unwrap().await.unwrap();
    fixture.submit(&job()).await;
    // The next job is delivered; the other message is dead-lettered meanwhile.
    next(&mut fixture.deliveries(), 1).await.settle(Settlement::Ack).await.unwrap();
    let dead = fixture.messaging.dead_letters();
    let letter = eventually(TIMEOUT, || async { fixture.dead_letters().await.pop() }).await;
    assert_eq!((letter.job.as_ref(), letter.deliveries), (None, 1));
    assert_eq!(letter.original_subject, "jobs.yolov8n.x");
    assert!(!letter.reason.is_empty());
    assert_eq!(letter.id(), DeadLetterId::Sequence(letter.sequence));
    assert_eq!(dead.picture(&letter).await.unwrap().as_deref(), Some(&b"?"[..]));
    let refused = dead.requeue(&letter).await;
    assert!(matches!(refused, Err(RequeueError::Unreadable)), "{refused:?}");
    dead.discard(&letter).await.unwrap();
    assert!(fixture.dead_letters().await.is_empty());
}

#[tokio::test]
async fn many_are_read_page_by_page() {
    const MANY: u64 = 450;
    let fixture = Fixture::start().await;
    let raw = fixture.raw().await;
    for _ in 0..MANY {
        raw.publish("dlq.unreadable", Bytes::new()).await.unwrap().await.unwrap();
    }
    let dead = fixture.messaging.dead_letters();
    let (mut last, mut pages) = (0, Vec::new());
    loop {
        let page = dead.list_after(last).await.unwrap();
        let Some(end) = page.last() else { break };
        assert_eq!(page[0].sequence, last + 1);
        last = end.sequence;
        pages.push(page.len());
    }
    assert_eq!((last, pages), (MANY, vec![200, 200, 50]));
    // No temporary consumer is left.
    assert_eq!(raw.get_stream("DLQ").await.unwrap().cached_info().state.consumer_count, 0);
}

#[tokio::test]
async fn a_server_without_a_queue_says_so() {
    let server = NatsServer::start();
    let config = MessagingConfig::new(server.url().parse().unwrap(), Role::Cli);
    let messaging = Messaging::connect(config).await.unwrap();
    let error = messaging.dead_letters().list_after(0).await.unwrap_err();
    assert!(matches!(error, MessagingError::NotProvisioned { .. }), "{error:?}");
}
