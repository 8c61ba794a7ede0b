//! A snapshot as the versioned API shows it.

use messaging::{
    ApiStatus, CacheTotals, EndedTotals, LaneDepth, ModelStatus, PartStatus, ProcessIdentity,
    ProcessStatus, QueueReport, RunningTaskStatus, WorkerStatus,
};
use poem_openapi::{Object, types::Example};
use time::OffsetDateTime;

use super::totals::{ClassTotal, StageLatency, Totals};
use crate::{
    operations::sample::{QueueSample, Sample},
    routes::v1::task::PriorityName,
};

/// The state of the system.
#[derive(Object)]
#[oai(skip_serializing_if_is_none, example)]
pub(super) struct OperationsSnapshot {
    /// When it was like this.
    at: OffsetDateTime,
    /// The jobs in the queue.
    queue: QueueState,
    /// Totals of tasks, of all processes.
    tasks: TaskTotals,
    /// How long the stages of a job took in about the last minute, on all workers.
    stages: Vec<StageLatency>,
    /// The workers, in the order of their names.
    workers: Vec<WorkerState>,
    /// The API processes, in the order of their names.
    apis: Vec<ApiState>,
    /// Totals of refused requests, submissions and uploads, in the order of their reasons.
    refusals: Vec<RefusalTotal>,
    /// Totals of lookups in the caches. Absent if no API has them.
    cache: Option<CacheLookups>,
    /// The 20 classes of which the most objects were found, in the order of their names.
    classes: Vec<ClassTotal>,
    /// How many dead letters there are. Absent if NATS did not answer in time.
    dead_letters: Option<u64>,
    /// The webhooks. Absent without `WEBHOOKS`, and if NATS did not answer in time.
    webhooks: Option<WebhookState>,
}

/// The jobs in the queue. What NATS did not answer in time is absent.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct QueueState {
    /// Whether new jobs are accepted.
    accepting: bool,
    /// How many jobs wait for a worker.
    waiting: Option<u64>,
    /// How many jobs workers have, or wait for a retry.
    running: Option<u64>,
    /// The age of the oldest job, 0 if there is none.
    oldest_age_seconds: Option<f64>,
    /// How many jobs there may be.
    max_waiting: u64,
    /// The jobs by model and priority.
    lanes: Option<Vec<LaneState>>,
}

/// The jobs of one model and priority.
#[derive(Object)]
struct LaneState {
    /// The model.
    model: String,
    /// The priority.
    priority: PriorityName,
    /// How many jobs wait for a worker.
    waiting: u64,
    /// How many jobs workers have, or wait for a retry.
    running: u64,
}

/// Totals of tasks.
#[derive(Object)]
struct TaskTotals {
    /// Tasks that were accepted.
    accepted: u64,
    /// Tasks with a result, also one from the response cache.
    succeeded: u64,
    /// Tasks that have failed.
    failed: u64,
    /// Tasks that their clients have cancelled.
    revoked: u64,
    /// Tasks that were not run before their deadline.
    expired: u64,
}

/// A worker.
#[derive(Object)]
struct WorkerState {
    /// Its name, as in `worker` of results.
    name: String,
    /// The version of its program.
    version: String,
    /// When it started.
    started_at: OffsetDateTime,
    /// How many runs of models it has at a time.
    slots: usize,
    /// How many it has now.
    busy: usize,
    /// How many pictures it has run.
    pictures: u64,
    /// The models that it serves.
    models: Vec<ServedModel>,
    /// The tasks that it works on, oldest first, 100 at most.
    running: Vec<RunningTask>,
}

/// A model that a worker serves.
#[derive(Object)]
struct ServedModel {
    /// Its name.
    name: String,
    /// The sha256 of its `model.toml`.
    digest: String,
    /// Whether it is in memory.
    in_memory: bool,
    /// How many pictures were run with it.
    runs: u64,
}

/// A task that a worker works on.
#[derive(Object)]
struct RunningTask {
    /// The task.
    task_id: String,
    /// Its model.
    model: String,
    /// Since when.
    since: OffsetDateTime,
}

/// An API process.
#[derive(Object)]
struct ApiState {
    /// Its name in logs.
    name: String,
    /// The version of its program.
    version: String,
    /// When it started.
    started_at: OffsetDateTime,
    /// How many pictures are being received or are in its memory.
    uploads_in_progress: usize,
    /// How many event streams are open.
    event_streams: usize,
}

/// How many requests were refused for one reason.
#[derive(Object)]
struct RefusalTotal {
    /// The reason, as in `spotter_uploads_refused_total`, `spotter_submissions_total` and
    /// `spotter_requests_refused_total`.
    reason: String,
    /// How many.
    count: u64,
}

/// Lookups in the caches.
#[derive(Object)]
struct CacheLookups {
    /// Results that were in the result cache.
    result_hits: u64,
    /// Results that were not.
    result_misses: u64,
    /// Pictures whose result was in the response cache.
    response_hits: u64,
    /// Pictures whose result was not.
    response_misses: u64,
}

/// The webhooks.
#[derive(Object)]
struct WebhookState {
    /// Webhooks that are neither delivered nor given up.
    waiting: u64,
    /// Webhooks that were given up.
    dead_letters: u64,
}

