//! Whose tasks a request may see.

use domain::{Job, KeyId};

/// Whose tasks a request may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Viewer {
    /// Everybody's.
    All,
    /// Those that were submitted with this key.
    Owner(KeyId),
}

impl Viewer {
    /// Whether the task of this job may be seen. Others get the same answer as for an id without a task.
    pub(crate) fn sees(self, job: &Job) -> bool {
        self.sees_those_of(job.owner)
    }

    /// Whether the tasks and batches of this owner may be seen.
    pub(crate) fn sees_those_of(self, owner: Option<KeyId>) -> bool {
        match self {
            Self::All => true,
            Self::Owner(key) => owner == Some(key),
        }
    }

    /// The only owner whose tasks may be seen.
    pub(crate) fn only_owner(self) -> Option<KeyId> {
        match self {
            Self::All => None,
            Self::Owner(key) => Some(key),
        }
    }
}
