//! The arrival rate of pictures, and how long to wait for more of them.

use std::time::{Duration, Instant};

/// The weight of the newest gap in the mean: about the last eight count.
const WEIGHT: f64 = 1.0 / 8.0;

/// Longer gaps count as this many limits, so that a few pictures outweigh them.
const LONGEST_GAP: u32 = 20;

/// The mean gap between pictures, an exponential moving average.
#[derive(Debug)]
pub(crate) struct Arrivals {
    /// The longest wait for a batch to fill.
    limit: Duration,
    mean: Option<Duration>,
    last: Option<Instant>,
}

impl Arrivals {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, mean: None, last: None }
    }

    /// Records that a picture has arrived.
    pub(crate) fn record(&mut self, at: Instant) {
        if let Some(last) = self.last.replace(at) {
            // A night without pictures must not outweigh the next hour.
            let gap = at.saturating_duration_since(last).min(self.limit * LONGEST_GAP);
            self.mean = Some(match self.mean {
                Some(mean) => mean.mul_f64(1.0 - WEIGHT) + gap.mul_f64(WEIGHT),
                None => gap,
            });
        }
    }

    /// How long to wait for `missing` more pictures. `None`: not at all, since not even one is expected
    /// within the limit.
    pub(crate) fn wait_for(&self, missing: usize, now: Instant) -> Option<Duration> {
        // A silence longer than the mean is the better estimate.
        let silence = now.saturating_duration_since(self.last?);
        let gap = self.mean?.max(silence);
        let missing = u32::try_from(missing).unwrap_or(u32::MAX);
        (missing > 0 && gap <= self.limit).then(|| gap.saturating_mul(missing).min(self.limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(5);

    fn after(gaps_ms: &[u64]) -> (Arrivals, Instant) {
        let mut arrivals = Arrivals::new(LIMIT);
        let mut now = Instant::now();
        arrivals.record(now);
        for gap in gaps_ms {
            now += Duration::from_millis(*gap);
            arrivals.record(now);
        }
        (arrivals, now)
    }

    #[test]
    fn a_batch_does_not_wait_for_pictures_that_are_not_expected() {
        let (first, now) = after(&[]);
        assert_eq!(first.wait_for(7, now), None, "nothing is known");
        let (slow, now) = after(&[40, 40, 40]);
        assert_eq!(slow.wait_for(7, now), None, "the next one is 40 ms away");
        let (fast, now) = after(&[1, 1, 1]);
        assert_eq!(fast.wait_for(0, now), None, "the batch is full");
        let later = now + Duration::from_millis(6);
        assert_eq!(fast.wait_for(7, later), None, "the stream has dried up");
    }

    #[test]
    fn the_wait_is_as_long_as_filling_takes_and_never_longer_than_the_limit() {
        let (fast, now) = after(&[1, 1, 1]);
        assert_eq!(fast.wait_for(3, now), Some(Duration::from_millis(3)));
        assert_eq!(fast.wait_for(7, now), Some(LIMIT));
    }

    #[test]
    fn a_long_silence_is_soon_forgotten() {
        let night = 8 * 3600 * 1000;
        let mut gaps = vec![1, 1, night];
        gaps.extend([1; 40]);
        let (fast, now) = after(&gaps);
        assert!(fast.wait_for(1, now).is_some(), "{fast:?}");
    }

    #[test]
    fn the_mean_follows_a_change_of_pace() {
        let (mut arrivals, mut now) = after(&[40, 40, 40]);
        for _ in 0..40 {
            now += Duration::from_millis(1);
            arrivals.record(now);
        }
        let wait = arrivals.wait_for(1, now).unwrap();
        assert!(wait < Duration::from_millis(2), "{wait:?}");
    }
}
