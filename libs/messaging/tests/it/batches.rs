//! Batches: their records, what became of their pictures, and their ends.

use domain::{
    BatchCounts, BatchEnd, BatchId, BatchItem, BatchRecord, CallbackUrl, ItemOutcome, ItemRefusal,
    Job, Reception,
};
use messaging::{BatchChange, Ended};
use time::OffsetDateTime;
use tokio::time::timeout;

use crate::{
    fixture::{Fixture, TIMEOUT, failure, job, success},
    webhooks::Taking,
};

pub(crate) fn batch() -> BatchRecord {
    BatchRecord { received: 3, ..BatchRecord::new(BatchId::generate(), Reception::Complete) }
}

pub(crate) fn refusal() -> ItemRefusal {
    ItemRefusal {
        name: "notes.txt".to_owned(),
        kind: "urn:x".to_owned(),
        detail: "no picture".to_owned(),
    }
}

fn of_batch(batch_id: BatchId, index: u16) -> Job {
    let item = BatchItem { batch_id, index };
    Job { task_id: item.task_id(), batch: Some(item), ..job() }
}

#[tokio::test]
async fn the_end_of_a_task_counts_once_for_its_batch() {
    let fixture = Fixture::start().await;
    let (batches, tasks) = (fixture.messaging.batches(), fixture.messaging.tasks());
    let record = batch();
    let id = record.batch_id;
    batches.create(&record).await.unwrap().unwrap();
    assert_eq!(batches.outcomes(id).await.unwrap().counts(3).pending, 3);

    let succeeded = success(&of_batch(id, 0));
    tasks.finish(&succeeded).await.unwrap();
    // As the worker does that gets the job again.
    tasks.announce(&succeeded).await.unwrap();
    assert!(tasks.create_terminal(&failure(&of_batch(id, 2))).await.unwrap());
    batches.note_refused(BatchItem { batch_id: id, index: 1 }, &refusal()).await.unwrap();
    // Of another batch, and of none.
    tasks.finish(&success(&of_batch(BatchId::generate(), 1))).await.unwrap();
    tasks.finish(&success(&job())).await.unwrap();

    let outcomes = batches.outcomes(id).await.unwrap();
    let counts = outcomes.counts(3);
    let expected = BatchCounts { succeeded: 1, failed: 1, refused: 1, ..Default::default() };
    assert_eq!(counts, expected);
    assert!(outcomes.is_complete(3));
    let refused = batches.refusal(BatchItem { batch_id: id, index: 1 }).await.unwrap();
    assert_eq!(refused, Some(refusal()));
}

#[tokio::test]
async fn a_task_of_no_batch_stores_nothing_more() {
    let fixture = Fixture::start().await;
    fixture.messaging.tasks().finish(&success(&job())).await.unwrap();
    assert_eq!(fixture.server.stream("KV_batches").unwrap().messages, 0);
}

