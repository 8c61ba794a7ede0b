//! The routes and wording of the original Flask application. Its clients must not notice a change.

use domain::{DetectedObject, DetectionSettings, TaskId, TaskRecord, TaskState};
use poem::web::Data;
use poem_openapi::{
    ApiResponse, Object, OpenApi, Union,
    param::Path,
    payload::Json,
    types::{Any, Example},
};

use crate::{
    openapi::Tag,
    rounding::five_decimals,
    tasks::{Lookup, NotAccepted, RETRY_AFTER_SECONDS, Tasks},
    upload::{PictureForm, UploadError},
    welcome,
};

/// The original API.
pub(crate) struct OriginalApi;

/// `http://host:port` of this server, for the examples that `GET /` shows.
#[derive(Clone)]
pub(crate) struct BaseUrl(pub(crate) String);

#[OpenApi(tag = "Tag::Original")]
impl OriginalApi {
    /// What this service is and which routes it has
    #[oai(path = "/", method = "get")]
    async fn home(&self, base_url: Data<&BaseUrl>) -> Json<Any<serde_json::Value>> {
        Json(Any(welcome::description(&base_url.0.0)))
    }

    /// Upload a picture for detection
    ///
    /// The answer comes as soon as the job is stored; the result is at `/task_result/{task_id}`.
    #[oai(path = "/start_task", method = "post")]
    async fn start_task(
        &self,
        tasks: Data<&Tasks>,
        form: PictureForm,
    ) -> Result<StartTaskResponse, StartTaskError> {
        let picture = form.0?;
        let record = tasks.submit(picture, DetectionSettings::default()).await?;
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
        /// The id that `/start_task` answered with.
        task_id: Path<String>,
    ) -> Result<TaskResultResponse, TaskResultError> {
        let task_id = task_id.0;
        let Ok(id) = task_id.parse::<TaskId>() else {
            return Err(TaskResultError::not_found(task_id));
        };
        match tasks.find(id).await {
            Ok(Lookup::Found(record)) => Ok(TaskResultResponse::Known(Json(record.into()))),
            Ok(Lookup::Expired | Lookup::Unknown) => Err(TaskResultError::not_found(task_id)),
            Err(error) => {
                tracing::warn!(%task_id, %error, "a record could not be read");
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

const EXAMPLE_ID: &str = "0190b5a3-7c1e-7d2a-9f61-3a5d0c9e8b47";

#[derive(ApiResponse)]
enum StartTaskResponse {
    /// The job is stored and will be run.
    #[oai(status = 202)]
    Accepted(Json<AcceptedTask>),
}

/// Why a picture was not taken in.
#[derive(Object)]
#[oai(skip_serializing_if_is_none, example)]
struct StartTaskErrorBody {
    /// What is wrong, and what would be right.
    error: String,
    /// The file name it is about.
    filename: Option<String>,
}

impl Example for StartTaskErrorBody {
    fn example() -> Self {
        Self { error: "No image provided".to_owned(), filename: None }
    }
}

#[derive(ApiResponse)]
enum StartTaskError {
    /// No picture, a file name without an allowed extension, or bytes that are no whole picture.
    #[oai(status = 400)]
    BadRequest(Json<StartTaskErrorBody>),
    /// The upload took too long to arrive.
    #[oai(status = 408)]
    Timeout(Json<StartTaskErrorBody>),
    /// The picture has too many bytes.
    #[oai(status = 413)]
    TooLarge(Json<StartTaskErrorBody>),
    /// The queue is full or does not answer. Try again after the given time.
    #[oai(status = 503)]
    Unavailable(
        Json<StartTaskErrorBody>,
        /// Seconds to wait before trying again.
        #[oai(header = "Retry-After")]
        u64,
    ),
}

impl From<UploadError> for StartTaskError {
    fn from(error: UploadError) -> Self {
        let filename = error.filename().filter(|_| !error.is_too_large()).map(str::to_owned);
        let text = match &error {
            // The original said the same to both.
            UploadError::NotAForm => UploadError::NoPicture.to_string(),
            error => error.to_string(),
        };
        let body = Json(StartTaskErrorBody { error: text, filename });
        match error {
            error if error.is_too_large() => Self::TooLarge(body),
            UploadError::TooSlow(_) => Self::Timeout(body),
            UploadError::TooManyUploads => Self::Unavailable(body, RETRY_AFTER_SECONDS),
            _ => Self::BadRequest(body),
        }
    }
}

impl From<NotAccepted> for StartTaskError {
    fn from(error: NotAccepted) -> Self {
        let body = StartTaskErrorBody { error: error.to_string(), filename: None };
        Self::Unavailable(Json(body), RETRY_AFTER_SECONDS)
    }
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
struct PendingTask {
    task_id: String,
}

/// The task is done.
#[derive(Object)]
struct FinishedTask {
    task_id: String,
    /// The file name of the picture.
    image_name: String,
    /// What was found, highest confidence first.
    result: Vec<OriginalObject>,
}

/// The task will never be done.
#[derive(Object)]
struct FailedTask {
    task_id: String,
    /// Why.
    error: String,
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
            TaskState::Queued | TaskState::Started { .. } => Self::Pending(PendingTask { task_id }),
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

/// There is nothing to say about this id.
#[derive(Object)]
#[oai(example)]
struct TaskResultErrorBody {
    /// The id as it was given.
    task_id: String,
    /// What is wrong with it.
    error: String,
}

impl Example for TaskResultErrorBody {
    fn example() -> Self {
        Self {
            task_id: EXAMPLE_ID.to_owned(),
            error: "Not Found. The task ID does not exist.".to_owned(),
        }
    }
}

#[derive(ApiResponse)]
enum TaskResultError {
    /// No task has this id, or its result has expired.
    #[oai(status = 400)]
    NotFound(Json<TaskResultErrorBody>),
    /// The records cannot be read at the moment. Try again after the given time.
    #[oai(status = 503)]
    Unavailable(
        Json<TaskResultErrorBody>,
        /// Seconds to wait before trying again.
        #[oai(header = "Retry-After")]
        u64,
    ),
}

impl TaskResultError {
    fn not_found(task_id: String) -> Self {
        let error = "Not Found. The task ID does not exist.".to_owned();
        Self::NotFound(Json(TaskResultErrorBody { task_id, error }))
    }

    fn unavailable(task_id: String) -> Self {
        let error = "the task records cannot be read at the moment, try again".to_owned();
        Self::Unavailable(Json(TaskResultErrorBody { task_id, error }), RETRY_AFTER_SECONDS)
    }
}
