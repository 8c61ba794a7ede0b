//! The versioned API: thresholds by request, every state by its own name, long polling.

#![allow(
    clippy::too_many_arguments,
    reason = "the framework needs an argument for each documented parameter"
)]

pub(crate) mod error;

mod task;

use std::time::Duration;

use domain::{ConfidenceThreshold, DetectionSettings, IouThreshold, MaxDetections, TaskId};
use poem::{Request, web::Data};
use poem_openapi::{
    ApiResponse, OpenApi,
    param::{Header, Path, Query},
    payload::Json,
};

use self::{
    error::{SubmitError, TaskError},
    task::Task,
};
use super::{health::ApiHealth, rejection::Rejection, tag::Tag};
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
    ) -> Result<SubmitResponse, SubmitError> {
        let idempotency_key = idempotency_key.0.map(|key| key.parse()).transpose();
        let options = SubmitOptions {
            settings: settings(confidence.0, iou.0, max_detections.0)?,
            deadline: deadline.0.map(|seconds| within(tasks.result_ttl, seconds)).transpose()?,
            idempotency_key: idempotency_key
                .map_err(|detail| Rejection::Parameter { name: "Idempotency-Key", detail })?,
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
    ) -> Result<TaskResponse, TaskError> {
        let id: TaskId = task_id.parse().map_err(|error| TaskError::unknown(format!("{error}")))?;
        let found = match wait.0.unwrap_or(0).min(LONGEST_WAIT_SECONDS) {
            0 => tasks.find(id).await,
            seconds => tasks.wait(id, Duration::from_secs(seconds), &health.shutdown).await,
        };
        match found {
            Ok(Lookup::Found(record)) => Ok(TaskResponse::Known(Json((*record).into()))),
            Ok(Lookup::Unknown) => Err(TaskError::unknown(format!("there is no task {id}"))),
            Ok(Lookup::Expired) => Err(TaskError::expired(id)),
            Err(error) => {
                tracing::warn!(task_id = %id, %error, "cannot read a record");
                Err(TaskError::unavailable())
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
        confidence: confidence.map_or(Ok(defaults.confidence), ConfidenceThreshold::new).map_err(
            |error| Rejection::Parameter { name: "confidence", detail: error.to_string() },
        )?,
        iou: iou
            .map_or(Ok(defaults.iou), IouThreshold::new)
            .map_err(|error| Rejection::Parameter { name: "iou", detail: error.to_string() })?,
        max_detections: max_detections
            .map_or(Ok(defaults.max_detections), MaxDetections::try_from)
            .map_err(|detail| Rejection::Parameter { name: "max_detections", detail })?,
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
    let detail = format!(
        "deadline must be at most {longest} seconds, as long as results are kept \
         (RESULT_TTL_SECONDS), got {seconds}"
    );
    Err(Rejection::Parameter { name: "deadline", detail })
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
