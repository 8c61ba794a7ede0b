//! The body of a webhook: `{type, timestamp, data}`.
//!
//! `data` is the batch, with a link to its results, or the task as `GET /v1/tasks/{id}` shows it, but for its timings. If
//! that makes the body too large, the objects are only behind the link to the task. The data of an event is the same
//! `data`.

mod batch;
mod envelope;

use domain::{
    BatchItem, DetectedObject, Metadata, Priority, RunReport, TaskRecord, TaskState, five_decimals,
};
use messaging::{CloudEvent, Ended};
use serde::Serialize;
use time::OffsetDateTime;

use self::envelope::Payload;

/// The largest body of a webhook, in bytes, as Standard Webhooks recommends.
const LARGEST_BODY: usize = 20_000;

/// The largest data of an event, in bytes: less than the least `max_payload` that NATS is set to, 1 MiB by default.
const LARGEST_DATA: usize = 768 << 10;

#[derive(Serialize)]
struct Data<'a> {
    task_id: String,
    state: &'static str,
    picture_name: &'a str,
    model: &'a str,
    priority: Priority,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Metadata>,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<BatchItem>,
    #[serde(with = "time::serde::rfc3339")]
    submitted_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    deadline: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    started_at: Option<OffsetDateTime>,
    attempts: u32,
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    finished_at: Option<OffsetDateTime>,
    #[serde(flatten)]
    result: Option<TaskResult<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<Failure<'a>>,
    links: Links,
}

#[derive(Serialize)]
struct TaskResult<'a> {
    width: u32,
    height: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    model_digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    objects: Option<Vec<Found<'a>>>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'a [String],
    cached: bool,
}

#[derive(Serialize)]
struct Found<'a> {
    label: &'a str,
    class_id: u32,
    confidence: f64,
    bbox: Corners,
}

#[derive(Serialize)]
struct Corners {
    x1: f64,
    y1: f64,
    x2: f64,
    y2: f64,
}

#[derive(Serialize)]
struct Failure<'a> {
    reason: domain::FailureReason,
    message: &'a str,
}

/// Where the rest is, relative to the API.
#[derive(Serialize)]
struct Links {
    #[serde(rename = "self")]
    this: String,
    events: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<String>,
}

/// The body for the end of a task or a batch.
///
/// # Errors
/// If it cannot be written as JSON.
pub(crate) fn body(ended: &Ended) -> serde_json::Result<Vec<u8>> {
    match ended {
        Ended::Task(record) => {
            within(LARGEST_BODY, |objects| serde_json::to_vec(&payload(record, objects)))
        }
        Ended::Batch(record) => serde_json::to_vec(&batch::payload(record)),
    }
}

