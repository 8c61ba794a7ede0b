//! Pictures per second, from finish times.

use std::time::Duration;

use time::OffsetDateTime;

/// The time at the beginning of a round in which the queue fills; it does not count.
pub(super) const FILLING: time::Duration = time::Duration::seconds(1);

/// A rate is made of at least this many finish times, however slow the machine is.
const LEAST_FINISHED: usize = 3;

/// Pictures per second while the queue was kept full for `time`. `finished` is in order. If too few finished in that
/// time, the next ones count as well: the queue still held several pictures for each slot.
pub(super) fn steady_rate(finished: &[OffsetDateTime], time: Duration) -> f64 {
    let Some(first) = finished.first() else { return f64::NAN };
    let (from, until) = (*first + FILLING, *first + time);
    let filled = finished.iter().copied().skip_while(|at| *at < from).enumerate();
    let steady = filled.take_while(|(before, at)| *before < LEAST_FINISHED || *at < until);
    whole_rate(&steady.map(|(_, at)| at).collect::<Vec<_>>())
}

/// Pictures per second from the first to the last.
pub(super) fn whole_rate(finished: &[OffsetDateTime]) -> f64 {
    match finished {
        [first, .., last] => (finished.len() - 1) as f64 / (*last - *first).as_seconds_f64(),
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(3);

    /// One picture every `every` milliseconds.
    fn finished(count: i64, every: i64) -> Vec<OffsetDateTime> {
        let at = |number| OffsetDateTime::UNIX_EPOCH + time::Duration::milliseconds(number * every);
        (0..count).map(at).collect()
    }

    #[track_caller]
    fn assert_rate(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found}, not {expected}");
    }

    #[test]
    fn pictures_finished_while_the_queue_fills_or_drains_do_not_count() {
        assert_rate(steady_rate(&finished(100, 50), TIME), 20.0);
        let mut uneven = finished(60, 50);
        // Slow at the beginning, and fast when the queue drains.
        uneven.drain(1..20);
        uneven.extend(finished(100, 1).iter().map(|at| *at + TIME));
        assert_rate(steady_rate(&uneven, TIME), 20.0);
    }

    #[test]
    fn a_slow_machine_has_a_rate_too() {
        assert_rate(steady_rate(&finished(8, 2_500), TIME), 0.4);
        assert_rate(steady_rate(&finished(8, 900), TIME), 1.0 / 0.9);
    }

    #[test]
    fn one_picture_makes_no_rate() {
        assert!(steady_rate(&finished(1, 50), TIME).is_nan() && steady_rate(&[], TIME).is_nan());
    }
}
