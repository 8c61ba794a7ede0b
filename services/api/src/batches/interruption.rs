//! Why not all of a batch was received.

use messaging::MessagingError;

use super::{head::Lost, item::Fatal, view::BatchView};
use crate::{auth::allowance::Withdrawn, tasks::submit::NotAccepted, upload::UploadError};

/// Why not all of a batch was received. What was accepted of it is run.
#[derive(Debug)]
pub(crate) struct NotReceived {
    pub(crate) why: Interruption,
    /// The batch as far as it was received; `None` if nothing was.
    pub(crate) batch: Option<Box<BatchView>>,
}

/// Why not.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Interruption {
    #[error(transparent)]
    Upload(#[from] UploadError),
    #[error(transparent)]
    NotAccepted(#[from] NotAccepted),
    #[error("{detail}")]
    Parameter { name: String, detail: String },
    #[error(
        "the pictures of the batch are more than the rate of the API key permits, continue in {retry_after} s"
    )]
    RateLimited {
        /// Seconds to wait.
        retry_after: u64,
    },
    #[error(transparent)]
    Withdrawn(#[from] Withdrawn),
    #[error("the batch was cancelled")]
    Cancelled,
    #[error("another request sends this batch at the moment")]
    InProgress,
    #[error("too many batches are being received, try again shortly")]
    TooMany,
    #[error("the API stops; send the batch again with the same Idempotency-Key to continue it")]
    Shutdown,
    #[error("the records cannot be written at the moment, try again")]
    Unavailable,
}

impl Interruption {
    /// Whether no other API continues or ends the batch meanwhile.
    pub(super) fn leaves_the_batch_to_this_api(&self) -> bool {
        !matches!(self, Self::InProgress | Self::Unavailable)
    }
}

impl From<Fatal> for Interruption {
    fn from(error: Fatal) -> Self {
        match error {
            Fatal::NotAccepted(error) => Self::NotAccepted(error),
            Fatal::Messaging(error) => error.into(),
        }
    }
}

impl From<MessagingError> for Interruption {
    fn from(error: MessagingError) -> Self {
        tracing::warn!(%error, "a batch cannot be received");
        Self::Unavailable
    }
}

impl From<Lost> for Interruption {
    fn from(error: Lost) -> Self {
        match error {
            Lost::Cancelled => Self::Cancelled,
            Lost::Taken => Self::InProgress,
            Lost::Lapsed => {
                tracing::warn!("a batch was taken for broken off while it was received");
                Self::Unavailable
            }
            Lost::Unavailable(error) => error.into(),
        }
    }
}

impl From<Interruption> for NotReceived {
    fn from(why: Interruption) -> Self {
        Self { why, batch: None }
    }
}
