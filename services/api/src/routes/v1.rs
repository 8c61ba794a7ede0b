//! The versioned API: thresholds by request, every state by its own name, long polling.

#![allow(
    clippy::too_many_arguments,
    reason = "the framework needs an argument for each documented parameter"
)]

use std::time::Duration;

use domain::{
    ConfidenceThreshold, DetectedObject, DetectionSettings, FailureReason, IouThreshold,
    MaxDetections, TaskId, TaskRecord, TaskState,
};
use poem::{Request, web::Data};
use poem_openapi::{
    ApiResponse, Enum, Object, OpenApi,
    param::{Header, Path, Query},
    payload::Json,
    types::Example,
};
use time::OffsetDateTime;

use super::{
    error::{V1SubmitError, V1TaskError},
    health::ApiHealth,
    rejection::Rejection,
    schema::{EXAMPLE_ID, five_decimals},
    tag::Tag,
};
use crate::{
    tasks::{Tasks, lookup::Lookup, submit::SubmitOptions},
    upload::{FileNames, PictureForm, SubmissionRoute, cache_control::CacheControl},
};

/// Maximum duration of a long poll.
const LONGEST_WAIT_SECONDS: u64 = 30;

/// The versioned API.
pub(crate) struct V1Api;

impl SubmissionRoute for V1Api {
    const NAMES: FileNames = FileNames::Any;
    const DESCRIPTION: &'static str = "A form with the picture as a file in field `file`, of any name. A picture \
        without a file name is taken where there is none with one. Other fields are passed over.";
}

#[OpenApi(prefix_path = "/v1", tag = "Tag::V1")]
impl V1Api {
    /// Submit a picture
    ///
    /// The answer comes as soon as the job is stored. `Location` says where to ask for the result.
    ///
    /// A picture that was run before, with the same model and settings, is not run again: the answer
    /// is the finished task, with `cached` true.
    #[oai(path = "/tasks", method = "post")]
    async fn submit(
        &self,
        tasks: Data<&Tasks>,
        /// The least class score of a reported object, from 0 to 1. Default 0.25.
        #[oai(validator(minimum(value = "0"), maximum(value = "1")))]
        confidence: Query<Option<f32>>,
        /// Two boxes of a class overlapping more than this (intersection over union, from 0 to 1)
        /// are one object. Default 0.7.
        #[oai(validator(minimum(value = "0"), maximum(value = "1")))]
        iou: Query<Option<f32>>,
        /// The most objects reported, from 1 to 1000. Default 300.
        #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
        max_detections: Query<Option<u16>>,
        /// Seconds the job may wait for a worker before it expires, up to a week, and no longer than results are
        /// kept (`RESULT_TTL_SECONDS`, 24 hours by default). Default 24 hours.
        #[oai(validator(minimum(value = "1"), maximum(value = "604800")))]
        deadline: Query<Option<u64>>,
        /// A key of your choosing: the same key with the same picture and settings is the same task.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<Option<String>>,
        /// `no-cache`: run the model also where the result for this picture is known. `no-store`: that,
        /// and do not keep the result for others who send the same picture.
        #[oai(name = "Cache-Control")]
        _cache_control: Header<Option<String>>,
        request: &Request,
        form: PictureForm<V1Api>,
    ) -> Result<SubmitResponse, V1SubmitError> {
        let idempotency_key = idempotency_key.0.map(|key| key.parse()).transpose();
        let options = SubmitOptions {
            settings: settings(confidence.0, iou.0, max_detections.0)?,
            deadline: deadline.0.map(|seconds| within(tasks.result_ttl, seconds)).transpose()?,
            idempotency_key: idempotency_key.map_err(Rejection::Parameter)?,
            no_cache: CacheControl::of(request.headers()).no_cache,
        };
        let picture = form.0.map_err(Rejection::from)?;
        let record = tasks.submit(picture, options).await.map_err(Rejection::from)?;
        let location = format!("/v1/tasks/{}", record.job.task_id);
        Ok(SubmitResponse::Accepted(Json(record.into()), location))
    }

    /// A task's state, and its result once it has one
    #[oai(path = "/tasks/:task_id", method = "get")]
    async fn task(
        &self,
        tasks: Data<&Tasks>,
        health: Data<&ApiHealth>,
        /// The id that the submission answered with.
        task_id: Path<String>,
        /// Hold the answer back until the task ends, for this many seconds at most, up to 30.
        wait: Query<Option<u64>>,
    ) -> Result<TaskResponse, V1TaskError> {
        let id: TaskId =
            task_id.parse().map_err(|error| V1TaskError::unknown(format!("{error}")))?;
        let found = match wait.0.unwrap_or(0).min(LONGEST_WAIT_SECONDS) {
            0 => tasks.find(id).await,
            seconds => tasks.wait(id, Duration::from_secs(seconds), &health.shutdown).await,
        };
        match found {
            Ok(Lookup::Found(record)) => Ok(TaskResponse::Known(Json((*record).into()))),
            Ok(Lookup::Unknown) => Err(V1TaskError::unknown(format!("there is no task {id}"))),
            Ok(Lookup::Expired) => Err(V1TaskError::expired(id)),
            Err(error) => {
                tracing::warn!(task_id = %id, %error, "cannot read a record");
                Err(V1TaskError::unavailable())
            }
        }
    }
}

