//! The state of the system, and following it.

use std::{collections::BTreeMap, time::Duration};

use domain::{Priority, TaskId};
use reqwest::Method;
use serde::Deserialize;
use time::OffsetDateTime;

use crate::{Client, ClientError, api::open, lines::Lines};

/// How long one connection is used for.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The state of the system. Totals are of each process since it started, added up. What did not answer in time is absent.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Operations {
    /// When it was like this.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// The jobs in the queue.
    pub queue: QueueState,
    /// Totals of tasks.
    pub tasks: TaskTotals,
    /// How long the stages of a job took in about the last minute.
    pub stages: Vec<StageLatency>,
    /// The workers, in the order of their names.
    pub workers: Vec<WorkerState>,
    /// The API processes, in the order of their names.
    pub apis: Vec<ApiState>,
    /// Totals of refused requests, submissions and uploads.
    pub refusals: Vec<RefusalTotal>,
    /// Totals of lookups in the caches, by their names.
    #[serde(default)]
    pub cache: Option<BTreeMap<String, u64>>,
    /// The classes of which the most objects were found.
    pub classes: Vec<ClassTotal>,
    /// How many dead letters there are.
    #[serde(default)]
    pub dead_letters: Option<u64>,
    /// The webhooks; not without `WEBHOOKS`.
    #[serde(default)]
    pub webhooks: Option<WebhookState>,
}

/// The jobs in the queue.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct QueueState {
    /// Whether new jobs are accepted.
    pub accepting: bool,
    /// How many jobs wait for a worker.
    #[serde(default)]
    pub waiting: Option<u64>,
    /// How many jobs workers have, or wait for a retry.
    #[serde(default)]
    pub running: Option<u64>,
    /// The age of the oldest job, 0 if there is none.
    #[serde(default)]
    pub oldest_age_seconds: Option<f64>,
    /// How many jobs there may be.
    pub max_waiting: u64,
    /// The jobs by model and priority.
    #[serde(default)]
    pub lanes: Option<Vec<LaneState>>,
}

/// The jobs of one model and priority.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LaneState {
    /// The model.
    pub model: String,
    /// The priority.
    pub priority: Priority,
    /// How many jobs wait for a worker.
    pub waiting: u64,
    /// How many jobs workers have, or wait for a retry.
    pub running: u64,
}

/// Totals of tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct TaskTotals {
    /// Tasks that were accepted.
    pub accepted: u64,
    /// Tasks with a result.
    pub succeeded: u64,
    /// Tasks that have failed.
    pub failed: u64,
    /// Tasks that their clients have cancelled.
    pub revoked: u64,
    /// Tasks that were not run before their deadline.
    pub expired: u64,
}

impl TaskTotals {
    /// Tasks that have reached any terminal state.
    #[must_use]
    pub fn ended(self) -> u64 {
        let Self { accepted: _, succeeded, failed, revoked, expired } = self;
        [succeeded, failed, revoked, expired].into_iter().fold(0, u64::saturating_add)
    }
}

/// How long a stage took.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct StageLatency {
    /// Its name, such as `infer`.
    pub stage: String,
    /// How often it was run in the last minute.
    pub count: u64,
    /// The median in milliseconds; absent if it was not run.
    #[serde(default)]
    pub p50_ms: Option<f64>,
    /// The 95th percentile.
    #[serde(default)]
    pub p95_ms: Option<f64>,
    /// The 99th percentile.
    #[serde(default)]
    pub p99_ms: Option<f64>,
}

/// A worker.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct WorkerState {
    /// Its name, as in [`crate::Task::worker`].
    pub name: String,
    /// The version of its program.
    pub version: String,
    /// When it started.
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
    /// How many runs of models it has at a time.
    pub slots: usize,
    /// How many it has now.
    pub busy: usize,
    /// How many pictures it has run.
    pub pictures: u64,
    /// The models that it serves.
    pub models: Vec<ServedModel>,
    /// The tasks that it works on, the oldest first, 100 at most.
    pub running: Vec<RunningTask>,
}

/// A model that a worker serves.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ServedModel {
    /// Its name.
    pub name: String,
    /// The sha256 of its `model.toml`.
    pub digest: String,
    /// Whether it is in memory.
    pub in_memory: bool,
    /// How many pictures were run with it.
    pub runs: u64,
}

/// A task that a worker works on.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RunningTask {
    /// The task.
    pub task_id: TaskId,
    /// Its model.
    pub model: String,
    /// Since when.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
}

/// An API process.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ApiState {
    /// Its name in logs.
    pub name: String,
    /// The version of its program.
    pub version: String,
    /// When it started.
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
    /// How many pictures are being received or are in its memory.
    pub uploads_in_progress: usize,
    /// How many event streams are open.
    pub event_streams: usize,
}

/// How many requests were refused for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RefusalTotal {
    /// The reason.
    pub reason: String,
    /// How many.
    pub count: u64,
}

/// The objects of one class.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ClassTotal {
    /// The class.
    pub label: String,
    /// How many objects were found.
    pub count: u64,
    /// How many of them had a confidence below 0.1, from 0.1 to 0.2, and so on to 1.
    pub confidence: Vec<u64>,
}

/// The webhooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct WebhookState {
    /// Webhooks that are neither delivered nor given up.
    pub waiting: u64,
    /// Webhooks that were given up.
    pub dead_letters: u64,
}

/// The state of the system as it changes, about once a second.
pub struct OperationsEvents(Lines);

impl Client {
    /// Follows the state of the system on one connection.
    ///
    /// # Errors
    /// As [`Client::get`]; [`ClientError::Refused`] with status 401 or 403 for an API key without the scope `admin`.
    pub async fn operations(&self) -> Result<OperationsEvents, ClientError> {
        let request = self.request(Method::GET, "/v1/operations/events").timeout(LONGEST);
        let answer = open(request).await.map_err(|refusal| refusal.error)?;
        Ok(OperationsEvents(Lines::new(answer)))
    }
}

impl OperationsEvents {
    /// The next state; `None` once the API has ended the stream, as when it stops.
    ///
    /// # Errors
    /// [`ClientError::NoAnswer`] if the connection breaks, [`ClientError::Unexpected`] for what it says.
    pub async fn next(&mut self) -> Result<Option<Operations>, ClientError> {
        while let Some(line) = self.0.next().await? {
            // The data of each event is one line.
            if let Some(data) = line.strip_prefix(b"data:") {
                return Ok(Some(serde_json::from_slice(data)?));
            }
        }
        Ok(None)
    }
}