/// The event of the end of a task or a batch.
///
/// # Errors
/// As [`body`].
pub(crate) fn event(ended: &Ended) -> serde_json::Result<CloudEvent> {
    let (kind, time, data) = match ended {
        Ended::Task(record) => {
            let Payload { r#type, timestamp, .. } = payload(record, Objects::Linked);
            let data = |objects| serde_json::to_vec(&payload(record, objects).data);
            (r#type, timestamp, within(LARGEST_DATA, data)?)
        }
        Ended::Batch(record) => {
            let Payload { r#type, timestamp, data } = batch::payload(record);
            (r#type, timestamp, serde_json::to_vec(&data)?)
        }
    };
    Ok(CloudEvent::of(ended, kind, time, data.into()))
}

/// What `write` makes with the objects, or without them if that has more than so many bytes.
fn within(
    largest: usize,
    write: impl Fn(Objects) -> serde_json::Result<Vec<u8>>,
) -> serde_json::Result<Vec<u8>> {
    let whole = write(Objects::Included)?;
    if whole.len() <= largest { Ok(whole) } else { write(Objects::Linked) }
}

/// Where the objects are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Objects {
    Included,
    /// In the task that the link leads to.
    Linked,
}

fn payload(record: &TaskRecord, objects: Objects) -> Payload<Data<'_>> {
    let TaskRecord { job, attempts, state } = record;
    let finished_at = state.finished_at();
    let this = format!("/v1/tasks/{}", job.task_id);
    let has_image = matches!(state, TaskState::Success { drawing: Some(_), .. });
    let (result, failure) = match state {
        TaskState::Success {
            objects: found,
            width,
            height,
            warnings,
            run,
            model_digest,
            cached,
            ..
        } => {
            let included = objects == Objects::Included;
            let result = TaskResult {
                width: *width,
                height: *height,
                model_digest: model_digest.as_ref().map(ToString::to_string),
                worker: run.as_ref().map(|RunReport { worker, .. }| worker.as_str()),
                objects: included.then(|| found.iter().map(Found::from).collect()),
                warnings,
                cached: *cached,
            };
            (Some(result), None)
        }
        TaskState::Failure { reason, message, .. } => {
            (None, Some(Failure { reason: *reason, message }))
        }
        _ => (None, None),
    };
    Payload {
        r#type: format!("task.{}", state.name().to_ascii_lowercase()),
        timestamp: finished_at.unwrap_or(job.submitted_at),
        data: Data {
            task_id: job.task_id.to_string(),
            state: state.name(),
            picture_name: &job.picture_name,
            model: job.model.as_str(),
            priority: job.priority,
            metadata: job.metadata.as_ref(),
            batch: job.batch,
            submitted_at: job.submitted_at,
            deadline: job.deadline,
            started_at: state.started_at(),
            attempts: *attempts,
            finished_at,
            result,
            failure,
            links: Links {
                events: format!("{this}/events"),
                image: has_image.then(|| format!("{this}/image")),
                this,
            },
        },
    }
}

impl<'a> From<&'a DetectedObject> for Found<'a> {
    fn from(object: &'a DetectedObject) -> Self {
        let bbox = object.detection.bbox;
        Self {
            label: &object.label,
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

#[cfg(test)]
mod tests {
    use domain::{BoundingBox, ClassId, Detection, Job};

    use super::*;

    fn record(objects: usize) -> TaskRecord {
        let bbox = BoundingBox { x1: 22.875, y1: 231.25, x2: 805.5, y2: 756.75 };
        let detection = Detection { bbox, class_id: ClassId(5), confidence: 0.873_448 };
        let object = DetectedObject { detection, label: "bus".to_owned() };
        let job = Job::new("bus.jpg".to_owned(), "yolov8n".parse().unwrap(), Default::default());
        TaskRecord::queued(job).with_state(TaskState::Success {
            started_at: None,
            finished_at: OffsetDateTime::UNIX_EPOCH,
            objects: vec![object; objects],
            width: 810,
            height: 1080,
            warnings: Vec::new(),
            run: None,
            model_digest: None,
            drawing: None,
            cached: false,
        })
    }

    fn json(record: &TaskRecord) -> serde_json::Value {
        serde_json::from_slice(&body(&record.clone().into()).unwrap()).unwrap()
    }

    #[test]
    fn a_large_result_is_only_behind_the_link() {
        let small = json(&record(4));
        assert_eq!(small["type"], "task.success");
        assert_eq!(small["timestamp"], "1970-01-01T00:00:00Z");
        assert_eq!(small["data"]["objects"].as_array().unwrap().len(), 4);
        let large = record(300);
        assert!(body(&large.clone().into()).unwrap().len() <= LARGEST_BODY);
        let large = json(&large);
        assert!(large["data"]["objects"].is_null(), "{large}");
        let id = large["data"]["task_id"].as_str().unwrap();
        assert_eq!(large["data"]["links"]["self"], format!("/v1/tasks/{id}"));
    }

    #[test]
    fn every_end_has_a_type() {
        let finished_at = OffsetDateTime::UNIX_EPOCH;
        let revoked = record(0).with_state(TaskState::Revoked { finished_at });
        assert_eq!(json(&revoked)["type"], "task.revoked");
        let expired = record(0).with_state(TaskState::Expired { finished_at });
        assert_eq!(json(&expired)["data"]["state"], "EXPIRED");
        let failure = TaskState::Failure {
            finished_at,
            reason: domain::FailureReason::UndecodablePicture,
            message: "no".to_owned(),
        };
        let failed = json(&record(0).with_state(failure));
        assert_eq!(failed["data"]["failure"]["reason"], "undecodable_picture");
    }
}
