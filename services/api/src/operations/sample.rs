//! One sample of the system.

use std::sync::OnceLock;

use bytes::Bytes;
use messaging::{ProcessStatus, QueueReport};
use time::OffsetDateTime;

/// The system at one moment.
pub(crate) struct Sample {
    pub(crate) at: OffsetDateTime,
    pub(crate) queue: QueueSample,
    /// In the order of their names.
    pub(crate) processes: Vec<ProcessStatus>,
    /// Whether clients may name a URL to be called.
    pub(crate) has_webhooks: bool,
    /// The text that is sent to all who look, made for the first of them.
    text: OnceLock<Bytes>,
}

/// The queue at one moment.
pub(crate) struct QueueSample {
    /// Whether new jobs are accepted, as far as this API knows.
    pub(crate) is_accepting: bool,
    /// How many jobs there may be.
    pub(crate) max_waiting: u64,
    /// `None`: NATS did not answer in time.
    pub(crate) report: Option<QueueReport>,
}

impl Sample {
    pub(crate) fn new(
        queue: QueueSample,
        processes: Vec<ProcessStatus>,
        has_webhooks: bool,
    ) -> Self {
        let at = OffsetDateTime::now_utc();
        Self { at, queue, processes, has_webhooks, text: OnceLock::new() }
    }

    /// Its text, which `render` makes once.
    pub(crate) fn text(&self, render: impl FnOnce(&Self) -> Bytes) -> Bytes {
        self.text.get_or_init(|| render(self)).clone()
    }
}
