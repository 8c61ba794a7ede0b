//! Batches: receiving them, what is known of them, cancelling them, and their end.

pub(crate) mod admission;
pub(crate) mod beginning;
pub(crate) mod cancel;
pub(crate) mod closing;
pub(crate) mod events;
pub(crate) mod interruption;
pub(crate) mod list;
pub(crate) mod reception;
pub(crate) mod results;
pub(crate) mod route_hooks;
pub(crate) mod view;

mod head;
mod item;
mod late;
mod uncertain;

use std::{sync::Arc, time::Duration};

use domain::BatchId;
use messaging::{Batches as BatchStore, Webhooks};
use time::OffsetDateTime;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{tasks::Tasks, upload::BatchLimits};

/// How many pictures of one batch are submitted, looked up or cancelled at a time.
const AT_A_TIME: usize = 8;

/// The API's access to batches.
#[derive(Clone)]
pub(crate) struct Batches {
    pub(crate) tasks: Tasks,
    pub(crate) store: BatchStore,
    pub(crate) webhooks: Webhooks,
    pub(crate) limits: BatchLimits,
    /// One permit for each batch that is being received.
    pub(crate) receptions: Arc<Semaphore>,
    pub(crate) shutdown: CancellationToken,
}

impl Batches {
    /// Whether a batch that has no record may have had one.
    fn has_expired(&self, id: BatchId) -> bool {
        let is_old = |born| OffsetDateTime::now_utc() - born > self.tasks.result_ttl;
        id.created_at().is_some_and(is_old)
    }
}

/// How long a batch without any sign of its API is taken for one that broke off.
const RECEPTION_LEASE: Duration = Duration::from_secs(30);
