//! The worker's heartbeat: it tells the APIs which model file this worker runs, for as long as it runs.

use std::time::Duration;

use messaging::{HEARTBEAT_TTL, WorkerHeartbeat};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The interval of heartbeats, a part of their TTL.
const INTERVAL: Duration = Duration::from_secs(8);
/// How long a worker that stops waits until its heartbeat is withdrawn.
const WITHDRAW_TIMEOUT: Duration = Duration::from_secs(1);

const _: () = assert!(INTERVAL.as_secs() * 3 <= HEARTBEAT_TTL.as_secs());

/// A heartbeat that is renewed until this is dropped.
pub(crate) struct Heartbeat {
    stop: DropGuard,
    renewing: JoinHandle<()>,
}

impl Heartbeat {
    /// Sends the heartbeat once, and renews it in a task of its own. A failure does not stop the worker:
    /// while the model is unknown, the API runs every picture.
    pub(crate) async fn start(heartbeat: WorkerHeartbeat) -> Self {
        renew(&heartbeat).await;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let renewing = tokio::spawn(async move {
            while stopped.run_until_cancelled(sleep(INTERVAL)).await.is_some() {
                renew(&heartbeat).await;
            }
            if let Err(error) = heartbeat.withdraw().await {
                tracing::debug!(%error, "the heartbeat was not withdrawn; it expires");
            }
        });
        Self { stop: stop.drop_guard(), renewing }
    }

    /// Withdraws the heartbeat. If NATS does not answer soon, it expires instead.
    pub(crate) async fn stop(self) {
        drop(self.stop);
        if let Ok(Err(error)) = timeout(WITHDRAW_TIMEOUT, self.renewing).await {
            tracing::error!(%error, "the task that renews the heartbeat has failed");
        }
    }
}

async fn renew(heartbeat: &WorkerHeartbeat) {
    if let Err(error) = heartbeat.renew().await {
        tracing::debug!(%error, "the heartbeat was not renewed; it is retried");
    }
}
