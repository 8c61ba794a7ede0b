//! What a client asks of batches, with every answer recorded in the history.

use std::{sync::Arc, time::Duration};

use domain::BatchId;
use rand::rngs::Xoshiro256PlusPlus;
use reqwest::{Response, StatusCode};
use serde_json::Value;

use super::{Client, get};
use crate::{
    load::batch_submission::{BatchSubmission, Connection},
    verdict::{
        batch_view::{BatchView, ResultLine},
        terminal_state::TerminalState,
    },
};

/// Longer than a reception takes: a picture waits for up to a minute for room in the queue, and is tried again.
const RECEPTION_TIMEOUT: Duration = Duration::from_secs(120);

/// What its client knows after it has sent a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// All of it was received, or it was cancelled.
    Settled(BatchId),
    /// It broke off, or there was no answer. The id is known if anything was received.
    NotAll(Option<BatchId>),
}

impl Client {
    /// Sends a batch once, to a random API.
    pub(crate) async fn send_batch(
        &self,
        submission: &Arc<BatchSubmission>,
        connection: Connection,
        rng: &mut Xoshiro256PlusPlus,
    ) -> Sent {
        let fault = self.history.fault();
        let url = format!("{}/v1/batches?{}", self.base(rng), submission.parameters());
        let mut request = self
            .http
            .post(url)
            .timeout(RECEPTION_TIMEOUT)
            .header("Content-Type", submission.content_type())
            .body(submission.body(&self.pictures, connection));
        if submission.is_keyed {
            request = request.header("Idempotency-Key", &submission.name);
        }
        if submission.waits {
            request = request.header("Prefer", "wait=3");
        }
        let answer = async {
            let answer = request.send().await?;
            Ok::<_, reqwest::Error>((answer.status(), answer.json::<Value>().await?))
        };
        match answer.await {
            Ok((StatusCode::OK | StatusCode::ACCEPTED, body)) => {
                if let Some((id, view)) = BatchView::parse(&body) {
                    self.history.batch_received(id, submission, fault, &view);
                    return Sent::Settled(id);
                }
                self.history.unexpected(format!("202 without a batch: {body}"));
                Sent::NotAll(None)
            }
            Ok((status, problem)) => self.not_all(submission, fault, connection, status, &problem),
            Err(_) => {
                self.history.unanswered(fault);
                Sent::NotAll(None)
            }
        }
    }

    fn not_all(
        &self,
        submission: &Arc<BatchSubmission>,
        fault: &'static str,
        connection: Connection,
        status: StatusCode,
        problem: &Value,
    ) -> Sent {
        let seen = BatchView::parse(&problem["batch"]);
        if let Some((id, view)) = &seen {
            self.history.batch_seen(*id, submission, fault, view);
        }
        let id = seen.map(|(id, _)| id);
        let kind = problem["type"].as_str().unwrap_or_default();
        match (status, kind.rsplit(':').next()) {
            (StatusCode::CONFLICT, Some("batch-cancelled")) => {
                return id.map_or(Sent::NotAll(None), Sent::Settled);
            }
            (StatusCode::SERVICE_UNAVAILABLE, _) => self.history.refused(fault),
            (StatusCode::CONFLICT, Some("batch-in-progress")) if submission.is_keyed => {}
            (StatusCode::BAD_REQUEST, _) if connection == Connection::Breaks => {}
            _ => self.history.unexpected(format!("{status} to a good batch: {problem}")),
        }
        Sent::NotAll(id)
    }

    /// Finds a batch by the metadata of its tasks. `None`: nothing of it was accepted.
    pub(crate) async fn find_batch(
        &self,
        submission: &BatchSubmission,
        rng: &mut Xoshiro256PlusPlus,
    ) -> Option<Option<BatchId>> {
        let query = format!("limit=1&metadata=load={}", submission.name);
        let url = format!("{}/v1/tasks?{query}", self.base(rng));
        match get(&self.http, &url).await {
            Some((StatusCode::OK, list)) => {
                let id = list["tasks"][0]["batch"]["batch_id"].as_str();
                Some(id.and_then(|id| id.parse().ok()))
            }
            Some((StatusCode::SERVICE_UNAVAILABLE, _)) | None => None,
            Some((status, body)) => {
                self.history.unexpected(format!("{status} to a list of tasks: {body}"));
                None
            }
        }
    }

