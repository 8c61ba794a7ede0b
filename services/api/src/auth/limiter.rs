//! The rate limit of one key, in this process.

use std::{num::NonZero, time::Duration};

use domain::Rate;
use governor::{
    InsufficientCapacity, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::StateInformationMiddleware,
    state::{InMemoryState, NotKeyed},
};
use poem::http::{HeaderMap, HeaderName, HeaderValue};

/// The headers of the IETF's draft (draft-ietf-httpapi-ratelimit-headers-10).
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The rate limit of one key, in this process.
pub(super) struct Limiter {
    rate: Rate,
    state: RateLimiter<NotKeyed, InMemoryState, DefaultClock, StateInformationMiddleware>,
    clock: DefaultClock,
}

/// Why a key may not send so much at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overrun {
    /// Not before this time has passed.
    For(Duration),
    /// Never: it is more than its burst.
    Always { burst: u32 },
}

/// What a key may still send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LimitState {
    rate: Rate,
    /// How many requests may follow at once.
    remaining: u32,
    /// In how much time that is more: all of the burst, or after the last request that was permitted, the next one.
    reset: Duration,
}

impl Limiter {
    pub(super) fn new(rate: Rate) -> Self {
        // The interval of the highest rate is a microsecond.
        let interval = rate.interval().max(Duration::from_nanos(1));
        let quota = Quota::with_period(interval).unwrap_or(Quota::per_second(rate.count));
        let clock = DefaultClock::default();
        let state = RateLimiter::direct_with_clock(quota.allow_burst(rate.burst), clock.clone());
        Self { rate, state: state.with_middleware(), clock }
    }

    /// Counts `more` requests at once, with one that was counted before.
    pub(super) fn admit_more(&self, more: NonZero<u32>) -> Result<(), Overrun> {
        let burst = self.rate.burst.get();
        if more.get() >= burst {
            return Err(Overrun::Always { burst });
        }
        match self.state.check_n(more) {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(refused)) => Err(Overrun::For(refused.wait_time_from(self.clock.now()))),
            Err(InsufficientCapacity(burst)) => Err(Overrun::Always { burst }),
        }
    }

    /// Counts a request. `Err`: it is not permitted, and how long the next one is not.
    pub(super) fn admit(&self) -> Result<LimitState, LimitState> {
        let rate = self.rate;
        match self.state.check() {
            Ok(snapshot) => {
                let remaining = snapshot.remaining_burst_capacity();
                let used = rate.burst.get().saturating_sub(remaining);
                Ok(LimitState { rate, remaining, reset: rate.interval().saturating_mul(used) })
            }
            Err(refused) => {
                let reset = refused.wait_time_from(self.clock.now());
                Err(LimitState { rate, remaining: 0, reset })
            }
        }
    }
}

impl LimitState {
    /// How many requests the key may send at once.
    pub(super) fn burst(self) -> u32 {
        self.rate.burst.get()
    }

    pub(super) fn remaining(self) -> u32 {
        self.remaining
    }

    /// The time until there is one request more.
    pub(super) fn interval(self) -> Duration {
        self.rate.interval()
    }

    /// The time until the next request is permitted, if this one was not.
    pub(super) fn reset(self) -> Duration {
        self.reset
    }

    /// Whole seconds until the next request is permitted, if this one was not.
    pub(crate) fn retry_after(self) -> u64 {
        whole_seconds(self.reset)
    }

    pub(crate) fn write(self, headers: &mut HeaderMap) {
        let Self { rate, remaining, reset } = self;
        let window = rate.interval().saturating_mul(rate.burst.get());
        let policy = format!("\"default\";q={};w={}", rate.burst, whole_seconds(window));
        let state = format!("\"default\";r={remaining};t={}", whole_seconds(reset));
        for (name, value) in [(RATE_LIMIT_POLICY, policy), (RATE_LIMIT, state)] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
    }
}

/// At least one second: a time of 0 would invite a retry at once.
fn whole_seconds(time: Duration) -> u64 {
    (time.as_secs() + u64::from(time.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(state: LimitState) -> [String; 2] {
        let mut headers = HeaderMap::new();
        state.write(&mut headers);
        [RATE_LIMIT_POLICY, RATE_LIMIT].map(|name| headers[name].to_str().unwrap().to_owned())
    }

    #[test]
    fn a_burst_is_admitted_and_no_more() {
        let limiter = Limiter::new("60/h,burst=3".parse().unwrap());
        for remaining in [2, 1, 0] {
            let state = limiter.admit().unwrap();
            let used = 3 - remaining;
            let expected = format!("\"default\";r={remaining};t={}", used * 60);
            assert_eq!(written(state), ["\"default\";q=3;w=180".to_owned(), expected]);
        }
        let refused = limiter.admit().unwrap_err();
        assert!((1..=60).contains(&refused.retry_after()), "{refused:?}");
        let [_, state] = written(refused);
        assert_eq!(state, format!("\"default\";r=0;t={}", refused.retry_after()));
    }

    #[test]
    fn several_requests_are_admitted_at_once_or_not_at_all() {
        let limiter = Limiter::new("60/h,burst=3".parse().unwrap());
        let two = NonZero::new(2).unwrap();
        assert_eq!(limiter.admit_more(two), Ok(()));
        let Err(Overrun::For(wait)) = limiter.admit_more(two) else { panic!("there is one left") };
        assert!(wait > Duration::from_secs(50) && wait <= Duration::from_secs(60), "{wait:?}");
        assert!(limiter.admit().is_ok(), "the one that is left");
        // With the one before, it is four.
        let three = limiter.admit_more(NonZero::new(3).unwrap());
        assert_eq!(three, Err(Overrun::Always { burst: 3 }));
    }

    #[test]
    fn every_rate_makes_a_limiter() {
        for rate in ["1/h", "1000000/s", "1000000/s,burst=1", "1/h,burst=1000000"] {
            let limiter = Limiter::new(rate.parse().unwrap());
            let [policy, state] = written(limiter.admit().unwrap());
            assert!(policy.contains(";w=") && state.contains(";t="), "{policy} {state}");
        }
    }
}
