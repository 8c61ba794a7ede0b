//! The versioned API: thresholds by request, every state by its own name, long polling, lists.

#![allow(
    clippy::too_many_arguments,
    reason = "the framework needs an argument for each documented parameter"
)]

pub(crate) mod batches;
pub(crate) mod dead_letters;
pub(crate) mod error;
pub(crate) mod events;
pub(crate) mod formats;
pub(crate) mod image;
pub(crate) mod list;
pub(crate) mod models;
pub(crate) mod operations;
pub(crate) mod webhooks;

mod cursor;
mod parameters;
mod prefer;
mod shared_error;
mod submit_options;
mod task;

use std::time::Duration;

use domain::{TaskId, TaskRecord};
use poem::{Request, web::Data};
use poem_openapi::{
    ApiResponse, OpenApi,
    param::{Header, Path, Query},
    payload::Json,
    registry::MetaSchemaRef,
};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

pub(super) use self::submit_options::submit_options;
use self::{
    error::{CancelError, SubmitError, TaskError, VARY},
    formats::{ResultFormat, TaskContent},
    list::{ListError, ListParameters, TaskList},
    parameters::OfQuery,
    prefer::Preference,
    task::{PriorityName, State, Task},
};
use super::{
    health::ApiHealth,
    rejection::{self, Rejection},
    tag::Tag,
};
use crate::{
    auth::Caller,
    http::entity_tag::{entity_tag, matches},
    tasks::{Tasks, cancel::Cancelled, lookup::Lookup, submit::SubmitOptions, viewer::Viewer},
    upload::{Bodies, FileNames, PictureForm, SubmissionRoute, cache_control::CacheControl},
};

/// Maximum duration of a long poll.
const LONGEST_WAIT_SECONDS: u64 = 30;

/// The versioned API.
pub(crate) struct V1Api;

impl SubmissionRoute for V1Api {
    const NAMES: FileNames = FileNames::Any;
    const BODIES: Bodies = Bodies::All;
    const PARAMETERS: &'static [&'static str] = parameters::NAMES;
    const DESCRIPTION: &'static str = "The picture: as a file in field `file` of a form, of any name; as the whole \
        body, with its media type; or in JSON, as base64 or by its URL. Parameters may be in the query, in fields of the form, or in \
        the JSON object. A picture without a file name is taken from a form where there is none with one. Other fields \
        of a form are ignored.";

    fn parameter_schemas() -> Vec<(&'static str, MetaSchemaRef)> {
        parameters::schemas()
    }
}

#[OpenApi(prefix_path = "/v1", tag = "Tag::V1")]
impl V1Api {
    /// Submit a picture
    ///
    /// The answer comes as soon as the job is stored. `Location` says where to ask for the result. With `Prefer:
    /// wait=10`, it comes with the result: a 200 with the finished task, or a 202 after 10 seconds.
    ///
    /// A picture that was run before, with the same model and settings, is not run again: the answer
    /// is the finished task, with `cached` true.
    #[oai(path = "/tasks", method = "post")]
    async fn submit(
        &self,
        tasks: Data<&Tasks>,
        health: Data<&ApiHealth>,
        caller: Data<&Caller>,
        /// The model to run, one of those that `GET /v1/models` lists. Default: the API's `MODEL`.
        model: Query<Option<String>>,
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
        /// The classes to report, by name or index, separated by commas. Default: all.
        classes: Query<Option<Vec<String>>>,
        /// Whether boxes of different classes also count as one object where they overlap. Default false.
        class_agnostic: Query<Option<bool>>,
        /// Into how many overlapping tiles the picture is cut, which are run besides the whole, for small objects: `auto`,
        /// or columns and rows as in `3x2`, at most 64 in all. An API key's rate counts each run. Default: none.
        tiles: Query<Option<String>>,
        /// The share of a tile that it has in common with its neighbour, from 0 to 0.5. Default 0.2.
        #[oai(validator(minimum(value = "0"), maximum(value = "0.5")))]
        overlap: Query<Option<f32>>,
        /// `high` jobs are run before `normal` ones, and those before `low` ones, which still get a share of the
        /// workers. Default `normal`.
        priority: Query<Option<PriorityName>>,
        /// Seconds the job may wait for a worker before it expires, up to a week, and no longer than results are
        /// kept (`RESULT_TTL_SECONDS`, 24 hours by default). Default 24 hours.
        #[oai(validator(minimum(value = "1"), maximum(value = "604800")))]
        deadline: Query<Option<u64>>,
        /// A JSON object of at most 1 KiB, which is shown wherever the task is.
        metadata: Query<Option<String>>,
        /// Whether to keep the picture with the detected objects drawn in, at `image` in `links`, as long as the result:
        /// `jpeg` (or `true`), `png`, `webp`. Such a task is always run. Default false.
        annotated: Query<Option<String>>,
        /// A public `https` URL that is called when the task ends: a webhook, signed (Standard Webhooks).
        callback_url: Query<Option<String>>,
        /// `wait=N`: answer with the finished task, after at most N seconds, up to 60.
        #[oai(name = "Prefer")]
        prefer: Header<Option<String>>,
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
        let idempotency_key = rejection::idempotency_key(idempotency_key.0)?;
        let refused = |error| rejection::refused_upload(error, &tasks.metrics);
        let submitted = form.0.map_err(refused)?;
        let of_query = OfQuery {
            model: model.0,
            confidence: confidence.0,
            iou: iou.0,
            max_detections: max_detections.0,
            classes: classes.0,
            class_agnostic: class_agnostic.0,
            tiles: tiles.0,
            overlap: overlap.0,
            priority: priority.0,
            deadline: deadline.0,
            metadata: metadata.0,
            annotated: annotated.0,
            callback_url: callback_url.0,
        };
        let given = of_query.given().chain(submitted.parameters);
        let options = SubmitOptions {
            idempotency_key,
            no_cache: CacheControl::of(request.headers()).no_cache,
            submitter: caller.submitter(),
            ..submit_options(given, *tasks)?
        };
        let picture = submitted.picture.complete().await.map_err(refused)?;
        let preference = prefer.0.as_deref().and_then(Preference::of);
        let mut record = tasks.submit(picture, options).await.map_err(Rejection::from)?;
        if let Some(Preference::Wait(wait)) = preference {
            record = wait_for_result(*tasks, record, caller.viewer(), wait, &health.shutdown).await;
        }
        let location = format!("/v1/tasks/{}", record.job.task_id);
        let is_finished = record.state.is_terminal();
        let task = Json(record.into());
        Ok(match preference {
            Some(applied @ Preference::Wait(_)) if is_finished => {
                SubmitResponse::Finished(task, location, applied.applied())
            }
            applied => SubmitResponse::Accepted(task, location, applied.map(Preference::applied)),
        })
    }

