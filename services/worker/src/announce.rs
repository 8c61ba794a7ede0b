//! Telling everybody which model file this worker runs, for as long as it lives.

use std::time::Duration;

use messaging::{HEARTBEAT_TTL, WorkerHeartbeat};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// How often it is said, several times in its life.
const EVERY: Duration = Duration::from_secs(8);
/// How long a worker that stops waits until its word is taken back.
const END_PATIENCE: Duration = Duration::from_secs(1);

const _: () = assert!(EVERY.as_secs() * 3 <= HEARTBEAT_TTL.as_secs());

/// An announcement that is being renewed until this is dropped.
pub(crate) struct Announcing {
    end: DropGuard,
    renewing: JoinHandle<()>,
}

impl Announcing {
    /// Takes it back; where the server does not answer soon, it is left to expire.
    pub(crate) async fn end(self) {
        drop(self.end);
        if let Ok(Err(error)) = timeout(END_PATIENCE, self.renewing).await {
            tracing::error!(%error, "announcing the model has broken off");
        }
    }
}

/// Says it once, and goes on saying it in a task of its own. A failure is no reason not to work: as
/// long as it lasts, nobody is answered without a run.
pub(crate) async fn announce(announcement: WorkerHeartbeat) -> Announcing {
    renew(&announcement).await;
    let end = CancellationToken::new();
    let ended = end.clone();
    let renewing = tokio::spawn(async move {
        while ended.run_until_cancelled(sleep(EVERY)).await.is_some() {
            renew(&announcement).await;
        }
        if let Err(error) = announcement.withdraw().await {
            tracing::debug!(%error, "the word on this worker's model is left to expire");
        }
    });
    Announcing { end: end.drop_guard(), renewing }
}

async fn renew(announcement: &WorkerHeartbeat) {
    if let Err(error) = announcement.renew().await {
        tracing::debug!(%error, "this worker's model was not announced; trying again");
    }
}
