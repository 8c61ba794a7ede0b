//! The routes of Roboflow's inference server, for its client `inference-sdk`: object detection by the models that are
//! installed. Other tasks, and workflows, are refused in that server's words.

mod answer;
mod body;
mod error;
mod models;
pub(crate) mod request;
mod unsupported;

use domain::{Drawing, ModelName, TaskRecord};
use futures_util::{StreamExt, stream};
use poem::{IntoResponse, Response, http::StatusCode, web::Data};
use poem_openapi::{
    OpenApi,
    param::{Path, Query},
    payload::Json,
};
use tokio::time::timeout;
use uuid::Uuid;

use self::{
    answer::{Answer, HeldAnswer, Inference, visualization},
    body::{KeyedBody, Sent},
    error::RoboflowError,
    models::{Registry, ServerInfo, model_name},
    request::{InferenceRequest, ModelRequest, NoMembers},
    unsupported::Unsupported,
};
use super::{
    health::ApiHealth,
    held::{Found, HeldRequest},
    held_error::HeldError,
    rejection::{Rejection, refused_upload},
    tag::Tag,
};
use crate::{
    auth::guard::is_workflow,
    models::KnownModel,
    tasks::{Tasks, submit::SubmitOptions},
    upload::{BodyPictures, SentPicture, UploadRules, UploadedPicture, place_for_answer},
};

/// Why pictures at URLs are not waited for.
const NOT_FETCHED: &str =
    "the pictures of the request could not be fetched in its time: send fewer, or their bytes";

/// The response to a request to one of these routes where they are turned off.
pub(crate) fn turned_off() -> Response {
    let message = "the routes of Roboflow are turned off here (ROBOFLOW_API=off)";
    RoboflowError::new(StatusCode::NOT_FOUND, message).into_response()
}

/// Whether `path` is that of one of these routes.
pub(crate) fn is_route(path: &str) -> bool {
    path == "/info"
        || is_workflow(path)
        || ["/infer/", "/model/"].iter().any(|own| path.starts_with(own))
}

/// The routes of Roboflow.
pub(crate) struct RoboflowApi {
    /// Of this process.
    server_id: Uuid,
}

impl RoboflowApi {
    pub(crate) fn new() -> Self {
        Self { server_id: Uuid::now_v7() }
    }
}

#[OpenApi(tag = "Tag::Roboflow")]
impl RoboflowApi {
    /// What this server is
    #[oai(path = "/info", method = "get")]
    async fn info(&self) -> Json<ServerInfo> {
        Json(ServerInfo::new(self.server_id))
    }

    /// List models
    ///
    /// All models that a request may name.
    #[oai(path = "/model/registry", method = "get")]
    async fn registry(
        &self,
        tasks: Data<&Tasks>,
        /// The API key, where the API runs with `AUTH=keys`, unless a header has it.
        #[oai(name = "api_key")]
        _api_key: Query<Option<String>>,
        body: KeyedBody<NoMembers>,
    ) -> Result<Json<Registry>, RoboflowError> {
        body.0?;
        Ok(Json(known(*tasks).await?.into()))
    }

    /// Ask for a model
    ///
    /// Whether there is this model. Workers load a model when the first job needs it; nothing is loaded here.
    #[oai(path = "/model/add", method = "post")]
    async fn add(
        &self,
        tasks: Data<&Tasks>,
        body: KeyedBody<ModelRequest>,
    ) -> Result<Json<Registry>, RoboflowError> {
        Ok(Json(registry_with(*tasks, &body.0?.content.model_id).await?))
    }

    /// Give up a model
    ///
    /// Changes nothing: workers choose which models they keep in memory.
    #[oai(path = "/model/remove", method = "post")]
    async fn remove(
        &self,
        tasks: Data<&Tasks>,
        body: KeyedBody<ModelRequest>,
    ) -> Result<Json<Registry>, RoboflowError> {
        Ok(Json(registry_with(*tasks, &body.0?.content.model_id).await?))
    }

    /// Give up all models
    ///
    /// Changes nothing, as `/model/remove`.
    #[oai(path = "/model/clear", method = "post")]
    async fn clear(
        &self,
        tasks: Data<&Tasks>,
        body: KeyedBody<NoMembers>,
    ) -> Result<Json<Registry>, RoboflowError> {
        body.0?;
        Ok(Json(known(*tasks).await?.into()))
    }

    /// Detect objects in pictures
    ///
    /// The answer comes when the pictures have been run, or after 60 seconds: an object for a picture, a list for a list.
    #[oai(path = "/infer/object_detection", method = "post")]
    async fn object_detection(
        &self,
        tasks: Data<&Tasks>,
        health: Data<&ApiHealth>,
        rules: Data<&UploadRules>,
        /// The API key, where the API runs with `AUTH=keys`, unless a header or the body has it.
        #[oai(name = "api_key")]
        _api_key: Query<Option<String>>,
        body: KeyedBody<InferenceRequest>,
    ) -> Result<HeldAnswer, RoboflowError> {
        infer(*tasks, *health, *rules, body.0?).await
    }

    /// Another task
    ///
    /// Only objects are detected here.
    #[oai(path = "/infer/:task", method = "post")]
    async fn other_task(&self, task: Path<String>) -> Unsupported {
        Unsupported::task(&task)
    }

    /// A workflow
    ///
    /// There are no workflows here.
    #[oai(path = "/:workspace/workflows/:workflow", method = "post")]
    async fn workflow(
        &self,
        #[oai(name = "workspace")] _workspace: Path<String>,
        #[oai(name = "workflow")] _workflow: Path<String>,
    ) -> Unsupported {
        Unsupported::workflow()
    }

