//! Which tasks a list has.

use std::{convert::Infallible, str::FromStr};

use serde_json::Value;

use crate::{KeyId, Metadata, ModelName, StateKind, TaskId, TaskRecord};

/// Which tasks a list has: those that all parts of the filter match.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskFilter {
    /// Tasks in one of these states. Empty: in any.
    pub states: Vec<StateKind>,
    /// Tasks for this model.
    pub model: Option<ModelName>,
    /// Tasks whose metadata all of these match.
    pub metadata: Vec<MetadataFilter>,
    /// Tasks that were submitted with this key. `None`: with any, or without one.
    pub owner: Option<KeyId>,
    /// The least id.
    pub from: Option<TaskId>,
    /// Ids are less than this one.
    pub before: Option<TaskId>,
}

impl TaskFilter {
    /// Whether the filter matches the task.
    #[must_use]
    pub fn matches(&self, record: &TaskRecord) -> bool {
        let TaskRecord { job, state, .. } = record;
        self.has_id(job.task_id)
            && self.has_state(state.kind())
            && self.has_model(&job.model)
            && (self.owner.is_none() || self.owner == job.owner)
            && self.has_metadata(job.metadata.as_ref())
    }

    /// Whether it may match the task with this id.
    #[must_use]
    pub fn has_id(&self, id: TaskId) -> bool {
        self.owner.is_none_or(|owner| id.may_belong_to(owner))
            && self.from.is_none_or(|from| from <= id)
            && self.before.is_none_or(|before| id < before)
    }

    /// Whether it matches tasks in this state.
    #[must_use]
    pub fn has_state(&self, state: StateKind) -> bool {
        self.states.is_empty() || self.states.contains(&state)
    }

    /// Whether it matches tasks for this model.
    #[must_use]
    pub fn has_model(&self, model: &ModelName) -> bool {
        self.model.as_ref().is_none_or(|wanted| wanted == model)
    }

    fn has_metadata(&self, metadata: Option<&Metadata>) -> bool {
        let matches = |filter: &MetadataFilter| metadata.is_some_and(|data| filter.matches(data));
        self.metadata.iter().all(matches)
    }
}

/// A key of metadata, and its value unless any will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataFilter {
    /// The key.
    pub key: String,
    /// The value: a text as it is, a number, true, false or null as in JSON.
    pub value: Option<String>,
}

impl MetadataFilter {
    fn matches(&self, metadata: &Metadata) -> bool {
        let Some(found) = metadata.as_map().get(&self.key) else { return false };
        self.value.is_none() || self.value == plain_text(found)
    }
}

impl FromStr for MetadataFilter {
    type Err = Infallible;

    /// `key` or `key=value`; the key ends at the first `=`.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.split_once('=') {
            Some((key, value)) => Self { key: key.to_owned(), value: Some(value.to_owned()) },
            None => Self { key: text.to_owned(), value: None },
        })
    }
}

/// The value as a filter has it; `None` for arrays and objects.
#[must_use]
pub fn plain_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Null | Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{DetectionSettings, Job};

    fn record(metadata: Option<Value>) -> TaskRecord {
        let settings = DetectionSettings::default();
        let mut job = Job::new("bus.jpg".to_owned(), "yolov8n".parse().unwrap(), settings);
        job.metadata = metadata.map(|value| value.try_into().unwrap());
        TaskRecord::queued(job)
    }

    #[test]
    fn metadata_is_matched_by_key_and_by_plain_values() {
        let data =
            json!({ "camera": "door", "n": 5, "ok": true, "no": null, "list": [1], "a": "x=y" });
        let with = record(Some(data));
        let cases = [
            ("camera", true),
            ("camera=door", true),
            ("camera=", false),
            ("camera=\"door\"", false),
            ("Camera", false),
            ("n=5", true),
            ("n=5.0", false),
            ("ok=true", true),
            ("no=null", true),
            ("list", true),
            ("list=[1]", false),
            ("a=x=y", true),
            ("", false),
        ];
        for (filter, expected) in cases {
            let metadata = vec![filter.parse().unwrap()];
            let filter_of = TaskFilter { metadata, ..TaskFilter::default() };
            assert_eq!(filter_of.matches(&with), expected, "{filter}");
            assert!(!filter_of.matches(&record(None)), "{filter}");
        }
    }

    #[test]
    fn all_parts_of_a_filter_must_match() {
        let owner = KeyId::from_bytes([1; 6]);
        let unowned = record(None);
        let record = TaskRecord::queued(unowned.job.clone().owned_by(Some(owner)));
        let id = record.job.task_id;
        let all = TaskFilter {
            states: vec![StateKind::Started, StateKind::Queued],
            model: Some("yolov8n".parse().unwrap()),
            metadata: Vec::new(),
            owner: Some(owner),
            from: Some(id),
            before: Some(TaskId::first_at(time::macros::datetime!(9999-01-01 00:00 UTC))),
        };
        assert!(all.matches(&record));
        assert!(TaskFilter::default().matches(&record));
        assert!(!all.matches(&unowned));
        // Another key's task, with an id that does not tell so.
        let mut of_another = record.clone();
        of_another.job.owner = Some(KeyId::from_bytes([1, 1, 2, 2, 2, 2]));
        assert!(all.has_id(id) && !all.matches(&of_another));
        let others = [
            TaskFilter { states: vec![StateKind::Success], ..all.clone() },
            TaskFilter { model: Some("yolo11n".parse().unwrap()), ..all.clone() },
            TaskFilter { owner: Some(KeyId::from_bytes([2; 6])), ..all.clone() },
            TaskFilter { from: Some(TaskId::generate_for(owner)), ..all.clone() },
            TaskFilter { before: Some(id), ..all.clone() },
        ];
        for other in others {
            assert!(!other.matches(&record), "{other:?}");
        }
    }
}
