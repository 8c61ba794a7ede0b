//! Medians and percentiles of measured values.

use std::time::Duration;

use serde::Serialize;

/// The median; of an even count the upper one.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Percentiles of latencies, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Latencies {
    pub(crate) count: usize,
    pub(crate) min_ms: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

impl Latencies {
    /// Without samples, all values are 0.
    pub(crate) fn of(mut samples: Vec<Duration>) -> Self {
        samples.sort_unstable();
        let at = |share: f64| {
            let last = samples.len().saturating_sub(1);
            let place = (last as f64 * share).round() as usize;
            samples.get(place).map_or(0.0, |sample| sample.as_secs_f64() * 1e3)
        };
        let count = samples.len();
        Self { count, min_ms: at(0.0), p50_ms: at(0.5), p99_ms: at(0.99), max_ms: at(1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_samples() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert!(median(&[]).is_nan());
        let samples = (0..=100).rev().map(Duration::from_millis).collect();
        let expected =
            Latencies { count: 101, min_ms: 0.0, p50_ms: 50.0, p99_ms: 99.0, max_ms: 100.0 };
        assert_eq!(Latencies::of(samples), expected);
        assert_eq!(Latencies::of(Vec::new()).max_ms, 0.0);
    }
}
