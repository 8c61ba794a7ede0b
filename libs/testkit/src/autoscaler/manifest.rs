//! Reads a ScaledObject from its manifest.

use std::{path::Path, time::Duration};

use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader};

use super::settings::{
    Change, Fallback, FallbackBehavior, Policy, ScaledObject, ScalingRules, SelectPolicy, Trigger,
};

impl ScaledObject {
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
        let [first, ..] = triggers else { return Err("there is no trigger".to_owned()) };
        let default = Self::new(text(&first["metadata"], "stream")?, "");
        let behavior = &spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"];
        Ok(Self {
            polling_interval: seconds(spec, "pollingInterval", default.polling_interval)?,
            cooldown_period: seconds(spec, "cooldownPeriod", default.cooldown_period)?,
            min_replicas: number(spec, "minReplicaCount", default.min_replicas)?,
            max_replicas: number(spec, "maxReplicaCount", default.max_replicas)?,
            fallback: Fallback::parse(&spec["fallback"])?,
            trigger: Trigger::parse(triggers, &spec["advanced"]["scalingModifiers"])?,
            scale_up: ScalingRules::parse(&behavior["scaleUp"], default.scale_up)?,
            scale_down: ScalingRules::parse(&behavior["scaleDown"], default.scale_down)?,
            sync_period: default.sync_period,
        })
    }
}

impl Trigger {
    /// One trigger, or several that differ in their consumers and whose lags `modifiers` adds up.
    fn parse(triggers: &[Value], modifiers: &Value) -> Result<Self, String> {
        let mut consumers = Vec::new();
        let mut names = Vec::new();
        for trigger in triggers {
            if trigger["type"] != "nats-jetstream" {
                return Err(format!("a trigger is {}, not of nats-jetstream", trigger["type"]));
            }
            consumers.push(text(&trigger["metadata"], "consumer")?.to_owned());
            names.push(trigger["name"].as_str().unwrap_or_default());
        }
        let of_all = |key| {
            let metadata = &triggers[0]["metadata"];
            let is_same = triggers.iter().all(|trigger| trigger["metadata"][key] == metadata[key]);
            if is_same { text(metadata, key) } else { Err(format!("the triggers differ in {key}")) }
        };
        let (account, stream) = (of_all("account")?.to_owned(), of_all("stream")?.to_owned());
        let default = ScaledObject::new(&stream, "").trigger.lag_threshold;
        let (settings, [target, activation]) = match triggers {
            [trigger] if modifiers.is_null() => {
                (&trigger["metadata"], ["lagThreshold", "activationLagThreshold"])
            }
            _ => (modifiers, ["target", "activationTarget"]),
        };
        // Without it the HPA takes the largest lag.
        let sum = names.join(" + ");
        if !modifiers.is_null() && modifiers["formula"] != sum.as_str() {
            let formula = &modifiers["formula"];
            return Err(format!("the formula is {formula}, not the sum of all lags: {sum}"));
        }
        if triggers.len() > 1 && modifiers.is_null() {
            return Err("no scalingModifiers add up the lags of several triggers".to_owned());
        }
        Ok(Self {
            account,
            stream,
            consumers,
            lag_threshold: number(settings, target, default)?,
            activation_lag_threshold: number(settings, activation, 0)?,
        })
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
}

impl ScalingRules {
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
    use super::{super::settings::SYNC_PERIOD, *};

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
                consumers: vec!["worker".to_owned()],
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

    const LANES: &str = r#"
kind: ScaledObject
spec:
  advanced:
    scalingModifiers: { formula: worker + worker_low, target: "20", activationTarget: "3" }
  triggers:
    - { type: nats-jetstream, name: worker, metadata: { account: $G, stream: JOBS, consumer: worker } }
    - { type: nats-jetstream, name: worker_low, metadata: { account: $G, stream: JOBS, consumer: low } }
"#;

    #[test]
    fn the_lags_of_several_triggers_are_added_up() {
        let trigger = ScaledObject::parse(LANES).unwrap().trigger;
        assert_eq!(trigger.consumers, ["worker", "low"]);
        assert_eq!((trigger.lag_threshold, trigger.activation_lag_threshold), (20, 3));
    }

    #[test]
    fn an_invalid_manifest_is_rejected_with_the_reason() {
        let cases = [
            ("kind: Service", "no ScaledObject"),
            ("kind: ScaledObject\nspec: {}", "there is no trigger"),
            (&LANES.replace(" + worker_low", ""), "not the sum of all lags: worker + worker_low"),
            (&LANES.replace("scalingModifiers", "others"), "no scalingModifiers"),
            (&LANES.replacen("stream: JOBS", "stream: WORK", 1), "the triggers differ in stream"),
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
