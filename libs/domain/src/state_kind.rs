//! The states of tasks by name.

use serde::{Deserialize, Serialize};

use crate::TaskState;

/// A state without what belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum StateKind {
    /// [`TaskState::Queued`].
    Queued,
    /// [`TaskState::Started`].
    Started,
    /// [`TaskState::Success`].
    Success,
    /// [`TaskState::Failure`].
    Failure,
    /// [`TaskState::Revoked`].
    Revoked,
    /// [`TaskState::Expired`].
    Expired,
}

impl TaskState {
    /// Which state it is.
    #[must_use]
    pub fn kind(&self) -> StateKind {
        match self {
            Self::Queued { .. } => StateKind::Queued,
            Self::Started { .. } => StateKind::Started,
            Self::Success { .. } => StateKind::Success,
            Self::Failure { .. } => StateKind::Failure,
            Self::Revoked { .. } => StateKind::Revoked,
            Self::Expired { .. } => StateKind::Expired,
        }
    }
}
