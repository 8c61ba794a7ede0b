//! Permits for the memory of uploads.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    error::UploadError,
    rules::{JSON_SLOTS, SMALL_JSON_BYTES, UploadRules},
    uploaded::UploadSlot,
};

/// How many permits a JSON body of this length takes; `None`: it does not say.
pub(super) fn json_slots(length: Option<u64>) -> usize {
    match length {
        Some(0..=SMALL_JSON_BYTES) => 1,
        _ => JSON_SLOTS,
    }
}

/// The permits for a body, unless the queue would reject its job.
pub(super) fn slots_for(rules: &UploadRules, slots: usize) -> Result<UploadSlot, UploadError> {
    check_queue(rules)?;
    let slots = u32::try_from(slots.min(rules.max_slots)).unwrap_or(u32::MAX);
    let permits = Arc::clone(&rules.slots).try_acquire_many_owned(slots);
    permits.map(Arc::new).map_err(|_| UploadError::TooManyUploads)
}

/// A place for an answer with pictures in it, which takes as much memory as JSON with them, once there is one.
///
/// # Errors
/// [`UploadError::TooManyUploads`] if there is none `within` this time.
pub(crate) async fn place_for_answer(
    rules: &UploadRules,
    within: Duration,
) -> Result<UploadSlot, UploadError> {
    let places = u32::try_from(JSON_SLOTS.min(rules.max_slots)).unwrap_or(u32::MAX);
    let place = Arc::clone(&rules.slots).acquire_many_owned(places);
    match tokio::time::timeout(within, place).await {
        Ok(Ok(place)) => Ok(Arc::new(place)),
        Ok(Err(_)) | Err(_) => Err(UploadError::TooManyUploads),
    }
}

/// Rejects a body unread while the queue would reject its job.
pub(super) fn check_queue(rules: &UploadRules) -> Result<(), UploadError> {
    if rules.backpressure.is_full(Instant::now()) {
        return Err(UploadError::QueueFull { retry_after: rules.backpressure.retry_after() });
    }
    if rules.backpressure.cannot_store() {
        return Err(UploadError::CannotStore);
    }
    Ok(())
}
