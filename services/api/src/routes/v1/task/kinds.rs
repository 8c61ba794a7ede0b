//! The kinds of states, priorities, retries and failures, as the versioned API names them.

use domain::{FailureReason, Priority, RetryReason, StateKind};
use poem_openapi::Enum;

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum State {
    /// Stored in the queue.
    Queued,
    /// A worker has it.
    Started,
    /// Done; see `objects`.
    Success,
    /// Will never be done; see `failure`.
    Failure,
    /// Called off.
    Revoked,
    /// Not run in time.
    Expired,
}

impl From<State> for StateKind {
    fn from(state: State) -> Self {
        match state {
            State::Queued => Self::Queued,
            State::Started => Self::Started,
            State::Success => Self::Success,
            State::Failure => Self::Failure,
            State::Revoked => Self::Revoked,
            State::Expired => Self::Expired,
        }
    }
}

/// How soon a job is run, compared with the others that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename = "Priority", rename_all = "snake_case")]
pub(crate) enum PriorityName {
    /// Before the others.
    High,
    /// The default.
    Normal,
    /// After the others, which leave it a share of the workers.
    Low,
}

impl PriorityName {
    pub(crate) fn name(self) -> &'static str {
        Priority::from(self).name()
    }
}

impl From<PriorityName> for Priority {
    fn from(name: PriorityName) -> Self {
        match name {
            PriorityName::High => Self::High,
            PriorityName::Normal => Self::Normal,
            PriorityName::Low => Self::Low,
        }
    }
}

impl From<Priority> for PriorityName {
    fn from(priority: Priority) -> Self {
        match priority {
            Priority::High => Self::High,
            Priority::Normal => Self::Normal,
            Priority::Low => Self::Low,
        }
    }
}

/// Why a task is queued again after a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub(crate) enum Retry {
    /// The run failed, and may succeed another time.
    RunFailed,
    /// The worker has stopped and released the job. The run does not count as an attempt.
    WorkerStopped,
    /// The worker ended during the run, or has lost its connection to the queue. Only events say so.
    WorkerLost,
}

impl From<RetryReason> for Retry {
    fn from(reason: RetryReason) -> Self {
        match reason {
            RetryReason::RunFailed => Self::RunFailed,
            RetryReason::WorkerStopped => Self::WorkerStopped,
            RetryReason::WorkerLost => Self::WorkerLost,
        }
    }
}

/// The kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub(super) enum Reason {
    /// The picture's bytes do not decode.
    UndecodablePicture,
    /// No worker runs the model that was asked for.
    UnknownModel,
    /// The model has no class of a name or index in `classes`.
    UnknownClass,
    /// The picture's bytes expired before a worker came to them.
    PictureGone,
    /// The job stops workers instead of finishing.
    Poison,
    /// The queue lost the job: submit the picture again.
    Lost,
    /// The runs of all tiles take longer than one job may take: ask for fewer.
    TooManyTiles,
    /// The model is installed and cannot be loaded: an operator has to install it again.
    ModelNotLoadable,
}

impl From<FailureReason> for Reason {
    fn from(reason: FailureReason) -> Self {
        match reason {
            FailureReason::UndecodablePicture => Self::UndecodablePicture,
            FailureReason::UnknownModel => Self::UnknownModel,
            FailureReason::UnknownClass => Self::UnknownClass,
            FailureReason::PictureGone => Self::PictureGone,
            FailureReason::Poison => Self::Poison,
            FailureReason::Lost => Self::Lost,
            FailureReason::TooManyTiles => Self::TooManyTiles,
            FailureReason::ModelNotLoadable => Self::ModelNotLoadable,
        }
    }
}
