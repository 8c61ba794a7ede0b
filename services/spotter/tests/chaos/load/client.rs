//! One client of both routes: submits pictures, polls their tasks, and records every answer in the history.
//!
//! It judges raw answers, and so does not use the `client` crate, which hides retries and reads only what it knows.

pub(crate) mod batches;

use std::{sync::Arc, time::Duration};

use domain::TaskId;
use rand::{RngExt, rngs::Xoshiro256PlusPlus};
use reqwest::{
    RequestBuilder, StatusCode,
    multipart::{Form, Part},
};
use serde_json::Value;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    environment::Environment,
    load::{pictures::Upload, submission::Submission},
    verdict::history::History,
    verdict::terminal_state::TerminalState,
};

/// A task that was accepted.
pub(crate) struct AcceptedTask {
    pub(crate) id: TaskId,
    /// Whether no earlier answer named it.
    pub(crate) is_new: bool,
}

pub(crate) struct Client {
    http: reqwest::Client,
    bases: Vec<String>,
    /// Where the pictures of lists are.
    pictures: String,
    history: Arc<History>,
    give_up: CancellationToken,
}

impl Client {
    pub(crate) fn new(environment: &Environment, history: Arc<History>) -> Self {
        Self {
            http: environment.http(),
            bases: environment.bases(),
            pictures: environment.pictures.origin(),
            history,
            give_up: CancellationToken::new(),
        }
    }

    /// Stops all polling.
    pub(crate) fn give_up(&self) {
        self.give_up.cancel();
    }

    pub(crate) fn has_given_up(&self) -> bool {
        self.give_up.is_cancelled()
    }

    /// Waits until all polling stops.
    pub(crate) async fn given_up(&self) {
        self.give_up.cancelled().await;
    }

    /// Submits it once, by a random route of a random API. Returns the task if it was accepted.
    pub(crate) async fn submit(
        &self,
        submission: &Submission,
        rng: &mut Xoshiro256PlusPlus,
    ) -> Option<AcceptedTask> {
        let fault = self.history.fault();
        let request = self.request(submission, rng);
        let answer = async {
            let answer = request.send().await?;
            Ok::<_, reqwest::Error>((answer.status(), answer.text().await?))
        };
        match answer.await {
            Ok((StatusCode::ACCEPTED, body)) => {
                let id = serde_json::from_str::<Value>(&body).ok();
                let Some(id) = id.and_then(|body| body["task_id"].as_str()?.parse().ok()) else {
                    self.history.unexpected(format!("202 without an id: {body}"));
                    return None;
                };
                let is_new = self.history.accepted(id, fault, submission);
                return Some(AcceptedTask { id, is_new });
            }
            Ok((StatusCode::SERVICE_UNAVAILABLE, _)) => self.history.refused(fault),
            Ok((status, body)) => {
                self.history.unexpected(format!("{status} to a good picture: {body}"));
            }
            Err(_) => self.history.unanswered(fault),
        }
        None
    }

    fn request(&self, submission: &Submission, rng: &mut Xoshiro256PlusPlus) -> RequestBuilder {
        let base = self.base(rng);
        let parameters = submission.parameters();
        let url = if parameters.is_empty() && rng.random_bool(0.5) {
            format!("{base}/start_task")
        } else {
            format!("{base}/v1/tasks?{}", parameters.join("&"))
        };
        let Upload { name, bytes, .. } = submission.upload.clone();
        let form = Form::new().part("file", Part::bytes(bytes).file_name(name));
        let request = self.http.post(url).multipart(form);
        match &submission.key {
            Some(key) => request.header("Idempotency-Key", key),
            None => request,
        }
    }

    /// Cancels the task once, by a random API.
    pub(crate) async fn cancel(&self, id: TaskId, rng: &mut Xoshiro256PlusPlus) {
        let request = self.http.delete(format!("{}/v1/tasks/{id}", self.base(rng)));
        let answer = async {
            let answer = request.send().await.ok()?;
            Some((answer.status(), answer.json::<Value>().await.ok()?))
        };
        match answer.await {
            Some((StatusCode::OK, task)) => {
                self.history.observe(id, "DELETE", TerminalState::from_v1(&task));
            }
            Some((StatusCode::CONFLICT, problem)) => {
                self.history.observe(id, "DELETE", TerminalState::from_v1(&problem["task"]));
            }
            Some((StatusCode::NOT_FOUND | StatusCode::GONE, _)) => self.history.denied(id),
            Some((StatusCode::SERVICE_UNAVAILABLE, _)) | None => {}
            Some((status, body)) => {
                self.history.unexpected(format!("{status} when cancelling {id}: {body}"));
            }
        }
    }

    pub(crate) async fn poll_until_terminal(&self, id: TaskId, mut rng: Xoshiro256PlusPlus) {
        while !self.give_up.is_cancelled() {
            let wait = if rng.random_bool(0.5) { "?wait=2" } else { "" };
            let url = format!("{}/v1/tasks/{id}{wait}", self.base(&mut rng));
            match get(&self.http, &url).await {
                Some((StatusCode::OK, task)) => {
                    if let Some(state) = TerminalState::from_v1(&task) {
                        self.history.observe(id, "API", Some(state));
                        return;
                    }
                }
                Some((StatusCode::NOT_FOUND | StatusCode::GONE, _)) => self.history.denied(id),
                Some((StatusCode::SERVICE_UNAVAILABLE, _)) | None => {}
                Some((status, body)) => {
                    self.history.unexpected(format!("{status} when polling {id}: {body}"));
                }
            }
            let pause = Duration::from_millis(rng.random_range(20..200));
            let _ = timeout(pause, self.give_up.cancelled()).await;
        }
    }

    /// Polls a task once, by the original route.
    pub(crate) async fn poll_once(&self, id: TaskId, rng: &mut Xoshiro256PlusPlus) {
        let url = format!("{}/task_result/{id}", self.base(rng));
        if let Some((status, body)) = get(&self.http, &url).await
            && status != StatusCode::OK
        {
            self.history.unexpected(format!("{status} when polling {id}: {body}"));
        }
    }

    fn base(&self, rng: &mut Xoshiro256PlusPlus) -> &str {
        &self.bases[rng.random_range(0..self.bases.len())]
    }
}

/// One GET request; `None` without an answer.
async fn get(http: &reqwest::Client, url: &str) -> Option<(StatusCode, Value)> {
    let answer = http.get(url).send().await.ok()?;
    let status = answer.status();
    Some((status, answer.json().await.ok()?))
}

/// As [`get`], and retries until there is an answer other than 503.
pub(crate) async fn get_with_retry(
    http: &reqwest::Client,
    url: &str,
) -> Option<(StatusCode, Value)> {
    for _ in 0..50 {
        match get(http, url).await {
            Some((StatusCode::SERVICE_UNAVAILABLE, _)) | None => {
                sleep(Duration::from_millis(100)).await;
            }
            answer => return answer,
        }
    }
    None
}
