//! The routes of Hugging Face's object detection, for its clients: `InferenceClient`, in Python and JavaScript. A client
//! posts to the address that it is given: `/` for the API's own model, as an endpoint of its own has it, or the path of a
//! model.

mod body;
mod error;

use domain::{DetectedObject, DetectionSettings, five_decimals};
use poem::{
    Request,
    http::{Method, StatusCode},
    web::Data,
};
use poem_openapi::{Object, OpenApi, param::Path, payload::Json, types::Example};

use self::{
    body::{DetectionBody, SentDetection},
    error::DetectError,
};
use super::{
    health::ApiHealth,
    held::{Found, HeldRequest},
    held_error::HeldError,
    tag::Tag,
};
use crate::{
    auth::Caller,
    tasks::{Tasks, submit::SubmitOptions},
    upload::{cache_control::CacheControl, multipart::without_controls},
};

/// What a request to one of these routes is told where they are turned off.
pub(crate) const OFF: &str = "the routes of Hugging Face are turned off here (HUGGINGFACE_API=off)";

/// Whether a request is for one of these routes.
pub(crate) fn is_route(method: &Method, path: &str) -> bool {
    path.starts_with("/models/") || (method == Method::POST && path == "/")
}

/// The routes of Hugging Face.
pub(crate) struct HuggingFaceApi;

#[OpenApi(tag = "Tag::HuggingFace")]
impl HuggingFaceApi {
    /// Detect objects in a picture
    ///
    /// The answer comes when the picture has been run, or after 60 seconds.
    #[oai(path = "/", method = "post")]
    async fn detection(
        &self,
        tasks: Data<&Tasks>,
        health: Data<&ApiHealth>,
        caller: Data<&Caller>,
        request: &Request,
        body: DetectionBody,
    ) -> Result<Json<Vec<Detection>>, DetectError> {
        let held = HeldRequest::new(*tasks, *health, *caller);
        detect(held, options(request), body.0?).await
    }

    /// Detect objects with a model
    ///
    /// As `POST /`, by the model of this name.
    #[oai(path = "/models/:model", method = "post")]
    async fn detection_by(
        &self,
        tasks: Data<&Tasks>,
        health: Data<&ApiHealth>,
        caller: Data<&Caller>,
        /// One of the names that `/v1/models` lists.
        model: Path<String>,
        request: &Request,
        body: DetectionBody,
    ) -> Result<Json<Vec<Detection>>, DetectError> {
        let unknown = || format!("there is no model '{}'", without_controls(&model));
        let name = model.parse().map_err(|_| HeldError::new(StatusCode::NOT_FOUND, unknown()))?;
        let held = HeldRequest::new(*tasks, *health, *caller);
        let options = SubmitOptions { model: Some(name), ..options(request) };
        detect(held, options, body.0?).await
    }
}

fn options(request: &Request) -> SubmitOptions {
    let no_cache = CacheControl::of(request.headers()).no_cache;
    SubmitOptions { no_cache, ..SubmitOptions::default() }
}

async fn detect(
    held: HeldRequest<'_>,
    options: SubmitOptions,
    sent: SentDetection,
) -> Result<Json<Vec<Detection>>, DetectError> {
    let SentDetection { picture, threshold } = sent;
    let settings = DetectionSettings { confidence: threshold, ..DetectionSettings::default() };
    let options = SubmitOptions { settings, ..options };
    let submitted = held.submit(picture, options).await?;
    let record = held.end(submitted).await;
    let found = Found::of(&record)?;
    Ok(Json(found.objects.iter().map(Detection::from).collect()))
}

/// An object in a picture.
#[derive(Object)]
#[oai(rename = "HuggingFaceDetection", example)]
struct Detection {
    /// From 0 to 1.
    score: f64,
    /// The name of its class.
    label: String,
    #[oai(rename = "box")]
    bounding_box: BoundingBox,
}

/// A box in whole pixels.
#[derive(Object)]
#[oai(rename = "HuggingFaceBox")]
struct BoundingBox {
    xmin: u32,
    ymin: u32,
    xmax: u32,
    ymax: u32,
}

impl Example for Detection {
    fn example() -> Self {
        let bounding_box = BoundingBox { xmin: 22, ymin: 231, xmax: 805, ymax: 756 };
        Self { score: 0.87345, label: "bus".to_owned(), bounding_box }
    }
}

impl From<&DetectedObject> for Detection {
    fn from(object: &DetectedObject) -> Self {
        let bbox = object.detection.bbox;
        // Cut to whole pixels, as Hugging Face's own servers do it; boxes lie within the picture.
        let whole = |pixels: f32| pixels as u32;
        Self {
            score: five_decimals(object.detection.confidence),
            label: object.label.clone(),
            bounding_box: BoundingBox {
                xmin: whole(bbox.x1),
                ymin: whole(bbox.y1),
                xmax: whole(bbox.x2),
                ymax: whole(bbox.y2),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn posts_to_the_root_and_to_models_are_for_these_routes() {
        for (method, path, expected) in [
            (Method::POST, "/", true),
            (Method::GET, "/", false),
            (Method::POST, "/models/yolov8n", true),
            (Method::GET, "/models/yolov8n", true),
            (Method::POST, "/model/add", false),
            (Method::POST, "/v1/models/yolov8n", false),
        ] {
            assert_eq!(is_route(&method, path), expected, "{method} {path}");
        }
    }
}
