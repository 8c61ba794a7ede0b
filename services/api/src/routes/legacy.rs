//! The routes and wording of the original Flask application. Its clients must not notice a change.

use std::sync::Arc;

use domain::{DetectedObject, TaskId, TaskRecord, TaskState, five_decimals};
use poem::{Request, web::Data};
use poem_openapi::{
    ApiResponse, Object, OpenApi, Union,
    param::{Header, Path},
    payload::Json,
    registry::MetaSchemaRef,
    types::{Any, Example},
};

use super::{
    error::{StartTaskError, TaskResultError},
    index::{self, Index},
    rejection::{self, Rejection},
    schema::EXAMPLE_ID,
    tag::Tag,
};
use crate::{
    auth::Caller,
    tasks::{Tasks, lookup::Lookup, submit::SubmitOptions},
    upload::{Bodies, FileNames, PictureForm, SubmissionRoute, cache_control::CacheControl},
};

/// The original API.
pub(crate) struct LegacyApi;

impl SubmissionRoute for LegacyApi {
    const NAMES: FileNames = FileNames::WithExtension;
    const BODIES: Bodies = Bodies::Forms;
    const PARAMETERS: &'static [&'static str] = &[];
    const DESCRIPTION: &'static str = "A form with the picture as a file in field `file`. The file's name has the \
        extension of a picture. Other fields are ignored.";

    fn parameter_schemas() -> Vec<(&'static str, MetaSchemaRef)> {
        Vec::new()
    }
}

#[OpenApi(tag = "Tag::Original")]
impl LegacyApi {
    /// What this service is and which routes it has
    ///
    /// A client that prefers `text/html`, such as a browser, gets the console instead: a page to try the service.
    #[oai(path = "/", method = "get")]
    async fn home(
        &self,
        index: Data<&Arc<Index>>,
        request: &Request,
    ) -> Json<Any<serde_json::Value>> {
        Json(Any(index.at(&index::base_url(request))))
    }

    /// Upload a picture for detection
    ///
    /// The answer comes as soon as the job is stored; the result is at `/task_result/{task_id}`. For a
    /// picture whose result is known it is there at once.
    #[oai(path = "/start_task", method = "post")]
    async fn start_task(
        &self,
        tasks: Data<&Tasks>,
        caller: Data<&Caller>,
        /// A key of your choosing: the same key with the same picture is the same task.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<Option<String>>,
        /// `no-cache`: run the model also where the result for this picture is known. `no-store`: that,
        /// and do not keep the result for others who send the same picture.
        #[oai(name = "Cache-Control")]
        _cache_control: Header<Option<String>>,
        request: &Request,
        form: PictureForm<LegacyApi>,
    ) -> Result<StartTaskResponse, StartTaskError> {
        let idempotency_key = rejection::idempotency_key(idempotency_key.0)?;
        let no_cache = CacheControl::of(request.headers()).no_cache;
        let submitter = caller.submitter();
        let options =
            SubmitOptions { idempotency_key, no_cache, submitter, ..SubmitOptions::default() };
        let refused = |error| rejection::refused_upload(error, &tasks.metrics);
        let submitted = form.0.map_err(refused)?;
        let picture = submitted.picture.complete().await.map_err(refused)?;
        let record = tasks.submit(picture, options).await.map_err(Rejection::from)?;
        Ok(StartTaskResponse::Accepted(Json(AcceptedTask {
            task_id: record.job.task_id.to_string(),
            image: record.job.picture_name,
            status: "Accepted. Goto /task_result/<task_id> route to check status".to_owned(),
        })))
    }

    /// The status or the result of a task
    #[oai(path = "/task_result/:task_id", method = "get")]
    async fn task_result(
        &self,
        tasks: Data<&Tasks>,
        caller: Data<&Caller>,
        /// The id that `/start_task` answered with.
        task_id: Path<String>,
    ) -> Result<TaskResultResponse, TaskResultError> {
        let task_id = task_id.0;
        let Ok(id) = task_id.parse::<TaskId>() else {
            return Err(TaskResultError::not_found(task_id));
        };
        match tasks.find(id, caller.viewer()).await {
            Ok(Lookup::Found(record)) => Ok(TaskResultResponse::Known(Json((*record).into()))),
            Ok(Lookup::Expired | Lookup::Unknown) => Err(TaskResultError::not_found(task_id)),
            Err(error) => {
                tracing::warn!(%task_id, %error, "cannot read a record");
                Err(TaskResultError::unavailable(task_id))
            }
        }
    }
}

