//! Batches: many pictures in one request.

mod answers;
mod body;
mod error;
mod results;
mod schema;

use std::time::Duration;

use bytes::Bytes;
use domain::BatchId;
use futures_util::StreamExt;
use poem::{
    Request,
    web::{Data, sse::Event},
};
use poem_openapi::{
    OpenApi,
    param::{Header, Path, Query},
    payload::Json,
    types::ToJSON,
};
use tokio::sync::OwnedSemaphorePermit;

use self::{
    answers::{
        BatchAnswer, BatchEventsAnswer, ResultsAnswer, SubmitBatchAnswer, not_received, problem_of,
    },
    body::BatchBody,
    error::{BatchCancelError, BatchError, SubmitBatchError},
    results::{Lines, line},
    schema::{Batch, BatchList},
};
use super::{
    error::records_unreadable, parameters::OfQuery, prefer::Preference, shared_error::ReadError,
    submit_options::submit_options, task::PriorityName,
};
use crate::{
    auth::Caller,
    batches::{
        Batches,
        beginning::BatchOptions,
        cancel::Cancelled,
        events::{BatchEvent, BatchEvents},
        route_hooks::RouteHooks,
        view::{BatchView, Found},
    },
    http::event_stream::{EventSource, EventStream, EventStreamSlots, text},
    routes::{health::ApiHealth, rejection, tag::Tag},
    tasks::{submit::SubmitOptions, viewer::Viewer},
    upload::{Given, cache_control::CacheControl},
};

/// How many batches a page has, unless its client says otherwise.
const DEFAULT_LIMIT: u8 = 20;

/// The routes of batches.
pub(crate) struct BatchesApi;

#[OpenApi(prefix_path = "/v1", tag = "Tag::V1")]
impl BatchesApi {
    /// Submit many pictures
    ///
    /// As files of a form, as a zip archive, or as a list of URLs. The pictures are accepted one by one while the rest
    /// arrives, each as a task of its own. The answer comes when all have been accepted or refused; a refused picture does
    /// not affect the others. If the batch breaks off, those that were accepted are run: the error has the batch as far as
    /// it was received, and the same request with the same `Idempotency-Key` continues it.
    #[oai(path = "/batches", method = "post")]
    async fn submit_batch(
        &self,
        batches: Data<&Batches>,
        caller: Data<&Caller>,
        /// The model to run, one of those that `GET /v1/models` lists. Default: the API's `MODEL`.
        model: Query<Option<String>>,
        /// The least class score of a reported object, from 0 to 1. Default 0.25.
        #[oai(validator(minimum(value = "0"), maximum(value = "1")))]
        confidence: Query<Option<f32>>,
        /// The overlap above which two boxes of a class are one object, from 0 to 1. Default 0.7.
        #[oai(validator(minimum(value = "0"), maximum(value = "1")))]
        iou: Query<Option<f32>>,
        /// The most objects reported of a picture, from 1 to 1000. Default 300.
        #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
        max_detections: Query<Option<u16>>,
        /// The classes to report, by name or index, separated by commas. Default: all.
        classes: Query<Option<Vec<String>>>,
        /// Whether boxes of different classes also count as one object where they overlap. Default false.
        class_agnostic: Query<Option<bool>>,
        /// Into how many overlapping tiles each picture is cut, which are run besides the whole, for small objects: `auto`,
        /// or columns and rows as in `3x2`, at most 64 in all. An API key's rate counts each run. Default: none.
        tiles: Query<Option<String>>,
        /// The share of a tile that it has in common with its neighbour, from 0 to 0.5. Default 0.2.
        #[oai(validator(minimum(value = "0"), maximum(value = "0.5")))]
        overlap: Query<Option<f32>>,
        /// How soon the jobs are run. Default `normal`.
        priority: Query<Option<PriorityName>>,
        /// Seconds that each job may wait for a worker before it expires. Default 24 hours.
        #[oai(validator(minimum(value = "1"), maximum(value = "604800")))]
        deadline: Query<Option<u64>>,
        /// A JSON object of at most 1 KiB, which is shown wherever the batch or a task of it is.
        metadata: Query<Option<String>>,
        /// Whether to keep each picture with the detected objects drawn in: `jpeg` (or `true`), `png`, `webp`.
        annotated: Query<Option<String>>,
        /// A public `https` URL that is called once, when all tasks have ended: a webhook, signed (Standard Webhooks).
        callback_url: Query<Option<String>>,
        /// `wait=N`: answer with the finished batch, after at most N seconds, up to 60.
        #[oai(name = "Prefer")]
        prefer: Header<Option<String>>,
        /// A key of your choosing: the same key with the same pictures and settings is the same batch, which is continued
        /// if it broke off.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<Option<String>>,
        /// `no-cache`: run the model also where the result for a picture is known. `no-store`: that, and do not keep
        /// the results for others who send the same pictures.
        #[oai(name = "Cache-Control")]
        _cache_control: Header<Option<String>>,
        request: &Request,
        body: BatchBody,
    ) -> Result<SubmitBatchAnswer, SubmitBatchError> {
        let idempotency_key = rejection::idempotency_key(idempotency_key.0)?;
        let refused = |error| rejection::refused_upload(error, &batches.tasks.metrics);
        let upload = body.0.map_err(refused)?;
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
        let options = BatchOptions {
            given: of_query.given().collect(),
            idempotency_key,
            no_cache: CacheControl::of(request.headers()).no_cache,
            submitter: caller.submitter(),
            hooks: RouteHooks { options, problem: problem_of },
        };
        let mut view = batches.receive(upload, options).await.map_err(not_received)?;
        let preference = prefer.0.as_deref().and_then(Preference::of);
        if let Some(Preference::Wait(wait)) = preference {
            view = wait_for_the_end(*batches, view, wait).await;
        }
        let location = format!("/v1/batches/{}", view.record.batch_id);
        let has_ended = view.record.end.is_some();
        let batch = Json(Batch::from(view));
        Ok(match preference {
            Some(applied @ Preference::Wait(_)) if has_ended => {
                SubmitBatchAnswer::Finished(batch, location, applied.applied())
            }
            applied => {
                SubmitBatchAnswer::Accepted(batch, location, applied.map(Preference::applied))
            }
        })
    }

