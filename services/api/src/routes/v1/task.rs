//! A task as the versioned API shows it.

mod kinds;

use std::time::Duration;

use domain::{
    BatchItem, DetectedObject, Metadata, RetryReason, RunReport, TaskId, TaskRecord, TaskState,
    five_decimals,
};
use poem_openapi::{
    Object,
    types::{Any, Example},
};
use time::OffsetDateTime;

use self::kinds::Reason;
pub(crate) use self::kinds::{PriorityName, Retry, State};
use crate::routes::schema::EXAMPLE_ID;

/// A task and what is known of it.
#[derive(Object)]
#[oai(skip_serializing_if_is_none, example)]
pub(crate) struct Task {
    /// The task's id.
    task_id: String,
    /// Where the task stands.
    state: State,
    /// The file name of the picture.
    picture_name: String,
    /// The model that is asked.
    model: String,
    /// How soon it is run.
    priority: PriorityName,
    /// What the client attached to the task.
    metadata: Option<Any<Metadata>>,
    /// The batch that the picture was sent in.
    batch: Option<OfBatch>,
    /// When the picture was taken in.
    submitted_at: OffsetDateTime,
    /// When it expires if no worker has come to it.
    deadline: Option<OffsetDateTime>,
    /// When the run began that goes on (STARTED) or found the result (SUCCESS).
    started_at: Option<OffsetDateTime>,
    /// How many runs have begun.
    attempts: u32,
    /// No more jobs than this, of the same model and priority, wait before that of the task: an upper bound, up to a
    /// second old, which counts some jobs that were cancelled, and where models or priorities share the queue, jobs of
    /// others, but not those that a worker gave back. Only in the answer of `GET /v1/tasks/{task_id}`, while the job
    /// waits for its first worker; absent where it is not known.
    pub(super) max_jobs_ahead: Option<u64>,
    /// Why the task is QUEUED again after a run.
    pub(super) retry_reason: Option<Retry>,
    /// When the task ended.
    finished_at: Option<OffsetDateTime>,
    /// The picture's width in pixels, on SUCCESS.
    width: Option<u32>,
    /// The picture's height in pixels, on SUCCESS.
    height: Option<u32>,
    /// The columns and rows of tiles that were run besides the whole picture, where it was submitted with `tiles`. Its
    /// timings are sums.
    tiles: Option<String>,
    /// The digest of the model that was run, on SUCCESS.
    model_digest: Option<String>,
    /// The worker that ran it, on SUCCESS and unless the result was cached: its machine (in Kubernetes, its pod) and
    /// its process.
    worker: Option<String>,
    /// How long each stage took, on SUCCESS and unless the result was cached.
    timings: Option<Timings>,
    /// What was found, highest confidence first, on SUCCESS.
    objects: Option<Vec<FoundObject>>,
    /// How many objects were found, in lists, which have this instead of `objects`.
    object_count: Option<usize>,
    /// On SUCCESS: what is wrong with the picture's coded pixels, where they are damaged or end early and were decoded
    /// as far as they go. Objects may be missing or wrong there. Also why a task has no `image`, where it should have one.
    /// Absent where nothing is.
    warnings: Option<Vec<String>>,
    /// On SUCCESS: whether this is the result of an earlier run on the same picture.
    cached: Option<bool>,
    /// Why it failed, on FAILURE.
    failure: Option<Failure>,
    /// Where the task and what belongs to it are.
    links: Links,
}

const EXAMPLE_WARNING: &str =
    "the JPEG's coded data ends early: the missing part of the picture is filled in";

impl Example for Task {
    fn example() -> Self {
        let at = OffsetDateTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
        Self {
            task_id: EXAMPLE_ID.to_owned(),
            state: State::Success,
            picture_name: "bus.jpg".to_owned(),
            model: "yolov8n".to_owned(),
            priority: PriorityName::Normal,
            metadata: Metadata::try_from(serde_json::json!({ "camera": "door" })).ok().map(Any),
            batch: None,
            submitted_at: at,
            deadline: Some(at + Duration::from_secs(24 * 3600)),
            started_at: Some(at + Duration::from_millis(5)),
            attempts: 1,
            max_jobs_ahead: None,
            retry_reason: None,
            finished_at: Some(at + Duration::from_millis(90)),
            tiles: None,
            model_digest: Some("5e23…".to_owned()),
            worker: Some("worker-7f9c4d-1".to_owned()),
            timings: Some(Timings {
                queue_ms: Some(5.0),
                decode_ms: 3.42,
                letterbox_ms: 0.71,
                infer_ms: 37.9,
                boxes_ms: 0.08,
            }),
            width: Some(810),
            height: Some(1080),
            objects: Some(vec![FoundObject {
                label: "bus".to_owned(),
                class_id: 5,
                confidence: 0.87345,
                bbox: Corners { x1: 22.87127, y1: 231.27731, x2: 805.00262, y2: 756.84045 },
            }]),
            object_count: None,
            warnings: Some(vec![EXAMPLE_WARNING.to_owned()]),
            cached: Some(false),
            failure: None,
            links: Links {
                this: format!("/v1/tasks/{EXAMPLE_ID}"),
                events: format!("/v1/tasks/{EXAMPLE_ID}/events"),
                image: Some(format!("/v1/tasks/{EXAMPLE_ID}/image")),
            },
        }
    }
}

/// Which picture of which batch a task is.
#[derive(Object)]
struct OfBatch {
    /// The batch's id.
    batch_id: String,
    /// The place of the picture in it, from 0.
    index: u16,
}