    /// A workflow, at the older address
    ///
    /// There are no workflows here.
    #[oai(path = "/infer/workflows/:workspace/:workflow", method = "post")]
    async fn older_workflow(
        &self,
        #[oai(name = "workspace")] _workspace: Path<String>,
        #[oai(name = "workflow")] _workflow: Path<String>,
    ) -> Unsupported {
        Unsupported::workflow()
    }

    /// A workflow in the request
    ///
    /// There are no workflows here.
    #[oai(path = "/workflows/run", method = "post")]
    async fn workflow_of_request(&self) -> Unsupported {
        Unsupported::workflow()
    }
}

async fn known(tasks: &Tasks) -> Result<Vec<KnownModel>, RoboflowError> {
    tasks.models.list().await.map_err(|error| {
        tracing::warn!(%error, "cannot read the descriptions of models");
        HeldError::unavailable()
    })
}

/// All models, among them the one that is asked for, under the id by which it is.
async fn registry_with(tasks: &Tasks, model_id: &str) -> Result<Registry, RoboflowError> {
    let name = model_name(model_id)?;
    Registry::with(known(tasks).await?, &name, model_id)
}

async fn infer(
    tasks: &Tasks,
    health: &ApiHealth,
    rules: &UploadRules,
    sent: Sent<InferenceRequest>,
) -> Result<HeldAnswer, RoboflowError> {
    let Sent { caller, content, pictures, no_cache } = sent;
    let held = HeldRequest::new(tasks, health, &caller);
    let settings = content.settings()?;
    let annotated = content.annotated();
    let model: ModelName = content.model()?;
    let (images, is_list) = (content.image.images, content.image.is_list);
    let count = images.len();
    held.charge(count).map_err(|overrun| HeldError::overrun(count, overrun))?;
    let pictures = pictures.ok_or_else(HeldError::unavailable)?;
    let options = || SubmitOptions {
        settings: settings.clone(),
        model: Some(model.clone()),
        annotated,
        no_cache,
        ..SubmitOptions::default()
    };
    let complete = |image| async {
        let picture = complete(tasks, &held, &pictures, image).await?;
        Ok::<_, RoboflowError>((picture, options()))
    };
    let submitted = held.submit_all(stream::iter(images).then(complete)).await?;
    // The places of the pictures are free while they wait.
    drop(pictures);
    let records = held.end_all(submitted).await;
    let place = match annotated {
        Some(_) => Some(place_for_answer(rules, held.left()).await.map_err(Rejection::from)?),
        None => None,
    };
    let mut inferences = Vec::with_capacity(records.len());
    let mut drawn = Drawn { bytes: 0, most: rules.limits.max_bytes };
    for record in &records {
        inferences.push(inference(tasks, &held, record, &mut drawn).await?);
    }
    let answer = match (is_list, inferences.pop()) {
        (false, Some(only)) => Answer::One(only),
        (_, last) => {
            inferences.extend(last);
            Answer::Many(inferences)
        }
    };
    Ok(HeldAnswer { answer, place })
}

/// The picture, which is fetched if it was not sent, in the time that the request has left.
async fn complete(
    tasks: &Tasks,
    held: &HeldRequest<'_>,
    pictures: &BodyPictures,
    image: SentPicture,
) -> Result<UploadedPicture, RoboflowError> {
    // Pictures at URLs are fetched one after the other. Once one is in the queue, it is waited for.
    let picture = timeout(held.left(), pictures.complete(image)).await;
    let late = |_| HeldError::new(StatusCode::UNPROCESSABLE_ENTITY, NOT_FETCHED);
    let picture = picture.map_err(late)?;
    Ok(picture.map_err(|error| refused_upload(error, &tasks.metrics))?)
}

/// The drawings of an answer, whose place in memory is that of one picture.
struct Drawn {
    bytes: u64,
    most: u64,
}

impl Drawn {
    /// Whether there is room for another one. The first one may be larger than the picture was.
    fn takes(&mut self, drawing: &Drawing) -> bool {
        let has_room = self.bytes == 0 || self.bytes + drawing.bytes <= self.most;
        self.bytes += if has_room { drawing.bytes } else { 0 };
        has_room
    }
}

/// What is found in a picture whose task has ended.
async fn inference(
    tasks: &Tasks,
    held: &HeldRequest<'_>,
    record: &TaskRecord,
    drawn: &mut Drawn,
) -> Result<Inference, RoboflowError> {
    let found = Found::of(record)?;
    let id = record.job.task_id;
    let drawing = match found.drawing.filter(|drawing| drawn.takes(drawing)) {
        Some(drawing) => visualization(&tasks.drawings, id, drawing).await,
        None => None,
    };
    Ok(Inference::new(id, &found, held.elapsed(), drawing))
}

#[cfg(test)]
mod tests {
    use domain::DrawingFormat;

    use super::*;

    #[test]
    fn the_drawings_of_an_answer_have_the_room_of_one_picture() {
        let of = |bytes| Drawing { id: 1, format: DrawingFormat::Jpeg, bytes };
        let mut drawn = Drawn { bytes: 0, most: 10 };
        assert_eq!([6, 5, 4, 1].map(|bytes| drawn.takes(&of(bytes))), [true, false, true, false]);
        let mut drawn = Drawn { bytes: 0, most: 10 };
        assert_eq!([12, 1].map(|bytes| drawn.takes(&of(bytes))), [true, false]);
    }

    #[test]
    fn the_paths_of_the_client_are_those_of_the_routes() {
        for (path, expected) in [
            ("/info", true),
            ("/model/registry", true),
            ("/infer/object_detection", true),
            ("/workflows/run", true),
            ("/a/workflows/b", true),
            ("/information", false),
            ("/models/yolov8n", false),
            ("/infer", false),
            ("/v1/tasks", false),
        ] {
            assert_eq!(is_route(path), expected, "{path}");
        }
    }
}
