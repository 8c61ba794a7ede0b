//! The limits of uploads.

use std::{sync::Arc, time::Duration};

use domain::picture::PictureLimits;
use tokio::sync::Semaphore;

use super::fetcher::PictureFetcher;
use crate::tasks::backpressure::Backpressure;

/// The form field that carries the picture.
pub(super) const FIELD: &str = "file";
/// The member of a JSON body that holds the picture.
pub(super) const IMAGE: &str = "image";
/// The member of a JSON body that says where the picture is.
pub(super) const URL: &str = "url";
/// The member of a JSON body with the pictures of a batch, and the field of a form with parameters by name.
pub(super) const ITEMS: &str = "items";
/// The member of such a picture with its name.
pub(super) const NAME: &str = "name";
/// The size of a request without the picture, in bytes: other fields, headers, boundaries.
pub(super) const FORM_OVERHEAD_BYTES: u64 = 1024 * 1024;
/// Maximum length of a file name, in characters.
pub(super) const MAX_FILE_NAME_CHARS: usize = 255;
/// Maximum length of a parameter in a form, in bytes.
pub(super) const MAX_PARAMETER_BYTES: usize = 16 * 1024;
/// How many values the parameters in a JSON body may have. Valid ones have fewer: 100 classes, and those of metadata, which
/// has 1024 bytes.
pub(super) const MAX_PARAMETER_VALUES: usize = 1024;
/// How many permits a JSON body takes: the body, base64 without its escapes, and the picture are in memory at a time.
pub(super) const JSON_SLOTS: usize = 4;
/// A JSON body of at most so many bytes takes one: it names a URL, or its picture is small.
pub(super) const SMALL_JSON_BYTES: u64 = 64 * 1024;
/// Capacity for a picture in a request without `Content-Length`.
pub(super) const INITIAL_CAPACITY: u64 = 64 * 1024;
/// Minimum average rate of an upload. A few slower ones would otherwise occupy all slots until their timeout.
pub(super) const MIN_BYTES_PER_SECOND: u64 = 1024;

/// How long an upload runs before its rate is checked.
pub(super) const RATE_GRACE: Duration = Duration::from_secs(10);

/// The limits of uploads.
#[derive(Clone)]
pub(crate) struct UploadRules {
    pub(crate) limits: PictureLimits,
    /// Timeout of an upload.
    pub(crate) timeout: Duration,
    /// The state of the queue that pictures go to.
    pub(crate) backpressure: Backpressure,
    /// One permit for each picture in memory, which limits memory.
    pub(crate) slots: Arc<Semaphore>,
    /// How many permits there are.
    pub(crate) max_slots: usize,
    /// Whether to hash pictures for the response cache.
    pub(crate) digests: bool,
    /// Fetches pictures by URL; `None` if that is turned off.
    pub(crate) fetcher: Option<PictureFetcher>,
}

/// Which file names of pictures a route accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileNames {
    /// File names with the extension of a picture format. A part without a file name is a text field.
    WithExtension,
    /// Any file name, or none: the format is detected from the bytes.
    Any,
}

/// Maximum size of a form, in bytes.
pub(super) fn max_form_bytes(limits: &PictureLimits) -> u64 {
    limits.max_bytes.saturating_add(FORM_OVERHEAD_BYTES)
}

/// Maximum size of a JSON body, in bytes: base64 writes three bytes as four.
pub(super) fn max_json_bytes(limits: &PictureLimits) -> u64 {
    limits.max_bytes.div_ceil(3).saturating_mul(4).saturating_add(FORM_OVERHEAD_BYTES)
}
