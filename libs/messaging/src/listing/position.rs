//! How far the index has come.

use std::time::Instant;

use crate::{Messaging, record_log::RecordLog};

/// How far the index has come.
pub(super) struct Position {
    pub(super) log: RecordLog,
    /// When the newest complete reading of changes began.
    pub(super) current_at: Option<Instant>,
    /// When entries of expired records were removed last.
    pub(super) expired_at: Instant,
}

impl Position {
    pub(super) fn new(messaging: Messaging) -> Self {
        Self { log: RecordLog::new(messaging), current_at: None, expired_at: Instant::now() }
    }
}