    /// List batches
    ///
    /// The batches of the last `RESULT_TTL_SECONDS` (24 hours by default), the newest first, in pages. With an API key,
    /// its own. A page may have fewer batches than `limit`, or none, although there is a `next` one: where one key has few
    /// of very many.
    #[oai(path = "/batches", method = "get")]
    async fn list_batches(
        &self,
        batches: Data<&Batches>,
        caller: Data<&Caller>,
        /// How many batches a page has at most, from 1 to 100. Default 20.
        #[oai(validator(minimum(value = "1"), maximum(value = "100")))]
        limit: Query<Option<u8>>,
        /// `next` of a page: the page after it.
        cursor: Query<Option<String>>,
    ) -> Result<Json<BatchList>, ReadError> {
        let limit = usize::from(limit.0.unwrap_or(DEFAULT_LIMIT));
        let after = cursor.0.map(|cursor| cursor.parse()).transpose();
        let after = after.map_err(|_| ReadError::cursor("cursor must be `next` of a page"))?;
        match batches.list(after, limit, caller.viewer()).await {
            Ok(page) => Ok(Json(page.into())),
            Err(error) => {
                tracing::warn!(%error, "cannot list batches");
                Err(ReadError::unavailable(records_unreadable()))
            }
        }
    }

    /// A batch, and what became of its pictures
    ///
    /// `counts` add up to `received`. The tasks are at `results` in `links`.
    #[oai(path = "/batches/:batch_id", method = "get")]
    async fn batch(
        &self,
        batches: Data<&Batches>,
        caller: Data<&Caller>,
        /// The id that the submission answered with.
        batch_id: Path<String>,
    ) -> Result<BatchAnswer, BatchError> {
        let view = find(*batches, &batch_id, caller.viewer()).await?;
        Ok(BatchAnswer::Known(Json(view.into())))
    }

    /// The results of a batch
    ///
    /// A line of JSON for each picture, in the order in which they were sent: the task as `GET /v1/tasks/{task_id}` shows
    /// it, with `index` and `name`; for a refused picture `error` instead of a task. A picture whose task has not ended is
    /// in its present state. Lines are sent as fast as they are read.
    #[oai(path = "/batches/:batch_id/results", method = "get")]
    async fn results(
        &self,
        batches: Data<&Batches>,
        caller: Data<&Caller>,
        /// The id that the submission answered with.
        batch_id: Path<String>,
    ) -> Result<ResultsAnswer, BatchError> {
        let view = find(*batches, &batch_id, caller.viewer()).await?;
        let results = batches.results(&view.record);
        Ok(ResultsAnswer::Lines(Lines::new(results.map(line))))
    }

