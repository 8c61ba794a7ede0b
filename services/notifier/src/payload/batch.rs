//! The body of a batch's webhook: its counts, and where its results are.

use domain::{BatchCounts, BatchRecord, Metadata, Reception};
use serde::Serialize;
use time::OffsetDateTime;

use super::envelope::Payload;

#[derive(Serialize)]
pub(super) struct Batch<'a> {
    batch_id: String,
    state: &'static str,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    finished_at: OffsetDateTime,
    received: u32,
    counts: BatchCounts,
    cancelled: bool,
    /// Why not all pictures were received.
    #[serde(skip_serializing_if = "Option::is_none")]
    interruption: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Metadata>,
    links: Links,
}

/// Relative to the API.
#[derive(Serialize)]
struct Links {
    #[serde(rename = "self")]
    this: String,
    events: String,
    results: String,
}

/// The body for the end of a batch.
pub(super) fn payload(record: &BatchRecord) -> Payload<Batch<'_>> {
    let (finished_at, counts) = match record.end {
        Some(end) => (end.finished_at, end.counts),
        // Nobody reports a batch that has not ended.
        None => (record.created_at, BatchCounts::default()),
    };
    let this = format!("/v1/batches/{}", record.batch_id);
    Payload {
        r#type: "batch.finished".to_owned(),
        timestamp: finished_at,
        data: Batch {
            batch_id: record.batch_id.to_string(),
            state: "FINISHED",
            created_at: record.created_at,
            finished_at,
            received: record.received,
            counts,
            cancelled: record.cancelled,
            interruption: match &record.reception {
                Reception::Interrupted { reason } => Some(reason),
                Reception::Receiving { .. } | Reception::Complete => None,
            },
            metadata: record.metadata.as_ref(),
            links: Links {
                events: format!("{this}/events"),
                results: format!("{this}/results"),
                this,
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use domain::{BatchEnd, BatchId};

    use super::*;

    #[test]
    fn a_batch_is_reported_by_its_counts() {
        let counts = BatchCounts { succeeded: 2, refused: 1, ..BatchCounts::default() };
        let record = BatchRecord {
            batch_id: BatchId::generate(),
            created_at: OffsetDateTime::UNIX_EPOCH,
            received: 3,
            reception: Reception::Interrupted { reason: "it broke off".to_owned() },
            late_until: None,
            attempt: 1,
            cancelled: false,
            owner: None,
            metadata: None,
            callback_url: None,
            end: Some(BatchEnd { finished_at: OffsetDateTime::UNIX_EPOCH, counts }),
        };
        let body = serde_json::to_value(payload(&record)).unwrap();
        assert_eq!(
            (&body["type"], &body["timestamp"]),
            (&"batch.finished".into(), &"1970-01-01T00:00:00Z".into())
        );
        let data = &body["data"];
        assert_eq!(data["counts"]["succeeded"], 2);
        assert_eq!((&data["received"], &data["interruption"]), (&3.into(), &"it broke off".into()));
        assert_eq!(data["links"]["results"], format!("/v1/batches/{}/results", record.batch_id));
    }
}
