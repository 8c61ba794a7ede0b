//! Tasks: jobs, records and states, and the rule that a terminal state never changes.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::{
    BatchItem, CallbackUrl, DetectedObject, DetectionSettings, Drawing, DrawingFormat, KeyId,
    Metadata, ModelName, Priority, Sha256Digest, TaskId,
};

/// The data that a worker needs to run a task, besides the picture's bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// The task of this job.
    pub task_id: TaskId,
    /// The file name the client gave the picture, such as `bus.jpg`.
    pub picture_name: String,
    /// The model to run.
    pub model: ModelName,
    /// The thresholds to run it with.
    #[serde(default)]
    pub settings: DetectionSettings,
    /// How soon to run it.
    #[serde(default, skip_serializing_if = "Priority::is_normal")]
    pub priority: Priority,
    /// When the API accepted the picture.
    #[serde(with = "time::serde::rfc3339")]
    pub submitted_at: OffsetDateTime,
    /// From this moment on the job is not run any more. `None`: no deadline.
    #[serde(
        default,
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub deadline: Option<OffsetDateTime>,
    /// The digest of the picture's bytes. `None` where the result must not be cached for other tasks with the
    /// same picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture_sha256: Option<Sha256Digest>,
    /// What the client has attached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// The format of the drawing that the client asks for: the picture with the detected objects. `None`: it asks for
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotated: Option<DrawingFormat>,
    /// Where the end of the task is reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback_url: Option<CallbackUrl>,
    /// The API key that the task was submitted with. `None`: it was submitted without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<KeyId>,
    /// Which picture of which batch it is; `None` outside batches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchItem>,
}

impl Job {
    /// The job of a new task that is submitted now, without a deadline; its result is not cached.
    #[must_use]
    pub fn new(picture_name: String, model: ModelName, settings: DetectionSettings) -> Self {
        Self {
            task_id: TaskId::generate(),
            picture_name,
            model,
            settings,
            priority: Priority::Normal,
            submitted_at: OffsetDateTime::now_utc(),
            deadline: None,
            picture_sha256: None,
            metadata: None,
            annotated: None,
            callback_url: None,
            owner: None,
            batch: None,
        }
    }

    /// The same job as that of a new task of this owner, whose id tells so.
    #[must_use]
    pub fn owned_by(self, owner: Option<KeyId>) -> Self {
        let task_id = owner.map_or_else(TaskId::generate, TaskId::generate_for);
        Self { task_id, owner, ..self }
    }

    /// Whether the job is past its deadline at `now`.
    #[must_use]
    pub fn is_overdue(&self, now: OffsetDateTime) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }
}

/// The record of a task: the value of its key in the `tasks` bucket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// The job as it was accepted.
    #[serde(flatten)]
    pub job: Job,
    /// How many runs have begun, without those that a stopping worker has released, as far as they are stored:
    /// a short first run is not, see [`TaskRecord::earlier_runs`]. The queue's count of deliveries will not do:
    /// it includes released deliveries and does not survive every crash of the server.
    #[serde(default)]
    pub attempts: u32,
    /// The state of the task.
    #[serde(flatten)]
    pub state: TaskState,
}

impl TaskRecord {
    /// The record of a job that has just been accepted.
    #[must_use]
    pub fn queued(job: Job) -> Self {
        Self { job, attempts: 0, state: TaskState::Queued { released: false } }
    }

    /// How many runs have begun before the `delivery`th delivery of the job, whose record is `present`.
    ///
    /// A first run is stored only when it takes long. So where nothing is stored of the first delivery, it
    /// counts as a run that its worker did not survive.
    #[must_use]
    pub fn earlier_runs(present: Option<&Self>, delivery: u32) -> u32 {
        let is_known = present.is_some_and(|record| {
            record.attempts > 0 || matches!(record.state, TaskState::Queued { released: true })
        });
        match present {
            Some(record) if is_known => record.attempts,
            Some(_) | None => u32::from(delivery > 1),
        }
    }

    /// The same task in another state.
    #[must_use]
    pub fn with_state(&self, state: TaskState) -> Self {
        Self { job: self.job.clone(), attempts: self.attempts, state }
    }
}

