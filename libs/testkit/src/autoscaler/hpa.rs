//! The HorizontalPodAutoscaler: the number of replicas between one and the maximum.
//!
//! As in `pkg/controller/podautoscaler` of Kubernetes for an external metric with an average value and a `behavior`:
//! proposal, stabilisation, rate, limits, in this order.

use std::time::Duration;

use super::settings::{Change, ScaledObject, ScalingRules, SelectPolicy};

/// A lag that differs by this share from the current replicas' lag changes nothing.
const TOLERANCE: f64 = 0.1;

/// The proposed number of replicas: ⌈lag ÷ threshold⌉, or the current number within the tolerance.
#[must_use]
pub fn proposal(current: u32, lag: u64, lag_threshold: u64) -> u32 {
    let wanted = lag as f64 / lag_threshold as f64;
    let ratio = wanted / f64::from(current);
    if (1.0 - TOLERANCE..=1.0 + TOLERANCE).contains(&ratio) {
        return current;
    }
    // Saturates, as a conversion of floats does.
    wanted.ceil() as u32
}

/// One HPA and its state. All times are counted from the same moment.
#[derive(Debug, Clone)]
pub struct Hpa {
    min: u32,
    max: u32,
    lag_threshold: u64,
    up: Direction,
    down: Direction,
    /// Past proposals, and when they were made.
    proposals: Vec<(Duration, u32)>,
}

/// One direction's rules, and the changes that were made in it.
#[derive(Debug, Clone)]
struct Direction {
    rules: ScalingRules,
    changes: Vec<(Duration, u32)>,
}

impl Hpa {
    /// The HPA that KEDA creates for a ScaledObject.
    #[must_use]
    pub fn new(scaled: &ScaledObject) -> Self {
        let direction =
            |rules: &ScalingRules| Direction { rules: rules.clone(), changes: Vec::new() };
        Self {
            // KEDA scales to zero.
            min: scaled.min_replicas.max(1),
            max: scaled.max_replicas,
            lag_threshold: scaled.trigger.lag_threshold,
            up: direction(&scaled.scale_up),
            down: direction(&scaled.scale_down),
            proposals: Vec::new(),
        }
    }

    /// The wanted number of replicas. A change is recorded.
    pub fn decide(&mut self, now: Duration, current: u32, lag: u64) -> u32 {
        if current == 0 {
            return 0;
        }
        let replicas = if current > self.max {
            self.max
        } else if current < self.min {
            self.min
        } else {
            let proposed = proposal(current, lag, self.lag_threshold);
            let stable = self.stabilized(now, current, proposed);
            self.at_the_rate_allowed(now, current, stable)
        };
        match replicas.checked_sub(current) {
            Some(0) => {}
            Some(more) => self.up.changes.push((now, more)),
            None => self.down.changes.push((now, current - replicas)),
        }
        replicas
    }

    /// On the way up the lowest recent proposal, on the way down the highest.
    fn stabilized(&mut self, now: Duration, current: u32, proposed: u32) -> u32 {
        let (up, down) = (self.up.rules.stabilization_window, self.down.rules.stabilization_window);
        self.proposals.retain(|(at, _)| *at + up.max(down) > now);
        let window = if proposed >= current { up } else { down };
        let recent = self.proposals.iter().filter(|(at, _)| *at + window > now);
        let recent = recent.map(|(_, proposal)| *proposal);
        let stable = if proposed >= current {
            recent.fold(proposed, u32::min)
        } else {
            recent.fold(proposed, u32::max)
        };
        self.proposals.push((now, proposed));
        stable
    }

    fn at_the_rate_allowed(&self, now: Duration, current: u32, wanted: u32) -> u32 {
        if wanted > current {
            let most = self.up.most(now, current).max(current);
            wanted.min(most).min(self.max)
        } else {
            let least = self.down.least(now, current).min(current);
            wanted.max(least).max(self.min)
        }
    }
}

impl Direction {
    /// The maximum number of replicas at the moment.
    fn most(&self, now: Duration, current: u32) -> u32 {
        let proposals = self.rules.policies.iter().map(|policy| {
            let start = current.saturating_sub(self.changed_within(now, policy.period));
            match policy.change {
                Change::Pods(pods) => start.saturating_add(pods),
                Change::Percent(percent) => {
                    // Rounded up, or a small number might never grow.
                    (f64::from(start) * (1.0 + f64::from(percent) / 100.0)).ceil() as u32
                }
            }
        });
        let chosen = match self.rules.select_policy {
            SelectPolicy::Max => proposals.max(),
            SelectPolicy::Min => proposals.min(),
            SelectPolicy::Disabled => None,
        };
        chosen.unwrap_or(current)
    }

