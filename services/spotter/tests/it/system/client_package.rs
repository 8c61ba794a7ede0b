//! Runs a script of `scripts/` that uses the package of another server's client.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Process, picture, workspace_root};

use crate::harness::{Ended, System, spotter};

/// Only a run that hangs takes this long; it may have to fetch the package.
const LONGEST: Duration = Duration::from_secs(9 * 60);

/// Such a script ends with it where its package cannot be had.
const SKIPPED: i32 = 77;

/// A shell ends with it where there is no such program, such as Python.
const NO_SUCH_PROGRAM: i32 = 127;

/// A new key for a system that requires keys.
pub(super) fn key(system: &System) -> String {
    let url = system.nats.url();
    let create = spotter(["key", "create", "--name", "a client", "--nats-url", &url]);
    let created = Ended::of(create);
    assert_eq!((created.code, created.stdout.len()), (Some(0), 1), "{created:?}");
    created.stdout[0].clone()
}

/// What the script prints about bus.jpg.
///
/// # Errors
/// What it says where its package cannot be had.
pub(super) fn detect_with(script: &str, system: &System, key: &str) -> Result<Value, String> {
    let path = workspace_root().join("scripts").join(script);
    assert!(path.is_file(), "{} is missing", path.display());
    let script = Process::builder(path).arg(&system.base).arg(picture("bus.jpg"));
    let mut run = script.args(["--api-key", key]).start();
    run.wait_exit(LONGEST);
    let ended = Ended::after(run);
    match ended.code {
        Some(0) => Ok(serde_json::from_str(&ended.stdout.join("\n")).unwrap()),
        Some(SKIPPED | NO_SUCH_PROGRAM) => Err(ended.stderr.join("\n")),
        _ => panic!("{ended:#?}"),
    }
}

/// The objects that `/v1` finds in bus.jpg with these parameters.
pub(super) async fn objects_of_v1(system: &System, key: &str, parameters: &str) -> Vec<Value> {
    let bytes = std::fs::read(picture("bus.jpg")).unwrap();
    let request = system.http.post(format!("{}/v1/tasks?{parameters}", system.base));
    let request = request.header("prefer", "wait=60").header("content-type", "image/jpeg");
    let answer = request.bearer_auth(key).body(bytes).send().await.unwrap();
    let task: Value = answer.json().await.unwrap();
    assert_eq!(task["state"], json!("SUCCESS"), "{task}");
    task["objects"].as_array().unwrap().clone()
}
