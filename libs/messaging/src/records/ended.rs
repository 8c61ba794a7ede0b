//! Counts the tasks whose terminal record this process has stored.

use std::{
    ops::AddAssign,
    sync::atomic::{AtomicU64, Ordering},
};

use domain::TaskState;
use serde::{Deserialize, Serialize};

/// The tasks that this process has ended since it started.
#[derive(Debug, Default)]
pub(crate) struct EndedTasks {
    succeeded: AtomicU64,
    failed: AtomicU64,
    revoked: AtomicU64,
    expired: AtomicU64,
}

/// How many tasks have ended, by their terminal state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndedTotals {
    /// SUCCESS.
    pub succeeded: u64,
    /// FAILURE.
    pub failed: u64,
    /// REVOKED.
    pub revoked: u64,
    /// EXPIRED.
    pub expired: u64,
}

impl EndedTasks {
    /// Counts a terminal record that was stored.
    pub(crate) fn count(&self, state: &TaskState) {
        let total = match state {
            TaskState::Success { .. } => &self.succeeded,
            TaskState::Failure { .. } => &self.failed,
            TaskState::Revoked { .. } => &self.revoked,
            TaskState::Expired { .. } => &self.expired,
            TaskState::Queued { .. } | TaskState::Started { .. } => return,
        };
        total.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn totals(&self) -> EndedTotals {
        EndedTotals {
            succeeded: self.succeeded.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            revoked: self.revoked.load(Ordering::Relaxed),
            expired: self.expired.load(Ordering::Relaxed),
        }
    }
}

impl AddAssign for EndedTotals {
    fn add_assign(&mut self, other: Self) {
        self.succeeded = self.succeeded.saturating_add(other.succeeded);
        self.failed = self.failed.saturating_add(other.failed);
        self.revoked = self.revoked.saturating_add(other.revoked);
        self.expired = self.expired.saturating_add(other.expired);
    }
}