#[tokio::test]
async fn a_record_is_changed_by_one_writer_at_a_time() {
    let fixture = Fixture::start().await;
    let batches = fixture.messaging.batches();
    let record = batch();
    let revision = batches.create(&record).await.unwrap().unwrap();
    assert_eq!(batches.create(&record).await.unwrap(), None, "there is one");
    let more = BatchRecord { received: 4, ..record.clone() };
    assert!(batches.update(&more, revision).await.unwrap().is_some());
    assert_eq!(batches.update(&record, revision).await.unwrap(), None, "it has changed");
    let (found, _) = batches.get(record.batch_id).await.unwrap().unwrap();
    assert_eq!(found, more);
    assert!(batches.get(BatchId::generate()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_batch_is_open_until_its_end_is_reported() {
    let fixture = Fixture::start().await;
    let batches = fixture.messaging.batches();
    let records = [batch(), batch()];
    for record in &records {
        batches.create(record).await.unwrap();
    }
    let mut open = batches.open().await.unwrap();
    open.sort_unstable();
    assert_eq!(open, records.clone().map(|record| record.batch_id));
    batches.close(records[0].batch_id).await.unwrap();
    assert_eq!(batches.open().await.unwrap(), [records[1].batch_id]);
    // It was continued.
    batches.mark_open(records[0].batch_id).await.unwrap();
    assert_eq!(batches.open().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_batch_can_be_followed() {
    let fixture = Fixture::start().await;
    let batches = fixture.messaging.batches();
    let record = batch();
    let id = record.batch_id;
    let revision = batches.create(&record).await.unwrap().unwrap();
    let mut changes = batches.follow(id).await.unwrap();
    fixture.server.wait_until_subscribed(&format!("batch_records.{id}.>")).await;
    fixture.messaging.tasks().finish(&success(&of_batch(id, 2))).await.unwrap();
    let change = timeout(TIMEOUT, changes.next()).await.unwrap();
    assert_eq!(change, BatchChange::Outcome(2, ItemOutcome::Succeeded));
    let more = BatchRecord { cancelled: true, ..record };
    batches.update(&more, revision).await.unwrap();
    let change = timeout(TIMEOUT, changes.next()).await.unwrap();
    assert_eq!(change, BatchChange::Record(Box::new(more)));
}

#[tokio::test]
async fn the_end_of_a_batch_is_a_webhook() {
    let fixture = Fixture::start().await;
    let mut taking = Taking::start(&fixture.messaging);
    let end = BatchEnd { finished_at: OffsetDateTime::now_utc(), counts: BatchCounts::default() };
    let callback_url = Some(CallbackUrl::new("https://example.com/".to_owned()));
    let ended = BatchRecord { callback_url, end: Some(end), ..batch() };
    let webhooks = fixture.messaging.webhooks();
    webhooks.announce_batch(&BatchRecord { callback_url: None, ..ended.clone() }).await.unwrap();
    // Twice, as after a crash in between.
    webhooks.announce_batch(&ended).await.unwrap();
    webhooks.announce_batch(&ended).await.unwrap();
    let delivery = taking.next().await;
    assert_eq!(delivery.ended, Ended::from(ended.clone()));
    delivery.give_up("gone").await.unwrap();
    let dead = fixture.messaging.dead_webhooks();
    let found = dead.get(ended.batch_id.uuid()).await.unwrap().unwrap();
    dead.replay(&found).await.unwrap();
    let delivery = taking.next().await;
    delivery.delivered().await.unwrap();
    // Continued, and ended again: another webhook.
    let again = BatchRecord { attempt: 2, ..ended };
    webhooks.announce_batch(&again).await.unwrap();
    assert_eq!(taking.next().await.ended, Ended::from(again));
}

#[tokio::test]
async fn a_page_of_batches_has_the_wanted_ones_before_its_cursor() {
    let fixture = Fixture::start().await;
    let batches = fixture.messaging.batches();
    let mut records = Vec::new();
    for received in 0..5 {
        let record = BatchRecord { received, ..batch() };
        batches.create(&record).await.unwrap().unwrap();
        records.push(record);
    }
    // Keys that are no heads of batches, as an outcome of one that has expired.
    let item = BatchItem { batch_id: BatchId::generate(), index: 0 };
    batches.note_outcome(item, ItemOutcome::Failed).await.unwrap();
    records.reverse();

    let is_even = |record: &BatchRecord| record.received.is_multiple_of(2);
    let first = batches.list(None, 2, is_even).await.unwrap();
    assert_eq!(first.records, [records[0].clone(), records[2].clone()]);
    assert_eq!(first.next, Some(records[2].batch_id));
    let second = batches.list(first.next, 2, is_even).await.unwrap();
    assert_eq!((second.records, second.next), (vec![records[4].clone()], None));
    let all = batches.list(None, 5, |_| true).await.unwrap();
    assert_eq!((all.records, all.next), (records, None));
}
