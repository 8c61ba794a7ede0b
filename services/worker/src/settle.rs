//! How the end of processing becomes the fate of the delivery: the one place that decides.

use std::time::Duration;

use messaging::Settlement;

const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// How processing one delivery ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A terminal record is stored.
    Stored,
    /// The task had ended before: this was a duplicate, and the record stays as it was.
    Duplicate,
    /// It may work next time.
    Failed {
        /// What went wrong.
        why: String,
    },
    /// It has been tried too often; its FAILURE record is stored.
    Poison,
    /// The worker is stopping and hands the job back unfinished.
    HandedBack,
}

impl Outcome {
    /// The names of all there are.
    pub(crate) const NAMES: [&str; 5] = ["stored", "duplicate", "failed", "poison", "handed_back"];

    /// Its name, as the metric says it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Duplicate => "duplicate",
            Self::Failed { .. } => "failed",
            Self::Poison => "poison",
            Self::HandedBack => "handed_back",
        }
    }
}

/// What to tell the queue and have confirmed; `None` for a job that is handed back, which is said
/// once and not waited for. `attempt` counts deliveries of this job from 1.
pub(crate) fn settlement(outcome: &Outcome, attempt: u32) -> Option<Settlement> {
    match outcome {
        Outcome::Stored | Outcome::Duplicate => Some(Settlement::Ack),
        Outcome::Failed { .. } => {
            Some(Settlement::RetryAfter(retry_delay(attempt, rand::random())))
        }
        Outcome::Poison => Some(Settlement::Reject { reason: "poison".to_owned() }),
        Outcome::HandedBack => None,
    }
}

/// Exponential back-off with jitter, so that jobs that failed together do not come back together.
///
/// `jitter` is from 0 to 1 and takes the delay down to half.
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