fn settings(
    confidence: Option<f32>,
    iou: Option<f32>,
    max_detections: Option<u16>,
) -> Result<DetectionSettings, Rejection> {
    let defaults = DetectionSettings::default();
    Ok(DetectionSettings {
        confidence: confidence
            .map_or(Ok(defaults.confidence), ConfidenceThreshold::new)
            .map_err(|error| Rejection::Parameter(error.to_string()))?,
        iou: iou
            .map_or(Ok(defaults.iou), IouThreshold::new)
            .map_err(|error| Rejection::Parameter(error.to_string()))?,
        max_detections: max_detections
            .map_or(Ok(defaults.max_detections), MaxDetections::try_from)
            .map_err(Rejection::Parameter)?,
    })
}

/// A deadline in seconds, no longer than results are kept: after that there would be no record of the
/// outcome.
fn within(result_ttl: Duration, seconds: u64) -> Result<Duration, Rejection> {
    let deadline = Duration::from_secs(seconds);
    if deadline <= result_ttl {
        return Ok(deadline);
    }
    let longest = result_ttl.as_secs();
    Err(Rejection::Parameter(format!(
        "deadline must be at most {longest} seconds, as long as results are kept \
         (RESULT_TTL_SECONDS), got {seconds}"
    )))
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "SCREAMING_SNAKE_CASE")]
enum State {
    /// Stored in the queue.
    Queued,
    /// A worker has it.
    Started,
    /// Done; see `objects`.
    Success,
    /// Will never be done; see `failure`.
    Failure,
    /// Called off.
    Revoked,
    /// Not run in time.
    Expired,
}

/// A task and what is known of it.
#[derive(Object)]
#[oai(skip_serializing_if_is_none, example)]
struct Task {
    /// The task's id.
    task_id: String,
    /// Where the task stands.
    state: State,
    /// The file name of the picture.
    picture_name: String,
    /// The model that is asked.
    model: String,
    /// When the picture was taken in.
    submitted_at: OffsetDateTime,
    /// When it expires if no worker has come to it.
    deadline: Option<OffsetDateTime>,
    /// When the run began that goes on (STARTED) or found the result (SUCCESS).
    started_at: Option<OffsetDateTime>,
    /// How many runs have begun.
    attempts: u32,
    /// When the task ended.
    finished_at: Option<OffsetDateTime>,
    /// The picture's width in pixels, on SUCCESS.
    width: Option<u32>,
    /// The picture's height in pixels, on SUCCESS.
    height: Option<u32>,
    /// What was found, highest confidence first, on SUCCESS.
    objects: Option<Vec<FoundObject>>,
    /// On SUCCESS: what is wrong with the picture's coded pixels, where they are damaged or end early and were decoded
    /// as far as they go. Objects may be missing or wrong there. Absent where nothing is.
    warnings: Option<Vec<String>>,
    /// On SUCCESS: whether this is the result of an earlier run on the same picture.
    cached: Option<bool>,
    /// Why it failed, on FAILURE.
    failure: Option<Failure>,
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
            submitted_at: at,
            deadline: Some(at + Duration::from_secs(24 * 3600)),
            started_at: Some(at + Duration::from_millis(5)),
            attempts: 1,
            finished_at: Some(at + Duration::from_millis(90)),
            width: Some(810),
            height: Some(1080),
            objects: Some(vec![FoundObject {
                label: "bus".to_owned(),
                class_id: 5,
                confidence: 0.87345,
                bbox: Corners { x1: 22.87127, y1: 231.27731, x2: 805.00262, y2: 756.84045 },
            }]),
            warnings: Some(vec![EXAMPLE_WARNING.to_owned()]),
            cached: Some(false),
            failure: None,
        }
    }
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

/// The kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
enum Reason {
    /// The picture's bytes do not decode.
    UndecodablePicture,
    /// No worker runs the model that was asked for.
    UnknownModel,
    /// The picture's bytes expired before a worker came to them.
    PictureGone,
    /// The job stops workers instead of finishing.
    Poison,
    /// The queue lost the job: submit the picture again.
    Lost,
}

impl From<FailureReason> for Reason {
    fn from(reason: FailureReason) -> Self {
        match reason {
            FailureReason::UndecodablePicture => Self::UndecodablePicture,
            FailureReason::UnknownModel => Self::UnknownModel,
            FailureReason::PictureGone => Self::PictureGone,
            FailureReason::Poison => Self::Poison,
            FailureReason::Lost => Self::Lost,
        }
    }
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

impl From<TaskRecord> for Task {
    fn from(TaskRecord { job, attempts, state }: TaskRecord) -> Self {
        let (started_at, finished_at) = (state.started_at(), state.finished_at());
        let mut task = Self {
            task_id: job.task_id.to_string(),
            state: State::Queued,
            picture_name: job.picture_name,
            model: job.model.to_string(),
            submitted_at: job.submitted_at,
            deadline: job.deadline,
            started_at,
            attempts,
            finished_at,
            width: None,
            height: None,
            objects: None,
            warnings: None,
            cached: None,
            failure: None,
        };
        match state {
            TaskState::Queued { .. } => {}
            TaskState::Started { .. } => task.state = State::Started,
            TaskState::Success { objects, width, height, warnings, cached, .. } => {
                task.state = State::Success;
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

#[derive(ApiResponse)]
enum SubmitResponse {
    /// The job is stored and will be run, or its result is known already.
    #[oai(status = 202)]
    Accepted(
        Json<Task>,
        /// Where to ask for the result.
        #[oai(header = "Location")]
        String,
    ),
}

#[derive(ApiResponse)]
enum TaskResponse {
    /// The task is known.
    #[oai(status = 200)]
    Known(Json<Task>),
}
