//! A circuit breaker: after a few failures in a row, it stops calls for a while.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

const FAILURES_TO_OPEN: u32 = 3;
const OPEN_FOR: Duration = Duration::from_secs(5);

/// Decides whether to call a server that has been failing.
///
/// Closed: every call passes. Three failures in a row open it for five seconds, in which no call passes. Then
/// one call at a time passes, and its outcome closes or reopens the breaker.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures_in_a_row: u32,
    retry_at: Option<Instant>,
}

/// The effect of a reported outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// The breaker has just opened: calls stop.
    Opened,
    /// The breaker has just closed: calls pass again.
    Closed,
    /// Nothing changed.
    None,
}

impl Breaker {
    /// Whether a call may be made now. A `true` must be followed by [`Self::report`].
    pub(crate) fn allows(&self, now: Instant) -> bool {
        let mut state = self.state.lock();
        match state.retry_at {
            None => true,
            Some(retry_at) if now < retry_at => false,
            Some(_) => {
                // This caller tries; the others are skipped until its outcome.
                state.retry_at = Some(now + OPEN_FOR);
                true
            }
        }
    }

    /// Reports the outcome of a call.
    pub(crate) fn report<T, E>(&self, outcome: &Result<T, E>, now: Instant) -> Change {
        let mut state = self.state.lock();
        if outcome.is_ok() {
            let was_open = state.retry_at.is_some();
            *state = State::default();
            return if was_open { Change::Closed } else { Change::None };
        }
        state.failures_in_a_row = state.failures_in_a_row.saturating_add(1);
        if state.failures_in_a_row < FAILURES_TO_OPEN {
            return Change::None;
        }
        let opened = state.failures_in_a_row == FAILURES_TO_OPEN;
        state.retry_at = Some(now + OPEN_FOR);
        if opened { Change::Opened } else { Change::None }
    }

    /// Whether calls are being skipped.
    pub(crate) fn is_open(&self) -> bool {
        self.state.lock().retry_at.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: Result<(), ()> = Ok(());
    const FAILED: Result<(), ()> = Err(());

    #[test]
    fn three_failures_in_a_row_open_it_and_one_success_closes_it() {
        let breaker = Breaker::default();
        let start = Instant::now();
        assert_eq!(breaker.report(&FAILED, start), Change::None);
        assert_eq!(breaker.report(&FAILED, start), Change::None);
        assert!(breaker.allows(start));
        assert_eq!(breaker.report(&FAILED, start), Change::Opened);
        assert!(!breaker.allows(start) && breaker.is_open());

        let later = start + OPEN_FOR;
        assert!(breaker.allows(later), "one caller may try");
        assert!(!breaker.allows(later), "the others wait for its outcome");
        assert_eq!(breaker.report(&FAILED, later), Change::None);
        assert!(!breaker.allows(later));

        let at_last = later + OPEN_FOR;
        assert!(breaker.allows(at_last));
        assert_eq!(breaker.report(&OK, at_last), Change::Closed);
        assert!(breaker.allows(at_last) && !breaker.is_open());
    }

    #[test]
    fn failures_with_successes_between_do_not_open_it() {
        let breaker = Breaker::default();
        let now = Instant::now();
        for _ in 0..10 {
            assert_eq!(breaker.report(&FAILED, now), Change::None);
            assert_eq!(breaker.report(&FAILED, now), Change::None);
            assert_eq!(breaker.report(&OK, now), Change::None);
        }
        assert!(breaker.allows(now));
    }
}
