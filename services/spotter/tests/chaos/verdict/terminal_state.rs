//! A task's terminal state in one form, whether it comes from the API, the bucket or Redis.

use domain::TaskRecord;
use serde_json::{Value, json};

/// Everything a client can see of a terminal state.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TerminalState(Value);

impl TerminalState {
    /// From `/v1/tasks/{id}`; `None` while the task is not terminal.
    pub(crate) fn from_v1(task: &Value) -> Option<Self> {
        let finished_at = task.get("finished_at").filter(|at| !at.is_null())?;
        Some(Self(json!({
            "state": task["state"],
            "finished_at": finished_at,
            "objects": task["objects"],
            "failure": task["failure"],
        })))
    }

    /// From a stored record; `None` while the task is not terminal.
    pub(crate) fn from_record(record: &TaskRecord) -> Option<Self> {
        record.state.finished_at()?;
        let stored = serde_json::to_value(record).expect("a record is JSON");
        let objects = stored["objects"].as_array();
        let objects = objects.map(|objects| objects.iter().map(object).collect::<Vec<_>>());
        let failure = stored
            .get("reason")
            .map(|reason| json!({ "reason": reason, "message": stored["message"] }));
        Some(Self(json!({
            "state": stored["state"],
            "finished_at": stored["finished_at"],
            "objects": objects,
            "failure": failure,
        })))
    }

    /// A made-up one for the checker's controls.
    pub(crate) fn for_control(state: &str, finished_at: &str) -> Self {
        Self(
            json!({ "state": state, "finished_at": finished_at, "objects": null, "failure": null }),
        )
    }

    pub(crate) fn state(&self) -> &str {
        self.0["state"].as_str().unwrap_or("?")
    }

    /// The state, and why a task failed.
    pub(crate) fn state_and_reason(&self) -> String {
        match &self.0["failure"] {
            Value::Null => self.state().to_owned(),
            failure => format!("{} {failure}", self.state()),
        }
    }

    /// Whether the original route's answer describes the same terminal state.
    pub(crate) fn matches_original(&self, original: &Value) -> bool {
        let status = if self.state() == "SUCCESS" { "SUCCESS" } else { "FAILURE" };
        let boxes = |objects: &Value, key: &str| -> Vec<String> {
            let objects = objects.as_array().map(Vec::as_slice).unwrap_or_default();
            let sides = ["x1", "y1", "x2", "y2"];
            objects.iter().map(|o| format!("{:?}", sides.map(|side| &o[key][side]))).collect()
        };
        original["status"] == status
            && boxes(&original["result"], "box") == boxes(&self.0["objects"], "bbox")
    }
}

/// A stored object in the JSON of `/v1`.
fn object(stored: &Value) -> Value {
    let side = |name: &str| five_decimals(&stored["bbox"][name]);
    json!({
        "label": stored["label"],
        "class_id": stored["class_id"],
        "confidence": five_decimals(&stored["confidence"]),
        "bbox": { "x1": side("x1"), "y1": side("y1"), "x2": side("x2"), "y2": side("y2") },
    })
}

fn five_decimals(value: &Value) -> f64 {
    // Records contain 32-bit floats; the API rounds these, not their decimal form.
    let value = value.as_f64().unwrap_or(f64::NAN) as f32;
    (f64::from(value) * 1e5).round() / 1e5
}