    /// Follow a batch by its events
    ///
    /// Server-sent events: `progress`, at most twice a second, and at the end `finished`, after which the stream is
    /// closed. The data of each is the batch as `GET /v1/batches/{batch_id}` shows it, without refused pictures. The first
    /// event is the present state. A comment is sent every 15 seconds.
    #[oai(path = "/batches/:batch_id/events", method = "get")]
    async fn batch_events(
        &self,
        batches: Data<&Batches>,
        caller: Data<&Caller>,
        health: Data<&ApiHealth>,
        slots: Data<&EventStreamSlots>,
        /// The id that the submission answered with.
        batch_id: Path<String>,
        /// The `id` of the last event that the client has seen. Browsers send it by themselves.
        #[oai(name = "Last-Event-ID")]
        last_event_id: Header<Option<String>>,
    ) -> Result<BatchEventsAnswer, BatchError> {
        let id = parse(&batch_id).map_err(BatchError::unknown)?;
        let slot = slots.take().ok_or_else(BatchError::too_many)?;
        match batches.follow(id, caller.viewer(), last_event_id.0).await {
            Ok(Found::Batch(events)) if events.is_seen() => Ok(BatchEventsAnswer::Over),
            Ok(Found::Batch(events)) => {
                let source = BatchEventSource { events, _slot: slot };
                let stream =
                    EventStream::new(source, id.uuid().random_byte(), health.shutdown.clone());
                Ok(BatchEventsAnswer::Events(stream))
            }
            Ok(Found::Unknown) => Err(BatchError::unknown(no_batch(id))),
            Ok(Found::Expired) => Err(BatchError::expired(id)),
            Err(error) => {
                tracing::warn!(batch_id = %id, %error, "cannot follow a batch");
                Err(BatchError::unavailable())
            }
        }
    }

    /// Cancel a batch
    ///
    /// Its tasks that have not ended are REVOKED. Pictures that still arrive are not accepted.
    #[oai(path = "/batches/:batch_id", method = "delete")]
    async fn cancel_batch(
        &self,
        batches: Data<&Batches>,
        caller: Data<&Caller>,
        /// The id that the submission answered with.
        batch_id: Path<String>,
    ) -> Result<BatchAnswer, BatchCancelError> {
        let id = parse(&batch_id).map_err(BatchCancelError::unknown)?;
        match batches.cancel(id, caller.viewer()).await {
            Ok(Found::Batch(Cancelled::Now(view))) => Ok(BatchAnswer::Known(Json((*view).into()))),
            Ok(Found::Batch(Cancelled::AlreadyEnded(view))) => {
                Err(BatchCancelError::ended((*view).into()))
            }
            Ok(Found::Unknown) => Err(BatchCancelError::unknown(no_batch(id))),
            Ok(Found::Expired) => Err(BatchCancelError::expired(id)),
            Err(error) => {
                tracing::warn!(batch_id = %id, %error, "cannot cancel a batch");
                Err(BatchCancelError::unavailable())
            }
        }
    }
}

fn parse(id: &str) -> Result<BatchId, String> {
    id.parse().map_err(|error: domain::InvalidTaskId| error.to_string())
}

/// The batch of this id.
async fn find(batches: &Batches, id: &str, viewer: Viewer) -> Result<BatchView, BatchError> {
    let id = parse(id).map_err(BatchError::unknown)?;
    match batches.find(id, viewer).await {
        Ok(Found::Batch(view)) => Ok(view),
        Ok(Found::Unknown) => Err(BatchError::unknown(no_batch(id))),
        Ok(Found::Expired) => Err(BatchError::expired(id)),
        Err(error) => {
            tracing::warn!(batch_id = %id, %error, "cannot read a batch");
            Err(BatchError::unavailable())
        }
    }
}

fn no_batch(id: BatchId) -> String {
    format!("there is no batch {id}")
}

/// The options that parameters mean.
fn options(batches: &Batches, given: Given) -> Result<SubmitOptions, (String, String)> {
    submit_options(given, &batches.tasks).map_err(|rejection| {
        (rejection.parameter().unwrap_or_default().to_owned(), rejection.to_string())
    })
}

/// The batch once it has ended, or as it is after `limit`.
async fn wait_for_the_end(batches: &Batches, view: BatchView, limit: Duration) -> BatchView {
    let id = view.record.batch_id;
    let waited = async {
        if batches.wait(id, limit).await?.is_none() {
            return Ok(None);
        }
        Ok::<_, messaging::MessagingError>(match batches.find(id, Viewer::All).await? {
            Found::Batch(view) => Some(view),
            Found::Expired | Found::Unknown => None,
        })
    };
    match waited.await {
        Ok(found) => found.unwrap_or(view),
        Err(error) => {
            tracing::warn!(batch_id = %id, %error, "cannot wait for the end of a batch");
            view
        }
    }
}

/// One client's stream.
struct BatchEventSource {
    events: BatchEvents,
    _slot: OwnedSemaphorePermit,
}

impl EventSource for BatchEventSource {
    async fn next(&mut self) -> Option<Bytes> {
        self.events.next().await.map(|event| text(&server_sent(event)))
    }
}

fn server_sent(event: BatchEvent) -> Event {
    let (id, name) = (event.id(), event.name());
    let BatchEvent { record, counts } = event;
    let batch = Batch::from(BatchView { record, counts, refusals: Vec::new() });
    Event::message(batch.to_json_string()).id(id).event_type(name)
}
