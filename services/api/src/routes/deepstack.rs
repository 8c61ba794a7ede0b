//! The routes of DeepStack and CodeProject.AI, for their clients: Blue Iris, Frigate, Home Assistant, cameras' scripts. A
//! picture goes through the same queue as all others, ahead of them, and the answer is held back until it has been run.

mod answer;
mod error;
mod form;
mod mode;
mod status;

use domain::{ConfidenceThreshold, DetectionSettings, MaxDetections, ModelName};
use poem::web::Data;
use poem_openapi::{OpenApi, param::Path, payload::Json};

pub use self::mode::DeepStackMode;
use self::{
    answer::{Answer, ModelList, ModelNames},
    error::VisionError,
    form::{Detecting, Listing, SentForm, VisionForm},
    status::ServerStatus,
};
use super::{health::ApiHealth, held::HeldRequest, rejection::RejectionKind, tag::Tag};
use crate::{
    models::{KnownModel, Models},
    tasks::{
        Tasks,
        submit::{RETRY_AFTER_SECONDS, SubmitOptions},
    },
};

/// `min_confidence` of a request without one: that of both servers.
const DEFAULT_CONFIDENCE: &str = "0.4";

/// The most predictions in an answer. Frigate has room for 20, and a longer answer is an error there.
const MAX_PREDICTIONS: u16 = 20;

/// The custom model that CodeProject.AI's clients ask for by default: another name of the API's own model, unless one is
/// installed under it.
const GENERAL: &str = "general";

/// The routes of DeepStack and CodeProject.AI.
pub(crate) struct DeepStackApi;

#[OpenApi(prefix_path = "/v1", tag = "Tag::DeepStack")]
impl DeepStackApi {
    /// Detect objects in a picture
    ///
    /// The answer comes when the picture has been run, or after 60 seconds. It has at most 20 predictions, highest
    /// confidence first.
    #[oai(path = "/vision/detection", method = "post")]
    async fn detection(
        &self,
        tasks: Data<&Tasks>,
        health: Data<&ApiHealth>,
        mode: Data<&DeepStackMode>,
        form: VisionForm<Detecting>,
    ) -> Result<Json<Answer>, VisionError> {
        let detected = detect("detect", *tasks, *health, None, form.0).await;
        detected.map(Json).map_err(|error| error.reported(**mode))
    }

    /// Detect objects with a model
    ///
    /// As `/v1/vision/detection`, by the model of this name; `general` is the API's own.
    #[oai(path = "/vision/custom/:model", method = "post")]
    async fn custom(
        &self,
        tasks: Data<&Tasks>,
        health: Data<&ApiHealth>,
        mode: Data<&DeepStackMode>,
        /// One of the names that `/v1/vision/custom/list` answers with.
        model: Path<String>,
        form: VisionForm<Detecting>,
    ) -> Result<Json<Answer>, VisionError> {
        let detected = detect("custom", *tasks, *health, Some(&model.0), form.0).await;
        detected.map(Json).map_err(|error| error.reported(**mode))
    }

    /// List the names of models
    #[oai(path = "/vision/custom/list", method = "post")]
    async fn custom_list(
        &self,
        tasks: Data<&Tasks>,
        mode: Data<&DeepStackMode>,
        form: VisionForm<Listing>,
    ) -> Result<Json<ModelNames>, VisionError> {
        let listed = list(&tasks.models, form.0).await;
        listed.map(|models| Json(models.into())).map_err(|error| error.reported(**mode))
    }

    /// List models
    #[oai(path = "/vision/listmodels", method = "post")]
    async fn list_models(
        &self,
        tasks: Data<&Tasks>,
        mode: Data<&DeepStackMode>,
        form: VisionForm<Listing>,
    ) -> Result<Json<ModelList>, VisionError> {
        let listed = list(&tasks.models, form.0).await;
        listed.map(|models| Json(models.into())).map_err(|error| error.reported(**mode))
    }

    /// Whether the server answers
    #[oai(path = "/status/ping", method = "get")]
    async fn ping(&self) -> Json<ServerStatus> {
        Json(ServerStatus::now())
    }

    /// The server's version
    #[oai(path = "/status/version", method = "get")]
    async fn version(&self) -> Json<ServerStatus> {
        Json(ServerStatus::now())
    }

    /// Whether there is a newer version
    #[oai(path = "/status/updateavailable", method = "get")]
    async fn update_available(&self) -> Json<ServerStatus> {
        Json(ServerStatus::now())
    }

    /// Whether the server answers, at CodeProject.AI's newer address
    #[oai(path = "/server/status/ping", method = "get")]
    async fn server_ping(&self) -> Json<ServerStatus> {
        Json(ServerStatus::now())
    }

    /// The server's version, at CodeProject.AI's newer address
    #[oai(path = "/server/status/version", method = "get")]
    async fn server_version(&self) -> Json<ServerStatus> {
        Json(ServerStatus::now())
    }

    /// Whether there is a newer version, at CodeProject.AI's newer address
    #[oai(path = "/server/status/updateavailable", method = "get")]
    async fn server_update_available(&self) -> Json<ServerStatus> {
        Json(ServerStatus::now())
    }
}

/// Submits the picture of a form, and answers with what is found in it.
async fn detect(
    command: &str,
    tasks: &Tasks,
    health: &ApiHealth,
    model: Option<&str>,
    form: Result<SentForm, VisionError>,
) -> Result<Answer, VisionError> {
    let SentForm { caller, image, min_confidence, no_cache } = form?;
    let held = HeldRequest::new(tasks, health, &caller);
    let picture = image.ok_or_else(|| {
        tasks.metrics.count_refused_upload(RejectionKind::NoPicture.name());
        VisionError::no_image()
    })?;
    let text = min_confidence.as_deref().filter(|text| !text.is_empty());
    let text = text.unwrap_or(DEFAULT_CONFIDENCE);
    let confidence: ConfidenceThreshold =
        text.parse().map_err(|_| VisionError::min_confidence(text))?;
    let max_detections = MaxDetections::try_from(MAX_PREDICTIONS).unwrap_or_default();
    let options = SubmitOptions {
        settings: DetectionSettings { confidence, max_detections, ..DetectionSettings::default() },
        model: model.map(|model| named(model, &tasks.models)).transpose()?,
        no_cache,
        ..SubmitOptions::default()
    };
    let submitted = held.submit(picture, options).await?;
    let record = held.end(submitted).await;
    Answer::of(&record, command, held.elapsed())
}

/// The model that a client calls `name`.
fn named(name: &str, models: &Models) -> Result<ModelName, VisionError> {
    let parsed: ModelName = name.parse().map_err(|_| VisionError::no_model(name))?;
    match name.eq_ignore_ascii_case(GENERAL) && !models.workers.serve(&parsed) {
        true => Ok(models.default.clone()),
        false => Ok(parsed),
    }
}

/// All models, for who may read.
async fn list(
    models: &Models,
    form: Result<SentForm, VisionError>,
) -> Result<Vec<KnownModel>, VisionError> {
    form?;
    models.list().await.map_err(|error| {
        tracing::warn!(%error, "cannot read the descriptions of models");
        VisionError::unavailable(RETRY_AFTER_SECONDS)
    })
}
