//! The time that a body may take to arrive.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    error::UploadError,
    rules::{MIN_BYTES_PER_SECOND, RATE_GRACE},
};

const RATE_CHECK_EVERY: Duration = Duration::from_secs(1);

/// The time that a body may take.
pub(crate) struct UploadPace {
    pub(super) timeout: Duration,
    /// How many of its bytes have arrived.
    pub(super) arrived: Arc<AtomicU64>,
}

impl UploadPace {
    /// What `reading` a body comes to.
    ///
    /// # Errors
    /// Its own; [`UploadError`] if the body arrives too slowly.
    pub(crate) async fn limit<T, E: From<UploadError>>(
        &self,
        reading: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        tokio::select! {
            read = reading => read,
            () = tokio::time::sleep(self.timeout) => Err(UploadError::TooSlow(self.timeout).into()),
            () = trickles(&self.arrived) => Err(UploadError::Trickle.into()),
        }
    }
}

/// Completes when the upload is slower than the minimum rate.
async fn trickles(arrived: &AtomicU64) {
    let began = Instant::now();
    tokio::time::sleep(RATE_GRACE).await;
    while arrived.load(Ordering::Relaxed) >= began.elapsed().as_secs() * MIN_BYTES_PER_SECOND {
        tokio::time::sleep(RATE_CHECK_EVERY).await;
    }
}