    /// List tasks
    ///
    /// Newest first, in pages. `next`, and the header `Link`, lead from each page to the next one. Pages neither repeat
    /// nor leave out tasks while others come in.
    #[oai(path = "/tasks", method = "get")]
    async fn list(
        &self,
        tasks: Data<&Tasks>,
        caller: Data<&Caller>,
        /// Tasks in this state; given more than once, in any of these.
        state: Query<Option<Vec<State>>>,
        /// Tasks for this model.
        model: Query<Option<String>>,
        /// Tasks submitted at this time or later (RFC 3339, to the millisecond; `+` is `%2B` in a URL).
        submitted_after: Query<Option<OffsetDateTime>>,
        /// Tasks submitted before this time.
        submitted_before: Query<Option<OffsetDateTime>>,
        /// Tasks whose metadata has this key (`camera`), or this key with this text, number, boolean or null
        /// (`camera=door`). Given more than once, all of these, up to 8.
        metadata: Query<Option<Vec<String>>>,
        /// How many tasks a page has at most, from 1 to 100. Default 20.
        #[oai(validator(minimum(value = "1"), maximum(value = "100")))]
        limit: Query<Option<u8>>,
        /// `next` of a page of the same list: the page after it.
        cursor: Query<Option<String>>,
        request: &Request,
    ) -> Result<ListResponse, ListError> {
        let parameters = ListParameters {
            states: state.0.unwrap_or_default(),
            model: model.0,
            submitted_after: submitted_after.0,
            submitted_before: submitted_before.0,
            metadata: metadata.0.unwrap_or_default(),
            limit: limit.0,
            cursor: cursor.0,
        };
        let query = parameters.query(caller.viewer())?;
        let page = tasks.list(&query).await?;
        let list = TaskList::new(page, &query.filter);
        let link = list.link(request.uri().query());
        Ok(ListResponse::Page(Json(list), link))
    }