    /// The minimum number of replicas at the moment.
    fn least(&self, now: Duration, current: u32) -> u32 {
        let proposals = self.rules.policies.iter().map(|policy| {
            let start = current.saturating_add(self.changed_within(now, policy.period));
            match policy.change {
                Change::Pods(pods) => start.saturating_sub(pods),
                Change::Percent(percent) => {
                    (f64::from(start) * (1.0 - f64::from(percent) / 100.0)) as u32
                }
            }
        });
        let chosen = match self.rules.select_policy {
            SelectPolicy::Max => proposals.min(),
            SelectPolicy::Min => proposals.max(),
            SelectPolicy::Disabled => None,
        };
        chosen.unwrap_or(current)
    }

    fn changed_within(&self, now: Duration, period: Duration) -> u32 {
        let recent = self.changes.iter().filter(|(at, _)| *at + period > now);
        recent.map(|(_, change)| *change).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::settings::Policy, *};

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Ten jobs a replica, from one to twenty.
    fn scaled() -> ScaledObject {
        ScaledObject { max_replicas: 20, ..ScaledObject::new("JOBS", "worker") }
    }

    fn pods(pods: u32, seconds: u64) -> Policy {
        Policy { change: Change::Pods(pods), period: at(seconds) }
    }

    #[test]
    fn the_proposal_is_rounded_up() {
        let cases = [
            // current, lag, replicas
            (1, 0, 0),
            (1, 1, 1),
            (1, 12, 2),
            (1, 100, 10),
            (5, 101, 11),
            (10, 1, 1),
            // Within a tenth of what there are: nothing changes.
            (1, 11, 1),
            (10, 91, 10),
            (10, 109, 10),
            (10, 110, 10),
            (10, 111, 12),
            (10, 89, 9),
            (1, u64::MAX, u32::MAX),
        ];
        for (current, lag, expected) in cases {
            assert_eq!(proposal(current, lag, 10), expected, "{current} replicas, lag {lag}");
        }
    }

    #[test]
    fn by_default_a_burst_doubles_the_replicas_or_adds_four_every_15_seconds() {
        let mut hpa = Hpa::new(&scaled());
        let mut replicas = 1;
        let mut seen = Vec::new();
        for second in [0, 15, 30, 45, 60] {
            replicas = hpa.decide(at(second), replicas, 1000);
            seen.push(replicas);
        }
        // 1 + 4, then twice as many, and never more than the most.
        assert_eq!(seen, [5, 10, 20, 20, 20]);
    }

    #[test]
    fn a_policy_limits_the_change_in_a_period() {
        let rules = ScalingRules { policies: vec![pods(3, 60)], ..ScalingRules::up() };
        let mut hpa = Hpa::new(&ScaledObject { scale_up: rules, ..scaled() });
        assert_eq!(hpa.decide(at(0), 1, 1000), 4);
        assert_eq!(hpa.decide(at(15), 4, 1000), 4);
        assert_eq!(hpa.decide(at(59), 4, 1000), 4);
        assert_eq!(hpa.decide(at(60), 4, 1000), 7);
    }

    #[test]
    fn scaling_down_waits_for_the_whole_window() {
        let mut hpa = Hpa::new(&scaled());
        assert_eq!(hpa.decide(at(0), 10, 100), 10);
        assert_eq!(hpa.decide(at(100), 10, 60), 10);
        assert_eq!(hpa.decide(at(200), 10, 0), 10);
        // What was wanted at 0 s is forgotten, and the six of 100 s are not.
        assert_eq!(hpa.decide(at(300), 10, 0), 6);
        assert_eq!(hpa.decide(at(400), 6, 0), 1);
        // A burst is answered at once.
        assert_eq!(hpa.decide(at(401), 1, 30), 3);
    }

    #[test]
    fn a_policy_limits_scaling_down() {
        let rules = ScalingRules {
            stabilization_window: Duration::ZERO,
            policies: vec![pods(2, 60), Policy { change: Change::Percent(50), period: at(60) }],
            select_policy: SelectPolicy::Max,
        };
        let hpa = |select_policy| {
            let scale_down = ScalingRules { select_policy, ..rules.clone() };
            Hpa::new(&ScaledObject { scale_down, ..scaled() })
        };
        let first = |select| hpa(select).decide(at(0), 10, 0);
        assert_eq!(first(SelectPolicy::Max), 5);
        assert_eq!(first(SelectPolicy::Min), 8);
        assert_eq!(first(SelectPolicy::Disabled), 10);
        let mut hpa = hpa(SelectPolicy::Max);
        assert_eq!(hpa.decide(at(0), 10, 0), 5);
        assert_eq!(hpa.decide(at(30), 5, 0), 5);
        assert_eq!(hpa.decide(at(60), 5, 0), 2);
    }

    #[test]
    fn it_never_scales_from_or_to_zero() {
        let mut hpa = Hpa::new(&scaled());
        assert_eq!(hpa.decide(at(0), 0, 1000), 0);
        assert_eq!(hpa.decide(at(1), 1, 0), 1);
        assert_eq!(hpa.decide(at(2), 30, 1000), 20, "they were scaled by hand");
    }
}
