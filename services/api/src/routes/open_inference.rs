//! The Open Inference Protocol v2, for clients of Triton, KServe and OpenVINO Model Server. Pictures go through the same
//! queue as all others, ahead of them, and the answer is held back until they have been run.

pub(crate) mod pictures;
pub(crate) mod tensor_error;

mod body;
mod error;
mod inference;
mod metadata;
mod path;
mod request;
mod schema;
mod tensors;

use poem::{Request, web::Data};
use poem_openapi::{OpenApi, param::Path, payload::Json};
use service::probes::{HealthSource, Probe};

use self::{
    body::{AnswerBody, InferenceBody},
    error::{InferenceError, no_model, not_ready},
    inference::{Inference, Sent},
    metadata::{ListedModel, Model, ModelReady, Server, ServerLive, ServerReady},
    path::parse_name,
    schema::VERSION,
};
use super::{health::ApiHealth, tag::Tag};
use crate::{
    auth::Caller,
    models::{KnownModel, Models},
    tasks::Tasks,
    upload::UploadRules,
};

/// What a request to one of these routes is told where they are turned off.
pub(crate) const OFF: &str =
    "the routes of the Open Inference Protocol are turned off here (OPEN_INFERENCE_API=off)";

/// Whether `path` is one of these routes.
pub(crate) fn is_route(path: &str) -> bool {
    path == "/v2" || path.starts_with("/v2/")
}

/// The routes of the Open Inference Protocol.
pub(crate) struct OpenInferenceApi;

#[OpenApi(prefix_path = "/v2", tag = "Tag::OpenInference")]
impl OpenInferenceApi {
    /// Whether this server runs
    #[oai(path = "/health/live", method = "get")]
    async fn live(&self) -> Json<ServerLive> {
        Json(ServerLive::LIVE)
    }

    /// Whether requests should be sent to this server
    #[oai(path = "/health/ready", method = "get")]
    async fn ready(&self, health: Data<&ApiHealth>) -> Result<Json<ServerReady>, InferenceError> {
        health.check(Probe::Ready).map_err(not_ready)?;
        Ok(Json(ServerReady::READY))
    }

    /// Name, version and extensions of this server
    #[oai(path = "/", method = "get")]
    async fn server(&self) -> Json<Server> {
        Json(Server::this())
    }

    /// List models
    #[oai(path = "/repository/index", method = "post")]
    async fn index(&self, tasks: Data<&Tasks>) -> Result<Json<Vec<ListedModel>>, InferenceError> {
        let models = tasks.models.list().await.map_err(|error| {
            tracing::warn!(%error, "cannot read the descriptions of models");
            InferenceError::unavailable()
        })?;
        Ok(Json(models.into_iter().map(ListedModel::from).collect()))
    }

    /// The tensors of a model
    #[oai(path = "/models/:model", method = "get")]
    async fn model(
        &self,
        tasks: Data<&Tasks>,
        /// The name that the model is installed under.
        model: Path<String>,
    ) -> Result<Json<Model>, InferenceError> {
        let known = find(&tasks.models, &model.0, VERSION).await?;
        Ok(Json(Model::named(known.name.as_str())))
    }

    /// The tensors of a model, by its version
    #[oai(path = "/models/:model/versions/:version", method = "get")]
    async fn model_version(
        &self,
        tasks: Data<&Tasks>,
        /// The name that the model is installed under.
        model: Path<String>,
        /// `1`: each model has one version.
        version: Path<String>,
    ) -> Result<Json<Model>, InferenceError> {
        let known = find(&tasks.models, &model.0, &version.0).await?;
        Ok(Json(Model::named(known.name.as_str())))
    }

    /// Whether a worker serves a model
    #[oai(path = "/models/:model/ready", method = "get")]
    async fn model_ready(
        &self,
        tasks: Data<&Tasks>,
        /// The name that the model is installed under.
        model: Path<String>,
    ) -> Result<Json<ModelReady>, InferenceError> {
        find(&tasks.models, &model.0, VERSION).await?.try_into().map(Json)
    }

    /// Whether a worker serves a model, by its version
    #[oai(path = "/models/:model/versions/:version/ready", method = "get")]
    async fn model_version_ready(
        &self,
        tasks: Data<&Tasks>,
        /// The name that the model is installed under.
        model: Path<String>,
        /// `1`: each model has one version.
        version: Path<String>,
    ) -> Result<Json<ModelReady>, InferenceError> {
        find(&tasks.models, &model.0, &version.0).await?.try_into().map(Json)
    }

    /// Detect objects in pictures
    ///
    /// The answer comes when all pictures have been run, or after 60 seconds.
    #[oai(path = "/models/:model/infer", method = "post")]
    #[allow(clippy::too_many_arguments, reason = "the framework needs one for each of them")]
    async fn infer(
        &self,
        tasks: Data<&Tasks>,
        health: Data<&ApiHealth>,
        rules: Data<&UploadRules>,
        caller: Data<&Caller>,
        /// The name that the model is installed under.
        model: Path<String>,
        request: &Request,
        body: InferenceBody,
    ) -> Result<AnswerBody, InferenceError> {
        let inference = Inference::new(*tasks, *health, *rules, *caller);
        inference.run(Sent::new(&model.0, VERSION, request, body)?).await
    }

    /// Detect objects in pictures, by a version of a model
    ///
    /// As `/v2/models/{model}/infer`.
    #[oai(path = "/models/:model/versions/:version/infer", method = "post")]
    #[allow(clippy::too_many_arguments, reason = "the framework needs one for each of them")]
    async fn infer_version(
        &self,
        tasks: Data<&Tasks>,
        health: Data<&ApiHealth>,
        rules: Data<&UploadRules>,
        caller: Data<&Caller>,
        /// The name that the model is installed under.
        model: Path<String>,
        /// `1`: each model has one version.
        version: Path<String>,
        request: &Request,
        body: InferenceBody,
    ) -> Result<AnswerBody, InferenceError> {
        let inference = Inference::new(*tasks, *health, *rules, *caller);
        inference.run(Sent::new(&model.0, &version.0, request, body)?).await
    }
}

/// The model of this name and version.
async fn find(models: &Models, name: &str, version: &str) -> Result<KnownModel, InferenceError> {
    let parsed = parse_name(name, version)?;
    match models.find(parsed).await {
        Ok(Some(model)) => Ok(model),
        Ok(None) => Err(no_model(name)),
        Err(error) => {
            tracing::warn!(%error, "cannot read the description of a model");
            Err(InferenceError::unavailable())
        }
    }
}

impl TryFrom<KnownModel> for ModelReady {
    type Error = InferenceError;

    fn try_from(model: KnownModel) -> Result<Self, InferenceError> {
        match model.reports.is_empty() {
            true => {
                let error = format!("no worker serves the model '{}'", model.name);
                Err(not_ready(error))
            }
            false => Ok(Self { name: model.name.to_string(), ready: true }),
        }
    }
}

impl From<KnownModel> for ListedModel {
    fn from(model: KnownModel) -> Self {
        let (state, reason) = match model.reports.is_empty() {
            true => ("UNAVAILABLE", "no worker serves it"),
            false => ("READY", ""),
        };
        Self {
            name: model.name.to_string(),
            version: VERSION.to_owned(),
            state: state.to_owned(),
            reason: reason.to_owned(),
        }
    }
}
