//! One client of both APIs: sends a picture, asks for its end, and notes what it is told.

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
    end::End,
    history::{History, Hope},
    pictures::{Poison, Upload, poisoned},
};

/// Longer than the API ever makes a client wait: two publishes of 5 s, and the record.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// One picture as a client sends it.
pub(crate) struct Submission {
    pub(crate) upload: Upload,
    pub(crate) hope: Hope,
    /// Seconds.
    pub(crate) deadline: Option<u64>,
    pub(crate) key: Option<String>,
}

/// A task that was accepted.
pub(crate) struct AcceptedTask {
    pub(crate) id: TaskId,
    /// Whether nobody was told of it before.
    pub(crate) is_new: bool,
}

pub(crate) struct Client {
    http: reqwest::Client,
    bases: Vec<String>,
    history: Arc<History>,
    give_up: CancellationToken,
}

impl Submission {
    pub(crate) fn new(upload: Upload, hope: Hope) -> Self {
        Self { upload, hope, deadline: None, key: None }
    }

    /// A picture that no worker survives.
    pub(crate) fn poison(poison: Poison) -> Self {
        Self::new(poisoned(poison), Hope::Poison)
    }
}

impl Client {
    pub(crate) fn new(bases: Vec<String>, history: Arc<History>) -> Self {
        let http = reqwest::Client::builder().timeout(REQUEST_TIMEOUT).build().expect("a client");
        Self { http, bases, history, give_up: CancellationToken::new() }
    }

    /// Ends all asking.
    pub(crate) fn give_up(&self) {
        self.give_up.cancel();
    }

    /// Sends it once, by either route of either API; the task if it was accepted.
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
                    self.history.odd(format!("202 without an id: {body}"));
                    return None;
                };
                let (hope, key) = (submission.hope, submission.key.as_deref());
                let is_new = self.history.accepted(id, fault, hope, key);
                return Some(AcceptedTask { id, is_new });
            }
            Ok((StatusCode::SERVICE_UNAVAILABLE, _)) => self.history.refused(fault),
            Ok((status, body)) => {
                self.history.odd(format!("{status} to a good picture: {body}"));
            }
            Err(_) => self.history.unanswered(fault),
        }
        None
    }

    fn request(&self, submission: &Submission, rng: &mut Xoshiro256PlusPlus) -> RequestBuilder {
        let base = self.base(rng);
        let url = match submission.deadline {
            Some(seconds) => format!("{base}/v1/tasks?deadline={seconds}"),
            None if rng.random_bool(0.5) => format!("{base}/start_task"),
            None => format!("{base}/v1/tasks"),
        };
        let Upload { name, bytes, .. } = submission.upload.clone();
        let form = Form::new().part("file", Part::bytes(bytes).file_name(name));
        let request = self.http.post(url).multipart(form);
        match &submission.key {
            Some(key) => request.header("Idempotency-Key", key),
            None => request,
        }
    }

    pub(crate) async fn ask_until_ended(&self, id: TaskId, mut rng: Xoshiro256PlusPlus) {
        while !self.give_up.is_cancelled() {
            let wait = if rng.random_bool(0.5) { "?wait=2" } else { "" };
            let url = format!("{}/v1/tasks/{id}{wait}", self.base(&mut rng));
            match ask(&self.http, &url).await {
                Some((StatusCode::OK, task)) => {
                    if let Some(end) = End::from_v1(&task) {
                        self.history.saw(id, "API", Some(end));
                        return;
                    }
                }
                Some((StatusCode::NOT_FOUND | StatusCode::GONE, _)) => self.history.denied(id),
                Some((StatusCode::SERVICE_UNAVAILABLE, _)) | None => {}
                Some((status, body)) => {
                    self.history.odd(format!("{status} when asked for {id}: {body}"));
                }
            }
            let pause = Duration::from_millis(rng.random_range(20..200));
            let _ = timeout(pause, self.give_up.cancelled()).await;
        }
    }

    /// Asks the original route how a task stands.
    pub(crate) async fn ask_once(&self, id: TaskId, rng: &mut Xoshiro256PlusPlus) {
        let url = format!("{}/task_result/{id}", self.base(rng));
        if let Some((status, body)) = ask(&self.http, &url).await
            && status != StatusCode::OK
        {
            self.history.odd(format!("{status} when asked for {id}: {body}"));
        }
    }

    fn base(&self, rng: &mut Xoshiro256PlusPlus) -> &str {
        &self.bases[rng.random_range(0..self.bases.len())]
    }
}

/// One question; `None` without an answer.
async fn ask(http: &reqwest::Client, url: &str) -> Option<(StatusCode, Value)> {
    let answer = http.get(url).send().await.ok()?;
    let status = answer.status();
    Some((status, answer.json().await.ok()?))
}

/// Asks again and again until there is an answer that is no 503.
pub(crate) async fn insist(http: &reqwest::Client, url: &str) -> Option<(StatusCode, Value)> {
    for _ in 0..50 {
        match ask(http, url).await {
            Some((StatusCode::SERVICE_UNAVAILABLE, _)) | None => {
                sleep(Duration::from_millis(100)).await;
            }
            answer => return answer,
        }
    }
    None
}
