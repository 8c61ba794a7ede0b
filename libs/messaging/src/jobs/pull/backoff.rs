//! Delays after failures.

use std::time::Duration;

/// The first and the longest delay after a failed pull.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The delay after so many failures in a row.
pub(super) fn backoff(failures: u32) -> Duration {
    let (first, longest) = BACKOFF;
    let pause = first.saturating_mul(1 << failures.min(10)).min(longest);
    // Jitter of a half, so that workers that failed together do not retry together.
    pause.mul_f64(rand::random_range(0.5..1.0))
}