impl From<BatchItem> for OfBatch {
    fn from(item: BatchItem) -> Self {
        Self { batch_id: item.batch_id.to_string(), index: item.index }
    }
}

/// Where a task and what belongs to it are: paths of this API.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct Links {
    /// The task.
    #[oai(rename = "self")]
    this: String,
    /// Its events.
    events: String,
    /// The picture with the detected objects drawn in, on SUCCESS of a task that was submitted with `annotated`.
    image: Option<String>,
}

impl Links {
    fn of(id: TaskId) -> Self {
        let this = format!("/v1/tasks/{id}");
        Self { events: format!("{this}/events"), this, image: None }
    }
}

/// How long each stage of a task took, in milliseconds.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct Timings {
    /// From the submission to the begin of the run.
    queue_ms: Option<f64>,
    /// Decoding the picture.
    decode_ms: f64,
    /// Scaling and padding it to the model's input.
    letterbox_ms: f64,
    /// Running the model; of a batch, the run's time divided by its pictures.
    infer_ms: f64,
    /// Decoding boxes, and dropping those of the same object.
    boxes_ms: f64,
}

impl Timings {
    fn of(run: &RunReport, waited: Option<time::Duration>) -> Self {
        Self {
            queue_ms: waited.map(|waited| two_decimals(waited.as_seconds_f64() * 1e3)),
            decode_ms: two_decimals(run.decode_ms.into()),
            letterbox_ms: two_decimals(run.letterbox_ms.into()),
            infer_ms: two_decimals(run.infer_ms.into()),
            boxes_ms: two_decimals(run.postprocess_ms.into()),
        }
    }
}

/// A single has more decimals as a double.
fn two_decimals(milliseconds: f64) -> f64 {
    (milliseconds * 100.0).round() / 100.0
}

/// One object in the picture.
#[derive(Object)]
struct FoundObject {
    /// The class's name.
    label: String,
    /// The class's index in the model's label list.
    class_id: u32,
    /// From 0 to 1, five decimals.
    confidence: f64,
    /// Where it is.
    bbox: Corners,
}

/// Two opposite corners in pixels of the picture, five decimals; y grows downwards.
#[derive(Object)]
struct Corners {
    x1: f64,
    y1: f64,
    x2: f64,
    y2: f64,
}

/// Why a task failed for good.
#[derive(Object)]
struct Failure {
    /// For programs.
    reason: Reason,
    /// For people.
    message: String,
}

impl From<DetectedObject> for FoundObject {
    fn from(object: DetectedObject) -> Self {
        let bbox = object.detection.bbox;
        Self {
            label: object.label,
            class_id: object.detection.class_id.0,
            confidence: five_decimals(object.detection.confidence),
            bbox: Corners {
                x1: five_decimals(bbox.x1),
                y1: five_decimals(bbox.y1),
                x2: five_decimals(bbox.x2),
                y2: five_decimals(bbox.y2),
            },
        }
    }
}

impl Task {
    /// As lists show it: with the number of its objects.
    pub(super) fn without_objects(mut self) -> Self {
        self.object_count = self.objects.take().map(|objects| objects.len());
        self
    }
}

impl From<TaskRecord> for Task {
    fn from(record: TaskRecord) -> Self {
        let retry_reason = RetryReason::of(&record).map(Retry::from);
        let TaskRecord { job, attempts, state } = record;
        let (started_at, finished_at) = (state.started_at(), state.finished_at());
        let mut task = Self {
            task_id: job.task_id.to_string(),
            state: State::Queued,
            picture_name: job.picture_name,
            model: job.model.to_string(),
            priority: job.priority.into(),
            metadata: job.metadata.map(Any),
            batch: job.batch.map(Into::into),
            submitted_at: job.submitted_at,
            deadline: job.deadline,
            started_at,
            attempts,
            max_jobs_ahead: None,
            retry_reason,
            finished_at,
            width: None,
            height: None,
            tiles: None,
            model_digest: None,
            worker: None,
            timings: None,
            objects: None,
            object_count: None,
            warnings: None,
            cached: None,
            failure: None,
            links: Links::of(job.task_id),
        };
        match state {
            TaskState::Queued { .. } => {}
            TaskState::Started { .. } => task.state = State::Started,
            TaskState::Success {
                objects,
                width,
                height,
                warnings,
                cached,
                run,
                model_digest,
                started_at,
                drawing,
                ..
            } => {
                task.state = State::Success;
                let tiling = job.settings.tiling;
                task.tiles = tiling.map(|tiling| tiling.grid(width, height).to_string());
                task.links.image = drawing.map(|_| format!("{}/image", task.links.this));
                let waited = started_at.map(|started_at| started_at - job.submitted_at);
                task.timings = run.as_ref().map(|run| Timings::of(run, waited));
                task.worker = run.map(|run| run.worker);
                task.model_digest = model_digest.map(|digest| digest.to_string());
                task.warnings = (!warnings.is_empty()).then_some(warnings);
                task.cached = Some(cached);
                task.width = Some(width);
                task.height = Some(height);
                task.objects = Some(objects.into_iter().map(FoundObject::from).collect());
            }
            TaskState::Failure { reason, message, .. } => {
                task.state = State::Failure;
                task.failure = Some(Failure { reason: reason.into(), message });
            }
            TaskState::Revoked { .. } => task.state = State::Revoked,
            TaskState::Expired { .. } => task.state = State::Expired,
        }
        task
    }
}
