//! Latencies as counts by size, which can be added up across processes.

use std::{collections::BTreeMap, ops::AddAssign, time::Duration};

use serde::{Deserialize, Serialize};

/// The upper bound of the first bucket, in seconds.
const LEAST_SECONDS: f64 = 1e-5;

/// The upper bound of each bucket, divided by that of the one before.
const RATIO: f64 = 1.1;

/// The largest relative error of [`LatencyHistogram::quantile`], for latencies from 10 µs to four days: a latency in a
/// bucket is taken for the geometric mean of the bucket's bounds.
pub const QUANTILE_ERROR: f64 = 0.05;

/// How many buckets there are: the last one begins at four days.
pub const LATENCY_BUCKETS: usize = 256;

/// The bucket of a latency.
#[must_use]
pub fn latency_bucket(latency: Duration) -> usize {
    let steps = (latency.as_secs_f64() / LEAST_SECONDS).ln() / RATIO.ln();
    // Minus infinity for no latency at all; the conversion saturates.
    (steps.ceil() as usize).min(LATENCY_BUCKETS - 1)
}

/// How many latencies there are in each bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LatencyHistogram(BTreeMap<u16, u64>);

impl LatencyHistogram {
    /// Adds `count` latencies of this bucket.
    pub fn add(&mut self, bucket: usize, count: u64) {
        let bucket = u16::try_from(bucket.min(LATENCY_BUCKETS - 1)).unwrap_or(u16::MAX);
        if count > 0 {
            let present = self.0.entry(bucket).or_default();
            *present = present.saturating_add(count);
        }
    }

    /// How many latencies there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The latency, in seconds, that the share `quantile` of all latencies does not exceed, within [`QUANTILE_ERROR`].
    /// `None` if there are none.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Option<f64> {
        let rank = (self.count() as f64 * quantile).ceil().max(1.0);
        let mut seen = 0_u64;
        let bucket = self.0.iter().find(|(_, count)| {
            seen = seen.saturating_add(**count);
            seen as f64 >= rank
        });
        bucket.map(|(bucket, _)| LEAST_SECONDS * RATIO.powf(f64::from(*bucket) - 0.5))
    }
}

impl AddAssign<&Self> for LatencyHistogram {
    fn add_assign(&mut self, other: &Self) {
        for (bucket, count) in &other.0 {
            self.add(usize::from(*bucket), *count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(latencies: impl IntoIterator<Item = Duration>) -> LatencyHistogram {
        let mut histogram = LatencyHistogram::default();
        latencies.into_iter().for_each(|latency| histogram.add(latency_bucket(latency), 1));
        histogram
    }

    #[test]
    fn quantiles_are_within_the_error() {
        let histogram = of((1..=1000).map(Duration::from_millis));
        for (quantile, expected) in
            [(0.001, 0.001), (0.5, 0.5), (0.95, 0.95), (0.99, 0.99), (1.0, 1.0)]
        {
            let found = histogram.quantile(quantile).unwrap();
            let error = (found / expected - 1.0).abs();
            assert!(error <= QUANTILE_ERROR, "{quantile}: {found} is not {expected}");
        }
        assert_eq!(of([]).quantile(0.5), None);
    }

    #[test]
    fn all_latencies_have_a_bucket() {
        let day = Duration::from_secs(24 * 3600);
        let cases = [
            (Duration::ZERO, 0),
            (Duration::from_micros(10), 0),
            (Duration::from_micros(11), 1),
            (4 * day, LATENCY_BUCKETS - 1),
            (Duration::MAX, LATENCY_BUCKETS - 1),
        ];
        for (latency, expected) in cases {
            assert_eq!(latency_bucket(latency), expected, "{latency:?}");
        }
        assert!(latency_bucket(3 * day) < LATENCY_BUCKETS - 1);
    }

    #[test]
    fn the_sum_of_two_is_that_of_all_their_latencies() {
        let (fast, slow) = (of([Duration::from_millis(1); 3]), of([Duration::from_secs(1); 2]));
        let mut sum = fast.clone();
        sum += &slow;
        assert_eq!((sum.count(), sum.quantile(0.6)), (5, fast.quantile(1.0)));
        assert_eq!(sum.quantile(0.61), slow.quantile(1.0));
        // A process may send anything.
        let forged: LatencyHistogram =
            serde_json::from_str(r#"{"65535":18446744073709551615}"#).unwrap();
        sum += &forged;
        sum += &forged;
        assert_eq!(sum.count(), u64::MAX);
        assert!(sum.quantile(0.99).unwrap().is_finite());
    }
}
