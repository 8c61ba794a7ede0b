//! The models that there are, and the server, as the client lists them.

use domain::ModelName;
use messaging::DescribedInput;
use poem::http::StatusCode;
use poem_openapi::{Object, types::Example};
use uuid::Uuid;

use super::error::RoboflowError;
use crate::{
    models::KnownModel, routes::held_error::HeldError, upload::multipart::without_controls,
};

/// What this server is.
#[derive(Object)]
#[oai(rename = "RoboflowServerInfo", example)]
pub(super) struct ServerInfo {
    /// Always `spotter`.
    name: String,
    /// Its version.
    version: String,
    /// Identifies the process.
    uuid: String,
}

impl ServerInfo {
    pub(super) fn new(id: Uuid) -> Self {
        Self {
            name: "spotter".to_owned(),
            version: service::VERSION.to_owned(),
            uuid: id.to_string(),
        }
    }
}

impl Example for ServerInfo {
    fn example() -> Self {
        Self { version: "1.2.3".to_owned(), ..Self::new(Uuid::nil()) }
    }
}

/// The models that there are.
#[derive(Object)]
#[oai(rename = "RoboflowModels", example)]
pub(super) struct Registry {
    models: Vec<Model>,
}

/// A model.
#[derive(Object)]
#[oai(rename = "RoboflowModel", skip_serializing_if_is_none)]
struct Model {
    /// The name that it is installed under.
    model_id: String,
    /// Always `object-detection`.
    task_type: String,
    /// The height of its input in pixels, if a worker has described it.
    input_height: Option<u32>,
    /// The width of its input in pixels, if a worker has described it.
    input_width: Option<u32>,
}

impl Model {
    fn new(id: String, input: Option<DescribedInput>) -> Self {
        let size = input.map(|input| match input {
            DescribedInput::LongSide(side) => (side, side),
            DescribedInput::Fixed { width, height } => (width, height),
        });
        Self {
            model_id: id,
            task_type: "object-detection".to_owned(),
            input_height: size.map(|(_, height)| height),
            input_width: size.map(|(width, _)| width),
        }
    }
}

impl From<Vec<KnownModel>> for Registry {
    fn from(models: Vec<KnownModel>) -> Self {
        let of = |model: KnownModel| {
            let input = model.description.map(|description| description.input);
            Model::new(model.name.to_string(), input)
        };
        Self { models: models.into_iter().map(of).collect() }
    }
}

impl Registry {
    /// All of `models`, with the one of this name under the id that the client has asked for.
    ///
    /// # Errors
    /// [`RoboflowError`] if there is none.
    pub(super) fn with(
        models: Vec<KnownModel>,
        name: &ModelName,
        id: &str,
    ) -> Result<Self, RoboflowError> {
        let mut registry = Self::from(models);
        let found = registry.models.iter_mut().find(|model| model.model_id == name.as_str());
        found.ok_or_else(|| unknown(id))?.model_id = id.to_owned();
        Ok(registry)
    }
}

impl Example for Registry {
    fn example() -> Self {
        let input = Some(DescribedInput::LongSide(640));
        Self { models: vec![Model::new("yolov8n".to_owned(), input)] }
    }
}

/// The name of the model that a client calls `id`. Roboflow's ids have a project and a version, `helmets/3`; names here
/// have no slash, so that is the model `helmets-3`.
///
/// # Errors
/// [`RoboflowError`] if no model can have this name.
pub(super) fn model_name(id: &str) -> Result<ModelName, RoboflowError> {
    id.replacen('/', "-", 1).parse().map_err(|_| unknown(id))
}

fn unknown(id: &str) -> RoboflowError {
    let id: String = without_controls(id).chars().take(64).collect();
    let message =
        format!("there is no model '{id}'; GET /model/registry lists those that there are");
    HeldError::new(StatusCode::NOT_FOUND, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_with_project_and_version_is_a_name_with_a_hyphen() {
        for (id, expected) in [
            ("yolov8n", Some("yolov8n")),
            ("helmets/3", Some("helmets-3")),
            ("a/b/3", None),
            ("../3", None),
            ("", None),
            ("a b", None),
        ] {
            let name = model_name(id).ok();
            assert_eq!(name.as_ref().map(ModelName::as_str), expected, "{id}");
        }
    }
}
