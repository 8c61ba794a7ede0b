//! The settings of a ScaledObject, and their defaults.

use std::time::Duration;

/// The period of the HPA's controller: `--horizontal-pod-autoscaler-sync-period`.
pub(super) const SYNC_PERIOD: Duration = Duration::from_secs(15);

/// A KEDA ScaledObject with triggers of type `nats-jetstream`: one, or several whose lags are added up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScaledObject {
    /// How often KEDA reads the lag: `pollingInterval`.
    pub polling_interval: Duration,
    /// How long the queue must be inactive before the last replica is stopped: `cooldownPeriod`.
    pub cooldown_period: Duration,
    /// `minReplicaCount`.
    pub min_replicas: u32,
    /// `maxReplicaCount`.
    pub max_replicas: u32,
    /// Applies while the lag cannot be read.
    pub fallback: Option<Fallback>,
    /// The consumers whose lag is read.
    pub trigger: Trigger,
    /// The rules for scaling up.
    pub scale_up: ScalingRules,
    /// The rules for scaling down.
    pub scale_down: ScalingRules,
    /// How often the HPA decides. A flag of the cluster, not part of the manifest.
    pub sync_period: Duration,
}

/// The number of replicas after the lag could not be read more than `failure_threshold` times in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fallback {
    /// `failureThreshold`.
    pub failure_threshold: u32,
    /// `replicas`.
    pub replicas: u32,
    /// `behavior`.
    pub behavior: FallbackBehavior,
}

/// How a fallback's replicas are combined with the current ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FallbackBehavior {
    /// The fallback's replicas.
    Static,
    /// The current replicas.
    CurrentReplicas,
    /// The greater of both numbers.
    CurrentReplicasIfHigher,
    /// The smaller of both numbers.
    CurrentReplicasIfLower,
}

/// The consumers whose lag counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// The NATS account; `$G` by default.
    pub account: String,
    /// The stream.
    pub stream: String,
    /// Its consumers. A composite metric adds their lags up, where there are several.
    pub consumers: Vec<String>,
    /// The lag per replica: `lagThreshold`, or the composite metric's `target`.
    pub lag_threshold: u64,
    /// A lag above this activates the object: `activationLagThreshold`, or `activationTarget`.
    pub activation_lag_threshold: u64,
}

/// One direction of an HPA's `behavior`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScalingRules {
    /// The most cautious of the recommendations in this window counts: `stabilizationWindowSeconds`.
    pub stabilization_window: Duration,
    /// The limits on changes.
    pub policies: Vec<Policy>,
    /// Which policy counts: `selectPolicy`.
    pub select_policy: SelectPolicy,
}

/// The maximum change in any period of this length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// `type` and `value`.
    pub change: Change,
    /// `periodSeconds`.
    pub period: Duration,
}

/// The size of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A number of replicas.
    Pods(u32),
    /// A percentage of the replicas at the period's start.
    Percent(u32),
}

/// Which of several policies counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SelectPolicy {
    /// The one that allows the most change.
    Max,
    /// The one that allows the least.
    Min,
    /// No scaling in this direction.
    Disabled,
}

impl ScaledObject {
    /// The defaults of KEDA and the HPA, for this consumer.
    #[must_use]
    pub fn new(stream: &str, consumer: &str) -> Self {
        Self {
            polling_interval: Duration::from_secs(30),
            cooldown_period: Duration::from_secs(300),
            min_replicas: 0,
            max_replicas: 100,
            fallback: None,
            trigger: Trigger {
                account: "$G".to_owned(),
                stream: stream.to_owned(),
                consumers: vec![consumer.to_owned()],
                lag_threshold: 10,
                activation_lag_threshold: 0,
            },
            scale_up: ScalingRules::up(),
            scale_down: ScalingRules::down(),
            sync_period: SYNC_PERIOD,
        }
    }

    /// The same with all times divided by `factor`, for faster tests.
    #[must_use]
    pub fn compressed(&self, factor: u32) -> Self {
        let rules = |rules: &ScalingRules| ScalingRules {
            stabilization_window: rules.stabilization_window / factor,
            policies: rules
                .policies
                .iter()
                .map(|policy| Policy { period: policy.period / factor, ..*policy })
                .collect(),
            ..*rules
        };
        Self {
            polling_interval: self.polling_interval / factor,
            cooldown_period: self.cooldown_period / factor,
            scale_up: rules(&self.scale_up),
            scale_down: rules(&self.scale_down),
            sync_period: self.sync_period / factor,
            ..self.clone()
        }
    }
}

impl Fallback {
    /// The wanted number of replicas, given the current number.
    #[must_use]
    pub fn replicas_for(self, current: u32) -> u32 {
        match self.behavior {
            FallbackBehavior::Static => self.replicas,
            FallbackBehavior::CurrentReplicas => current,
            FallbackBehavior::CurrentReplicasIfHigher => self.replicas.max(current),
            FallbackBehavior::CurrentReplicasIfLower => self.replicas.min(current),
        }
    }
}

impl ScalingRules {
    /// The HPA's default: immediately, by the greater of 100 % and four replicas every 15 s.
    #[must_use]
    pub fn up() -> Self {
        let period = Duration::from_secs(15);
        Self {
            stabilization_window: Duration::ZERO,
            policies: vec![
                Policy { change: Change::Pods(4), period },
                Policy { change: Change::Percent(100), period },
            ],
            select_policy: SelectPolicy::Max,
        }
    }

    /// The HPA's default: after five minutes, without a limit on the change.
    #[must_use]
    pub fn down() -> Self {
        let period = Duration::from_secs(15);
        Self {
            stabilization_window: Duration::from_secs(300),
            policies: vec![Policy { change: Change::Percent(100), period }],
            select_policy: SelectPolicy::Max,
        }
    }
}