/// The state of a task. A terminal state, once stored, never changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TaskState {
    /// Stored in the queue, and not in a run: not yet, or again after a release or a failed run.
    Queued {
        /// Whether a worker has released the job, so that `attempts` includes all earlier runs.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        released: bool,
    },
    /// A worker runs it.
    Started {
        /// When the run began.
        #[serde(with = "time::serde::rfc3339")]
        started_at: OffsetDateTime,
        /// The deadline of the run, which the worker extends while the run goes on. `None` in records of older
        /// workers.
        #[serde(
            default,
            with = "time::serde::rfc3339::option",
            skip_serializing_if = "Option::is_none"
        )]
        run_deadline: Option<OffsetDateTime>,
    },
    /// The model has run.
    Success {
        /// When the run began. `None` for a cached result, and in records of older workers.
        #[serde(
            default,
            with = "time::serde::rfc3339::option",
            skip_serializing_if = "Option::is_none"
        )]
        started_at: Option<OffsetDateTime>,
        /// When the result was ready.
        #[serde(with = "time::serde::rfc3339")]
        finished_at: OffsetDateTime,
        /// The detections, highest confidence first.
        objects: Vec<DetectedObject>,
        /// The picture's width in pixels, after its EXIF orientation.
        width: u32,
        /// The picture's height in pixels, after its EXIF orientation.
        height: u32,
        /// Warnings about damaged pixels of the picture, as texts. Empty in records of older workers.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        warnings: Vec<String>,
        /// Where it was run and how long each stage took. `None` for a cached result, and in records of older workers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        run: Option<RunReport>,
        /// The digest of the installed model that was run. `None` in records of older workers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model_digest: Option<Sha256Digest>,
        /// The drawing, which was stored before this record. `None` where the client asked for none, or it could not be
        /// stored.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        drawing: Option<Drawing>,
        /// Whether this is the cached result of an earlier run on the same picture.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        cached: bool,
    },
    /// The task can never succeed.
    Failure {
        /// When it failed.
        #[serde(with = "time::serde::rfc3339")]
        finished_at: OffsetDateTime,
        /// Why, as a code.
        reason: FailureReason,
        /// Why, as a text.
        message: String,
    },
    /// Revoked by its client before it was run.
    Revoked {
        /// When it was revoked.
        #[serde(with = "time::serde::rfc3339")]
        finished_at: OffsetDateTime,
    },
    /// Not run before its deadline.
    Expired {
        /// When it expired.
        #[serde(with = "time::serde::rfc3339")]
        finished_at: OffsetDateTime,
    },
}

/// Where a job was run, and how long each stage took, in milliseconds: of a picture in tiles, the sums of all runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// The name of the worker.
    pub worker: String,
    /// Decoding the picture.
    pub decode_ms: f32,
    /// Scaling and padding it to the model's input.
    pub letterbox_ms: f32,
    /// The run of the model; of a batch, the run's time divided by its pictures.
    pub infer_ms: f32,
    /// Decoding boxes and non-maximum suppression.
    pub postprocess_ms: f32,
}

impl TaskState {
    /// Whether the state is terminal. A terminal state never changes: the first one stored wins.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        !matches!(self, Self::Queued { .. } | Self::Started { .. })
    }

    /// When the present run began, or the one with the result.
    #[must_use]
    pub fn started_at(&self) -> Option<OffsetDateTime> {
        match self {
            Self::Started { started_at, .. } => Some(*started_at),
            Self::Success { started_at, .. } => *started_at,
            Self::Queued { .. }
            | Self::Failure { .. }
            | Self::Revoked { .. }
            | Self::Expired { .. } => None,
        }
    }

    /// When the task became terminal; `None` before that.
    #[must_use]
    pub fn finished_at(&self) -> Option<OffsetDateTime> {
        match self {
            Self::Queued { .. } | Self::Started { .. } => None,
            Self::Success { finished_at, .. }
            | Self::Failure { finished_at, .. }
            | Self::Revoked { finished_at }
            | Self::Expired { finished_at } => Some(*finished_at),
        }
    }

    /// The state's name as clients see it, such as `QUEUED`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Queued { .. } => "QUEUED",
            Self::Started { .. } => "STARTED",
            Self::Success { .. } => "SUCCESS",
            Self::Failure { .. } => "FAILURE",
            Self::Revoked { .. } => "REVOKED",
            Self::Expired { .. } => "EXPIRED",
        }
    }
}

/// Why a task failed for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureReason {
    /// The picture's bytes do not decode.
    UndecodablePicture,
    /// The job names a model that is not installed on the workers.
    UnknownModel,
    /// The picture's bytes are gone: they expired before a run.
    PictureGone,
    /// The model has no class of a name or index that the client asked for.
    UnknownClass,
    /// Too many runs of the job began and did not end: it crashes its workers.
    Poison,
    /// The queue has lost the job and its picture.
    Lost,
    /// The runs of a picture's tiles take longer than one job may take.
    TooManyTiles,
    /// The model that the job names is installed on its worker and cannot be loaded: its files are damaged or changed,
    /// or it does not run there.
    ModelNotLoadable,
}

