//! Sending a batch, and which answers lead to another request.

use std::time::Duration;

use domain::{DetectionSettings, Priority, Sha256Digest};
use reqwest::{
    Body, Method, RequestBuilder,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use serde::Deserialize;
use tokio::time::sleep;

use super::{
    form::{Form, PictureFile},
    view::Batch,
};
use crate::{
    Client, ClientError,
    api::{RETRY_AFTER, open, read},
    error::Refusal,
    query::query,
};

/// How long sending a batch may take: longer than an API receives one.
const LONGEST: Duration = Duration::from_secs(2 * 3600);

/// How often in succession a batch is sent again because its connection has broken.
const TRIES: u32 = 5;

/// The type of the problem that another request sends the same batch, or was cut off a moment ago.
const IN_PROGRESS: &str = "urn:problem-type:spotter:batch-in-progress";

/// Pictures that are sent as one batch, and how they are processed.
#[derive(Debug, Clone)]
pub struct BatchSubmission {
    /// The pictures, in order.
    pub pictures: Vec<PictureFile>,
    /// The thresholds; the API's own if `None`.
    pub settings: Option<DetectionSettings>,
    /// How soon to run the jobs.
    pub priority: Priority,
    /// The same key with the same pictures and settings is the same batch, which is continued where it broke off.
    pub idempotency_key: String,
}

/// Why a batch was not received, or not all of it.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct BatchNotReceived {
    /// Why the last request came to nothing.
    pub error: ClientError,
    /// The batch as far as it was received; `None` where nothing of it was accepted, or that is not known.
    pub batch: Option<Box<Batch>>,
    is_in_progress: bool,
}

/// What is read of the problem that a batch is refused with.
#[derive(Deserialize)]
struct BatchProblem {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    batch: Option<Box<Batch>>,
}

impl From<Refusal> for BatchNotReceived {
    fn from(Refusal { error, body }: Refusal) -> Self {
        let problem: Option<BatchProblem> = serde_json::from_slice(&body).ok();
        let is_in_progress = problem.as_ref().is_some_and(|problem| problem.kind == IN_PROGRESS);
        Self { error, batch: problem.and_then(|problem| problem.batch), is_in_progress }
    }
}

impl From<ClientError> for BatchNotReceived {
    fn from(error: ClientError) -> Self {
        Refusal::from(error).into()
    }
}

impl BatchSubmission {
    fn form(&self) -> Form {
        // The boundary must not be in a picture: nobody can make one with the digest of a key that they do not know.
        let boundary = Sha256Digest::of(&self.idempotency_key).to_string();
        Form::new(self.pictures.clone(), boundary)
    }
}

impl Client {
    /// Sends a batch once. The answer comes when all pictures have been received. `on_sent` is told how many have been
    /// sent.
    ///
    /// # Errors
    /// [`BatchNotReceived`]. After any error but [`ClientError::File`], the same submission continues the batch: pictures
    /// that were accepted are not run again.
    pub async fn submit_batch(
        &self,
        submission: &BatchSubmission,
        on_sent: impl Fn(usize) + Clone + Send + 'static,
    ) -> Result<Batch, BatchNotReceived> {
        let query = query(submission.settings.as_ref(), submission.priority, None);
        let form = submission.form();
        let unreadable = form.unreadable();
        let request = self
            .request(Method::POST, &format!("/v1/batches{query}"))
            .timeout(LONGEST)
            .header("Idempotency-Key", &submission.idempotency_key)
            .header(CONTENT_TYPE, form.content_type())
            .header(CONTENT_LENGTH, form.length())
            .body(Body::wrap_stream(form.stream(on_sent)));
        received(request).await.map_err(|why| match unreadable.get() {
            Some(file) if matches!(why.error, ClientError::NoAnswer(_)) => {
                ClientError::File(file.clone()).into()
            }
            _ => why,
        })
    }

    /// Sends a batch, and continues it for as long as the API is busy or another request sends it, and a few times where
    /// the connection breaks.
    ///
    /// # Errors
    /// As [`Client::submit_batch`], but never [`ClientError::Busy`].
    pub async fn submit_batch_when_accepted(
        &self,
        submission: &BatchSubmission,
        on_sent: impl Fn(usize) + Clone + Send + 'static,
    ) -> Result<Batch, BatchNotReceived> {
        let mut broken = 0;
        loop {
            let outcome = self.submit_batch(submission, on_sent.clone()).await;
            let Err(why) = outcome else { return outcome };
            match &why.error {
                ClientError::Busy { .. } => broken = 0,
                _ if why.is_in_progress => broken = 0,
                ClientError::NoAnswer(_) if broken < TRIES => broken += 1,
                _ => return Err(why),
            }
            sleep(why.error.retry_after().unwrap_or(RETRY_AFTER)).await;
        }
    }
}

/// The batch that the answer to this request describes.
async fn received(request: RequestBuilder) -> Result<Batch, BatchNotReceived> {
    let answer = read(open(request).await?).await?;
    Ok(serde_json::from_slice(&answer).map_err(ClientError::from)?)
}
