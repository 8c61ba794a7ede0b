//! What the client reads.

use std::{io, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use domain::{DetectedObject, Drawing, TaskId, five_decimals};
use futures_util::{TryStreamExt, stream};
use messaging::Drawings;
use poem::{Body, IntoResponse, Response, http::header::CONTENT_LENGTH};
use poem_openapi::{
    ApiResponse, Object, Union,
    payload::Json,
    registry::{MetaResponses, Registry},
    types::{Example, ToJSON},
};
use uuid::Uuid;

use crate::{
    routes::{held::Found, schema::EXAMPLE_ID},
    upload::UploadSlot,
};

/// How much of a large answer is given to the connection at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// What is found: one for a picture, a list for a list.
#[derive(Union)]
#[oai(rename = "RoboflowAnswer")]
pub(super) enum Answer {
    One(Inference),
    Many(Vec<Inference>),
}

/// An answer, and its place in memory if it has drawings, which it keeps until the client has read it.
pub(super) struct HeldAnswer {
    pub(super) answer: Answer,
    pub(super) place: Option<UploadSlot>,
}

impl ApiResponse for HeldAnswer {
    fn meta() -> MetaResponses {
        Json::<Answer>::meta()
    }

    fn register(registry: &mut Registry) {
        Json::<Answer>::register(registry);
    }
}

impl IntoResponse for HeldAnswer {
    fn into_response(self) -> Response {
        let Self { answer, place } = self;
        let Some(place) = place else { return Json(answer).into_response() };
        let text = Bytes::from(answer.to_json_string());
        let length = text.len();
        let pieces = stream::unfold((text, place), |(mut text, place)| async move {
            let piece = text.split_to(text.len().min(PIECE_BYTES));
            (!piece.is_empty()).then_some((Ok::<_, io::Error>(piece), (text, place)))
        });
        Response::builder()
            .content_type("application/json; charset=utf-8")
            .header(CONTENT_LENGTH, length)
            .body(Body::from_bytes_stream(pieces))
    }
}

/// What is found in a picture.
#[derive(Object)]
#[oai(rename = "RoboflowInference", skip_serializing_if_is_none, example)]
pub(super) struct Inference {
    /// The id of the task; see `/v1/tasks/{task_id}`.
    inference_id: String,
    /// Seconds from the request to the result.
    time: f64,
    image: ImageSize,
    /// What was found, highest confidence first.
    predictions: Vec<Prediction>,
    /// A JPEG of the picture with the boxes drawn in, as base64, if `visualize_predictions` asks for it.
    visualization: Option<String>,
}

/// The size of a picture in pixels.
#[derive(Object)]
#[oai(rename = "RoboflowImageSize")]
struct ImageSize {
    width: u32,
    height: u32,
}

/// An object, its box in pixels.
#[derive(Object)]
#[oai(rename = "RoboflowPrediction")]
struct Prediction {
    /// The centre of its box, from the left.
    x: f64,
    /// The centre of its box, from the top.
    y: f64,
    width: f64,
    height: f64,
    /// From 0 to 1.
    confidence: f64,
    /// The name of its class.
    class: String,
    /// The index of its class.
    class_id: u32,
    /// Identifies this object of this answer.
    detection_id: String,
}

impl From<&DetectedObject> for Prediction {
    fn from(object: &DetectedObject) -> Self {
        let bbox = object.detection.bbox;
        Self {
            x: five_decimals(f32::midpoint(bbox.x1, bbox.x2)),
            y: five_decimals(f32::midpoint(bbox.y1, bbox.y2)),
            width: five_decimals(bbox.x2 - bbox.x1),
            height: five_decimals(bbox.y2 - bbox.y1),
            confidence: five_decimals(object.detection.confidence),
            class: object.label.clone(),
            class_id: object.detection.class_id.0,
            detection_id: Uuid::now_v7().to_string(),
        }
    }
}

impl Inference {
    /// That of a task, a time after the request.
    pub(super) fn new(
        id: TaskId,
        found: &Found<'_>,
        time: Duration,
        visualization: Option<String>,
    ) -> Self {
        Self {
            inference_id: id.to_string(),
            time: time.as_secs_f64(),
            image: ImageSize { width: found.width, height: found.height },
            predictions: found.objects.iter().map(Prediction::from).collect(),
            visualization,
        }
    }
}

impl Example for Inference {
    fn example() -> Self {
        Self {
            inference_id: EXAMPLE_ID.to_owned(),
            time: 0.034,
            image: ImageSize { width: 810, height: 1080 },
            predictions: vec![Prediction {
                x: 413.5,
                y: 493.5,
                width: 783.0,
                height: 525.0,
                confidence: 0.87345,
                class: "bus".to_owned(),
                class_id: 5,
                detection_id: EXAMPLE_ID.to_owned(),
            }],
            visualization: None,
        }
    }
}

/// The drawing of a task as base64; `None` if it cannot be read, as if it could not be stored.
pub(super) async fn visualization(
    drawings: &Drawings,
    id: TaskId,
    drawing: Drawing,
) -> Option<String> {
    let pieces = drawings.read(id, drawing).try_fold(Vec::new(), async |mut file, piece| {
        file.extend_from_slice(&piece);
        Ok(file)
    });
    match pieces.await {
        Ok(file) if file.is_empty() => None,
        Ok(file) => Some(STANDARD.encode(file)),
        Err(error) => {
            tracing::warn!(task_id = %id, %error, "cannot read a drawing");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::{BoundingBox, ClassId, Detection};

    use super::*;

    #[test]
    fn a_box_has_its_centre_and_its_size() {
        let bbox = BoundingBox { x1: 10.0, y1: 20.0, x2: 15.0, y2: 40.0 };
        let detection = Detection { bbox, class_id: ClassId(5), confidence: 0.5 };
        let object = DetectedObject { label: "bus".to_owned(), detection };
        let found = Prediction::from(&object);
        assert_eq!([found.x, found.y, found.width, found.height], [12.5, 30.0, 5.0, 20.0]);
    }
}
