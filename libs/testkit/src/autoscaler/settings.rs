//! The settings of a ScaledObject, read from its manifest.

use std::{path::Path, time::Duration};

use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader};

/// The period of the HPA's controller: `--horizontal-pod-autoscaler-sync-period`.
const SYNC_PERIOD: Duration = Duration::from_secs(15);

/// A KEDA ScaledObject with one trigger of type `nats-jetstream`.
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
    /// The consumer whose lag is read.
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

/// The consumer whose lag counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// The NATS account; `$G` by default.
    pub account: String,
    /// The stream.
    pub stream: String,
    /// Its consumer.
    pub consumer: String,
    /// The lag per replica: `lagThreshold`.
    pub lag_threshold: u64,
    /// A lag above this activates the object: `activationLagThreshold`.
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
                consumer: consumer.to_owned(),
                lag_threshold: 10,
                activation_lag_threshold: 0,
            },
            scale_up: ScalingRules::up(),
            scale_down: ScalingRules::down(),
            sync_period: SYNC_PERIOD,
        }
    }

    /// The first ScaledObject of a YAML file.
    ///
    /// # Errors
    /// What was found, and what was expected.
    pub fn read(file: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
        Self::parse(&text).map_err(|why| format!("{}: {why}", file.display()))
    }

    /// As [`ScaledObject::read`], from the file's text.
    ///
    /// # Errors
    /// As [`ScaledObject::read`].
    pub fn parse(yaml: &str) -> Result<Self, String> {
        let documents = YamlLoader::load_from_str(yaml).map_err(|error| error.to_string())?;
        let documents: Vec<Value> = documents.iter().map(json).collect();
        let manifest = documents.iter().find(|document| document["kind"] == "ScaledObject");
        let spec = &manifest.ok_or("there is no ScaledObject in it")?["spec"];
        let triggers = spec["triggers"].as_array().map(Vec::as_slice).unwrap_or_default();
        let [trigger] = triggers else {
            return Err(format!("one trigger was expected, and there are {}", triggers.len()));
        };
        if trigger["type"] != "nats-jetstream" {
            return Err(format!("the trigger is {}, not of nats-jetstream", trigger["type"]));
        }
        let metadata = &trigger["metadata"];
        let default = Self::new(text(metadata, "stream")?, text(metadata, "consumer")?);
        let behavior = &spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"];
        Ok(Self {
            polling_interval: seconds(spec, "pollingInterval", default.polling_interval)?,
            cooldown_period: seconds(spec, "cooldownPeriod", default.cooldown_period)?,
            min_replicas: number(spec, "minReplicaCount", default.min_replicas)?,
            max_replicas: number(spec, "maxReplicaCount", default.max_replicas)?,
            fallback: Fallback::parse(&spec["fallback"])?,
            trigger: Trigger {
                account: text(metadata, "account")?.to_owned(),
                lag_threshold: number(metadata, "lagThreshold", default.trigger.lag_threshold)?,
                activation_lag_threshold: number(metadata, "activationLagThreshold", 0)?,
                ..default.trigger
            },
            scale_up: ScalingRules::parse(&behavior["scaleUp"], default.scale_up)?,
            scale_down: ScalingRules::parse(&behavior["scaleDown"], default.scale_down)?,
            sync_period: default.sync_period,
        })
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
    fn parse(value: &Value) -> Result<Option<Self>, String> {
        if value.is_null() {
            return Ok(None);
        }
        let behavior = match value["behavior"].as_str() {
            None | Some("static") => FallbackBehavior::Static,
            Some("currentReplicas") => FallbackBehavior::CurrentReplicas,
            Some("currentReplicasIfHigher") => FallbackBehavior::CurrentReplicasIfHigher,
            Some("currentReplicasIfLower") => FallbackBehavior::CurrentReplicasIfLower,
            Some(other) => {
                return Err(format!("a fallback's behavior is {other}, which is not simulated"));
            }
        };
        Ok(Some(Self {
            failure_threshold: number(value, "failureThreshold", 0)?,
            replicas: number(value, "replicas", 0)?,
            behavior,
        }))
    }

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

    fn parse(value: &Value, default: Self) -> Result<Self, String> {
        let policies = match value["policies"].as_array() {
            Some(policies) => policies.iter().map(Policy::parse).collect::<Result<_, _>>()?,
            None => default.policies,
        };
        let select_policy = match value["selectPolicy"].as_str() {
            None => default.select_policy,
            Some("Max") => SelectPolicy::Max,
            Some("Min") => SelectPolicy::Min,
            Some("Disabled") => SelectPolicy::Disabled,
            Some(other) => {
                return Err(format!("selectPolicy is {other}, not Max, Min or Disabled"));
            }
        };
        let window = "stabilizationWindowSeconds";
        let stabilization_window = seconds(value, window, default.stabilization_window)?;
        Ok(Self { stabilization_window, policies, select_policy })
    }
}

