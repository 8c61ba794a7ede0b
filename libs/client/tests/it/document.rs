//! The types hold all that openapi.json says of a task.

use client::{Batch, Operations, State, Task};
use serde_json::Value;

fn schema(name: &str) -> Value {
    let document: Value = serde_json::from_str(include_str!("../../../../openapi.json")).unwrap();
    document["components"]["schemas"][name].clone()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn a_task_has_every_field_of_the_document() {
    let example = schema("Task")["example"].clone();
    let task: Task = serde_json::from_value(example.clone()).unwrap();
    assert!(task.is_terminal());
    let written = serde_json::to_value(&task).unwrap();
    assert_eq!(keys(&written), keys(&schema("Task")["properties"]));
    assert_eq!(keys(&written["objects"][0]), keys(&example["objects"][0]));
    for same in ["task_id", "state", "submitted_at", "finished_at", "attempts", "warnings"] {
        assert_eq!(written[same], example[same], "{same}");
    }
}

#[test]
fn a_batch_has_every_field_of_the_document() {
    let example = schema("Batch")["example"].clone();
    let batch: Batch = serde_json::from_value(example.clone()).unwrap();
    assert!(!batch.is_finished());
    let written = serde_json::to_value(&batch).unwrap();
    assert_eq!(keys(&written), keys(&schema("Batch")["properties"]));
    for part in ["counts", "links"] {
        assert_eq!(keys(&written[part]), keys(&example[part]), "{part}");
    }
    assert_eq!(written["refused"], example["refused"]);
}

#[test]
fn the_state_of_the_system_is_read_as_the_document_shows_it() {
    let document = schema("OperationsSnapshot");
    let example = document["example"].clone();
    let full: Operations = serde_json::from_value(example.clone()).unwrap();
    assert_eq!((full.queue.waiting, full.tasks.ended()), (Some(12), 1186));
    assert_eq!((full.queue.lanes.unwrap().len(), full.workers[0].running.len()), (1, 1));
    assert!(full.stages[0].p99_ms.is_some() && full.cache.is_some() && full.webhooks.is_some());
    let mut least = example;
    for (part, schema_of_part) in [("/queue", schema("QueueState")), ("", document)] {
        let required = schema_of_part["required"].as_array().unwrap().clone();
        let fields = least.pointer_mut(part).unwrap().as_object_mut().unwrap();
        fields.retain(|key, _| required.iter().any(|name| name == key));
    }
    let least: Operations = serde_json::from_value(least).unwrap();
    assert!(least.queue.lanes.is_none() && least.dead_letters.is_none());
}

#[test]
fn a_task_needs_no_more_than_the_document_promises() {
    let document = schema("Task");
    let mut least = document["example"].clone();
    let required = document["required"].as_array().unwrap();
    least.as_object_mut().unwrap().retain(|key, _| required.iter().any(|name| name == key));
    least["state"] = "QUEUED".into();
    least["added_by_a_newer_api"] = 7.into();
    let task: Task = serde_json::from_value(least).unwrap();
    assert!(!task.is_terminal() && task.objects.is_empty() && task.finished_at.is_none());
}

#[test]
fn every_state_of_the_document_is_known_and_a_new_one_keeps_its_name() {
    let states = schema("State")["enum"].as_array().unwrap().clone();
    assert_eq!(states.len(), 6, "{states:?}");
    for name in states {
        let state: State = serde_json::from_value(name.clone()).unwrap();
        assert!(!matches!(state, State::Other(_)), "{name}");
        assert_eq!(Value::from(state.to_string()), name);
    }
    let state: State = serde_json::from_value("PAUSED".into()).unwrap();
    assert_eq!(state, State::Other("PAUSED".to_owned()));
}
