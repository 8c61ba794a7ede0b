//! A task as `/v1` describes it.

use domain::{BatchItem, BoundingBox, ClassId, DetectedObject, Detection, Priority, TaskId};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// A task as `/v1` describes it. Fields that a newer API adds are passed over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// The task's id.
    pub task_id: TaskId,
    /// Where the task stands.
    pub state: State,
    /// The file name of the picture.
    pub picture_name: String,
    /// The model that runs on the picture.
    pub model: String,
    /// How soon it is run.
    #[serde(default)]
    pub priority: Priority,
    /// What the client attached to the task.
    #[serde(default)]
    pub metadata: Option<serde_json::Value>,
    /// The batch that the picture was sent in, and its place there.
    #[serde(default)]
    pub batch: Option<BatchItem>,
    /// When the API accepted the picture.
    #[serde(with = "time::serde::rfc3339")]
    pub submitted_at: OffsetDateTime,
    /// When the task expires if no worker has begun it.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub deadline: Option<OffsetDateTime>,
    /// When the current run began (STARTED), or the one that led to the result (SUCCESS).
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub started_at: Option<OffsetDateTime>,
    /// How many runs have begun.
    pub attempts: u32,
    /// No more jobs than this, of the same model and priority, wait before that of the task: an upper bound, where it is
    /// known, while the task is QUEUED.
    #[serde(default)]
    pub max_jobs_ahead: Option<u64>,
    /// Why the task is QUEUED again after a run, in one word, such as `run_failed`.
    #[serde(default)]
    pub retry_reason: Option<String>,
    /// When the task reached its terminal state.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub finished_at: Option<OffsetDateTime>,
    /// The picture's width in pixels; 0 unless SUCCESS.
    #[serde(default)]
    pub width: u32,
    /// The picture's height in pixels; 0 unless SUCCESS.
    #[serde(default)]
    pub height: u32,
    /// The columns and rows of tiles that were run besides the whole picture, such as `3x2`, where it was submitted with
    /// tiles.
    #[serde(default)]
    pub tiles: Option<String>,
    /// The digest of the model that was run, on SUCCESS.
    #[serde(default)]
    pub model_digest: Option<String>,
    /// The worker that ran it, on SUCCESS.
    #[serde(default)]
    pub worker: Option<String>,
    /// How long each stage took, on SUCCESS.
    #[serde(default)]
    pub timings: Option<Timings>,
    /// The objects in the picture, the highest confidence first.
    #[serde(default)]
    pub objects: Vec<FoundObject>,
    /// How many objects were found, in lists, where `objects` is empty.
    #[serde(default)]
    pub object_count: Option<usize>,
    /// What is wrong with the picture's coded pixels; objects may be missing or wrong there.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Whether this is the result of an earlier run on the same picture.
    #[serde(default)]
    pub cached: bool,
    /// Why the task failed, on FAILURE.
    #[serde(default)]
    pub failure: Option<Failure>,
    /// Where the task and what belongs to it are; not from an older API.
    #[serde(default)]
    pub links: Option<Links>,
}

/// Where a task and what belongs to it are: paths of the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Links {
    /// The task.
    #[serde(rename = "self")]
    pub task: String,
    /// Its events.
    pub events: String,
    /// The picture with the detected objects drawn in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

/// Where a task stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    /// Stored in the queue.
    Queued,
    /// A worker has it.
    Started,
    /// Done.
    Success,
    /// Given up; see [`Task::failure`].
    Failure,
    /// Cancelled.
    Revoked,
    /// Not run before its deadline.
    Expired,
    /// A state that only a newer API knows. It is taken for a terminal one.
    #[serde(untagged)]
    Other(String),
}

/// How long each stage of a task took, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Timings {
    /// From the submission to the begin of the run.
    #[serde(default)]
    pub queue_ms: Option<f64>,
    /// Decoding the picture.
    pub decode_ms: f64,
    /// Scaling and padding it to the model's input.
    pub letterbox_ms: f64,
    /// Running the model.
    pub infer_ms: f64,
    /// Decoding boxes, and dropping those of the same object.
    pub boxes_ms: f64,
}

/// One object in the picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FoundObject {
    /// The class's name.
    pub label: String,
    /// The class's index in the model's list of labels.
    pub class_id: u32,
    /// From 0 to 1.
    pub confidence: f32,
    /// Where it is, in pixels of the picture.
    pub bbox: BoundingBox,
}

/// Why a task failed for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// For programs: one word, such as `poison`.
    pub reason: String,
    /// For people.
    pub message: String,
}

impl Task {
    /// Whether the task will not change any more.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        !matches!(self.state, State::Queued | State::Started)
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Queued => "QUEUED",
            Self::Started => "STARTED",
            Self::Success => "SUCCESS",
            Self::Failure => "FAILURE",
            Self::Revoked => "REVOKED",
            Self::Expired => "EXPIRED",
            Self::Other(name) => name,
        })
    }
}

impl From<FoundObject> for DetectedObject {
    fn from(FoundObject { label, class_id, confidence, bbox }: FoundObject) -> Self {
        Self { detection: Detection { bbox, class_id: ClassId(class_id), confidence }, label }
    }
}