impl Policy {
    fn parse(value: &Value) -> Result<Self, String> {
        let amount = number(value, "value", 0)?;
        let change = match text(value, "type")? {
            "Pods" => Change::Pods(amount),
            "Percent" => Change::Percent(amount),
            other => return Err(format!("a policy's type is {other}, not Pods or Percent")),
        };
        Ok(Self { change, period: seconds(value, "periodSeconds", Duration::ZERO)? })
    }
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str, String> {
    value[key].as_str().ok_or_else(|| format!("{key} is {}, not a text", value[key]))
}

/// A number, which is a string in a trigger's metadata.
fn number<T: TryFrom<u64>>(value: &Value, key: &str, default: T) -> Result<T, String> {
    let found = match &value[key] {
        Value::Null => return Ok(default),
        Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    };
    found
        .and_then(|number: u64| T::try_from(number).ok())
        .ok_or_else(|| format!("{key} is {}, not a number from 0", value[key]))
}

fn seconds(value: &Value, key: &str, default: Duration) -> Result<Duration, String> {
    number(value, key, default.as_secs()).map(Duration::from_secs)
}

/// YAML as JSON: a manifest uses only what both have in common.
fn json(yaml: &Yaml) -> Value {
    match yaml {
        Yaml::Real(text) | Yaml::String(text) => Value::from(text.as_str()),
        Yaml::Integer(number) => Value::from(*number),
        Yaml::Boolean(truth) => Value::from(*truth),
        Yaml::Array(items) => items.iter().map(json).collect(),
        Yaml::Hash(pairs) => {
            let pairs = pairs.iter().filter_map(|(key, value)| Some((key.as_str()?, value)));
            Value::Object(pairs.map(|(key, value)| (key.to_owned(), json(value))).collect())
        }
        Yaml::Alias(_) | Yaml::Null | Yaml::BadValue => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = r#"
kind: Service
---
kind: ScaledObject
spec:
  triggers:
    - type: nats-jetstream
      metadata: { account: $G, stream: JOBS, consumer: worker }
"#;

    const WHOLE: &str = r#"
kind: ScaledObject
spec:
  pollingInterval: 10
  cooldownPeriod: 60
  minReplicaCount: 1
  maxReplicaCount: 12
  fallback: { failureThreshold: 3, replicas: 4, behavior: currentReplicasIfHigher }
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        scaleUp:
          stabilizationWindowSeconds: 5
          selectPolicy: Min
          policies: [{ type: Percent, value: 50, periodSeconds: 30 }]
        scaleDown:
          policies: [{ type: Pods, value: 2, periodSeconds: 60 }]
  triggers:
    - type: nats-jetstream
      metadata:
        account: spotter
        stream: JOBS
        consumer: worker
        lagThreshold: "40"
        activationLagThreshold: "2"
"#;

    #[test]
    fn defaults_are_those_of_keda_and_the_hpa() {
        assert_eq!(ScaledObject::parse(LEAST), Ok(ScaledObject::new("JOBS", "worker")));
    }

    #[test]
    fn every_setting_of_a_manifest_is_read() {
        let found = ScaledObject::parse(WHOLE).unwrap();
        let seconds = Duration::from_secs;
        let policy = |change, period| vec![Policy { change, period: seconds(period) }];
        let expected = ScaledObject {
            polling_interval: seconds(10),
            cooldown_period: seconds(60),
            min_replicas: 1,
            max_replicas: 12,
            fallback: Some(Fallback {
                failure_threshold: 3,
                replicas: 4,
                behavior: FallbackBehavior::CurrentReplicasIfHigher,
            }),
            trigger: Trigger {
                account: "spotter".to_owned(),
                stream: "JOBS".to_owned(),
                consumer: "worker".to_owned(),
                lag_threshold: 40,
                activation_lag_threshold: 2,
            },
            scale_up: ScalingRules {
                stabilization_window: seconds(5),
                policies: policy(Change::Percent(50), 30),
                select_policy: SelectPolicy::Min,
            },
            scale_down: ScalingRules {
                policies: policy(Change::Pods(2), 60),
                ..ScalingRules::down()
            },
            sync_period: SYNC_PERIOD,
        };
        assert_eq!(found, expected);
        let fast = found.compressed(10);
        assert_eq!(fast.cooldown_period, seconds(6));
        assert_eq!(fast.scale_down.stabilization_window, seconds(30));
        assert_eq!(fast.scale_down.policies, policy(Change::Pods(2), 6));
    }

    #[test]
    fn an_invalid_manifest_is_rejected_with_the_reason() {
        let cases = [
            ("kind: Service", "no ScaledObject"),
            ("kind: ScaledObject\nspec: {}", "there are 0"),
            (&LEAST.replace("nats-jetstream", "cron"), "cron"),
            (&LEAST.replace("stream: JOBS", "stream: 5"), "stream is 5"),
            (&WHOLE.replace("\"40\"", "many"), "lagThreshold"),
            (&WHOLE.replace("Min", "Some"), "selectPolicy is Some"),
        ];
        for (yaml, expected) in cases {
            let why = ScaledObject::parse(yaml).unwrap_err();
            assert!(why.contains(expected), "{why:?} does not say {expected:?}");
        }
    }
}
