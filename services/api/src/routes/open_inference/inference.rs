//! Runs the pictures of a request: a task for each of them.

use domain::{ModelName, TaskRecord};
use futures_util::stream;
use poem::{Request, http::StatusCode};

use super::{
    body::{AnswerBody, InferenceBody},
    error::{InferenceError, no_result},
    path::parse_name,
    pictures::{InferenceRequest, Picture},
    schema::{AnswerParameters, InferenceAnswer, VERSION},
    tensor_error::TensorError,
    tensors::Requested,
};
use crate::{
    auth::Caller,
    routes::{
        health::ApiHealth,
        held::{Found, HeldRequest},
        rejection::{Rejection, refused_upload},
        v1::submit_options,
    },
    tasks::{Tasks, submit::SubmitOptions},
    upload::{TensorBody, UploadRules, UploadSlot, UploadedPicture, cache_control::CacheControl},
};

/// What running a request needs.
pub(super) struct Inference<'a> {
    tasks: &'a Tasks,
    rules: &'a UploadRules,
    held: HeldRequest<'a>,
}

/// A request, its pictures not yet looked at.
pub(super) struct Sent {
    model: ModelName,
    /// Whether to run the model even if the result is cached.
    no_cache: bool,
    body: InferenceBody,
}

impl Sent {
    /// The request to a version of a model.
    ///
    /// # Errors
    /// [`InferenceError`] if no model can have this name or version.
    pub(super) fn new(
        model: &str,
        version: &str,
        request: &Request,
        body: InferenceBody,
    ) -> Result<Self, InferenceError> {
        let no_cache = CacheControl::of(request.headers()).no_cache;
        Ok(Self { model: parse_name(model, version)?, no_cache, body })
    }
}

impl<'a> Inference<'a> {
    pub(super) fn new(
        tasks: &'a Tasks,
        health: &'a ApiHealth,
        rules: &'a UploadRules,
        caller: &'a Caller,
    ) -> Self {
        Self { tasks, rules, held: HeldRequest::new(tasks, health, caller) }
    }

    /// Runs the pictures of a request, and answers with what is found in them.
    pub(super) async fn run(&self, sent: Sent) -> Result<AnswerBody, InferenceError> {
        let Sent { model, no_cache, body } = sent;
        let metrics = &self.tasks.metrics;
        let body = body.0.map_err(|error| refused_upload(error, metrics))?;
        let request = self.parse(body).await?.inspect_err(|error| {
            metrics.count_refused_upload(error.kind().name());
        })?;
        let InferenceRequest { id, settings, outputs, pictures, slot } = request;
        let options = || -> Result<SubmitOptions, Rejection> {
            let model = Some(model.clone());
            let options = submit_options(settings.clone(), self.tasks)?;
            Ok(SubmitOptions { model, no_cache, ..options })
        };
        // Before any of them is counted.
        options()?;
        let count = pictures.len();
        self.held.charge(count).map_err(|overrun| InferenceError::overrun(count, overrun))?;
        let pictures = pictures.into_iter().map(|Picture { bytes, sha256 }| {
            let slot = UploadSlot::clone(&slot);
            Ok((UploadedPicture { name: String::new(), bytes, sha256, slot }, options()?))
        });
        let submitted = self.held.submit_all::<InferenceError>(stream::iter(pictures)).await?;
        // The place of the pictures is free while they wait.
        drop(slot);
        let records = self.held.end_all(submitted).await;
        answer(id, &model, &outputs, &records)
    }

    /// Parses a body in a thread of its own: decoding and hashing large pictures would block other requests.
    async fn parse(
        &self,
        body: TensorBody,
    ) -> Result<Result<InferenceRequest, TensorError>, InferenceError> {
        let limits = self.rules.limits;
        let parsing = tokio::task::spawn_blocking(move || InferenceRequest::parse(body, &limits));
        parsing.await.map_err(|error| {
            tracing::error!(%error, "parsing an inference request has panicked");
            let error = "the request could not be processed";
            InferenceError::new(StatusCode::INTERNAL_SERVER_ERROR, error)
        })
    }
}

/// The answer once all tasks have ended.
fn answer(
    id: Option<String>,
    model: &ModelName,
    outputs: &[Requested],
    records: &[TaskRecord],
) -> Result<AnswerBody, InferenceError> {
    let mut pictures = Vec::new();
    for (picture, record) in records.iter().enumerate() {
        let found = Found::of(record).map_err(|why| no_result(picture, why))?;
        pictures.push(found.objects);
    }
    let mut contents = Vec::new();
    let outputs = outputs.iter().map(|output| output.tensor(&pictures, &mut contents)).collect();
    let ids: Vec<_> = records.iter().map(|record| record.job.task_id.to_string()).collect();
    let answer = InferenceAnswer {
        model_name: model.to_string(),
        model_version: VERSION.to_owned(),
        id,
        parameters: AnswerParameters { task_ids: ids.join(",") },
        outputs,
    };
    Ok(AnswerBody { answer, contents })
}
