//! What every job of a worker shares.

use std::{sync::Arc, time::Duration};

use messaging::{TaskStore, Writes};
use tokio::sync::RwLock;
use tokio_util::sync::CancellationToken;

use crate::{
    drawing::Drawer,
    inference::{Batcher, Placement, Slots},
    load::Load,
    metrics::WorkerMetrics,
    models::ModelCache,
    running::RunningTasks,
    shadow::ShadowPublisher,
};

/// What every job of this worker shares.
pub(crate) struct Context {
    /// The name of this worker.
    pub(crate) name: String,
    pub(crate) tasks: TaskStore,
    pub(crate) writes: Writes,
    pub(crate) metrics: WorkerMetrics,
    pub(crate) models: Arc<ModelCache>,
    pub(crate) placement: Placement,
    pub(crate) slots: Arc<Slots>,
    /// Batches pictures; `None`: each is run alone.
    pub(crate) batcher: Option<Batcher>,
    /// The most pictures of one run of the model.
    pub(crate) max_batch: usize,
    pub(crate) job_deadline: Duration,
    pub(crate) max_attempts: u32,
    pub(crate) most_picture_bytes: u64,
    pub(crate) drawer: Drawer,
    /// `None` without a shadow model.
    pub(crate) shadow_jobs: Option<ShadowPublisher>,
    pub(crate) load: Load,
    pub(crate) running: RunningTasks,
    /// Held by every job while it runs; see `process/isolation.rs`.
    pub(crate) isolation: RwLock<()>,
    /// Cancelled when jobs that still run must be released.
    pub(crate) release: CancellationToken,
    /// Cancelled when this process is broken and should be restarted.
    pub(crate) broken: CancellationToken,
}
