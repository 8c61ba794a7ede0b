//! What this API tells of itself to those that ask.

use std::sync::Arc;

use messaging::{ApiStatus, Messaging, MessagingError, PartStatus, ProcessIdentity};
use tokio::sync::Semaphore;

use crate::{
    http::event_stream::EventStreamSlots,
    metrics::{ApiMetrics, RefusalMetrics},
};

/// Where the status of this API comes from.
pub(crate) struct OwnStatus {
    pub(crate) metrics: ApiMetrics,
    /// `None`: requests need no key.
    pub(crate) refusals: Option<RefusalMetrics>,
    pub(crate) upload_slots: Arc<Semaphore>,
    pub(crate) max_uploads: usize,
    pub(crate) event_streams: EventStreamSlots,
    /// Whether it has caches.
    pub(crate) has_cache: bool,
}

/// Answers requests for the status of this API in the background, until the connection is closed.
///
/// # Errors
/// [`MessagingError`] if the connection is closed.
pub(crate) async fn answer_requests(
    messaging: &Messaging,
    process: ProcessIdentity,
    status: OwnStatus,
) -> Result<(), MessagingError> {
    let requests = messaging.status_requests(process).await?;
    tokio::spawn(requests.answer(move || PartStatus::Api(status.now())));
    Ok(())
}

impl OwnStatus {
    fn now(&self) -> ApiStatus {
        let mut refusals = self.metrics.refusals();
        let of_keys = self.refusals.iter().flat_map(RefusalMetrics::totals);
        for (reason, total) in of_keys.filter(|(_, total)| *total > 0) {
            *refusals.entry(reason.to_owned()).or_default() += total;
        }
        let free = self.upload_slots.available_permits();
        ApiStatus {
            uploads_in_progress: self.max_uploads.saturating_sub(free),
            event_streams: self.event_streams.open(),
            accepted: self.metrics.accepted(),
            refusals,
            cache: self.has_cache.then(|| self.metrics.cache_totals()),
        }
    }
}
