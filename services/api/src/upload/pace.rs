//! The time that a body may take to arrive.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use super::{error::UploadError, picture_form::trickles};

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