    /// Cancels a batch once, by a random API.
    pub(crate) async fn cancel_batch(
        &self,
        id: BatchId,
        submission: &Arc<BatchSubmission>,
        rng: &mut Xoshiro256PlusPlus,
    ) {
        let fault = self.history.fault();
        let request = self.http.delete(format!("{}/v1/batches/{id}", self.base(rng)));
        let answer = async {
            let answer = request.send().await.ok()?;
            Some((answer.status(), answer.json::<Value>().await.ok()?))
        };
        match answer.await {
            Some((StatusCode::OK, batch)) => match BatchView::parse(&batch) {
                Some((id, view)) => {
                    self.history.batch_cancelled(id, submission, fault, &view);
                }
                None => self.history.unexpected(format!("{batch} is no batch")),
            },
            Some((StatusCode::CONFLICT | StatusCode::SERVICE_UNAVAILABLE, _)) | None => {}
            Some((StatusCode::NOT_FOUND | StatusCode::GONE, _)) => self.history.batch_denied(id),
            Some((status, body)) => {
                self.history.unexpected(format!("{status} when cancelling batch {id}: {body}"));
            }
        }
    }

    /// Reads a batch and its results from this API. `None`: not now.
    pub(crate) async fn read_batch(
        &self,
        base: &str,
        id: BatchId,
        submission: &Arc<BatchSubmission>,
    ) -> Option<(BatchView, Vec<ResultLine>)> {
        let fault = self.history.fault();
        let url = format!("{base}/v1/batches/{id}");
        let view = match get(&self.http, &url).await? {
            (StatusCode::OK, batch) => BatchView::parse(&batch),
            (StatusCode::NOT_FOUND | StatusCode::GONE, _) => {
                self.history.batch_denied(id);
                return None;
            }
            (StatusCode::SERVICE_UNAVAILABLE, _) => return None,
            (status, body) => {
                self.history.unexpected(format!("{status} when reading batch {id}: {body}"));
                return None;
            }
        };
        let Some((_, view)) = view else {
            self.history.unexpected(format!("{url} is no batch"));
            return None;
        };
        self.history.batch_seen(id, submission, fault, &view);
        let answer = self.http.get(format!("{url}/results")).send().await.ok()?;
        Some((view, self.read_lines(answer).await?))
    }

    /// Reads results, and notes the tasks in them that have ended.
    async fn read_lines(&self, answer: Response) -> Option<Vec<ResultLine>> {
        if answer.status() != StatusCode::OK {
            return None;
        }
        let mut lines = Vec::new();
        for line in answer.text().await.ok()?.lines() {
            let parsed: Option<Value> = serde_json::from_str(line).ok();
            let Some((line, parsed)) =
                parsed.and_then(|line| Some((ResultLine::parse(&line)?, line)))
            else {
                self.history.unexpected(format!("{line} is no line of results"));
                return None;
            };
            let id = parsed["task_id"].as_str().and_then(|id| id.parse().ok());
            if let (Some(id), Some(end)) = (id, TerminalState::from_v1(&parsed)) {
                self.history.observe(id, "results", Some(end));
            }
            lines.push(line);
        }
        Some(lines)
    }

    /// Reads a batch from a random API.
    pub(crate) async fn read_batch_anywhere(
        &self,
        id: BatchId,
        submission: &Arc<BatchSubmission>,
        rng: &mut Xoshiro256PlusPlus,
    ) -> Option<(BatchView, Vec<ResultLine>)> {
        let base = self.base(rng).to_owned();
        self.read_batch(&base, id, submission).await
    }
}