impl From<&Sample> for OperationsSnapshot {
    fn from(sample: &Sample) -> Self {
        let totals = Totals::of(&sample.processes);
        let report = sample.queue.report.as_ref();
        let (mut workers, mut apis) = (Vec::new(), Vec::new());
        for ProcessStatus { process, part, .. } in &sample.processes {
            match part {
                PartStatus::Worker(status) => workers.push(WorkerState::new(process, status)),
                PartStatus::Api(status) => apis.push(ApiState::new(process, status)),
            }
        }
        Self {
            at: sample.at,
            queue: QueueState::from(&sample.queue),
            tasks: TaskTotals::new(totals.accepted, totals.ended),
            stages: totals.stages(),
            classes: totals.classes(),
            cache: totals.cache.map(CacheLookups::from),
            refusals: totals
                .refusals
                .into_iter()
                .map(|(reason, count)| RefusalTotal { reason, count })
                .collect(),
            workers,
            apis,
            dead_letters: report.map(|report| report.dead_letters),
            webhooks: report.filter(|_| sample.has_webhooks).map(WebhookState::from),
        }
    }
}

impl From<&QueueSample> for QueueState {
    fn from(sample: &QueueSample) -> Self {
        let report = sample.report.as_ref();
        Self {
            accepting: sample.is_accepting,
            waiting: report.map(|report| report.depth.waiting),
            running: report.map(|report| report.depth.in_progress),
            oldest_age_seconds: report.map(|report| report.oldest.as_millis() as f64 / 1000.0),
            max_waiting: sample.max_waiting,
            lanes: report.map(|report| report.lanes.iter().map(LaneState::from).collect()),
        }
    }
}

impl From<&LaneDepth> for LaneState {
    fn from(LaneDepth { model, priority, depth }: &LaneDepth) -> Self {
        Self {
            model: model.to_string(),
            priority: (*priority).into(),
            waiting: depth.waiting,
            running: depth.in_progress,
        }
    }
}

impl TaskTotals {
    fn new(accepted: u64, ended: EndedTotals) -> Self {
        let EndedTotals { succeeded, failed, revoked, expired } = ended;
        Self { accepted, succeeded, failed, revoked, expired }
    }
}

impl WorkerState {
    fn new(process: &ProcessIdentity, status: &WorkerStatus) -> Self {
        Self {
            name: process.name.clone(),
            version: process.version.clone(),
            started_at: process.started_at,
            slots: status.slots,
            busy: status.busy,
            pictures: status.models.iter().map(|model| model.runs).sum(),
            models: status.models.iter().map(ServedModel::from).collect(),
            running: status.running.iter().map(RunningTask::from).collect(),
        }
    }
}

impl From<&ModelStatus> for ServedModel {
    fn from(ModelStatus { name, digest, in_memory, runs }: &ModelStatus) -> Self {
        let (name, digest) = (name.to_string(), digest.to_string());
        Self { name, digest, in_memory: *in_memory, runs: *runs }
    }
}

impl From<&RunningTaskStatus> for RunningTask {
    fn from(RunningTaskStatus { task_id, model, since }: &RunningTaskStatus) -> Self {
        Self { task_id: task_id.to_string(), model: model.to_string(), since: *since }
    }
}

impl ApiState {
    fn new(process: &ProcessIdentity, status: &ApiStatus) -> Self {
        Self {
            name: process.name.clone(),
            version: process.version.clone(),
            started_at: process.started_at,
            uploads_in_progress: status.uploads_in_progress,
            event_streams: status.event_streams,
        }
    }
}

impl From<CacheTotals> for CacheLookups {
    fn from(totals: CacheTotals) -> Self {
        let CacheTotals { result_hits, result_misses, response_hits, response_misses } = totals;
        Self { result_hits, result_misses, response_hits, response_misses }
    }
}

impl From<&QueueReport> for WebhookState {
    fn from(report: &QueueReport) -> Self {
        Self { waiting: report.webhooks, dead_letters: report.dead_webhooks }
    }
}

impl Example for OperationsSnapshot {
    fn example() -> Self {
        let at = OffsetDateTime::UNIX_EPOCH;
        let version = || "0.1.0".to_owned();
        Self {
            at,
            queue: QueueState {
                accepting: true,
                waiting: Some(12),
                running: Some(2),
                oldest_age_seconds: Some(3.2),
                max_waiting: 10_000,
                lanes: Some(vec![LaneState {
                    model: "yolov8n".to_owned(),
                    priority: PriorityName::High,
                    waiting: 12,
                    running: 2,
                }]),
            },
            tasks: TaskTotals {
                accepted: 1200,
                succeeded: 1180,
                failed: 3,
                revoked: 1,
                expired: 2,
            },
            stages: vec![StageLatency {
                stage: "infer".to_owned(),
                count: 580,
                p50_ms: Some(31.4),
                p95_ms: Some(38.2),
                p99_ms: Some(50.1),
            }],
            workers: vec![WorkerState {
                name: "worker-1".to_owned(),
                version: version(),
                started_at: at,
                slots: 2,
                busy: 1,
                pictures: 1180,
                models: vec![ServedModel {
                    name: "yolov8n".to_owned(),
                    digest: "5f2c8d1e".repeat(8),
                    in_memory: true,
                    runs: 1180,
                }],
                running: vec![RunningTask {
                    task_id: "0190b5a3-7c1e-7d2a-9f61-3a5d0c9e8b47".to_owned(),
                    model: "yolov8n".to_owned(),
                    since: at,
                }],
            }],
            apis: vec![ApiState {
                name: "api-1".to_owned(),
                version: version(),
                started_at: at,
                uploads_in_progress: 0,
                event_streams: 3,
            }],
            refusals: vec![RefusalTotal { reason: "queue_full".to_owned(), count: 4 }],
            cache: Some(CacheLookups {
                result_hits: 10,
                result_misses: 2,
                response_hits: 0,
                response_misses: 0,
            }),
            classes: vec![ClassTotal {
                label: "bus".to_owned(),
                count: 30,
                confidence: vec![0, 0, 1, 2, 5, 8, 10, 4, 0, 0],
            }],
            dead_letters: Some(2),
            webhooks: Some(WebhookState { waiting: 0, dead_letters: 1 }),
        }
    }
}
