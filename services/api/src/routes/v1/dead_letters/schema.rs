//! A dead letter as the versioned API shows it.

use domain::TaskId;
use poem_openapi::{Object, types::Example};
use time::{Duration, OffsetDateTime};

use crate::given_up::{ExplainedLetter, Page};

/// A page of dead letters.
#[derive(Object)]
#[oai(skip_serializing_if_is_none, example)]
pub(super) struct DeadLetterList {
    /// The oldest first.
    dead_letters: Vec<DeadLetterEntry>,
    /// The `cursor` of the next page. Absent on the last one.
    next: Option<String>,
}

/// A job that no worker could process, or a message that is no job.
#[derive(Object)]
#[oai(rename = "DeadLetter", skip_serializing_if_is_none)]
struct DeadLetterEntry {
    /// What it is addressed by: its task, or a number for a message that is no job.
    id: String,
    /// Its task. Absent for a message that is no job.
    task_id: Option<String>,
    /// The model that it was for.
    model: Option<String>,
    /// The file name of its picture.
    picture_name: Option<String>,
    /// Why it is a dead letter, such as `poison`: each of its runs failed or stopped its worker.
    reason: String,
    /// What the task's record says of its failure. Absent if that has expired.
    detail: Option<String>,
    /// How often it was delivered to a worker; 0 if unknown.
    deliveries: u32,
    /// When it became a dead letter.
    died_at: OffsetDateTime,
    /// Until when it is kept; not as long if there are too many.
    kept_until: OffsetDateTime,
    /// Its picture. Absent if that is gone.
    picture: Option<KeptPicture>,
}

/// The picture of a dead letter.
#[derive(Object)]
struct KeptPicture {
    /// Its length.
    bytes: u64,
}

/// The task that a dead letter was requeued as.
#[derive(Object)]
#[oai(example)]
pub(super) struct Requeued {
    /// The new task.
    task_id: String,
}

impl Requeued {
    pub(super) fn new(task_id: TaskId) -> Self {
        Self { task_id: task_id.to_string() }
    }
}

impl From<Page<ExplainedLetter>> for DeadLetterList {
    fn from(Page { members, next }: Page<ExplainedLetter>) -> Self {
        let dead_letters = members.into_iter().map(DeadLetterEntry::from).collect();
        Self { dead_letters, next: next.map(|next| next.to_string()) }
    }
}

impl From<ExplainedLetter> for DeadLetterEntry {
    fn from(ExplainedLetter { letter, message }: ExplainedLetter) -> Self {
        let job = letter.job.as_ref();
        Self {
            id: letter.id().to_string(),
            task_id: job.map(|job| job.task_id.to_string()),
            model: job.map(|job| job.model.to_string()),
            picture_name: job.map(|job| job.picture_name.clone()),
            detail: message,
            deliveries: letter.deliveries,
            died_at: letter.dead_lettered_at,
            kept_until: letter.kept_until(),
            picture: letter.picture.bytes().map(|bytes| KeptPicture { bytes }),
            reason: letter.reason,
        }
    }
}

impl Example for DeadLetterList {
    fn example() -> Self {
        let task_id = "0190b5a3-7c1e-7d2a-9f61-3a5d0c9e8b47".to_owned();
        let letter = DeadLetterEntry {
            id: task_id.clone(),
            task_id: Some(task_id),
            model: Some("yolov8n".to_owned()),
            picture_name: Some("bus.jpg".to_owned()),
            reason: "poison".to_owned(),
            detail: Some("given up after 5 attempts".to_owned()),
            deliveries: 6,
            died_at: OffsetDateTime::UNIX_EPOCH,
            kept_until: OffsetDateTime::UNIX_EPOCH + Duration::WEEK,
            picture: Some(KeptPicture { bytes: 137_419 }),
        };
        Self { dead_letters: vec![letter], next: Some("17".to_owned()) }
    }
}

impl Example for Requeued {
    fn example() -> Self {
        Self { task_id: "0190b5a3-7c1e-7d2a-9f61-3a5d0c9e8b48".to_owned() }
    }
}
