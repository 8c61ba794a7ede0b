//! What a process tells about itself.

use std::collections::BTreeMap;

use domain::{ModelName, Sha256Digest, TaskId};
use rand::{RngExt, distr::Alphanumeric};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::histogram::LatencyHistogram;
use crate::records::ended::EndedTotals;

/// How many bins confidences are counted in.
pub const CONFIDENCE_BINS: usize = 10;

/// The status of a process. Totals are since its start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// Which process it is.
    pub process: ProcessIdentity,
    /// The tasks whose terminal record it has stored.
    #[serde(default)]
    pub ended: EndedTotals,
    /// What depends on what the process does.
    pub part: PartStatus,
}

/// Which process it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// Differs for each start of a process, and for processes of the same name.
    pub instance: String,
    /// Its name in logs.
    pub name: String,
    /// The version of its program.
    pub version: String,
    /// When it started.
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
}

impl ProcessIdentity {
    /// A process that starts now.
    #[must_use]
    pub fn new(name: String, version: &str) -> Self {
        let instance = rand::rng().sample_iter(Alphanumeric).take(22).map(char::from).collect();
        let started_at = OffsetDateTime::now_utc();
        Self { instance, name, version: version.to_owned(), started_at }
    }
}

/// The status of a part of the system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartStatus {
    /// Of a worker.
    Worker(WorkerStatus),
    /// Of an API.
    Api(ApiStatus),
}

/// The status of a worker.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerStatus {
    /// How many runs there may be at one time.
    pub slots: usize,
    /// How many there are.
    pub busy: usize,
    /// The models that it serves, in the order of their names.
    pub models: Vec<ModelStatus>,
    /// The tasks that it works on, oldest first.
    pub running: Vec<RunningTaskStatus>,
    /// The latencies of each stage in about the last minute.
    pub stages: BTreeMap<String, LatencyHistogram>,
    /// How many objects of each class were found, by confidence, in bins of equal width from 0 to 1.
    pub classes: BTreeMap<String, [u64; CONFIDENCE_BINS]>,
}

/// A model that a worker serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelStatus {
    /// Its name.
    pub name: ModelName,
    /// The version that is run.
    pub digest: Sha256Digest,
    /// Whether it is in memory.
    pub in_memory: bool,
    /// How many pictures were run with it.
    pub runs: u64,
}

/// A task that a worker works on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningTaskStatus {
    /// The task.
    pub task_id: TaskId,
    /// Its model.
    pub model: ModelName,
    /// Since when.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
}

/// The status of an API.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ApiStatus {
    /// How many pictures are being received or are in memory.
    pub uploads_in_progress: usize,
    /// How many event streams are open.
    pub event_streams: usize,
    /// How many tasks were accepted, with those that were answered from the response cache.
    pub accepted: u64,
    /// How many requests were refused, by reason.
    pub refusals: BTreeMap<String, u64>,
    /// The lookups in its caches; `None` if it has none.
    pub cache: Option<CacheTotals>,
}

/// Lookups in the caches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheTotals {
    /// Results that were in the result cache.
    pub result_hits: u64,
    /// Results that were not.
    pub result_misses: u64,
    /// Pictures whose result was in the response cache.
    pub response_hits: u64,
    /// Pictures whose result was not.
    pub response_misses: u64,
}
