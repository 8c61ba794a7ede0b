//! Maps the outcome of processing to the settlement of the delivery. The only place that decides this.

use std::time::Duration;

use messaging::{MessagingError, PictureFetchError, Settlement};

use crate::inference::InferenceError;

const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// Why a job is to be retried.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// Its record could not be read or written.
    #[error(transparent)]
    Record(#[from] MessagingError),
    /// Its picture could not be read.
    #[error(transparent)]
    Picture(#[from] PictureFetchError),
    /// The model gave no detections.
    #[error(transparent)]
    Inference(#[from] InferenceError),
}

/// The outcome of processing one delivery.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// A terminal record with what was detected is stored.
    Detected,
    /// Another terminal record is stored.
    Stored,
    /// The task was terminal before: the delivery is a duplicate, and the record is unchanged.
    Duplicate,
    /// The run failed, and the job is retried.
    Failed {
        /// What went wrong.
        error: RunError,
        /// The number of the attempt, from 1.
        attempt: u32,
    },
    /// The job has had too many attempts; its FAILURE record is stored.
    Poison,
    /// This worker is stopping, or is broken, and leaves the job to another.
    Released,
}

impl Outcome {
    /// The names of all outcomes.
    pub(crate) const NAMES: [&str; 5] = ["stored", "duplicate", "failed", "poison", "handed_back"];

    /// Its name in the metric.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Detected | Self::Stored => "stored",
            Self::Duplicate => "duplicate",
            Self::Failed { .. } => "failed",
            Self::Poison => "poison",
            Self::Released => "handed_back",
        }
    }
}

/// The settlement for an outcome.
pub(crate) fn settlement(outcome: &Outcome) -> Settlement {
    match outcome {
        Outcome::Detected | Outcome::Stored | Outcome::Duplicate => Settlement::Ack,
        Outcome::Failed { attempt, .. } => {
            Settlement::RetryAfter(retry_delay(*attempt, rand::random()))
        }
        Outcome::Poison => Settlement::Reject { reason: "poison".to_owned() },
        Outcome::Released => Settlement::Release,
    }
}

/// Exponential back-off with jitter, so that jobs that failed together are not retried together.
///
/// `jitter` is from 0 to 1; at 0 the delay is halved.
fn retry_delay(attempt: u32, jitter: f64) -> Duration {
    let doublings = attempt.saturating_sub(1).min(16);
    let delay = (FIRST_DELAY * 2_u32.pow(doublings)).min(LONGEST_DELAY);
    delay.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_limit() {
        let seconds = |attempt| retry_delay(attempt, 1.0).as_secs_f64();
        assert_eq!([1, 2, 3, 4].map(seconds), [1.0, 2.0, 4.0, 8.0]);
        assert_eq!(seconds(u32::MAX), 30.0);
        assert_eq!(retry_delay(1, 0.0), Duration::from_millis(500));
    }
}
