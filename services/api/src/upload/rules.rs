//! What the API asks of uploads.

use std::{sync::Arc, time::Duration};

use domain::picture::PictureLimits;
use tokio::sync::Semaphore;

use crate::tasks::backpressure::Backpressure;

/// The form field that carries the picture.
pub(super) const FIELD: &str = "file";
/// What a request may hold besides the largest picture: other fields, headers, boundaries.
pub(super) const FORM_OVERHEAD_BYTES: u64 = 1024 * 1024;
/// In characters.
pub(super) const LONGEST_FILE_NAME: usize = 255;
/// An upload that comes more slowly than this, on the average since it began, is given up: a few of
/// them that drip would hold all places until their time is up.
pub(super) const LEAST_BYTES_PER_SECOND: u64 = 1024;

/// What the API asks of uploads.
#[derive(Clone)]
pub(crate) struct UploadRules {
    pub(crate) limits: PictureLimits,
    /// The longest an upload may take to arrive.
    pub(crate) timeout: Duration,
    /// What is known of the queue these pictures would go to.
    pub(crate) backpressure: Backpressure,
    /// One permit for each picture in memory: bounds what they take.
    pub(crate) slots: Arc<Semaphore>,
    /// Whether pictures are told apart by their digests.
    pub(crate) digests: bool,
}

/// The names that a route takes for the file of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileNames {
    /// Those with the extension of a picture. A part without a file name is a text field.
    WithExtension,
    /// All of them, and none: the bytes tell.
    Any,
}

/// The most bytes of a request's body.
pub(super) fn most_bytes(limits: &PictureLimits) -> u64 {
    limits.max_bytes.saturating_add(FORM_OVERHEAD_BYTES)
}
