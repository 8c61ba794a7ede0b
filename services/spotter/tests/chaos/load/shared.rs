//! What the clients of a load share: its size, and what they send to.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    load::{client::Client, pictures::Upload},
    verdict::history::History,
};

/// The size of a load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LoadPlan {
    pub(crate) clients: usize,
    /// The longest pause of one client between two pictures, in milliseconds.
    pub(crate) pause_ms: u64,
    /// How many tasks may be in flight at a time.
    pub(crate) open: usize,
    /// The maximum number of pictures.
    pub(crate) pictures: usize,
    /// The share of pictures with a near deadline: they may expire.
    pub(crate) deadlines: f64,
    /// The share of tasks that are cancelled soon after their submission.
    pub(crate) cancels: f64,
    /// The share of tasks whose end is reported by a webhook.
    pub(crate) callbacks: f64,
    /// The share of tasks whose objects are drawn in.
    pub(crate) drawings: f64,
    /// The share of tasks whose picture is also run in tiles.
    pub(crate) tiled: f64,
    /// The share of submissions that are batches, while not too many are open.
    pub(crate) batches: f64,
    /// How many batches may be open at a time, beside other tasks: one that broke off is open until its lease has ended.
    pub(crate) open_batches: usize,
}

impl Default for LoadPlan {
    fn default() -> Self {
        Self {
            clients: 4,
            pause_ms: 150,
            open: 60,
            pictures: 20_000,
            deadlines: 0.05,
            cancels: 0.05,
            callbacks: 0.3,
            drawings: 0.1,
            tiled: 0.1,
            batches: 0.0,
            open_batches: 20,
        }
    }
}

/// What all clients share.
pub(super) struct Shared {
    pub(super) client: Client,
    pub(super) history: Arc<History>,
    pub(super) uploads: Vec<Upload>,
    pub(super) open: Arc<Semaphore>,
    pub(super) open_batches: Arc<Semaphore>,
    pub(super) left: Semaphore,
    pub(super) plan: LoadPlan,
    /// Where webhooks are sent to.
    pub(super) receiver: String,
    /// Those who send and follow batches.
    pub(super) batches: TaskTracker,
    pub(super) stop: CancellationToken,
}
