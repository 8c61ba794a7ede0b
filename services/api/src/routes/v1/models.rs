//! The models that there are.

mod schema;

use messaging::MessagingError;
use poem::web::Data;
use poem_openapi::{OpenApi, param::Path, payload::Json};

use self::schema::{Model, ModelList};
use super::shared_error::{FindError, ReadError};
use crate::{
    http::problem::{Problem, ProblemKind},
    routes::tag::Tag,
    tasks::Tasks,
};

/// The routes of models.
pub(crate) struct ModelsApi;

#[OpenApi(prefix_path = "/v1", tag = "Tag::V1")]
impl ModelsApi {
    /// List models
    ///
    /// All models that a request may name, in the order of their names, without their `labels`. A model that no worker
    /// serves now is among them: `served` is false, and its jobs wait.
    #[oai(path = "/models", method = "get")]
    async fn models(&self, tasks: Data<&Tasks>) -> Result<Json<ModelList>, ReadError> {
        match tasks.models.list().await {
            Ok(models) => Ok(Json(models.into())),
            Err(error) => Err(ReadError::unavailable(unavailable(&error))),
        }
    }

    /// A model
    ///
    /// What it is, which workers serve it, and how fast.
    #[oai(path = "/models/:name", method = "get")]
    async fn model(
        &self,
        tasks: Data<&Tasks>,
        /// The name that the model is installed under.
        name: Path<String>,
    ) -> Result<Json<Model>, FindError> {
        let unknown =
            |detail| FindError::Unknown(Json(Problem::new(ProblemKind::ModelUnknown, detail)));
        let name = name.parse().map_err(|error| unknown(format!("{error}")))?;
        let detail =
            format!("there is no model '{name}'; `GET /v1/models` lists those that there are");
        match tasks.models.find(name).await {
            Ok(Some(model)) => Ok(Json(model.into())),
            Ok(None) => Err(unknown(detail)),
            Err(error) => Err(FindError::unavailable(unavailable(&error))),
        }
    }
}

fn unavailable(error: &MessagingError) -> Json<Problem> {
    tracing::warn!(%error, "cannot read the descriptions of models");
    let detail = "the descriptions of models cannot be read at the moment, try again";
    Json(Problem::new(ProblemKind::Unavailable, detail))
}
