//! How often a model was run, and how long the last runs took.

use std::{collections::VecDeque, time::Duration};

use parking_lot::Mutex;

/// How many runs the mean and the percentile are of.
const KEPT: usize = 256;

/// The runs of one model.
#[derive(Debug, Default)]
pub(crate) struct RunTimes(Mutex<Runs>);

#[derive(Debug, Default)]
struct Runs {
    count: u64,
    /// The newest is last.
    last: VecDeque<Duration>,
}

/// A summary of a model's runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct RunSummary {
    /// The pictures that were run since the worker's start.
    pub(crate) runs: u64,
    /// Mean and 95th percentile of the last runs; `None` before the first one.
    pub(crate) times: Option<(Duration, Duration)>,
}

impl RunTimes {
    /// Records the run of one picture.
    pub(crate) fn record(&self, took: Duration) {
        let mut runs = self.0.lock();
        runs.count += 1;
        if runs.last.len() == KEPT {
            runs.last.pop_front();
        }
        runs.last.push_back(took);
    }

    /// The pictures that were run since the worker's start.
    pub(crate) fn count(&self) -> u64 {
        self.0.lock().count
    }

    pub(crate) fn summary(&self) -> RunSummary {
        let (runs, mut last): (u64, Vec<Duration>) = {
            let runs = self.0.lock();
            (runs.count, runs.last.iter().copied().collect())
        };
        last.sort_unstable();
        let sum: Duration = last.iter().sum();
        let mean = u32::try_from(last.len()).ok().and_then(|count| sum.checked_div(count));
        let p95 = last.get((last.len() * 95).div_ceil(100).saturating_sub(1)).copied();
        RunSummary { runs, times: mean.zip(p95) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_percentile_are_those_of_the_last_runs() {
        let times = RunTimes::default();
        assert_eq!(times.summary(), RunSummary { runs: 0, times: None });
        // These are forgotten.
        (0..KEPT).for_each(|_| times.record(Duration::from_secs(9)));
        for ms in 1..=KEPT as u64 {
            times.record(Duration::from_millis(ms));
        }
        let expected = (Duration::from_micros(128_500), Duration::from_millis(244));
        let runs = 2 * KEPT as u64;
        assert_eq!(times.summary(), RunSummary { runs, times: Some(expected) });
    }

    #[test]
    fn a_single_run_is_mean_and_percentile() {
        let (times, took) = (RunTimes::default(), Duration::from_millis(7));
        times.record(took);
        assert_eq!(times.summary().times, Some((took, took)));
    }
}
