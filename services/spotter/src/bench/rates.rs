//! Pictures a second, from when each of them ended.

use std::time::Duration;

use time::OffsetDateTime;

/// What is left out at the beginning of a round with the queue, while it fills.
pub(super) const FILLING: time::Duration = time::Duration::seconds(1);

/// So many ends make a rate at least, however slow the machine is.
const LEAST_ENDS: usize = 3;

/// Ends a second while the queue was full for `time`. `ends` are in order. Where too few ended in that time,
/// those that came next are taken as well: the queue still held several pictures for each slot then.
pub(super) fn steady_rate(ends: &[OffsetDateTime], time: Duration) -> f64 {
    let Some(first) = ends.first() else { return f64::NAN };
    let (from, until) = (*first + FILLING, *first + time);
    let filled = ends.iter().copied().skip_while(|end| *end < from).enumerate();
    let steady = filled.take_while(|(before, end)| *before < LEAST_ENDS || *end < until);
    whole_rate(&steady.map(|(_, end)| end).collect::<Vec<_>>())
}

/// Ends a second from the first to the last.
pub(super) fn whole_rate(ends: &[OffsetDateTime]) -> f64 {
    match ends {
        [first, .., last] => (ends.len() - 1) as f64 / (*last - *first).as_seconds_f64(),
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(3);

    /// Ends `every` so many milliseconds.
    fn ends(count: i64, every: i64) -> Vec<OffsetDateTime> {
        let end =
            |number| OffsetDateTime::UNIX_EPOCH + time::Duration::milliseconds(number * every);
        (0..count).map(end).collect()
    }

    #[track_caller]
    fn assert_rate(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found}, not {expected}");
    }

    #[test]
    fn what_ends_while_the_queue_fills_or_empties_does_not_count() {
        assert_rate(steady_rate(&ends(100, 50), TIME), 20.0);
        let mut odd = ends(60, 50);
        // Slow at the beginning, and quick when the queue runs dry.
        odd.drain(1..20);
        odd.extend(ends(100, 1).iter().map(|end| *end + TIME));
        assert_rate(steady_rate(&odd, TIME), 20.0);
    }

    #[test]
    fn a_slow_machine_has_a_rate_too() {
        assert_rate(steady_rate(&ends(8, 2_500), TIME), 0.4);
        assert_rate(steady_rate(&ends(8, 900), TIME), 1.0 / 0.9);
    }

    #[test]
    fn no_rate_is_made_of_one_end() {
        assert!(steady_rate(&ends(1, 50), TIME).is_nan() && steady_rate(&[], TIME).is_nan());
    }
}
