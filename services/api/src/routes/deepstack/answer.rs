//! Answers with what both servers' clients read.

use std::time::Duration;

use domain::{DetectedObject, TaskRecord, five_decimals};
use poem_openapi::{Object, types::Example};
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

use super::error::VisionError;
use crate::{
    models::KnownModel,
    routes::{held::Found, schema::EXAMPLE_ID},
};

/// RFC 1123, as .NET writes it.
const TIMESTAMP: &[BorrowedFormatItem<'static>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);

/// What was found in a picture.
#[derive(Object)]
#[oai(rename = "VisionAnswer", rename_all = "camelCase", example)]
pub(super) struct Answer {
    /// Always true.
    success: bool,
    /// What was found, highest confidence first, at most 20.
    predictions: Vec<Prediction>,
    /// Seconds from the request to the answer.
    duration: f64,
    /// The same in words.
    message: String,
    /// How many predictions there are.
    count: usize,
    /// Milliseconds that the model ran.
    inference_ms: u64,
    /// Milliseconds that the picture was worked on.
    process_ms: u64,
    /// Milliseconds from the request to the answer.
    analysis_round_trip_ms: u64,
    /// `detect`, or `custom` where the request names a model.
    command: String,
    /// The model that was run.
    module_id: String,
    /// The name of this server.
    module_name: String,
    /// The id of the task; see `/v1/tasks/{task_id}`.
    request_id: String,
    /// Always `localhost`.
    processed_by: String,
    /// When the answer was made.
    #[oai(rename = "timestampUTC")]
    timestamp_utc: String,
    /// Always 200.
    code: u16,
}

impl Example for Answer {
    fn example() -> Self {
        Self {
            success: true,
            predictions: vec![Prediction {
                label: "bus".to_owned(),
                confidence: 0.87345,
                x_min: 22,
                y_min: 231,
                x_max: 805,
                y_max: 756,
            }],
            duration: 0.034,
            message: "Found bus".to_owned(),
            count: 1,
            inference_ms: 29,
            process_ms: 32,
            analysis_round_trip_ms: 34,
            command: "detect".to_owned(),
            module_id: "yolov8n".to_owned(),
            module_name: "spotter".to_owned(),
            request_id: EXAMPLE_ID.to_owned(),
            processed_by: "localhost".to_owned(),
            timestamp_utc: "Fri, 27 Nov 2026 08:00:00 GMT".to_owned(),
            code: 200,
        }
    }
}

/// An object, its box in whole pixels.
#[derive(Object)]
struct Prediction {
    /// The name of its class.
    label: String,
    /// From 0 to 1.
    confidence: f64,
    x_min: u32,
    y_min: u32,
    x_max: u32,
    y_max: u32,
}

impl From<&DetectedObject> for Prediction {
    fn from(object: &DetectedObject) -> Self {
        let bbox = object.detection.bbox;
        // Cut to whole pixels; boxes lie within the picture.
        let whole = |pixels: f32| pixels as u32;
        Self {
            label: object.label.clone(),
            confidence: five_decimals(object.detection.confidence),
            x_min: whole(bbox.x1),
            y_min: whole(bbox.y1),
            x_max: whole(bbox.x2),
            y_max: whole(bbox.y2),
        }
    }
}

impl Answer {
    /// The answer to a request that took `duration`, once its task has ended.
    ///
    /// # Errors
    /// [`VisionError`] if the task has no result.
    pub(super) fn of(
        record: &TaskRecord,
        command: &str,
        duration: Duration,
    ) -> Result<Self, VisionError> {
        let Found { objects, run, .. } = Found::of(record)?;
        let (infer, process) = run.map_or((0.0, 0.0), |run| {
            let before = run.decode_ms + run.letterbox_ms;
            (run.infer_ms, before + run.infer_ms + run.postprocess_ms)
        });
        Ok(Self {
            success: true,
            predictions: objects.iter().map(Prediction::from).collect(),
            duration: duration.as_secs_f64(),
            message: in_words(objects),
            count: objects.len(),
            inference_ms: infer.round() as u64,
            process_ms: process.round() as u64,
            analysis_round_trip_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            command: command.to_owned(),
            module_id: record.job.model.to_string(),
            module_name: "spotter".to_owned(),
            request_id: record.job.task_id.to_string(),
            processed_by: "localhost".to_owned(),
            timestamp_utc: timestamp(OffsetDateTime::now_utc()),
            code: 200,
        })
    }
}

/// `Found person, car`, each label once, or `No objects found`.
fn in_words(objects: &[DetectedObject]) -> String {
    let mut labels: Vec<&str> = Vec::new();
    for object in objects {
        if !labels.contains(&object.label.as_str()) {
            labels.push(&object.label);
        }
    }
    match labels.is_empty() {
        true => "No objects found".to_owned(),
        false => format!("Found {}", labels.join(", ")),
    }
}

/// RFC 1123. The format fits every time.
pub(super) fn timestamp(at: OffsetDateTime) -> String {
    at.format(TIMESTAMP).unwrap_or_default()
}

/// The models that there are, by their names.
#[derive(Object)]
#[oai(rename = "VisionModelNames", example)]
pub(super) struct ModelNames {
    /// Always true.
    success: bool,
    /// The names that `/v1/vision/custom/{model}` takes.
    models: Vec<String>,
}

impl Example for ModelNames {
    fn example() -> Self {
        Self { success: true, models: vec!["yolov8n".to_owned()] }
    }
}

impl From<Vec<KnownModel>> for ModelNames {
    fn from(models: Vec<KnownModel>) -> Self {
        let models = models.into_iter().map(|model| model.name.to_string()).collect();
        Self { success: true, models }
    }
}

/// The models that there are.
#[derive(Object)]
#[oai(rename = "VisionModels", example)]
pub(super) struct ModelList {
    /// Always true.
    success: bool,
    models: Vec<ListedModel>,
}

/// A model.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct ListedModel {
    name: String,
    /// When a worker has described it last.
    dateupdated: Option<OffsetDateTime>,
}

impl Example for ModelList {
    fn example() -> Self {
        let dateupdated = Some(OffsetDateTime::UNIX_EPOCH);
        Self {
            success: true,
            models: vec![ListedModel { name: "yolov8n".to_owned(), dateupdated }],
        }
    }
}

impl From<Vec<KnownModel>> for ModelList {
    fn from(models: Vec<KnownModel>) -> Self {
        let listed = models.into_iter().map(|model| ListedModel {
            name: model.name.to_string(),
            dateupdated: model.description.map(|description| description.stored_at),
        });
        Self { success: true, models: listed.collect() }
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn timestamps_are_those_of_rfc_1123() {
        let at = datetime!(2026-11-07 08:05:09.5 UTC);
        assert_eq!(timestamp(at), "Sat, 07 Nov 2026 08:05:09 GMT");
    }
}
