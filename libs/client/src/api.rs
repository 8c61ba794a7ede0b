//! The requests, and which of them are retried.

use std::{fmt, time::Duration};

use bytes::{Bytes, BytesMut};
use domain::TaskId;
use reqwest::{
    Method, RequestBuilder, Response,
    header::{self, HeaderValue},
    multipart::{Form, Part},
};
use time::OffsetDateTime;
use tokio::time::sleep;

use crate::{ClientError, Submission, Task, error::Refusal, tls};

/// How long one status request is held open. The API's own limit is 30 s.
const WAIT: Duration = Duration::from_secs(20);

/// The delay before a retry where the API does not name one.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(2);

/// The longest answer in bytes. A task with 1,000 objects has a hundredth of it.
pub(crate) const LONGEST_ANSWER: usize = 32 << 20;

/// One API. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    /// `Bearer` and the API key.
    authorization: Option<HeaderValue>,
}

/// How long requests may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// To connect.
    pub connect: Duration,
    /// From the start of a request to the end of its answer, connecting included. Longer than a status request is
    /// held open.
    pub request: Duration,
}

impl Default for Timeouts {
    /// 5 s and 120 s.
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), request: Duration::from_secs(120) }
    }
}

impl fmt::Debug for Client {
    /// The address stays out: it may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    /// A client of the API at `base`, such as `http://127.0.0.1:5000`. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ClientError::NotSent`] if the system has no resources for a client.
    pub fn new(base: &str, timeouts: Timeouts) -> Result<Self, ClientError> {
        let Timeouts { connect, request } = timeouts;
        let http = reqwest::Client::builder().tls_backend_preconfigured(tls::config()?);
        let http = http.connect_timeout(connect).timeout(request).build()?;
        let base = base.trim_end_matches('/').to_owned();
        Ok(Self { http, base, authorization: None })
    }

    /// The same client, which sends this API key with each request.
    ///
    /// # Errors
    /// [`ClientError::NotSent`] if no header can have the key. The error does not show it.
    pub fn with_api_key(self, key: &str) -> Result<Self, ClientError> {
        let mut value = HeaderValue::from_str(&format!("Bearer {key}"))
            .map_err(|_| ClientError::NotSent("the API key has invalid characters".to_owned()))?;
        value.set_sensitive(true);
        Ok(Self { authorization: Some(value), ..self })
    }

    /// Whether the API runs: asks `/health/live`.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn check(&self) -> Result<(), ClientError> {
        self.get("/health/live").await.map(drop)
    }

    /// Submits a picture once. The task may be terminal already if the result was cached.
    ///
    /// # Errors
    /// [`ClientError::Busy`] while the queue is full; any other [`ClientError`] for what it says. After
    /// [`ClientError::NoAnswer`] the picture may have been accepted: submit it again only with an idempotency key.
    pub async fn submit(&self, submission: &Submission) -> Result<Task, ClientError> {
        let path = format!("/v1/tasks{}", submission.query());
        let file = Part::stream(submission.picture.clone()).file_name(submission.name.clone());
        let mut request = self.request(Method::POST, &path);
        request = request.multipart(Form::new().part("file", file));
        if let Some(key) = &submission.idempotency_key {
            request = request.header("Idempotency-Key", key);
        }
        if let Some(value) = submission.cache_control.header() {
            request = request.header(header::CACHE_CONTROL, value);
        }
        task(&send(request).await?)
    }

    /// Submits a picture, and retries for as long as the API is busy. With an idempotency key, also while it does not
    /// answer: the picture is not accepted twice.
    ///
    /// # Errors
    /// As [`Client::submit`], but never [`ClientError::Busy`], and with an idempotency key no error that is transient.
    pub async fn submit_when_accepted(&self, submission: &Submission) -> Result<Task, ClientError> {
        loop {
            let error = match self.submit(submission).await {
                Ok(task) => return Ok(task),
                Err(error) => error,
            };
            match &error {
                ClientError::Busy { .. } => {}
                ClientError::NoAnswer(_) if submission.idempotency_key.is_some() => {}
                _ => return Err(error),
            }
            sleep(error.retry_after().unwrap_or(RETRY_AFTER)).await;
        }
    }

    /// A task as it is now. With `wait`, the API holds the answer back until the task is terminal, for that many
    /// whole seconds at most and never for longer than 30.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with status 404 for an unknown id and 410 for an expired one; any other
    /// [`ClientError`] for what it says.
    pub async fn task(&self, id: TaskId, wait: Duration) -> Result<Task, ClientError> {
        task(&self.get(&format!("/v1/tasks/{id}?wait={}", wait.as_secs())).await?)
    }

    /// Waits until a task is terminal. Retries while the API is busy or does not answer: the task is stored, whether
    /// or not an API can be reached at the moment.
    ///
    /// # Errors
    /// As [`Client::task`], but no error that is transient.
    pub async fn await_terminal(&self, id: TaskId) -> Result<Task, ClientError> {
        loop {
            match self.task(id, WAIT).await {
                Ok(task) if task.is_terminal() => return Ok(task),
                Ok(_) => {}
                Err(error) if error.is_transient() => {
                    sleep(error.retry_after().unwrap_or(RETRY_AFTER)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Cancels a task: a job that waits is not run, and one that runs is stopped. Returns the task, which is REVOKED.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with status 409 for a task that has ended before, 404 for an unknown id and 410 for an
    /// expired one; any other [`ClientError`] for what it says.
    pub async fn cancel(&self, id: TaskId) -> Result<Task, ClientError> {
        task(&send(self.request(Method::DELETE, &format!("/v1/tasks/{id}"))).await?)
    }

    /// The body that any route of the API answers with, such as `/health/live`.
    ///
    /// # Errors
    /// [`ClientError::Busy`] or [`ClientError::Refused`] for a status other than success, [`ClientError::NoAnswer`]
    /// and [`ClientError::NotSent`] for what they say.
    pub async fn get(&self, path: &str) -> Result<Bytes, ClientError> {
        send(self.request(Method::GET, path)).await
    }

    /// A request for this path, with the API key.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.authorization {
            Some(value) => request.header(header::AUTHORIZATION, value.clone()),
            None => request,
        }
    }
}

/// Sends a request and returns the body of a successful answer.
async fn send(request: RequestBuilder) -> Result<Bytes, ClientError> {
    read(open(request).await.map_err(|refusal| refusal.error)?).await
}

/// Sends a request and returns a successful answer, whose body is still to be read.
pub(crate) async fn open(request: RequestBuilder) -> Result<Response, Refusal> {
    let answer = request.send().await.map_err(ClientError::from)?;
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let header = answer.headers().get(header::RETRY_AFTER);
    let text = header.and_then(|value| value.to_str().ok());
    let wait = text.and_then(|text| domain::retry_after(text, OffsetDateTime::now_utc()));
    // The status decides what happens next, also where the text that explains it is cut short.
    let body = read(answer).await.unwrap_or_default();
    Err(Refusal { error: ClientError::of_answer(status, wait, &body), body })
}

/// The whole body of an answer, within a limit.
pub(crate) async fn read(mut answer: Response) -> Result<Bytes, ClientError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = answer.chunk().await? {
        if body.len() + chunk.len() > LONGEST_ANSWER {
            return Err(ClientError::Unexpected(format!("longer than {LONGEST_ANSWER} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn task(body: &[u8]) -> Result<Task, ClientError> {
    Ok(serde_json::from_slice(body)?)
}
