//! The latencies of about the last minute.

use std::time::{Duration, Instant};

use messaging::{LATENCY_BUCKETS, LatencyHistogram, latency_bucket};
use parking_lot::Mutex;

/// The time that is forgotten at once.
const SLICE: Duration = Duration::from_secs(5);

/// A minute. The newest slice is not complete.
const SLICES: u64 = 13;

/// Latencies of the last minute, and of at most one slice before it. Recording one allocates nothing.
pub(crate) struct RecentLatencies {
    began: Instant,
    slices: Mutex<Box<[Slice]>>,
}

/// The latencies of a time of the length of [`SLICE`].
#[derive(Clone)]
struct Slice {
    /// How many slices were before it.
    number: u64,
    buckets: [u32; LATENCY_BUCKETS],
}

impl RecentLatencies {
    pub(crate) fn new() -> Self {
        let slices = (0..SLICES).map(|number| Slice { number, buckets: [0; LATENCY_BUCKETS] });
        Self { began: Instant::now(), slices: Mutex::new(slices.collect()) }
    }

    pub(crate) fn record(&self, latency: Duration) {
        self.record_at(latency, self.began.elapsed());
    }

    /// The latencies in buckets.
    pub(crate) fn histogram(&self) -> LatencyHistogram {
        self.histogram_at(self.began.elapsed())
    }

    /// `now` is since the beginning.
    fn record_at(&self, latency: Duration, now: Duration) {
        let number = number_at(now);
        let mut slices = self.slices.lock();
        let Some(slice) = slices.iter_mut().find(|slice| slice.number % SLICES == number % SLICES)
        else {
            return;
        };
        if slice.number != number {
            *slice = Slice { number, buckets: [0; LATENCY_BUCKETS] };
        }
        let count = &mut slice.buckets[latency_bucket(latency)];
        *count = count.saturating_add(1);
    }

    fn histogram_at(&self, now: Duration) -> LatencyHistogram {
        let number = number_at(now);
        let mut histogram = LatencyHistogram::default();
        for slice in self.slices.lock().iter().filter(|slice| slice.number + SLICES > number) {
            for (bucket, count) in slice.buckets.iter().enumerate() {
                histogram.add(bucket, u64::from(*count));
            }
        }
        histogram
    }
}

fn number_at(now: Duration) -> u64 {
    now.as_secs() / SLICE.as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_counts_for_a_minute_and_not_for_longer_than_a_slice_more() {
        let (recent, second) = (RecentLatencies::new(), Duration::from_secs(1));
        recent.record_at(second, 4 * second);
        recent.record_at(second, 5 * second);
        let count = |at: u32| recent.histogram_at(at * second).count();
        assert_eq!([5, 64, 65, 69, 70].map(count), [2, 2, 1, 1, 0]);
        // Takes the place of the first one.
        recent.record_at(2 * second, 66 * second);
        assert_eq!(count(66), 2);
        assert_eq!(count(1000), 0, "what is old is forgotten, also where nothing new comes");
    }
}