/// A picture was taken in.
#[derive(Object)]
#[oai(example)]
struct AcceptedTask {
    /// The id to ask for the result with.
    task_id: String,
    /// The file name of the picture.
    image: String,
    /// What to do next.
    status: String,
}

impl Example for AcceptedTask {
    fn example() -> Self {
        Self {
            task_id: EXAMPLE_ID.to_owned(),
            image: "bus.jpg".to_owned(),
            status: "Accepted. Goto /task_result/<task_id> route to check status".to_owned(),
        }
    }
}

#[derive(ApiResponse)]
enum StartTaskResponse {
    /// The job is stored and will be run.
    #[oai(status = 202)]
    Accepted(Json<AcceptedTask>),
}

#[derive(ApiResponse)]
enum TaskResultResponse {
    /// The task is known: waiting or running, done, or failed.
    #[oai(status = 200)]
    Known(Json<TaskResult>),
}

/// Where a task stands.
#[derive(Union)]
#[oai(one_of, discriminator_name = "status")]
enum TaskResult {
    #[oai(mapping = "PENDING")]
    Pending(PendingTask),
    #[oai(mapping = "SUCCESS")]
    Success(FinishedTask),
    #[oai(mapping = "FAILURE")]
    Failure(FailedTask),
}

/// The task is waiting or running.
#[derive(Object)]
#[oai(example)]
struct PendingTask {
    task_id: String,
}

impl Example for PendingTask {
    fn example() -> Self {
        Self { task_id: EXAMPLE_ID.to_owned() }
    }
}

/// The task is done.
#[derive(Object)]
#[oai(example)]
struct FinishedTask {
    task_id: String,
    /// The file name of the picture.
    image_name: String,
    /// What was found, highest confidence first.
    result: Vec<OriginalObject>,
}

impl Example for FinishedTask {
    fn example() -> Self {
        let bbox = OriginalCorners { x1: 22.87127, x2: 805.00262, y1: 231.27731, y2: 756.84045 };
        let name = "bus".to_owned();
        Self {
            task_id: EXAMPLE_ID.to_owned(),
            image_name: "bus.jpg".to_owned(),
            result: vec![OriginalObject { bbox, class: 5, confidence: 0.87345, name }],
        }
    }
}

/// The task will never be done.
#[derive(Object)]
#[oai(example)]
struct FailedTask {
    task_id: String,
    /// Why.
    error: String,
}

impl Example for FailedTask {
    fn example() -> Self {
        let error = "the pixels of this JPEG picture do not decode".to_owned();
        Self { task_id: EXAMPLE_ID.to_owned(), error }
    }
}

/// One object in the picture.
#[derive(Object)]
struct OriginalObject {
    #[oai(rename = "box")]
    bbox: OriginalCorners,
    /// The class's index in the model's label list.
    class: u32,
    /// From 0 to 1, five decimals.
    confidence: f64,
    /// The class's name.
    name: String,
}

/// Two opposite corners in pixels of the picture, five decimals.
#[derive(Object)]
struct OriginalCorners {
    x1: f64,
    x2: f64,
    y1: f64,
    y2: f64,
}

impl From<TaskRecord> for TaskResult {
    fn from(record: TaskRecord) -> Self {
        let task_id = record.job.task_id.to_string();
        let failed = |error: &str| {
            Self::Failure(FailedTask { task_id: task_id.clone(), error: error.to_owned() })
        };
        match record.state {
            TaskState::Queued { .. } | TaskState::Started { .. } => {
                Self::Pending(PendingTask { task_id })
            }
            TaskState::Success { objects, .. } => Self::Success(FinishedTask {
                task_id,
                image_name: record.job.picture_name,
                result: objects.iter().map(OriginalObject::from).collect(),
            }),
            TaskState::Failure { message, .. } => failed(&message),
            TaskState::Revoked { .. } => failed("the task was called off"),
            TaskState::Expired { .. } => failed("the task was not run in time"),
        }
    }
}

impl From<&DetectedObject> for OriginalObject {
    fn from(object: &DetectedObject) -> Self {
        let bbox = object.detection.bbox;
        Self {
            bbox: OriginalCorners {
                x1: five_decimals(bbox.x1),
                x2: five_decimals(bbox.x2),
                y1: five_decimals(bbox.y1),
                y2: five_decimals(bbox.y2),
            },
            class: object.detection.class_id.0,
            confidence: five_decimals(object.detection.confidence),
            name: object.label.clone(),
        }
    }
}
