//! Tasks: submitting them, looking them up, listing, following and revoking them.

pub(crate) mod backpressure;
pub(crate) mod cancel;
pub(crate) mod events;
pub(crate) mod follow;
pub(crate) mod list;
pub(crate) mod lookup;
pub(crate) mod submit;
pub(crate) mod viewer;
pub(crate) mod waiting;

use std::time::Duration;

use messaging::{Drawings, IdempotencyKeys, JobQueue, TaskIndex, TaskStore};
use outbound::UrlRules;

use self::{backpressure::Backpressure, waiting::WaitingJobs};
use crate::{
    auth::KeyRing,
    cache::{ResponseCache, ResultCache},
    metrics::ApiMetrics,
    models::Models,
};

/// The API's access to tasks.
#[derive(Clone)]
pub(crate) struct Tasks {
    pub(crate) queue: JobQueue,
    pub(crate) store: TaskStore,
    /// `None`: there are no lists.
    pub(crate) index: Option<TaskIndex>,
    pub(crate) keys: IdempotencyKeys,
    pub(crate) drawings: Drawings,
    pub(crate) backpressure: Backpressure,
    pub(crate) waiting: WaitingJobs,
    /// The rates of API keys; `None`: the API runs without keys.
    pub(crate) rates: Option<KeyRing>,
    pub(crate) cache: Option<ResultCache>,
    pub(crate) responses: Option<ResponseCache>,
    pub(crate) models: Models,
    pub(crate) result_ttl: Duration,
    /// How long a job may wait for a worker, unless its client says otherwise.
    pub(crate) deadline: Duration,
    /// Which URLs may be called when a task ends; `None`: there are no webhooks.
    pub(crate) callback_rules: Option<UrlRules>,
    pub(crate) metrics: ApiMetrics,
}
