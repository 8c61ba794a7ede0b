//! A batch as the versioned API shows it.

use std::time::Duration;

use domain::{BatchCounts, BatchRecord, ItemRefusal, Metadata, Reception};
use poem_openapi::{
    Enum, Object,
    types::{Any, Example},
};
use time::OffsetDateTime;

use crate::{
    batches::{list::BatchViews, view::BatchView},
    routes::schema::EXAMPLE_ID,
};

/// Where a batch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum BatchState {
    /// Its pictures arrive.
    Receiving,
    /// All pictures that will come have been received, and some tasks have not ended.
    Running,
    /// Each task has ended.
    Finished,
}

/// Many pictures that were submitted together.
#[derive(Object)]
#[oai(skip_serializing_if_is_none, example)]
pub(super) struct Batch {
    /// The batch's id.
    batch_id: String,
    /// Where the batch stands.
    state: BatchState,
    /// When it began.
    created_at: OffsetDateTime,
    /// When each task had ended.
    finished_at: Option<OffsetDateTime>,
    /// How many pictures have been accepted or refused: those with lower indices.
    received: u32,
    /// What became of them.
    counts: Counts,
    /// Why the batch broke off: pictures from index `received` on were not accepted. To continue it, send it again with the
    /// same `Idempotency-Key`.
    interruption: Option<String>,
    /// Whether it was cancelled.
    cancelled: bool,
    /// What the client attached to the batch.
    metadata: Option<Any<Metadata>>,
    /// The first 100 pictures that were refused; `results` has all.
    refused: Option<Vec<Refused>>,
    /// Where the batch and what belongs to it are.
    links: BatchLinks,
}

/// A page of a list of batches.
#[derive(Object)]
#[oai(skip_serializing_if_is_none, example)]
pub(super) struct BatchList {
    /// Newest first, without their `refused` pictures.
    batches: Vec<Batch>,
    /// The `cursor` of the next page. Absent on the last one.
    next: Option<String>,
}

impl From<BatchViews> for BatchList {
    fn from(page: BatchViews) -> Self {
        let batches = page.batches.into_iter().map(Batch::from).collect();
        Self { batches, next: page.next.map(|next| next.to_string()) }
    }
}

impl Example for BatchList {
    fn example() -> Self {
        let batch = Batch { refused: None, ..Batch::example() };
        Self { batches: vec![batch], next: Some(EXAMPLE_ID.to_owned()) }
    }
}

/// What became of the pictures that were received. The numbers add up to `received`.
#[derive(Object)]
struct Counts {
    /// Those whose task has not ended: it is QUEUED or STARTED.
    pending: u32,
    /// Those whose task is in state SUCCESS.
    succeeded: u32,
    /// FAILURE.
    failed: u32,
    /// REVOKED.
    revoked: u32,
    /// EXPIRED.
    expired: u32,
    /// Those that have no task.
    refused: u32,
}

impl From<BatchCounts> for Counts {
    fn from(counts: BatchCounts) -> Self {
        let BatchCounts { pending, refused, succeeded, failed, revoked, expired } = counts;
        Self { pending, succeeded, failed, revoked, expired, refused }
    }
}

/// A picture that was refused.
#[derive(Object)]
struct Refused {
    /// Its place in the batch, from 0.
    index: u16,
    /// Its name; empty where that is not known.
    name: String,
    /// The kind of problem, as a URI. docs/errors.md lists all kinds.
    r#type: String,
    /// What was found and what was expected.
    detail: String,
}

/// Where a batch and what belongs to it are: paths of this API.
#[derive(Object)]
struct BatchLinks {
    /// The batch.
    #[oai(rename = "self")]
    this: String,
    /// Its events.
    events: String,
    /// Its tasks, in order.
    results: String,
}

impl From<BatchView> for Batch {
    fn from(view: BatchView) -> Self {
        let BatchView { record, counts, refusals } = view;
        let BatchRecord { batch_id, created_at, received, reception, cancelled, metadata, .. } =
            record;
        let this = format!("/v1/batches/{batch_id}");
        let state = match (&record.end, &reception) {
            (Some(_), _) => BatchState::Finished,
            (None, Reception::Receiving { .. }) => BatchState::Receiving,
            (None, _) => BatchState::Running,
        };
        let interruption = match reception {
            Reception::Interrupted { reason } => Some(reason),
            Reception::Receiving { .. } | Reception::Complete => None,
        };
        let refused = |(index, refusal)| {
            let ItemRefusal { name, kind, detail } = refusal;
            Refused { index, name, r#type: kind, detail }
        };
        Self {
            batch_id: batch_id.to_string(),
            state,
            created_at,
            finished_at: record.end.map(|end| end.finished_at),
            received,
            counts: counts.into(),
            interruption,
            cancelled,
            metadata: metadata.map(Any),
            refused: (!refusals.is_empty()).then(|| refusals.into_iter().map(refused).collect()),
            links: BatchLinks {
                events: format!("{this}/events"),
                results: format!("{this}/results"),
                this,
            },
        }
    }
}

impl Example for Batch {
    fn example() -> Self {
        let at = OffsetDateTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
        let this = format!("/v1/batches/{EXAMPLE_ID}");
        Self {
            batch_id: EXAMPLE_ID.to_owned(),
            state: BatchState::Running,
            created_at: at,
            finished_at: None,
            received: 3,
            counts: BatchCounts { pending: 1, succeeded: 1, refused: 1, ..Default::default() }
                .into(),
            interruption: None,
            cancelled: false,
            metadata: Metadata::try_from(serde_json::json!({ "camera": "door" })).ok().map(Any),
            refused: Some(vec![Refused {
                index: 2,
                name: "notes.txt".to_owned(),
                r#type: "urn:problem-type:spotter:invalid-picture".to_owned(),
                detail: "the file is no JPEG, PNG, WebP, BMP or GIF".to_owned(),
            }]),
            links: BatchLinks {
                events: format!("{this}/events"),
                results: format!("{this}/results"),
                this,
            },
        }
    }
}
