//! KEDA: scales from zero to the first replica and back, and applies the fallback while the lag is unknown.

use std::time::Duration;

use super::{
    lag::NoLag,
    settings::{Fallback, ScaledObject},
};

/// KEDA's state of a ScaledObject. All times are counted from the same moment.
#[derive(Debug, Clone)]
pub struct Activation {
    cooldown_period: Duration,
    min_replicas: u32,
    activation_lag_threshold: u64,
    lag_threshold: u64,
    fallback: Option<Fallback>,
    last_active: Option<Duration>,
    /// How many times in a row the lag could not be read.
    failures: u32,
}

impl Activation {
    /// The state of a new ScaledObject.
    #[must_use]
    pub fn new(scaled: &ScaledObject) -> Self {
        Self {
            cooldown_period: scaled.cooldown_period,
            min_replicas: scaled.min_replicas,
            activation_lag_threshold: scaled.trigger.activation_lag_threshold,
            lag_threshold: scaled.trigger.lag_threshold,
            fallback: scaled.fallback,
            last_active: None,
            failures: 0,
        }
    }

    /// The wanted number of replicas. Between one and the maximum, the HPA decides.
    pub fn decide(&mut self, now: Duration, current: u32, lag: Result<u64, NoLag>) -> u32 {
        let Ok(lag) = lag else {
            self.failures = self.failures.saturating_add(1);
            // An error does not mean that the queue is empty.
            return match self.in_force() {
                Some(fallback) if current == 0 => fallback.replicas_for(0),
                _ => current,
            };
        };
        self.failures = 0;
        if lag > self.activation_lag_threshold {
            self.last_active = Some(now);
            return if current == 0 { self.min_replicas.max(1) } else { current };
        }
        // Replicas of an object that was never active were scaled by hand: there is no cooldown.
        let cooled = self.last_active.is_none_or(|active| active + self.cooldown_period < now);
        if self.min_replicas == 0 && cooled { 0 } else { current.max(self.min_replicas) }
    }

    /// The lag that the HPA reads: the true one, or the one that leads to the fallback's replicas. `None`: neither,
    /// and the HPA changes nothing.
    #[must_use]
    pub fn lag_for_the_hpa(&self, current: u32, lag: Result<u64, NoLag>) -> Option<u64> {
        let replicas = || Some(u64::from(self.in_force()?.replicas_for(current)));
        let instead = || Some(replicas()? * self.lag_threshold);
        lag.ok().or_else(instead)
    }

    fn in_force(&self) -> Option<Fallback> {
        self.fallback.filter(|fallback| self.failures > fallback.failure_threshold)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::settings::FallbackBehavior, *};

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn scaled() -> ScaledObject {
        ScaledObject::new("JOBS", "worker")
    }

    fn with_fallback(behavior: FallbackBehavior) -> Activation {
        let fallback = Some(Fallback { failure_threshold: 2, replicas: 3, behavior });
        Activation::new(&ScaledObject { fallback, ..scaled() })
    }

    #[test]
    fn the_first_job_starts_one_and_an_empty_queue_stops_all_after_the_cooldown() {
        let mut keda = Activation::new(&scaled());
        assert_eq!(keda.decide(at(0), 0, Ok(0)), 0);
        assert_eq!(keda.decide(at(30), 0, Ok(500)), 1);
        assert_eq!(keda.decide(at(60), 7, Ok(500)), 7, "the HPA decides");
        assert_eq!(keda.decide(at(90), 7, Ok(0)), 7);
        assert_eq!(keda.decide(at(360), 7, Ok(0)), 7);
        assert_eq!(keda.decide(at(361), 7, Ok(0)), 0);
    }

    #[test]
    fn a_lag_below_the_activation_threshold_starts_no_replica() {
        let mut scaled = scaled();
        scaled.trigger.activation_lag_threshold = 5;
        let mut keda = Activation::new(&scaled);
        assert_eq!(keda.decide(at(0), 0, Ok(5)), 0);
        assert_eq!(keda.decide(at(30), 0, Ok(6)), 1);
    }

    #[test]
    fn a_minimum_is_kept() {
        let mut keda = Activation::new(&ScaledObject { min_replicas: 2, ..scaled() });
        assert_eq!(keda.decide(at(0), 0, Ok(0)), 2);
        assert_eq!(keda.decide(at(1000), 2, Ok(0)), 2);
    }

    #[test]
    fn a_lag_that_cannot_be_read_changes_nothing() {
        let mut keda = Activation::new(&scaled());
        assert_eq!(keda.decide(at(0), 0, Ok(1)), 1);
        for second in [100, 1000, 10_000] {
            assert_eq!(keda.decide(at(second), 6, Err(NoLag::NoConsumer)), 6);
        }
        assert_eq!(keda.lag_for_the_hpa(6, Err(NoLag::NoConsumer)), None);
    }

    #[test]
    fn after_too_many_failures_the_fallback_holds_until_the_first_success() {
        let mut keda = with_fallback(FallbackBehavior::Static);
        let failed = Err(NoLag::NoAnswer);
        assert_eq!(keda.decide(at(0), 0, failed), 0);
        assert_eq!(keda.decide(at(30), 0, failed), 0);
        assert_eq!(keda.lag_for_the_hpa(5, failed), None);
        assert_eq!(keda.decide(at(60), 0, failed), 3);
        // Three replicas' worth of lag, at ten a replica.
        assert_eq!(keda.lag_for_the_hpa(5, failed), Some(30));
        assert_eq!(keda.decide(at(90), 3, Ok(0)), 0);
        assert_eq!(keda.lag_for_the_hpa(5, failed), None);
    }

    #[test]
    fn a_fallback_may_keep_the_current_replicas() {
        let cases = [
            (FallbackBehavior::Static, [30, 30]),
            (FallbackBehavior::CurrentReplicas, [10, 50]),
            (FallbackBehavior::CurrentReplicasIfHigher, [30, 50]),
            (FallbackBehavior::CurrentReplicasIfLower, [10, 30]),
        ];
        for (behavior, expected) in cases {
            let mut keda = with_fallback(behavior);
            let failed = Err(NoLag::NoAnswer);
            for second in 0..3 {
                keda.decide(at(second), 1, failed);
            }
            let lag = |current| keda.lag_for_the_hpa(current, failed).unwrap();
            assert_eq!([1, 5].map(lag), expected, "{behavior:?}");
        }
    }
}