    /// A task's state, and its result once it has one
    ///
    /// The result is also available in the formats of other tools, by `format` or by the header `Accept`. In these, a
    /// task without a result is an error: a script that waits for a file gets no other.
    #[oai(path = "/tasks/:task_id", method = "get")]
    async fn task(
        &self,
        tasks: Data<&Tasks>,
        health: Data<&ApiHealth>,
        caller: Data<&Caller>,
        /// The id that the submission answered with.
        task_id: Path<String>,
        /// Hold the answer back until the task ends, for this many seconds at most, up to 30.
        wait: Query<Option<u64>>,
        /// The format of the answer. Default: as the header `Accept` says, and native without one.
        format: Query<Option<ResultFormat>>,
        /// The `ETag` of an earlier answer: a 304 without a body if this one would be the same. While a task
        /// waits, its place in the queue is a part of it.
        #[oai(name = "If-None-Match")]
        if_none_match: Header<Option<String>>,
        request: &Request,
    ) -> Result<TaskResponse, TaskError> {
        let format = ResultFormat::of(format.0, request.headers())
            .ok_or_else(|| TaskError::not_acceptable(&ResultFormat::media_types()))?;
        let id: TaskId = task_id.parse().map_err(|error| TaskError::unknown(format!("{error}")))?;
        let wait = Duration::from_secs(wait.0.unwrap_or(0).min(LONGEST_WAIT_SECONDS));
        match tasks.find_or_wait(id, caller.viewer(), wait, &health.shutdown).await {
            Ok(Lookup::Found(record)) => {
                let jobs_ahead = match format {
                    ResultFormat::Native => tasks.store.max_jobs_ahead(&record).await,
                    ResultFormat::Annotations(_) => None,
                };
                let content = TaskContent::of(record, format)
                    .map_err(|record| TaskError::no_result(*record))?
                    .with_max_jobs_ahead(jobs_ahead);
                let (tag, vary) = (entity_tag(content.text().as_bytes()), VARY.to_owned());
                Ok(match if_none_match.0 {
                    Some(known) if matches(&known, &tag) => TaskResponse::Unchanged(tag, vary),
                    _ => TaskResponse::Known(content, tag, vary),
                })
            }
            Ok(Lookup::Unknown) => Err(TaskError::unknown(format!("there is no task {id}"))),
            Ok(Lookup::Expired) => Err(TaskError::expired(id)),
            Err(error) => {
                tracing::warn!(task_id = %id, %error, "cannot read a record");
                Err(TaskError::unavailable())
            }
        }
    }

    /// Cancel a task
    ///
    /// A job that waits is not run, and one that runs is stopped. The task is REVOKED from then on.
    #[oai(path = "/tasks/:task_id", method = "delete")]
    async fn cancel(
        &self,
        tasks: Data<&Tasks>,
        caller: Data<&Caller>,
        /// The id that the submission answered with.
        task_id: Path<String>,
    ) -> Result<Json<Task>, CancelError> {
        let id: TaskId =
            task_id.parse().map_err(|error| CancelError::unknown(format!("{error}")))?;
        match tasks.cancel(id, caller.viewer()).await {
            Ok(Cancelled::Revoked(record)) => Ok(Json((*record).into())),
            Ok(Cancelled::AlreadyTerminal(record)) => Err(CancelError::ended((*record).into())),
            Ok(Cancelled::Unknown) => Err(CancelError::unknown(format!("there is no task {id}"))),
            Ok(Cancelled::Expired) => Err(CancelError::expired(id)),
            Err(error) => {
                tracing::warn!(task_id = %id, %error, "cannot revoke a task");
                Err(CancelError::unavailable())
            }
        }
    }
}

/// The task once it has ended, or as it was submitted if that takes longer than `wait`, or its record cannot be read.
pub(super) async fn wait_for_result(
    tasks: &Tasks,
    submitted: TaskRecord,
    viewer: Viewer,
    wait: Duration,
    shutdown: &CancellationToken,
) -> TaskRecord {
    if submitted.state.is_terminal() {
        return submitted;
    }
    match tasks.wait(submitted.job.task_id, viewer, wait, shutdown).await {
        Ok(Lookup::Found(record)) => *record,
        Ok(Lookup::Unknown | Lookup::Expired) => submitted,
        Err(error) => {
            tracing::warn!(task_id = %submitted.job.task_id, %error, "cannot wait for a result");
            submitted
        }
    }
}

#[derive(ApiResponse)]
enum SubmitResponse {
    /// The task has ended within the time of `Prefer: wait`.
    #[oai(status = 200)]
    Finished(
        Json<Task>,
        /// Where the task is.
        #[oai(header = "Location")]
        String,
        /// The preference that was followed.
        #[oai(header = "Preference-Applied")]
        String,
    ),
    /// The job is stored and will be run, or its result is known already.
    #[oai(status = 202)]
    Accepted(
        Json<Task>,
        /// Where to ask for the result.
        #[oai(header = "Location")]
        String,
        /// The preference that was followed, if there was one.
        #[oai(header = "Preference-Applied")]
        Option<String>,
    ),
}

#[derive(ApiResponse)]
enum ListResponse {
    /// A page of tasks.
    #[oai(status = 200)]
    Page(
        Json<TaskList>,
        /// The address of the next page, as `<…>; rel="next"`. Absent on the last page.
        #[oai(header = "Link")]
        Option<String>,
    ),
}

#[derive(ApiResponse)]
#[allow(
    clippy::large_enum_variant,
    reason = "there is one at a time, and it is rarely the small one"
)]
enum TaskResponse {
    /// The task is known.
    #[oai(status = 200)]
    Known(
        TaskContent,
        /// Identifies this answer; another one has another.
        #[oai(header = "ETag")]
        String,
        /// The header that the answer depends on.
        #[oai(header = "Vary")]
        String,
    ),
    /// The task has not changed since the answer with the `ETag` in `If-None-Match`.
    #[oai(status = 304)]
    Unchanged(
        /// As in `If-None-Match`.
        #[oai(header = "ETag")]
        String,
        /// The header that the answer depends on.
        #[oai(header = "Vary")]
        String,
    ),
}
