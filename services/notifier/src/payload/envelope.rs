//! What each body has.

use serde::Serialize;
use time::OffsetDateTime;

/// The body of a webhook with this data.
#[derive(Serialize)]
pub(super) struct Payload<T> {
    pub(super) r#type: String,
    #[serde(with = "time::serde::rfc3339")]
    pub(super) timestamp: OffsetDateTime,
    pub(super) data: T,
}