impl FailureReason {
    /// Whether another run of the same picture with the same settings would fail in the same way.
    #[must_use]
    pub fn is_permanent(self) -> bool {
        match self {
            Self::UndecodablePicture | Self::UnknownClass | Self::Poison | Self::TooManyTiles => {
                true
            }
            Self::UnknownModel | Self::PictureGone | Self::Lost | Self::ModelNotLoadable => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BoundingBox, ClassId, Detection};

    fn job() -> Job {
        let settings = DetectionSettings::default();
        Job {
            submitted_at: OffsetDateTime::UNIX_EPOCH,
            picture_sha256: Some([7; 32].into()),
            ..Job::new("bus.jpg".to_owned(), "yolov8n".parse().unwrap(), settings)
        }
    }

    #[test]
    fn a_job_is_overdue_from_its_deadline_on() {
        let deadline = OffsetDateTime::UNIX_EPOCH;
        let job = Job { deadline: Some(deadline), ..job() };
        assert!(!job.is_overdue(deadline - time::Duration::SECOND));
        assert!(job.is_overdue(deadline));
        assert!(!Job { deadline: None, ..job }.is_overdue(OffsetDateTime::now_utc()));
    }

    #[test]
    fn every_state_survives_its_json() {
        let at = OffsetDateTime::UNIX_EPOCH;
        let bbox = BoundingBox { x1: 0.5, y1: 1.0, x2: 2.0, y2: 3.0 };
        let detection = Detection { bbox, class_id: ClassId(5), confidence: 0.75 };
        let object = DetectedObject { detection, label: "bus".to_owned() };
        let states = [
            TaskState::Queued { released: false },
            TaskState::Queued { released: true },
            TaskState::Started { started_at: at, run_deadline: Some(at) },
            TaskState::Success {
                started_at: Some(at),
                finished_at: at,
                objects: vec![object],
                width: 810,
                height: 1080,
                warnings: vec!["the rest is grey".to_owned()],
                run: Some(RunReport {
                    worker: "host-7".to_owned(),
                    decode_ms: 1.5,
                    letterbox_ms: 0.5,
                    infer_ms: 30.0,
                    postprocess_ms: 0.0,
                }),
                model_digest: Some([9; 32].into()),
                drawing: Some(Drawing { id: 7, format: DrawingFormat::WebP, bytes: 1 << 40 }),
                cached: true,
            },
            TaskState::Failure {
                finished_at: at,
                reason: FailureReason::Poison,
                message: "no".to_owned(),
            },
            TaskState::Revoked { finished_at: at },
            TaskState::Expired { finished_at: at },
        ];
        for state in states {
            let record = TaskRecord { job: job(), attempts: 2, state };
            let json = serde_json::to_value(&record).unwrap();
            assert_eq!(json["state"], record.state.name());
            assert_eq!(serde_json::from_value::<TaskRecord>(json).unwrap(), record);
        }
    }

    #[test]
    fn a_first_delivery_that_left_no_trace_counts_as_a_run() {
        let queued = TaskRecord::queued(job());
        let released = queued.with_state(TaskState::Queued { released: true });
        let started =
            TaskState::Started { started_at: OffsetDateTime::UNIX_EPOCH, run_deadline: None };
        let run_twice = TaskRecord { attempts: 2, ..queued.with_state(started) };
        let cases = [
            (None, [0, 1, 1]),
            (Some(&queued), [0, 1, 1]),
            (Some(&released), [0, 0, 0]),
            (Some(&run_twice), [2, 2, 2]),
        ];
        for (present, expected) in cases {
            let runs = [1, 2, 3].map(|delivery| TaskRecord::earlier_runs(present, delivery));
            assert_eq!(runs, expected, "{present:?}");
        }
    }

    #[test]
    fn a_run_of_an_older_worker_is_read() {
        let state =
            TaskState::Started { started_at: OffsetDateTime::UNIX_EPOCH, run_deadline: None };
        let record = TaskRecord { job: job(), attempts: 1, state };
        let json = serde_json::to_value(&record).unwrap();
        assert!(json.get("run_deadline").is_none(), "{json}");
        assert_eq!(serde_json::from_value::<TaskRecord>(json).unwrap(), record);
    }

    #[test]
    fn a_record_of_an_older_version_is_read() {
        let state = TaskState::Success {
            started_at: None,
            finished_at: OffsetDateTime::UNIX_EPOCH,
            objects: Vec::new(),
            width: 1,
            height: 2,
            warnings: Vec::new(),
            run: None,
            model_digest: None,
            drawing: None,
            cached: false,
        };
        let record = TaskRecord { job: Job { picture_sha256: None, ..job() }, attempts: 1, state };
        let json = serde_json::to_value(&record).unwrap();
        // Without these fields, the JSON is that of an older version.
        for name in [
            "picture_sha256",
            "metadata",
            "priority",
            "callback_url",
            "batch",
            "started_at",
            "warnings",
            "run",
            "model_digest",
            "drawing",
            "annotated",
            "cached",
        ] {
            assert!(json.get(name).is_none(), "{name} in {json}");
        }
        assert_eq!(serde_json::from_value::<TaskRecord>(json).unwrap(), record);
    }
}
